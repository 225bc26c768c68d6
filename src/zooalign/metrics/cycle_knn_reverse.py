"""Cycle k-nearest neighbours in the other direction: y takes the step back (`cycle_knn` with x and y exchanged)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zooalign.metrics import check_pair, cycle_knn

if TYPE_CHECKING:
    import numpy as np

    from zooalign.indexes.index import Index

VERSION = cycle_knn.VERSION
NEEDS = cycle_knn.NEEDS
TAKES_K = True
SYMMETRIC = False
RANGE = cycle_knn.RANGE
IDENTITY = None
HAS_TERMS = True
QUANTITY = "fraction of samples reached back within {k} nearest neighbours, from y to x"

chance = cycle_knn.chance


def matrix(x: Index, y: Index, k: int) -> np.ndarray:
    """Share of samples i that some j in S_x(i) has in its own list S_y(j), for every layer pair.

    A stored pair has one order (vision first), so a sweep that wants both directions names both metrics.

    Parameters
    ----------
    x, y : Index
        Two models on the same n samples.
    k : int
        1 <= k < n, at most the k_max of both.

    Returns
    -------
    ndarray of float64, shape (Lx, Ly)
        In [0, 1]; below 1 even at identity. NaN where a layer is the same for every sample.

    Raises
    ------
    MetricError
        If samples differ or k is out of range.

    References
    ----------
    As :func:`zooalign.metrics.cycle_knn.matrix`, with the models exchanged.
    """
    check_pair(x, y)
    return cycle_knn.matrix(y, x, k).T


def terms(x: Index, y: Index, layer_x: int, layer_y: int, k: int) -> np.ndarray:
    """Whether every sample is returned to at one layer pair, shape (n,) float32; the mean is the score."""
    return cycle_knn.terms(y, x, layer_y, layer_x, k)
