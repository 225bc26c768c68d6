"""Kernels of the streamed gallery: scan approximate scores, settle every candidate in float64."""

from __future__ import annotations

import numpy as np

from zooalign.kernels import F32, F64, I16, I64, U16, U32, VECTORISED, Int, Stored, compiled
from zooalign.kernels.rows import dot, load_row, squared_distance
from zooalign.kernels.ties import key, rounded, stream

# Scores per test of a block: one vectorised comparison decides whether to look closer.
_WIDTH = 256


@compiled()
def offer(value: float, begin: np.uint64, position: int, best: F64, where: I64) -> None:
    """Insert one gallery row into a query's k best by its rank value, equal ones by key; see kernels.ties."""
    k = len(best)
    p = k - 1
    if not (value > best[p] or (value == best[p] and key(begin, position) < key(begin, where[p]))):
        return
    order = key(begin, position)
    while p > 0 and (value > best[p - 1] or (value == best[p - 1] and order < key(begin, where[p - 1]))):
        best[p] = best[p - 1]
        where[p] = where[p - 1]
        p -= 1
    best[p] = value
    where[p] = position


@compiled(fastmath=VECTORISED)
def round_rows(
    stored: Stored, half: bool, clamp: np.float32, centre: F64, unit: bool, euclidean: bool, scales: F64,
    offsets: F64, lengths: F64, errors: F64, bits: U16,
) -> None:  # fmt: skip
    """One pass over a block of gallery rows: load, scale, centre, round to bfloat16, measure the rounding.

    stored, half, clamp as load_row; centre (d,) float64; unit: scale rows to length 1. Filled: scales, offsets,
    lengths and errors (n,) float64 and bits (n, >= d + 2) uint16, [centred row | offset in two parts]. A row of
    length zero gets an infinite scale.
    """
    n, d = stored.shape
    row = np.empty(d, np.float32)
    row_bits = row.view(np.uint32)
    real = np.empty(d, np.float32)
    raw = real.view(np.uint32)
    kept = np.empty(d, np.float32)
    kept_raw = kept.view(np.uint32)
    square = 0.0
    for t in range(d):
        square += centre[t] * centre[t]
    for i in range(n):
        load_row(stored[i], half, clamp, row, row_bits)
        length = 0.0
        along = 0.0
        for t in range(d):
            v = np.float64(row[t])
            length += v * v
            along += v * centre[t]
        scale = 1.0 / np.sqrt(length) if unit else 1.0
        scales[i] = scale
        offset = -0.5 * (length - 2.0 * along + square) if euclidean else along * scale - square
        offsets[i] = offset
        for t in range(d):
            real[t] = np.float32(scale * np.float64(row[t]) - centre[t])
        for t in range(d):
            kept_raw[t] = (raw[t] + np.uint32(0x7FFF) + ((raw[t] >> np.uint32(16)) & np.uint32(1))) & np.uint32(
                0xFFFF0000
            )
        out = bits[i]
        for t in range(d):
            out[t] = np.uint16(kept_raw[t] >> np.uint32(16))
        length = 0.0
        error = 0.0
        for t in range(d):
            v = np.float64(real[t])
            e = v - np.float64(kept[t])
            length += v * v
            error += e * e
        lengths[i] = np.sqrt(length)
        errors[i] = np.sqrt(error)
        real[0] = np.float32(offset)
        kept_raw[0] = raw[0] & np.uint32(0xFFFF0000)
        out[d] = np.uint16(kept_raw[0] >> np.uint32(16))
        real[0] = np.float32(offset - np.float64(kept[0]))
        out[d + 1] = np.uint16(raw[0] >> np.uint32(16))


@compiled()
def consider(
    i: int, j: int, queries: F32, scales: F64, rows: Stored, half: bool, clamp: np.float32, row_scales: F64,
    classes: I64, unit: bool, euclidean: bool, begin: np.uint64, first: int, known: F64, known_for: I64, loaded: F32,
    loaded_bits: U32, best: F64, where: I64,
) -> None:  # fmt: skip
    """Score row j of a block for query i in float64, rounded as ties are, and offer it.

    classes (m,): rows of one class are equal, and are scored once per query: known and known_for hold the last
    value of a class and its query.
    """
    same: int = classes[j]
    if known_for[same] != i:
        load_row(rows[j], half, clamp, loaded, loaded_bits)
        if euclidean:
            value = -squared_distance(queries[i], loaded)
        else:
            value = dot(queries[i], loaded) * scales[i] * row_scales[j]
        known[same] = rounded(value, unit)
        known_for[same] = i
    offer(known[same], begin, first + j, best[i], where[i])


