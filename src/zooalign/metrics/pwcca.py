"""Projection-weighted CCA: canonical correlations weighted by how much of x they carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zooalign.metrics import check_pair
from zooalign.metrics._factors import Factors, full_correlations, over_layer_pairs

if TYPE_CHECKING:
    from zooalign.indexes.index import Index

VERSION = 2
NEEDS = frozenset({"features"})
TAKES_K = False
SYMMETRIC = False
RANGE = (0.0, 1.0)
IDENTITY = 1.0
HAS_TERMS = False
QUANTITY = "projection-weighted canonical correlation, 0 to 1"


def chance(n: int, k: int | None = None) -> float | None:
    """None: it grows to 1 as the widths approach n; take the permutation null.

    Parameters
    ----------
    n : int
        Samples.
    k : None
        Not used.

    Returns
    -------
    None
        See above.
    """
    return None


def matrix(x: Index, y: Index, k: int | None = None) -> np.ndarray:
    """Weighted mean of all canonical correlations, for every layer pair.

    Parameters
    ----------
    x, y : Index
        Two models on the same n samples.
    k : None
        Not used.

    Returns
    -------
    ndarray of float64, shape (Lx, Ly)
        In [0, 1]; 1 at identity, and 1 for anything once a width reaches n - 1. Directional: the weights
        are those of x. NaN where a layer is the same for every sample.

    Raises
    ------
    MetricError
        If samples differ.

    Notes
    -----
    Weight of the canonical direction h in the space of x: the sum over the columns of x of |<h, column>|.
    The mean is over the min(rank x, rank y) directions. A decomposition per layer and one per layer pair.

    References
    ----------
    Morcos, Raghu, Bengio 2018, arXiv 1806.05759, section 3.
    """
    check_pair(x, y)
    return over_layer_pairs(x, y, _weighted_correlation)


def _weighted_correlation(a: Factors, b: Factors) -> float:
    directions, correlations, _ = np.linalg.svd(a.u.T @ b.u, full_matrices=False)
    # <h, columns of x> with h = u directions and x = u s v: (r, d) without forming h.
    weights = np.abs(directions.T @ (a.s[:, None] * a.v)).sum(axis=1)
    # What is missing to 1 is averaged: a saturated layer pair is exactly 1 under every permutation.
    return float(1.0 - weights @ (1.0 - full_correlations(correlations)) / weights.sum())
