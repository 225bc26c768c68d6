"""Kernels over the rows of one layer: order statistics, norms, centring, near-tied neighbours."""

from __future__ import annotations

import numpy as np

from zooalign.kernels import VECTORISED, compiled


@compiled()
def count_high(bits, counts):
    """Histogram of the upper 15 bits of |x|; bits is the uint32 view of float32 values."""
    for b in bits:
        counts[(b & np.uint32(0x7FFFFFFF)) >> np.uint32(16)] += 1


@compiled()
def count_low(bits, high, counts):
    """Histogram of the lower 16 bits of |x| among the values whose upper bits are `high`."""
    for b in bits:
        b &= np.uint32(0x7FFFFFFF)
        if (b >> np.uint32(16)) == high:
            counts[b & np.uint32(0xFFFF)] += 1


@compiled()
def count_half(bits, counts):
    """Histogram of |x| over the 15 bits that order float16 magnitudes; bits is the uint16 view."""
    for b in bits:
        counts[b & np.uint16(0x7FFF)] += 1


@compiled()
def largest_half(bits):
    """Largest |x| as its 15 bits; bits is the uint16 view of float16 values."""
    top = np.uint16(0)
    for t in range(bits.shape[0]):
        top = max(top, np.uint16(bits[t] & np.uint16(0x7FFF)))
    return top


@compiled()
def largest_single(bits):
    """Largest |x| as its 31 bits; bits is the uint32 view of float32 values."""
    top = np.uint32(0)
    for t in range(bits.shape[0]):
        top = max(top, np.uint32(bits[t] & np.uint32(0x7FFFFFFF)))
    return top


@compiled(fastmath=VECTORISED)
def row_sums_of_squares(values, sums):
    """sums[i] = sum of squares of row i, accumulated in float64."""
    n, d = values.shape
    for i in range(n):
        total = 0.0
        for t in range(d):
            v = np.float64(values[i, t])
            total += v * v
        sums[i] = total


@compiled()
def scaled_column_means(values, scale, means):
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
def centre_rows(values, scale, means, out):
    """out[i, t] = float32(scale[i] values[i, t] - means[t]), computed in float64."""
    n, d = values.shape
    for i in range(n):
        s = scale[i]
        for t in range(d):
            out[i, t] = np.float32(s * np.float64(values[i, t]) - means[t])


@compiled(fastmath=VECTORISED)
def project_rows(rows, direction, out):
    """out[i] = <rows[i], direction>, float64."""
    n = rows.shape[0]
    d = direction.shape[0]
    for i in range(n):
        total = 0.0
        for t in range(d):
            total += np.float64(rows[i, t]) * direction[t]
        out[i] = total


@compiled(fastmath=VECTORISED)
def dot(u, v):
    """<u, v> of two float32 rows in float64; the same bits for the same two rows wherever they lie."""
    total = 0.0
    for t in range(u.shape[0]):
        total += np.float64(u[t]) * np.float64(v[t])
    return total


@compiled(fastmath=VECTORISED)
def squared_distance(u, v):
    """|u - v|^2 of two float32 rows in float64."""
    total = 0.0
    for t in range(u.shape[0]):
        e = np.float64(u[t]) - np.float64(v[t])
        total += e * e
    return total


