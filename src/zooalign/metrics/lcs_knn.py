"""Longest common subsequence of ordered neighbour lists."""

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
RANGE = (0.0, "k")
IDENTITY = "k"
HAS_TERMS = True
QUANTITY = "longest common subsequence of the {k} nearest neighbours"


def chance(n: int, k: int) -> float | None:
    """None: there is no simple formula; take the permutation null.

    Parameters
    ----------
    n, k : int
        Not used.

    Returns
    -------
    None
        See above.
    """
    return None


def matrix(x: Index, y: Index, k: int) -> np.ndarray:
    """Mean over samples of the LCS length of S_x(i) and S_y(i), in neighbours, for every layer pair.

    Parameters
    ----------
    x, y : Index
        Two models on the same n samples.
    k : int
        1 <= k < n, at most the k_max of both.

    Returns
    -------
    ndarray of float64, shape (Lx, Ly)
        In [0, k]; k at identity. Not divided by k, as published; value / k never exceeds mutual_knn. NaN where
        a layer is the same for every sample.

    Raises
    ------
    MetricError
        If samples differ or k is out of range.

    Notes
    -----
    Bit-parallel for k <= 64, dynamic programming beyond; one pass also gives edit_distance_knn.

    References
    ----------
    Huh et al. 2024, arXiv 2405.07987, public code. Its parallel helper loses all but the first worker's
    share; this value is the one without that defect. Hyyro 2004 for the bit-parallel form.
    """
    check_pair(x, y)
    k = check_k("lcs_knn", x, y, k)
    common, _ = _lists.sequences(x, y, k)
    return _lists.defined(x, y, common / x.n)


def terms(x: Index, y: Index, layer_x: int, layer_y: int, k: int) -> np.ndarray:
    """Value of every sample at one layer pair, whose mean is the score.

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
        Whole numbers 0 ... k.
    """
    check_pair(x, y)
    k = check_k("lcs_knn", x, y, k)
    check_layers(x, y, layer_x, layer_y)
    common, _ = _lists.sequence_terms(x, y, layer_x, layer_y, k)
    return _lists.defined_terms(x, y, layer_x, layer_y, common)
