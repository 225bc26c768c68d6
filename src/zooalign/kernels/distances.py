"""Kernels over the squared distances of all pairs of samples, packed: the strict upper triangle, row by row."""

from __future__ import annotations

import numpy as np

from zooalign.kernels import F32, F64, VECTORISED, compiled


@compiled(fastmath=VECTORISED)
def _between(u: F64, v: F64) -> float:
    total = 0.0
    for t in range(u.shape[0]):
        e = u[t] - v[t]
        total += e * e
    return total


@compiled()
def squares_from_products(rows: F64, gram: F64, n: int, share: float, squares: F64) -> None:
    """Packed |rows[i] - rows[j]|^2, all float64; rows (>= n, d), gram (>= n, >= n), squares (n (n - 1) / 2,).

    From the products in `gram`, whose rounding grows with the lengths of the rows; where the result is below
    `share` of the two squared lengths, from the differences of the rows, so that equal rows are at exactly 0.
    """
    own = np.diag(gram).copy()
    p = 0
    for i in range(n):
        out = squares[p : p + n - i - 1]
        products = gram[i, i + 1 : n]
        others = own[i + 1 : n]
        below = 0
        for t in range(n - i - 1):
            lengths = own[i] + others[t]
            value = lengths - 2.0 * products[t]
            out[t] = value
            below += value < share * lengths
        if below > 0:
            for t in range(n - i - 1):
                if out[t] < share * (own[i] + others[t]):
                    out[t] = _between(rows[i], rows[i + 1 + t])
        p += n - i - 1


@compiled()
def pack_centred(pairs: F64, n: int, packed: F32) -> None:
    """Centre a symmetric matrix with diagonal 0 whose pairs are given, in float64, and pack it as pack_gram."""
    root = np.float64(np.float32(1.4142135623730951))
    means = np.zeros(n)
    p = 0
    for i in range(n):
        row = pairs[p : p + n - i - 1]
        later = means[i + 1 : n]
        total = 0.0
        for t in range(n - i - 1):
            total += row[t]
            later[t] += row[t]
        means[i] += total
        p += n - i - 1
    means /= n
    shifts = means - means.mean()
    p = 0
    for i in range(n):
        packed[i] = -means[i] - shifts[i]
        row = pairs[p : p + n - i - 1]
        out = packed[n + p : n + p + n - i - 1]
        later = shifts[i + 1 : n]
        for t in range(n - i - 1):
            out[t] = ((row[t] - means[i]) - later[t]) * root
        p += n - i - 1
