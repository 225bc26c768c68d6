"""Kernels that cut neighbour lists, kernel matrices and ranks to some of the samples, in any order.

`members` (m,) names the samples, no sample twice; `place` (n,) says the place of a sample, -1 for none.
"""

from __future__ import annotations

import numpy as np

from zooalign.kernels import F32, I64, Int, compiled
from zooalign.kernels.ties import mix


@compiled()
def subset_lists(lists: Int, members: Int, place: Int, longest: int, nearest: Int, columns: Int) -> int:
    """The first k stored neighbours of every member that are members too, renumbered.

    lists (L, n, k_max), read up to `longest`; nearest (L, m, k), columns (L, m, k) their place in the stored list. A
    list that runs out is filled with other members in a pseudo-random order that follows from the stored list, so
    that two models do not agree there but by chance; the number of such lists is returned.
    """
    layers = lists.shape[0]
    _, m, k = nearest.shape
    short = 0
    taken = np.zeros(m, np.uint8)
    for w in range(layers):
        for r in range(m):
            i = members[r]
            c = 0
            for t in range(longest):
                # Half are members, at random: written always and kept if so, which no branch has to guess.
                p = place[lists[w, i, t]]
                nearest[w, r, c] = p
                columns[w, r, c] = t
                c += np.int64(p >= 0)
                if c == k:
                    break
            if c < k:
                short += 1
                taken[:] = 0
                taken[r] = 1
                for t in range(c):
                    taken[nearest[w, r, t]] = 1
                state = np.uint64(i)
                for t in range(longest):
                    state = mix(state + np.uint64(lists[w, i, t]) + np.uint64(1))
                while c < k:
                    state = mix(state + np.uint64(1))
                    j = np.int64(state % np.uint64(m))
                    if taken[j] == 0:
                        taken[j] = 1
                        nearest[w, r, c] = j
                        columns[w, r, c] = longest - 1
                        c += 1
    return short


@compiled()
def subset_gram(full: F32, members: Int, packed: F32) -> None:
    """Doubly centred kernel of the members, packed; full (n, n) float32 from `grams.unpack`.

    Centring the block of a centred kernel gives the centred kernel of the block. Sums in float64.
    """
    m = members.shape[0]
    root = np.sqrt(2.0)
    means = np.zeros(m)
    for i in range(m):
        row = full[members[i]]
        total = 0.0
        for j in range(m):
            total += np.float64(row[members[j]])
        diagonal = np.float64(row[members[i]])
        means[i] = ((total - diagonal) / root + diagonal) / m
    grand = means.mean()
    p = m
    for i in range(m):
        row = full[members[i]]
        packed[i] = row[members[i]] - 2.0 * means[i] + grand
        shift = (grand - means[i]) * root
        for j in range(i + 1, m):
            packed[p] = row[members[j]] + shift - means[j] * root
            p += 1


@compiled()
def subset_ranks(codes: Int, members: Int, counts: I64, packed: F32) -> None:
    """Ranks among the pairs of members, mean ranks at ties, centred and of length 1; packed row by row.

    codes (n, n) integers in the order of the dissimilarities, below len(counts); counts is workspace.
    """
    m = members.shape[0]
    counts[:] = 0
    for i in range(m):
        row = codes[members[i]]
        for j in range(i + 1, m):
            counts[row[members[j]]] += 1
    pairs = m * (m - 1) // 2
    middle = 0.5 * (pairs - 1)
    below = 0
    squares = 0.0
    ranks = np.empty(len(counts), np.float64)
    for c in range(len(counts)):
        here = counts[c]
        ranks[c] = below + 0.5 * (here - 1) - middle
        squares += here * ranks[c] * ranks[c]
        below += here
    scale = 1.0 / np.sqrt(squares) if squares > 0.0 else 0.0
    p = 0
    for i in range(m):
        row = codes[members[i]]
        for j in range(i + 1, m):
            packed[p] = ranks[row[members[j]]] * scale
            p += 1
