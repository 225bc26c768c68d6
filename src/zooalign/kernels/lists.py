"""Kernels over neighbour lists of all layers of two models at once.

`a` and `b` are (n, layers, k) arrays of neighbour positions below n, best first, no repeats in a list.
"""

from __future__ import annotations

import numpy as np

from zooalign.kernels import I64, U64, Int, compiled

# Sixteen layers of one model share a row of bytes in the membership table: two 64-bit words.
GROUP = 16
_BYTES = np.uint64(0x00FF00FF00FF00FF)


@compiled()
def overlap_sums(a: Int, b: Int, order: I64, sums: I64) -> None:
    """sums[la, lb] = total over samples of |list_a & list_b|; k <= 255.

    Sample i of `a` meets sample order[i] of `b`, so its neighbours are looked for as order[neighbour]. For one
    sample, table[j, layer] says whether j is in that layer's list of `a`; the k rows that a list of `b` names are
    added as bytes, sixteen layers in two machine words, and gathered in 16-bit lanes.
    """
    n, layers_a, k = a.shape
    layers_b = b.shape[1]
    table = np.zeros((n, GROUP), np.uint8)
    words = table.view(np.uint64)
    lanes = np.zeros((layers_b, 4), np.uint64)
    room = 65535 // k  # samples until a 16-bit lane could overflow
    for g in range(0, layers_a, GROUP):
        width = min(GROUP, layers_a - g)
        since = 0
        for i in range(n):
            other = order[i]
            for w in range(width):
                for t in range(k):
                    table[order[a[i, g + w, t]], w] = 1
            for lb in range(layers_b):
                low = np.uint64(0)
                high = np.uint64(0)
                for t in range(k):
                    j = b[other, lb, t]
                    low += words[j, 0]
                    high += words[j, 1]
                lanes[lb, 0] += low & _BYTES
                lanes[lb, 1] += (low >> np.uint64(8)) & _BYTES
                lanes[lb, 2] += high & _BYTES
                lanes[lb, 3] += (high >> np.uint64(8)) & _BYTES
            for w in range(width):
                for t in range(k):
                    j = order[a[i, g + w, t]]
                    words[j, 0] = 0
                    words[j, 1] = 0
            since += 1
            if since == room or i == n - 1:
                flush(lanes, g, width, sums)
                since = 0