@compiled()
def best_candidates(scores, offsets, own, margin, k, keys, found, value, where):
    """Candidates for the k best columns of one row: all that rounding could put among them.

    scores (m,) float32 and offsets (m,) float32 add up to the approximate rank value; `own` is the row's
    own column (-1: none). keys (m,) float32 is scratch. On return the first `c` entries of value and
    where hold, best first, every column within 2 margin of the k-th best; c is returned.
    """
    m = scores.shape[0]
    # Pass 1: the k best by insertion, skipping blocks in which nothing beats the k-th best.
    for j in range(m):
        keys[j] = scores[j] + offsets[j]
    if own >= 0:
        keys[own] = -np.inf
    c = 0
    j0 = 0
    floor = np.float32(-np.inf)
    while j0 < m:
        j1 = min(j0 + 32, m)
        hit = c < k
        if not hit:
            if j1 - j0 == 32:
                block = keys[j0:j1]
                any_above = np.uint8(0)
                for j in range(32):
                    any_above |= np.uint8(block[j] > floor)
                hit = any_above != 0
            else:
                hit = True
        if hit:
            for j in range(j0, j1):
                v = keys[j]
                if c == k and not (v > floor):
                    continue
                if j == own:
                    continue
                p = c if c < k else k - 1
                while p > 0 and v > value[p - 1]:
                    value[p] = value[p - 1]
                    where[p] = where[p - 1]
                    p -= 1
                value[p] = v
                where[p] = j
                if c < k:
                    c += 1
                if c == k:
                    floor = value[k - 1]
        j0 = j1
    # Pass 2: whatever lies within 2 margin below the k-th best may belong among the k.
    limit = np.float32(floor - np.float32(2.0) * margin)
    for t in range(k):
        found[where[t]] = 1
    j0 = 0
    while j0 < m:
        j1 = min(j0 + 32, m)
        hit = True
        if j1 - j0 == 32:
            block = keys[j0:j1]
            any_above = np.uint8(0)
            for j in range(32):
                any_above |= np.uint8(block[j] >= limit)
            hit = any_above != 0
        if hit:
            for j in range(j0, j1):
                if keys[j] >= limit and found[j] == 0 and j != own:
                    p = c
                    v = keys[j]
                    while p > k and v > value[p - 1]:
                        value[p] = value[p - 1]
                        where[p] = where[p - 1]
                        p -= 1
                    value[p] = v
                    where[p] = j
                    c += 1
        j0 = j1
    for t in range(k):
        found[where[t]] = 0
    return c


@compiled()
def settle_ties(query, rows, scale, euclidean, margin, k, c, value, where, exact):
    """Reorder runs of candidates closer than 2 margin by their float64 rank value, then by lower index.

    Rank value of column j: <query, rows[j]> scale[j] (similarities of normalised rows, up to a factor
    common to the row) or -|query - rows[j]|^2 if `euclidean`. value, where as best_candidates left them.
    """
    start = 0
    while start < min(k, c):
        end = start + 1
        while end < c and value[end - 1] - value[end] <= np.float32(2.0) * margin:
            end += 1
        if end - start > 1:
            for t in range(start, end):
                j = where[t]
                if euclidean:
                    exact[t] = -squared_distance(query, rows[j])
                else:
                    exact[t] = dot(query, rows[j]) * scale[j]
            # Insertion sort: runs are short unless the features are degenerate, and those come presorted.
            for t in range(start + 1, end):
                v = exact[t]
                j = where[t]
                p = t
                while p > start and (v > exact[p - 1] or (v == exact[p - 1] and j < where[p - 1])):
                    exact[p] = exact[p - 1]
                    where[p] = where[p - 1]
                    p -= 1
                exact[p] = v
                where[p] = j
        start = end


@compiled()
def nearest_rows(scores, offsets, first, margins, rows, scale, euclidean, k, neighbors):
    """Exact k best columns of every row of a block of the score matrix; see best_candidates, settle_ties.

    scores (q, m) float32 for the rows first ... first + q - 1 of `rows`; neighbors (q, k) any int type.
    """
    q, m = scores.shape
    value = np.empty(m + 1, np.float32)
    where = np.empty(m + 1, np.int64)
    exact = np.empty(m + 1, np.float64)
    keys = np.empty(m, np.float32)
    found = np.zeros(m, np.uint8)
    for i in range(q):
        own = first + i
        c = best_candidates(scores[i], offsets, own, margins[own], k, keys, found, value, where)
        settle_ties(rows[own], rows, scale, euclidean, margins[own], k, c, value, where, exact)
        for t in range(k):
            neighbors[i, t] = where[t]


@compiled()
def neighbor_products(rows, scale, neighbors, means, products, centred):
    """Inner products of prepared row i with neighbors[i, t], in float64 rounded to float32, (n, k).

    products: of the rows as they are; centred: of the rows minus their mean `means` (d,) float64.
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
            product = dot(rows[i], rows[j]) * scale[i] * scale[j]
            products[i, t] = np.float32(product)
            centred[i, t] = np.float32(product - along[i] - along[j] + square)


@compiled()
def pack_gram(gram, n, packed):
    """Packed = [diagonal | strict upper triangle x sqrt 2, row by row], so that <packed, packed'> = <K, L>."""
    root = np.float32(1.4142135623730951)
    for i in range(n):
        packed[i] = gram[i, i]
    p = n
    for i in range(n):
        for j in range(i + 1, n):
            packed[p + j - i - 1] = gram[i, j] * root
        p += n - i - 1