@compiled()
def scan_bfloat16(
    scores: I16, queries: F32, scales: F64, rows: Stored, half: bool, clamp: np.float32, row_scales: F64,
    classes: I64, unit: bool, euclidean: bool, seed: np.uint64, query: int, own: I64, first: int, shift: F64,
    margin: F64, known: F64, known_for: I64, best: F64, where: I64,
) -> None:  # fmt: skip
    """Offer every row of a block whose approximate score may belong to a query's k best.

    scores (q, m) int16, the bits of bfloat16; rows (m, d), half, clamp (see load_row) are the gallery's
    first ... first + m - 1; own (q,) the query's own position or -1; shift, margin (q,): the rank value is
    score + shift up to margin. `seed` and `query`, the number of the first query, give the order of ties; classes,
    known, known_for as consider.
    The order of non-negative bfloat16 is that of their bits.
    """
    q, m = scores.shape
    k = best.shape[1]
    loaded = np.empty(rows.shape[1], np.float32)
    loaded_bits = loaded.view(np.uint32)
    real = np.empty(1, np.float32)
    bits = real.view(np.int32)
    for i in range(q):
        row = scores[i]
        begin = stream(seed, query + i)
        limit = best[i, k - 1] - shift[i] - margin[i]
        limit -= abs(limit) * 0.00390625  # scores are rounded to 8 bits
        real[0] = limit
        floor = np.int16(bits[0] >> 16)
        j0 = 0
        while j0 < m:
            j1 = min(j0 + _WIDTH, m)
            if limit > 0.0 and j1 - j0 == _WIDTH:
                block = row[j0:j1]
                above = np.int16(-32768)
                for j in range(_WIDTH):
                    above = max(above, block[j])
                if above < floor:
                    j0 = j1
                    continue
            for j in range(j0, j1):
                if limit > 0.0:
                    if row[j] < floor:
                        continue
                else:
                    bits[0] = np.int32(row[j]) << 16
                    if real[0] < limit:
                        continue
                if first + j != own[i]:
                    consider(
                        i, j, queries, scales, rows, half, clamp, row_scales, classes, unit, euclidean, begin, first,
                        known, known_for, loaded, loaded_bits, best, where,
                    )  # fmt: skip
                    limit = best[i, k - 1] - shift[i] - margin[i]
                    limit -= abs(limit) * 0.00390625
                    real[0] = limit
                    floor = np.int16(bits[0] >> 16)
            j0 = j1


@compiled()
def scan_float32(
    scores: F32, queries: F32, scales: F64, rows: Stored, half: bool, clamp: np.float32, row_scales: F64,
    classes: I64, unit: bool, euclidean: bool, seed: np.uint64, query: int, own: I64, first: int, shift: F64,
    margin: F64, known: F64, known_for: I64, best: F64, where: I64,
) -> None:  # fmt: skip
    """As scan_bfloat16 with float32 scores."""
    q, m = scores.shape
    k = best.shape[1]
    loaded = np.empty(rows.shape[1], np.float32)
    loaded_bits = loaded.view(np.uint32)
    for i in range(q):
        row = scores[i]
        begin = stream(seed, query + i)
        j0 = 0
        while j0 < m:
            j1 = min(j0 + _WIDTH, m)
            limit = np.float32(best[i, k - 1] - shift[i] - margin[i])
            limit -= abs(limit) * np.float32(1e-6)
            hit = True
            if j1 - j0 == _WIDTH:
                block = row[j0:j1]
                above = np.uint8(0)
                for j in range(_WIDTH):
                    above |= np.uint8(block[j] >= limit)
                hit = above != 0
            if hit:
                for j in range(j0, j1):
                    if row[j] >= limit and first + j != own[i]:
                        consider(
                            i, j, queries, scales, rows, half, clamp, row_scales, classes, unit, euclidean, begin,
                            first, known, known_for, loaded, loaded_bits, best, where,
                        )  # fmt: skip
            j0 = j1


@compiled()
def offer_listed(
    pairs: Int, queries: F32, scales: F64, rows: Stored, half: bool, clamp: np.float32, row_scales: F64, classes: I64,
    unit: bool, euclidean: bool, seed: np.uint64, query: int, own: I64, first: int, known: F64, known_for: I64,
    best: F64, where: I64,
) -> None:  # fmt: skip
    """Offer the (query, row of the block) pairs that a device has selected."""
    loaded = np.empty(rows.shape[1], np.float32)
    loaded_bits = loaded.view(np.uint32)
    for p in range(pairs.shape[0]):
        i = pairs[p, 0]
        j = pairs[p, 1]
        begin = stream(seed, query + i)
        if first + j != own[i]:
            consider(
                i, j, queries, scales, rows, half, clamp, row_scales, classes, unit, euclidean, begin, first,
                known, known_for, loaded, loaded_bits, best, where,
            )  # fmt: skip