@compiled()
def flush(lanes: U64, first: int, width: int, sums: I64) -> None:
    """Add the 16-bit lanes to sums[first + w, lb] and clear them."""
    for lb in range(lanes.shape[0]):
        for w in range(width):
            lane = lanes[lb, 2 * (w // 8) + (w & 1)]
            sums[first + w, lb] += np.int64((lane >> np.uint64(16 * ((w & 7) >> 1))) & np.uint64(0xFFFF))
        for q in range(4):
            lanes[lb, q] = 0


@compiled()
def overlap_terms(a: Int, b: Int, terms: I64) -> None:
    """terms[i] = |a[i] & b[i]| for one layer of each; a, b (n, k)."""
    n, k = a.shape
    mark = np.zeros(n, np.uint8)
    for i in range(n):
        for t in range(k):
            mark[a[i, t]] = 1
        c = 0
        for t in range(k):
            c += mark[b[i, t]]
        terms[i] = c
        for t in range(k):
            mark[a[i, t]] = 0


@compiled()
def overlap_counts(a: Int, b: Int, counts: I64) -> None:
    """counts[la, lb, c] = number of samples whose lists share c neighbours; c = 0 ... k, k <= 255."""
    n, layers_a, k = a.shape
    layers_b = b.shape[1]
    mark = np.zeros(n, np.uint8)
    for i in range(n):
        for la in range(layers_a):
            for t in range(k):
                mark[a[i, la, t]] = 1
            for lb in range(layers_b):
                c = np.int64(0)
                for t in range(k):
                    c += mark[b[i, lb, t]]
                counts[la, lb, c] += 1
            for t in range(k):
                mark[a[i, la, t]] = 0


@compiled()
def reverse_lists(a: Int, starts: I64, sources: Int) -> None:
    """Who names whom: sources[layer, starts[layer, j] : starts[layer, j + 1]] are the i with j in a[i, layer]."""
    n, layers, k = a.shape
    filled = np.empty(n, np.int64)
    for w in range(layers):
        starts[w, :] = 0
        for i in range(n):
            for t in range(k):
                starts[w, np.int64(a[i, w, t]) + 1] += 1
        for j in range(n):
            starts[w, j + 1] += starts[w, j]
            filled[j] = starts[w, j]
        for i in range(n):
            for t in range(k):
                j = np.int64(a[i, w, t])
                sources[w, filled[j]] = i
                filled[j] += 1


@compiled()
def cycle_sums(starts: I64, sources: Int, b: Int, sums: I64) -> None:
    """sums[la, lb] = number of samples i that some j in list_b(i) names in its own list of `a`.

    starts (La, n + 1) and sources (La, n k) are the reversed lists of `a`. As overlap_sums, with "or".
    """
    layers_a = starts.shape[0]
    n, layers_b, k = b.shape
    table = np.zeros((n, GROUP), np.uint8)
    words = table.view(np.uint64)
    lanes = np.zeros((layers_b, 4), np.uint64)
    for g in range(0, layers_a, GROUP):
        width = min(GROUP, layers_a - g)
        since = 0
        for i in range(n):
            for w in range(width):
                for p in range(starts[g + w, i], starts[g + w, i + 1]):
                    table[sources[g + w, p], w] = 1
            for lb in range(layers_b):
                low = np.uint64(0)
                high = np.uint64(0)
                for t in range(k):
                    j = b[i, lb, t]
                    low |= words[j, 0]
                    high |= words[j, 1]
                lanes[lb, 0] += low & _BYTES
                lanes[lb, 1] += (low >> np.uint64(8)) & _BYTES
                lanes[lb, 2] += high & _BYTES
                lanes[lb, 3] += (high >> np.uint64(8)) & _BYTES
            for w in range(width):
                for p in range(starts[g + w, i], starts[g + w, i + 1]):
                    j = sources[g + w, p]
                    words[j, 0] = 0
                    words[j, 1] = 0
            since += 1
            if since == 65535 or i == n - 1:
                flush(lanes, g, width, sums)
                since = 0


@compiled()
def cycle_terms(a: Int, b: Int, terms: I64) -> None:
    """terms[i] = 1 if some j in b[i] has i in a[j]; a, b (n, k)."""
    n, k = a.shape
    for i in range(n):
        terms[i] = 0
        for t in range(k):
            j = b[i, t]
            for s in range(k):
                if a[j, s] == i:
                    terms[i] = 1


@compiled()
def sequence_sums(a: Int, b: Int, common: I64, edits: I64) -> None:
    """Longest common subsequences and Levenshtein distances of lists, summed over samples; k <= 64.

    Bit-parallel: bit t of a word stands for place t of a's list. common (Hyyro 2004: zeros of V after
    V = (V + (V & M)) | (V & ~M)) and edits (Myers 1999) are (La, Lb) int64. Lists hold no repeats.
    """
    n, layers_a, k = a.shape
    layers_b = b.shape[1]
    place = np.zeros(n, np.uint64)
    seen = np.zeros(k, np.uint64)
    one = np.uint64(1)
    zero = np.uint64(0)
    top = one << np.uint64(k - 1)
    full = (top - one) | top
    for i in range(n):
        for la in range(layers_a):
            for t in range(k):
                place[a[i, la, t]] = one << np.uint64(t)
            for lb in range(layers_b):
                shared = zero
                for t in range(k):
                    m = place[b[i, lb, t]]
                    seen[t] = m
                    shared |= m
                if shared == zero:
                    edits[la, lb] += k
                    continue
                v = full
                plus = full
                minus = zero
                score = np.int64(k)
                for t in range(k):
                    m = seen[t]
                    u = v & m
                    v = (v + u) | (v - u)
                    x = m | minus
                    h = (((m & plus) + plus) ^ plus) | m
                    up = minus | ~(h | plus)
                    down = plus & h
                    if up & top:
                        score += 1
                    elif down & top:
                        score -= 1
                    up = (up << one) | one
                    down = down << one
                    plus = down | ~(x | up)
                    minus = up & x
                zeros = ~v & full
                while zeros != zero:
                    zeros &= zeros - one
                    common[la, lb] += 1
                edits[la, lb] += score
            for t in range(k):
                place[a[i, la, t]] = zero


@compiled()
def sequence_terms(a: Int, b: Int, common: I64, edits: I64) -> None:
    """Both for one layer pair and every sample by dynamic programming, any k; common, edits (n,) int64."""
    n, k = a.shape
    longest = np.zeros(k + 1, np.int64)
    distance = np.zeros(k + 1, np.int64)
    for i in range(n):
        longest[:] = 0
        for t in range(k + 1):
            distance[t] = t
        for s in range(k):
            corner_l = longest[0]
            corner_d = distance[0]
            distance[0] = s + 1
            for t in range(1, k + 1):
                same = a[i, s] == b[i, t - 1]
                above_l = longest[t]
                above_d = distance[t]
                if same:
                    longest[t] = corner_l + 1
                    distance[t] = corner_d
                else:
                    longest[t] = max(above_l, longest[t - 1])
                    distance[t] = 1 + min(corner_d, above_d, distance[t - 1])
                corner_l = above_l
                corner_d = above_d
        common[i] = longest[k]
        edits[i] = distance[k]
