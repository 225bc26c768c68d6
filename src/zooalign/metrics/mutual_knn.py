"""Mutual k-nearest-neighbour alignment: the share of neighbours that two models have in common."""

from __future__ import annotations

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
QUANTITY = "shared fraction of the {k} nearest neighbours"


def chance(n: int, k: int) -> float:
    """Expected score of unrelated models: k / (n - 1).

    Parameters
    ----------
    n, k : int
        Samples and neighbours.

    Returns
    -------
    float
        In (0, 1].

    Examples
    --------
    >>> round(chance(1024, 10), 4)
    0.0098
    """
    return k / (n - 1)


def matrix(x: Index, y: Index, k: int) -> np.ndarray:
    """Mean over samples of |S_x(i) and S_y(i)| / k, for every layer of x against every layer of y.

    Parameters
    ----------
    x, y : Index
        Two models on the same n samples.
    k : int
        1 <= k < n, at most the k_max of both.

    Returns
    -------
    ndarray of float64, shape (Lx, Ly)
        In [0, 1]; 1 at identity and at k = n - 1; k / (n - 1) by chance. Exact: k n times a value is whole. NaN
        where a layer is the same for every sample.

    Raises
    ------
    MetricError
        If samples differ or k is out of range.

    Notes
    -----
    An overlap divided by k, not an intersection over union. About 1 ms for 325 layer pairs at n = 1,024.

    References
    ----------
    Huh, Cheung, Wang, Isola 2024, arXiv 2405.07987, equation 11.
    """
    check_pair(x, y)
    k = check_k("mutual_knn", x, y, k)
    return _lists.defined(x, y, _sums(x, y, k) / (x.n * k))


def terms(x: Index, y: Index, layer_x: int, layer_y: int, k: int) -> np.ndarray:
    """Overlap of every sample at one layer pair, whose mean is the score.

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
        Multiples of 1 / k in [0, 1].
    """
    check_pair(x, y)
    k = check_k("mutual_knn", x, y, k)
    check_layers(x, y, layer_x, layer_y)
    shared = _lists.overlap_terms(x, y, layer_x, layer_y, k)
    return _lists.defined_terms(x, y, layer_x, layer_y, shared / k)


def _sums(x: Index, y: Index, k: int) -> np.ndarray:
    """Total overlaps as int64, (Lx, Ly); inputs already checked."""
    from zooalign.kernels import lists as kernels

    sums = np.zeros((x.n_layers, y.n_layers), np.int64)
    if k <= 255:
        base, order = _lists.in_stored_order(y)
        kernels.overlap_sums(x.lists(k), base.lists(k), order, sums)
        return sums
    for i in range(x.n_layers):  # the byte counters of the fast kernel would overflow
        for j in range(y.n_layers):
            sums[i, j] = _lists.overlap_terms(x, y, i, j, k).sum()
    return sums
