"""Kernels over the rows of one layer: order statistics, norms, centring, inner products."""

from __future__ import annotations

import numpy as np

from zooalign.kernels import F32, F64, I64, U16, U32, VECTORISED, Int, Stored, compiled


@compiled()
def count_high(bits: U32, counts: I64) -> None:
    """Histogram of the upper 15 bits of |x|; bits is the uint32 view of float32 values."""
    for b in bits:
        counts[(b & np.uint32(0x7FFFFFFF)) >> np.uint32(16)] += 1


@compiled()
def count_low(bits: U32, high: np.uint32, counts: I64) -> None:
    """Histogram of the lower 16 bits of |x| among the values whose upper bits are `high`."""
    for b in bits:
        b &= np.uint32(0x7FFFFFFF)
        if (b >> np.uint32(16)) == high:
            counts[b & np.uint32(0xFFFF)] += 1


@compiled()
def count_half(bits: U16, counts: I64) -> None:
    """Histogram of |x| over the 15 bits that order float16 magnitudes; bits is the uint16 view."""
    for b in bits:
        counts[b & np.uint16(0x7FFF)] += 1


@compiled()
def largest_half(bits: U16) -> np.uint16:
    """Largest |x| as its 15 bits; bits is the uint16 view of float16 values."""
    top = np.uint16(0)
    for t in range(bits.shape[0]):
        top = max(top, np.uint16(bits[t] & np.uint16(0x7FFF)))
    return top


@compiled()
def largest_single(bits: U32) -> np.uint32:
    """Largest |x| as its 31 bits; bits is the uint32 view of float32 values."""
    top = np.uint32(0)
    for t in range(bits.shape[0]):
        top = max(top, np.uint32(bits[t] & np.uint32(0x7FFFFFFF)))
    return top


@compiled()
def load_row(stored: Stored, half: bool, clamp: np.float32, row: F32, bits: U32) -> None:
    """A stored row as float32, clipped to [-clamp, clamp] if clamp > 0.

    stored (d,) float32, or uint16 holding the bits of float16 if `half`; row (d,) float32 with bits its uint32
    view. The bits of a half, shifted, are a float32 whose exponent is 112 too low, subnormal or not.
    """
    d = row.shape[0]
    if half:
        for t in range(d):
            bits[t] = (np.uint32(stored[t]) & np.uint32(0x7FFF)) << np.uint32(13)
        for t in range(d):
            row[t] *= np.float32(2.0**112)
        for t in range(d):
            bits[t] |= (np.uint32(stored[t]) & np.uint32(0x8000)) << np.uint32(16)
    else:
        for t in range(d):
            row[t] = stored[t]
    if clamp > 0:
        for t in range(d):
            row[t] = min(max(row[t], -clamp), clamp)


@compiled()
def load_rows(stored: Stored, half: bool, clamp: np.float32, values: F32) -> None:
    """Stored rows (n, d) as float32, as load_row."""
    bits = values.view(np.uint32)
    for i in range(stored.shape[0]):
        load_row(stored[i], half, clamp, values[i], bits[i])


@compiled(fastmath=VECTORISED)
def row_sums_of_squares(values: F32, sums: F64) -> None:
    """sums[i] = sum of squares of row i, accumulated in float64."""
    n, d = values.shape
    for i in range(n):
        total = 0.0
        for t in range(d):
            v = np.float64(values[i, t])
            total += v * v
        sums[i] = total


@compiled()
def scaled_column_means(values: F32, scale: F64, means: F64) -> None:
    """means[t] = mean over i of scale[i] values[i, t], float64, summed in the order of the rows."""
    n, d = values.shape
    means[:] = 0.0
    for i in range(n):
        s = scale[i]
        for t in range(d):
            means[t] += s * np.float64(values[i, t])
    for t in range(d):
        means[t] /= n


