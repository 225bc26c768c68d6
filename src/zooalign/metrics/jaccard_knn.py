"""Jaccard index of neighbour sets: intersection over union."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from zooalign.metrics import _lists, check_k, check_layers, check_pair

if TYPE_CHECKING:
    from zooalign.indexes.index import Index

VERSION = 2
NEEDS = frozenset({"neighbors"})
TAKES_K = True
SYMMETRIC = True
RANGE = (0.0, 1.0)
IDENTITY = 1.0
HAS_TERMS = True
QUANTITY = "intersection over union of the {k} nearest neighbours"


def chance(n: int, k: int) -> float:
    """Expected score of unrelated models: overlaps of random lists are hypergeometric.

    Parameters
    ----------
    n, k : int
        Samples and neighbours.

    Returns
    -------
    float
        In (0, 1].
    """
    ways = math.comb(n - 1, k)
    return sum(
        c / (2 * k - c) * (math.comb(k, c) * math.comb(n - 1 - k, k - c) / ways)
        for c in range(max(0, 2 * k - n + 1), k + 1)
    )


def matrix(x: Index, y: Index, k: int) -> np.ndarray:
    """Mean over samples of |S_x(i) and S_y(i)| / |S_x(i) or S_y(i)|, for every layer pair.

    Parameters
    ----------
    x, y : Index
        Two models on the same n samples.
    k : int
        1 <= k < n, at most the k_max of both.

    Returns
    -------
    ndarray of float64, shape (Lx, Ly)
        In [0, 1]; 1 at identity; never above mutual_knn. NaN where a layer is the same for every sample.

    Raises
    ------
    MetricError
        If samples differ or k is out of range.

    Notes
    -----
    From the number of samples per overlap, so the sum does not depend on the order of the samples.

    References
    ----------
    Klabunde, Schumacher, Strohmaier, Lemmerich 2023, arXiv 2305.06329, section 3.4 (Jaccard similarity).
    """
    check_pair(x, y)
    k = check_k("jaccard_knn", x, y, k)
    from zooalign.kernels import lists as kernels

    counts = np.zeros((x.n_layers, y.n_layers, k + 1), np.int64)
    if k <= 255:
        kernels.overlap_counts(x.lists(k), y.lists(k), counts)
    else:
        for i in range(x.n_layers):
            for j in range(y.n_layers):
                counts[i, j] = np.bincount(_lists.overlap_terms(x, y, i, j, k), minlength=k + 1)
    shared = np.arange(k + 1)
    # Summed in a fixed order per layer pair, whatever other layers there are.
    return _lists.defined(x, y, np.einsum("ijc,c->ij", counts, shared / (2 * k - shared)) / x.n)


def terms(x: Index, y: Index, layer_x: int, layer_y: int, k: int) -> np.ndarray:
    """Jaccard index of every sample at one layer pair, whose mean is the score.

    Parameters
    ----------
    x, y : Index
        As in :func:`matrix`.
    layer_x, layer_y : int
        Layer positions; -1 the last.
    k : int
        As in :func:`matrix`.

    Returns
    -------
    ndarray of float32, shape (n,)
        In [0, 1].
    """
    check_pair(x, y)
    k = check_k("jaccard_knn", x, y, k)
    check_layers(x, y, layer_x, layer_y)
    shared = _lists.overlap_terms(x, y, layer_x, layer_y, k)
    return _lists.defined_terms(x, y, layer_x, layer_y, shared / (2 * k - shared))
