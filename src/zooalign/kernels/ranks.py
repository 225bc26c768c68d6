"""Kernels that rank the dissimilarities of all pairs of samples."""

from __future__ import annotations

import numpy as np

from zooalign.kernels import F64, U32, U64, compiled

# Bits per pass of the radix sort: its counts stay in the first-level cache.
_DIGIT = 11


@compiled()
def sort_positive(values: F64, keys: U64, order: U32) -> None:
    """Find the `order` (m,) that sorts `values` (m,), finite and not negative, stable; keys (m,) is scratch.

    A radix sort over the bits, which order such numbers as they are; of the digits only those in which the values
    differ.
    """
    m = values.shape[0]
    bits = values.view(np.uint64)
    lowest = bits[0]
    highest = bits[0]
    for p in range(m):
        lowest = min(lowest, bits[p])
        highest = max(highest, bits[p])
    keys_to = np.empty(m, np.uint64)
    order_to = np.empty(m, np.uint32)
    for p in range(m):
        keys[p] = bits[p] - lowest
        order[p] = p
    counts = np.empty(1 << _DIGIT, np.int64)
    mask = np.uint64((1 << _DIGIT) - 1)
    shift = np.uint64(0)
    swapped = False
    while shift < np.uint64(64) and (highest - lowest) >> shift > np.uint64(0):
        a, b = (keys_to, keys) if swapped else (keys, keys_to)
        x, y = (order_to, order) if swapped else (order, order_to)
        counts[:] = 0
        for p in range(m):
            counts[(a[p] >> shift) & mask] += 1
        total = 0
        for c in range(counts.shape[0]):
            here = counts[c]
            counts[c] = total
            total += here
        for p in range(m):
            c = (a[p] >> shift) & mask
            q = counts[c]
            counts[c] = q + 1
            b[q] = a[p]
            y[q] = x[p]
        swapped = not swapped
        shift += np.uint64(_DIGIT)
    if swapped:
        order[:] = order_to


@compiled()
def mean_ranks(values: F64, order: U32, slope: float, root_slope: float, ranks: F64) -> None:
    """Rank `values` (m,) from 0 along their `order`; a chain that is equal but for rounding shares its mean rank.

    Two neighbours in the order are equal if they differ by no more than slope v + root_slope sqrt(v), v the larger.
    """
    m = values.shape[0]
    first = 0
    for p in range(1, m + 1):
        if p < m:
            v = values[order[p]]
            if not v - values[order[p - 1]] > slope * v + root_slope * np.sqrt(v):
                continue
        rank = first + 0.5 * (p - first - 1)
        for q in range(first, p):
            ranks[order[q]] = rank
        first = p