@compiled()
def centre_rows(values: F32, scale: F64, means: F64, out: F32) -> None:
    """out[i, t] = float32(scale[i] values[i, t] - means[t]), computed in float64."""
    n, d = values.shape
    for i in range(n):
        s = scale[i]
        for t in range(d):
            out[i, t] = np.float32(s * np.float64(values[i, t]) - means[t])


@compiled(fastmath=VECTORISED)
def _square_and_along(row: F32, direction: F64) -> tuple[float, float]:
    square = 0.0
    along = 0.0
    for t in range(row.shape[0]):
        v = np.float64(row[t])
        square += v * v
        along += v * direction[t]
    return square, along


@compiled()
def centre_and_measure(values: F32, scale: F64, means: F64, out: F32, squares: F64, along: F64) -> None:
    """As centre_rows, and of every row of out (>= n, >= d) its squared length and <row, means>, in one pass."""
    n, d = values.shape
    for i in range(n):
        s = scale[i]
        row = out[i, :d]
        for t in range(d):
            row[t] = np.float32(s * np.float64(values[i, t]) - means[t])
        squares[i], along[i] = _square_and_along(row, means)


@compiled(fastmath=VECTORISED)
def project_rows(rows: F32, direction: F64, out: F64) -> None:
    """out[i] = <rows[i], direction>, float64."""
    n = rows.shape[0]
    d = direction.shape[0]
    for i in range(n):
        total = 0.0
        for t in range(d):
            total += np.float64(rows[i, t]) * direction[t]
        out[i] = total


@compiled(fastmath=VECTORISED)
def dot(u: F32, v: F32) -> float:
    """<u, v> of two float32 rows in float64; the same bits for the same two rows wherever they lie."""
    total = 0.0
    for t in range(u.shape[0]):
        total += np.float64(u[t]) * np.float64(v[t])
    return total


@compiled(fastmath=VECTORISED)
def squared_distance(u: F32, v: F32) -> float:
    """|u - v|^2 of two float32 rows in float64."""
    total = 0.0
    for t in range(u.shape[0]):
        e = np.float64(u[t]) - np.float64(v[t])
        total += e * e
    return total


@compiled()
def fill_dots(rows: F32, neighbors: Int, dots: F64) -> None:
    """dots[i, t] = <rows[i], rows[neighbors[i, t]]> where it is NaN, (n, k) float64; once for both directions."""
    n, k = neighbors.shape
    for i in range(n):
        for t in range(k):
            if not np.isnan(dots[i, t]):
                continue
            j = np.int64(neighbors[i, t])
            for u in range(k):
                if neighbors[j, u] == i:
                    dots[i, t] = dots[j, u]
            if np.isnan(dots[i, t]):
                dots[i, t] = dot(rows[i], rows[j])


@compiled()
def neighbor_products(
    rows: F32, scale: F64, neighbors: Int, dots: F64, means: F64, products: F32, centred: F32
) -> None:
    """Inner products of prepared row i with neighbors[i, t], in float64 rounded to float32, (n, k).

    dots: as fill_dots; products: of the rows as they are; centred: of the rows minus their mean `means` (d,) float64.
    """
    n, k = neighbors.shape
    along = np.empty(n)
    project_rows(rows, means, along)
    square = 0.0
    for t in range(means.shape[0]):
        square += means[t] * means[t]
    for i in range(n):
        along[i] *= scale[i]
    for i in range(n):
        for t in range(k):
            j = np.int64(neighbors[i, t])
            product = dots[i, t] * scale[i] * scale[j]
            products[i, t] = np.float32(product)
            centred[i, t] = np.float32(product - along[i] - along[j] + square)


@compiled()
def pack_gram(gram: F32, n: int, packed: F32) -> None:
    """Packed = [diagonal | strict upper triangle x sqrt 2, row by row], so that <packed, packed'> = <K, L>."""
    root = np.float32(1.4142135623730951)
    for i in range(n):
        packed[i] = gram[i, i]
    p = n
    for i in range(n):
        for j in range(i + 1, n):
            packed[p + j - i - 1] = gram[i, j] * root
        p += n - i - 1
