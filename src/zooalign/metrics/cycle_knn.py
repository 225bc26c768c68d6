"""Cycle k-nearest neighbours: whether a step in one model and a step back in the other return."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zooalign.metrics import _lists, check_k, check_layers, check_pair

if TYPE_CHECKING:
    from zooalign.indexes.index import Index

VERSION = 2
NEEDS = frozenset({"neighbors"})
TAKES_K = True
SYMMETRIC = False
RANGE = (0.0, 1.0)
IDENTITY = None
HAS_TERMS = True
QUANTITY = "fraction of samples reached back within {k} nearest neighbours"


def chance(n: int, k: int) -> float:
    """Approximate expected score of unrelated models: 1 - (1 - 1/n)^(k^2).

    Parameters
    ----------
    n, k : int
        Samples and neighbours.

    Returns
    -------
    float
        In (0, 1): k^2 second steps, each of which ends on the sample once in n.
    """
    return 1.0 - (1.0 - 1.0 / n) ** (k * k)


def matrix(x: Index, y: Index, k: int) -> np.ndarray:
    """Share of samples i that some j in S_y(i) has in its own list S_x(j), for every layer pair.

    Parameters
    ----------
    x, y : Index
        Two models on the same n samples.
    k : int
        1 <= k < n, at most the k_max of both.

    Returns
    -------
    ndarray of float64, shape (Lx, Ly)
        In [0, 1]; below 1 even at identity. Directional: x takes the step back; matrix(y, x) is the other
        direction. NaN where a layer is the same for every sample.

    Raises
    ------
    MetricError
        If samples differ or k is out of range.

    Notes
    -----
    About 1 ms for 325 layer pairs at n = 1,024, from the reversed lists of x.

    References
    ----------
    Huh et al. 2024, arXiv 2405.07987, public code; Zhang et al. 2026, arXiv 2605.09352 read the asymmetry
    as a direction of convergence.
    """
    check_pair(x, y)
    k = check_k("cycle_knn", x, y, k)
    from zooalign.kernels import lists as kernels

    sums = np.zeros((x.n_layers, y.n_layers), np.int64)
    kernels.cycle_sums(*_lists.reversed_lists(x, k), y.lists(k), sums)
    return _lists.defined(x, y, sums / x.n)


def terms(x: Index, y: Index, layer_x: int, layer_y: int, k: int) -> np.ndarray:
    """Whether every sample is returned to at one layer pair; the mean is the score.

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
        0 or 1.
    """
    check_pair(x, y)
    k = check_k("cycle_knn", x, y, k)
    check_layers(x, y, layer_x, layer_y)
    from zooalign.kernels import lists as kernels

    returned = np.empty(x.n, np.int64)
    a, b = _lists.layer_lists(x, layer_x, k), _lists.layer_lists(y, layer_y, k)
    kernels.cycle_terms(a, b, returned)
    return _lists.defined_terms(x, y, layer_x, layer_y, returned)
