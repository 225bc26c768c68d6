"""Kernels that search the nearest rows of one layer: float32 proposes, float64 and the tie order settle."""

from __future__ import annotations

import numpy as np

from zooalign.kernels import F32, F64, I64, U8, U64, Int, compiled
from zooalign.kernels.rows import dot, squared_distance
from zooalign.kernels.ties import key, rounded, stream


@compiled()
def best_candidates(
    scores: F32, offsets: F32, own: int, margin: np.float32, k: int, keys: F32, taken: U8, value: F32, where: I64
) -> int:
    """Candidates for the k best columns of one row: all that rounding could put among them.

    scores (m,) float32 and offsets (m,) float32 add up to the approximate rank value; `own` is the row's
    own column (-1: none). keys (m,) float32 is scratch. On return the first k entries of value and where
    hold the k best by that value, in order, and the next ones, in no order, every other column within
    2 margin of the k-th best; how many there are in all is returned.
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
        taken[where[t]] = 1
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
                if keys[j] >= limit and taken[j] == 0 and j != own:
                    value[c] = keys[j]
                    where[c] = j
                    c += 1
        j0 = j1
    for t in range(k):
        taken[where[t]] = 0
    return c


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
    are scratch, long as value.
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
            same = classes[j]
            if constant:
                v = 0.0
            elif known_for[same] == own:
                v = known[same]
            else:
                if euclidean:
                    v = -squared_distance(rows[own], rows[j])
                else:
                    v = dot(rows[own], rows[j]) * scale[own] * scale[j]
                v = rounded(v, unit)
                known[same] = v
                known_for[same] = own
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
def nearest_rows(
    scores: F32, offsets: F32, first: int, margins: F32, rows: F32, scale: F64, unit: bool, euclidean: bool,
    constant: bool, seed: np.uint64, classes: I64, k: int, neighbors: Int, tied: Int,
) -> None:  # fmt: skip
    """Exact k best columns of every row of a block of the score matrix; see best_candidates, settle.

    scores (q, m) float32 for the rows first ... first + q - 1 of `rows`; neighbors (q, k) any int type; tied (k,)
    is added to.
    """
    q, m = scores.shape
    value = np.empty(m + 1, np.float32)
    where = np.empty(m + 1, np.int64)
    exact = np.empty(m + 1, np.float64)
    keys = np.empty(m + 1, np.uint64)
    known = np.empty(m, np.float64)
    known_for = np.full(m, -1, np.int64)
    sums = np.empty(m, np.float32)
    taken = np.zeros(m, np.uint8)
    for i in range(q):
        own = first + i
        c = best_candidates(scores[i], offsets, own, margins[own], k, sums, taken, value, where)
        settle(
            own, rows, scale, unit, euclidean, constant, seed, classes, margins[own], k, c, value, where, exact, keys,
            known, known_for, tied,
        )  # fmt: skip
        for t in range(k):
            neighbors[i, t] = where[t]
