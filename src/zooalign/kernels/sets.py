"""Kernels over sets of neighbours as bits and packed kernel matrices: neighbours beyond the stored lists.

bits (n, bytes) uint8: bit j % 8 of byte j // 8 in row i says whether j is a neighbour of i. gram (n (n + 1) / 2,)
float32: the doubly centred kernel as [diagonal | strict upper triangle times sqrt 2]. offsets (n,) float64, added
for both samples of a pair, give the kernel before centring; zeros keep it centred. With a leading axis: all layers.
"""

from __future__ import annotations

import numpy as np

from zooalign.kernels import F32, F64, U8, Int, compiled

# Samples at a time: the columns of packed kernels that they read share cache lines.
_SAMPLES = 16


@compiled()
def pack_lists(lists: Int, k: int, bits: U8) -> None:
    """The first k of every list (n, >= k) as bits, which are zeros before."""
    for i in range(lists.shape[0]):
        for t in range(k):
            j = np.int64(lists[i, t])
            bits[i, j >> 3] |= np.uint8(1 << (j & 7))


@compiled()
def permute(bits: U8, order: Int, places: Int, permuted: U8) -> None:
    """Bits of the samples in another order, zeros before: row i is that of order[i], bit j becomes places[j]."""
    n = bits.shape[0]
    for i in range(n):
        row = bits[order[i]]
        for j in range(n):
            if (row[j >> 3] >> (j & 7)) & 1:
                p = places[j]
                permuted[i, p >> 3] |= np.uint8(1 << (p & 7))


