"""The order of tied neighbours: pseudo-random, a function of the layer's own content and of the query.

Rank values are compared after rounding them to a grid far coarser than float64 rounding, so that values that
differ by nothing but rounding are equal; equal ones are ordered by a key. A common order for all queries would
make the same samples everybody's neighbour, so the key depends on the query too.
"""

from __future__ import annotations

import numpy as np

from zooalign.kernels import F32, F64, I64, U64, Stored, compiled

# Steps of splitmix64 (Steele, Lea, Flood 2014): the golden ratio and the multipliers of its finalizer.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
# Adding and subtracting 1.5 2^6 rounds values within [-1, 1] to multiples of 2^-46; 2^7 + 1 splits off 46 bits.
_SHIFT = 96.0
_SPLIT = 129.0


@compiled()
def mix(z: np.uint64) -> np.uint64:
    """Finalizer of splitmix64: a bijection of 64-bit words in which every input bit moves every output bit."""
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


@compiled()
def stream(seed: np.uint64, query: int) -> np.uint64:
    """Where the keys of one query start."""
    return mix(seed + mix((np.uint64(query) + np.uint64(1)) * _GOLDEN))


@compiled()
def key(start: np.uint64, position: int) -> np.uint64:
    """Key of a neighbour of that query; different for different positions, lower comes first."""
    return mix(start + (np.uint64(position) + np.uint64(1)) * _GOLDEN)


@compiled()
def rounded(value: float, unit: bool) -> float:
    """Rank value on the grid: multiples of 2^-46 if `unit` (cosines), 46 significant bits otherwise."""
    if unit:
        return (value + _SHIFT) - _SHIFT
    upper = value * _SPLIT
    return upper - (upper - value)


@compiled()
def content_hashes(values: F32, scale: F64, hashes: U64) -> None:
    """hashes[i] = 64-bit hash of the float32 bits of scale[i] values[i]; the same for equal prepared rows."""
    n, d = values.shape
    multipliers = np.empty(d, np.uint64)
    for t in range(d):
        multipliers[t] = mix((np.uint64(t) + np.uint64(1)) * _GOLDEN) | np.uint64(1)
    row = np.empty(d, np.float32)
    bits = row.view(np.uint32)
    for i in range(n):
        s = scale[i]
        for t in range(d):
            row[t] = np.float32(s * np.float64(values[i, t])) + np.float32(0)  # no negative zero
        total = np.uint64(0)
        for t in range(d):
            total += np.uint64(bits[t]) * multipliers[t]
        hashes[i] = total


@compiled()
def combined(hashes: U64, width: int) -> np.uint64:
    """Hash of a sequence of hashes, in order, and of the width of the rows."""
    total = mix(np.uint64(width) * _GOLDEN)
    for i in range(hashes.shape[0]):
        total = mix(total + hashes[i] + _GOLDEN)
    return total


@compiled()
def sampled_hashes(stored: Stored, hashes: U64) -> None:
    """hashes[i] from at most 32 elements of row i of stored (n, d) uint16 or uint32."""
    n, d = stored.shape
    step = max(1, d // 32)
    for i in range(n):
        total = np.uint64(0)
        for t in range(0, d, step):
            total = (total + np.uint64(stored[i, t])) * _FIRST
        hashes[i] = mix(total)


@compiled()
def equal_rows(stored: Stored, hashes: U64, classes: I64) -> None:
    """classes[i] = a row equal to row i, the same one for all that are equal (i itself where none is known).

    Equal rows have equal hashes. Two rows of one hash that differ may hide a third that equals one of them: the
    classes only spare arithmetic.
    """
    n, d = stored.shape
    order = np.argsort(hashes)
    first = np.int64(-1)
    for p in range(n):
        i = order[p]
        same = first >= 0 and hashes[first] == hashes[i]
        if same:
            for t in range(d):
                if stored[first, t] != stored[i, t]:
                    same = False
                    break
        if not same:
            first = i
        classes[i] = first
