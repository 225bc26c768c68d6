"""Kernels that search the nearest rows of one layer: float32 proposes, float64 and the tie order settle."""

from __future__ import annotations

import numpy as np

from zooalign.kernels import F32, F64, I64, U8, U64, VECTORISED, Int, compiled
from zooalign.kernels.rows import dot, squared_distance
from zooalign.kernels.ties import key, rounded, stream

# Peaks per test of a row: whole vectors.
_LANES = 32


@compiled(fastmath=VECTORISED)
def _above(values: F32, bound: np.float32) -> np.float32:
    """How many values lie above bound; fewer than 2^24."""
    count = np.float32(0)
    for t in range(values.shape[0]):
        count += np.float32(1) if values[t] > bound else np.float32(0)
    return count


@compiled()
def _reached(keys: F32, k: int, peaks: F32) -> np.float32:
    """A value that at least k of the keys reach, close below the k-th largest; -inf where k is too large for that.

    The columns are dealt out to lanes, somewhat more than k: the k-th largest of the lanes' maxima.
    """
    m = keys.shape[0]
    lanes = (k + k // 2 + _LANES) // _LANES * _LANES
    floor = np.float32(-np.inf)
    if 2 * lanes > m:
        return floor
    best = peaks[:lanes]
    best[:] = keys[:lanes]
    for start in range(lanes, m - lanes + 1, lanes):
        part = keys[start : start + lanes]
        for t in range(lanes):
            best[t] = max(best[t], part[t])
    floor = np.float32(np.inf)
    for t in range(lanes):
        if best[t] < floor and _above(best, best[t]) < k:
            floor = best[t]
    return floor


@compiled()
def best_candidates(
    scores: F32, offsets: F32, own: int, margin: np.float32, k: int, keys: F32, peaks: F32, value: F32, where: I64
) -> int:
    """Candidates for the k best columns of one row: all that rounding could put among them.

    scores (m,) float32 and offsets (m,) float32 add up to the approximate rank value; `own` is the row's
    own column (-1: none). keys and peaks (m,) float32 are scratch. On return the first k entries of value and where
    hold the k best by that value, in order, and the next ones, in no order, every other column within
    2 margin of the k-th best; how many there are in all is returned.
    """
    m = scores.shape[0]
    for j in range(m):
        keys[j] = scores[j] + offsets[j]
    if own >= 0:
        keys[own] = -np.inf
    twice = np.float32(2.0) * margin
    limit = np.float32(_reached(keys, k, peaks) - twice)
    found = 0
    for j in range(m):  # no branch: the next candidate overwrites what was none
        value[found] = keys[j]
        where[found] = j
        found += (keys[j] >= limit) & (j != own)
    # The k best to the front by insertion; what one of them displaces takes its place.
    for t in range(1, found):
        v = value[t]
        if t >= k and not v > value[k - 1]:
            continue
        j = where[t]
        p = t
        if t >= k:
            p = k - 1
            value[t] = value[p]
            where[t] = where[p]
        while p > 0 and v > value[p - 1]:
            value[p] = value[p - 1]
            where[p] = where[p - 1]
            p -= 1
        value[p] = v
        where[p] = j
    limit = np.float32(value[k - 1] - twice)
    c = k
    for t in range(k, found):
        if value[t] >= limit:
            value[c] = value[t]
            where[c] = where[t]
            c += 1
    return c


@compiled()
def rank_value(
    own: int, j: int, rows: F32, scale: F64, unit: bool, euclidean: bool, constant: bool, classes: I64, known: F64,
    known_for: I64,
) -> float:  # fmt: skip
    """What column j is ranked by for row `own`, see settle: computed once for all equal rows."""
    if constant:
        return 0.0
    same = classes[j]
    if known_for[same] != own:
        known[same] = squared_distance(rows[own], rows[j]) if euclidean else dot(rows[own], rows[j])
        known_for[same] = own
    v = float(known[same])
    return rounded(-v if euclidean else v * scale[own] * scale[j], unit)


@compiled()
def settle(
    own: int, rows: F32, scale: F64, unit: bool, euclidean: bool, constant: bool, seed: np.uint64, classes: I64,
    margin: np.float32, k: int, c: int, value: F32, where: I64, exact: F64, keys: U64, known: F64, known_for: I64,
    tied: Int,
) -> None:  # fmt: skip
    """Order the k nearest of row `own` by rounded float64 rank value, equal ones by key; see kernels.ties.

    Rank value of column j: <rows[own], rows[j]> times both scales (cosines where `unit`), or
    -|rows[own] - rows[j]|^2 if `euclidean`; the same for all columns if `constant`. value, where and c as
    best_candidates left them; where[:k] is the result. tied (k,) counts the calls in which the places t and t + 1
    have equal rank values. classes as equal_rows; exact, keys, known, known_for (set to -1 before the first call)
    are scratch, long as value: afterwards known[classes[j]] is the product of the rows own and j, or their squared
    distance, wherever known_for[classes[j]] is `own`.
    """
    begin = stream(seed, own)
    start = 0
    while start < k:
        end = start + 1
        while end < k and value[end - 1] - value[end] <= np.float32(2.0) * margin:
            end += 1
        if end == k:
            end = c  # whatever follows the k-th best is within 2 margin of it
        room = min(end, k + 1)  # one place more than asked for: is it tied with the last one?
        filled = start
        for t in range(start, end if end - start > 1 else start):
            j = where[t]
            v = rank_value(own, j, rows, scale, unit, euclidean, constant, classes, known, known_for)
            order = key(begin, j)
            p = filled
            if filled == room:
                p = room - 1
                if not (v > exact[p] or (v == exact[p] and order < keys[p])):
                    continue
            else:
                filled += 1
            while p > start and (v > exact[p - 1] or (v == exact[p - 1] and order < keys[p - 1])):
                exact[p] = exact[p - 1]
                keys[p] = keys[p - 1]
                where[p] = where[p - 1]
                p -= 1
            exact[p] = v
            keys[p] = order
            where[p] = j
        for t in range(start, filled - 1):
            if exact[t] == exact[t + 1]:
                tied[t] += 1
        start = end


@compiled()
def nearest_sets(
    scores: F32, offsets: F32, first: int, margins: F32, rows: F32, scale: F64, unit: bool, euclidean: bool,
    constant: bool, seed: np.uint64, classes: I64, k: int, bits: U8,
) -> int:  # fmt: skip
    """The k best columns of every row as bits (q, bytes), zeros before: what nearest_rows lists, without their order.

    The other arguments as in nearest_rows. Only columns that rounding could move across the border are compared in
    float64. Returns how many rows have their k-th and next best column tied.
    """
    q, m = scores.shape
    sums = np.empty(m, np.float32)
    where = np.empty(m, np.int64)
    exact = np.empty(m, np.float64)
    keys = np.empty(m, np.uint64)
    known = np.empty(m, np.float64)
    known_for = np.full(m, -1, np.int64)
    tied = 0
    for i in range(q):
        own = first + i
        for j in range(m):
            sums[j] = scores[i, j] + offsets[j]
        sums[own] = -np.inf
        middle = np.float64(np.partition(sums, m - k)[m - k])  # the k-th best
        twice = 2.0 * np.float64(margins[own])
        begin = stream(seed, own)
        left = k
        filled = 0
        for j in range(m):
            value = np.float64(sums[j])
            if value > middle + twice:  # fewer than k columns can be better
                bits[i, j >> 3] |= np.uint8(1 << (j & 7))
                left -= 1
            elif value >= middle - twice:
                v = rank_value(own, j, rows, scale, unit, euclidean, constant, classes, known, known_for)
                order = key(begin, j)
                p = filled
                while p > 0 and (v > exact[p - 1] or (v == exact[p - 1] and order < keys[p - 1])):
                    exact[p] = exact[p - 1]
                    keys[p] = keys[p - 1]
                    where[p] = where[p - 1]
                    p -= 1
                exact[p] = v
                keys[p] = order
                where[p] = j
                filled += 1
        for t in range(left):
            j = where[t]
            bits[i, j >> 3] |= np.uint8(1 << (j & 7))
        if filled > left and exact[left] == exact[left - 1]:
            tied += 1
    return tied


@compiled()
def nearest_rows(
    scores: F32, offsets: F32, first: int, margins: F32, rows: F32, scale: F64, unit: bool, euclidean: bool,
    constant: bool, seed: np.uint64, classes: I64, k: int, neighbors: Int, tied: Int, dots: F64,
) -> None:  # fmt: skip
    """Exact k best columns of every row of a block of the score matrix; see best_candidates, settle.

    scores (q, m) float32 for the rows first ... first + q - 1 of `rows`; neighbors (q, k) any int type; tied (k,)
    is added to; dots (q, k) are the products of the rows that were needed to order them, NaN where none was.
    """
    q, m = scores.shape
    value = np.empty(m + 1, np.float32)
    where = np.empty(m + 1, np.int64)
    exact = np.empty(m + 1, np.float64)
    keys = np.empty(m + 1, np.uint64)
    known = np.empty(m, np.float64)
    known_for = np.full(m, -1, np.int64)
    sums = np.empty(m, np.float32)
    peaks = np.empty(m, np.float32)
    for i in range(q):
        own = first + i
        c = best_candidates(scores[i], offsets, own, margins[own], k, sums, peaks, value, where)
        settle(
            own, rows, scale, unit, euclidean, constant, seed, classes, margins[own], k, c, value, where, exact, keys,
            known, known_for, tied,
        )  # fmt: skip
        for t in range(k):
            neighbors[i, t] = where[t]
            same = classes[where[t]]
            dots[i, t] = known[same] if known_for[same] == own and not euclidean else np.nan
