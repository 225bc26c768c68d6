"""Kernels over packed kernel matrices: inner products of all layers of two models at once."""

from __future__ import annotations

import numpy as np

from zooalign.kernels import F32, F64, VECTORISED, Int, compiled

# Columns per pass: one chunk of every layer of both models stays in the second-level cache.
_CHUNK = 4096


@compiled(fastmath=VECTORISED)
def _tile(a0: F32, a1: F32, a2: F32, a3: F32, b0: F32, b1: F32, b2: F32, b3: F32, out: F64) -> None:
    """Add the sixteen inner products of four rows with four rows, all of one length.

    The loop starts at a literal 0: the compiler then knows that no index is negative, and loads vectors
    instead of gathering.
    """
    s00 = s01 = s02 = s03 = np.float32(0)
    s10 = s11 = s12 = s13 = np.float32(0)
    s20 = s21 = s22 = s23 = np.float32(0)
    s30 = s31 = s32 = s33 = np.float32(0)
    for p in range(a0.shape[0]):
        x0 = a0[p]
        x1 = a1[p]
        x2 = a2[p]
        x3 = a3[p]
        y0 = b0[p]
        y1 = b1[p]
        y2 = b2[p]
        y3 = b3[p]
        s00 += x0 * y0
        s01 += x0 * y1
        s02 += x0 * y2
        s03 += x0 * y3
        s10 += x1 * y0
        s11 += x1 * y1
        s12 += x1 * y2
        s13 += x1 * y3
        s20 += x2 * y0
        s21 += x2 * y1
        s22 += x2 * y2
        s23 += x2 * y3
        s30 += x3 * y0
        s31 += x3 * y1
        s32 += x3 * y2
        s33 += x3 * y3
    out[0, 0] += s00
    out[0, 1] += s01
    out[0, 2] += s02
    out[0, 3] += s03
    out[1, 0] += s10
    out[1, 1] += s11
    out[1, 2] += s12
    out[1, 3] += s13
    out[2, 0] += s20
    out[2, 1] += s21
    out[2, 2] += s22
    out[2, 3] += s23
    out[3, 0] += s30
    out[3, 1] += s31
    out[3, 2] += s32
    out[3, 3] += s33


@compiled()
def inner_products(a: F32, b: F32, first: int, out: F64) -> None:
    """out[i, j] = <a[i, first:], b[j, first:]>; a (La, p), b (Lb, p) float32, out (La, Lb) float64.

    float32 within a chunk, float64 across chunks. Every pair runs through the same code in the same order
    (a tile at the edge repeats the last layer), so a value depends on its two rows alone: neither on which
    other layers stand beside them nor, products being commutative, on which of the two is called `a`.
    """
    rows, p = a.shape
    columns = b.shape[0]
    tiles_b = (columns + 3) // 4
    partial = np.zeros((4 * ((rows + 3) // 4), 4 * tiles_b), np.float64)
    start = first
    while start < p:
        stop = min(start + _CHUNK, p)
        for i in range(0, rows, 4):
            a0 = a[i, start:stop]
            a1 = a[min(i + 1, rows - 1), start:stop]
            a2 = a[min(i + 2, rows - 1), start:stop]
            a3 = a[min(i + 3, rows - 1), start:stop]
            for j in range(0, columns, 4):
                b0 = b[j, start:stop]
                b1 = b[min(j + 1, columns - 1), start:stop]
                b2 = b[min(j + 2, columns - 1), start:stop]
                b3 = b[min(j + 3, columns - 1), start:stop]
                _tile(a0, a1, a2, a3, b0, b1, b2, b3, partial[i : i + 4, j : j + 4])
        start = stop
    for i in range(rows):
        for j in range(columns):
            out[i, j] = partial[i, j]


@compiled()
def unpack(packed: F32, diagonal: bool, full: F32) -> None:
    """Full (n, n) symmetric from [diagonal |] upper triangle row by row; entries keep their packed scale."""
    n = full.shape[0]
    p = n if diagonal else 0
    for i in range(n):
        full[i, i] = packed[i] if diagonal else np.float32(0)
        for j in range(i + 1, n):
            full[i, j] = packed[p + j - i - 1]
            full[j, i] = packed[p + j - i - 1]
        p += n - i - 1


@compiled()
def pack_permuted(full: F32, order: Int, diagonal: bool, packed: F32) -> None:
    """The packed form of the matrix whose entry (i, j) is full[order[i], order[j]]."""
    n = full.shape[0]
    if diagonal:
        for i in range(n):
            packed[i] = full[order[i], order[i]]
    p = n if diagonal else 0
    for i in range(n):
        row = full[order[i]]
        out = packed[p : p + n - i - 1]
        names = order[i + 1 :]
        for j in range(n - i - 1):
            out[j] = row[names[j]]
        p += n - i - 1