@compiled()
def _edges(bits: U8, gram: F32, offsets: F64, i: int, ids: Int, weights: F64, two_way: F64) -> int:
    """Neighbours of sample i, the kernel there, and the kernel or 0 where i is no neighbour of theirs; how many."""
    n = bits.shape[0]
    root = np.sqrt(0.5)
    count = 0
    for j in range(n):
        if (bits[i, j >> 3] >> (j & 7)) & 1:
            low, high = min(i, j), max(i, j)
            weight = gram[n + low * (2 * n - low - 1) // 2 + high - low - 1] * root + offsets[i] + offsets[j]
            ids[count] = j
            weights[count] = weight
            two_way[count] = weight if (bits[j, i >> 3] >> (i & 7)) & 1 else 0.0
            count += 1
    return count


@compiled()
def _common_edges(
    a: Int, wa: F64, ta: F64, b: Int, wb: F64, tb: F64, here: F64, rows: F64, columns: F64, both: F64
) -> None:
    """Add one sample's common edges in one layer of `a` and all of `b`, as edges.masked_hsic does in its loop.

    a, wa, ta (k,); b, wb, tb (Lb, k); here (n, 3) is scratch, zeros before and after. rows (Lb,) becomes the row
    sums of mask L, columns (Lb, n) and both (Lb,) grow by the column sums of mask K and by the products K L of
    two-way edges. Edges that are not common add zeros: cheaper than asking.
    """
    k = a.shape[0]
    # Of the layer of `a`: is j a neighbour, its weight, its weight if two-way.
    for t in range(k):
        j = a[t]
        here[j, 0] = 1.0
        here[j, 1] = wa[t]
        here[j, 2] = ta[t]
    for lb in range(b.shape[0]):
        row_even = 0.0
        row_odd = 0.0
        both_even = 0.0
        both_odd = 0.0
        for s in range(k // 2):
            j = b[lb, 2 * s]
            row_even += here[j, 0] * wb[lb, 2 * s]
            columns[lb, j] += here[j, 1]
            both_even += here[j, 2] * tb[lb, 2 * s]
            j = b[lb, 2 * s + 1]
            row_odd += here[j, 0] * wb[lb, 2 * s + 1]
            columns[lb, j] += here[j, 1]
            both_odd += here[j, 2] * tb[lb, 2 * s + 1]
        if k % 2:
            j = b[lb, k - 1]
            row_even += here[j, 0] * wb[lb, k - 1]
            columns[lb, j] += here[j, 1]
            both_even += here[j, 2] * tb[lb, k - 1]
        rows[lb] = row_even + row_odd
        both[lb] += both_even + both_odd
    for t in range(k):
        j = a[t]
        here[j, 0] = 0.0
        here[j, 1] = 0.0
        here[j, 2] = 0.0


@compiled()
def _hsic_of_sums(rows: F64, columns: F64, both: float) -> float:
    """Unbiased HSIC of one layer pair from the sums over its common edges; rows and columns (n,)."""
    m = float(rows.shape[0])
    total_k = 0.0
    total_l = 0.0
    mixed = 0.0
    for i in range(rows.shape[0]):
        total_k += columns[i]
        total_l += rows[i]
        mixed += columns[i] * rows[i]
    return (both + total_k * total_l / ((m - 1.0) * (m - 2.0)) - 2.0 * mixed / (m - 2.0)) / (m * (m - 3.0))


@compiled()
def masked_hsic(
    bits_a: U8, gram_a: F32, offsets_a: F64, bits_b: U8, gram_b: F32, offsets_b: F64, out: F64
) -> None:  # fmt: skip
    """As edges.masked_hsic: unbiased HSIC of (mask K, mask L) of every layer pair, out (La, Lb).

    Scratch of 16 n bytes per layer pair.
    """
    layers_a, n, _ = bits_a.shape
    layers_b = len(bits_b)
    here = np.zeros((n, 3))
    rows, columns = np.zeros((layers_a, layers_b, n)), np.zeros((layers_a, layers_b, n))
    both = np.zeros((layers_a, layers_b))
    a, wa, ta = np.empty(n, np.int32), np.empty(n), np.empty(n)
    shape = (_SAMPLES, layers_b, n)
    b, wb, tb = np.empty(shape, np.int32), np.empty(shape), np.empty(shape)
    for first in range(0, n, _SAMPLES):
        last = min(first + _SAMPLES, n)
        for lb in range(layers_b):
            for i in range(first, last):
                s = i - first
                _edges(bits_b[lb], gram_b[lb], offsets_b[lb], i, b[s, lb], wb[s, lb], tb[s, lb])
        for la in range(layers_a):
            for i in range(first, last):
                s = i - first
                k = _edges(bits_a[la], gram_a[la], offsets_a[la], i, a, wa, ta)
                _common_edges(
                    a[:k], wa[:k], ta[:k], b[s, :, :k], wb[s, :, :k], tb[s, :, :k], here, rows[la, :, i], columns[la],
                    both[la],
                )  # fmt: skip
    for la in range(layers_a):
        for lb in range(layers_b):
            out[la, lb] = _hsic_of_sums(rows[la, lb], columns[la, lb], both[la, lb])


@compiled()
def masked_products(bits_a: U8, gram_a: F32, bits_b: U8, gram_b: F32, out: F64, terms: F64) -> None:
    """out[la, lb] += sum over edges in both sets of K_ij L_ij, float64 in the order of the samples.

    terms (n,) are the sums of single samples of the last layer pair.
    """
    layers_a, n, _ = bits_a.shape
    layers_b = len(bits_b)
    none, here = np.zeros(n), np.zeros(n)
    a, wa, two_way = np.empty(n, np.int32), np.empty(n), np.empty(n)
    b, wb = np.empty((_SAMPLES, layers_b, n), np.int32), np.empty((_SAMPLES, layers_b, n))
    for first in range(0, n, _SAMPLES):
        last = min(first + _SAMPLES, n)
        for lb in range(layers_b):
            for i in range(first, last):
                s = i - first
                _edges(bits_b[lb], gram_b[lb], none, i, b[s, lb], wb[s, lb], two_way)
        for la in range(layers_a):
            for i in range(first, last):
                s = i - first
                k = _edges(bits_a[la], gram_a[la], none, i, a, wa, two_way)
                for t in range(k):
                    here[a[t]] = wa[t]
                for lb in range(layers_b):
                    even = 0.0
                    odd = 0.0
                    for t in range(k // 2):
                        even += here[b[s, lb, 2 * t]] * wb[s, lb, 2 * t]
                        odd += here[b[s, lb, 2 * t + 1]] * wb[s, lb, 2 * t + 1]
                    if k % 2:
                        even += here[b[s, lb, k - 1]] * wb[s, lb, k - 1]
                    terms[i] = even + odd
                    out[la, lb] += terms[i]
                for t in range(k):
                    here[a[t]] = 0.0
