"""Orthogonal Procrustes similarity: how well one model is a rotation of the other."""

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
SYMMETRIC = True
RANGE = (0.0, 1.0)
IDENTITY = 1.0
HAS_TERMS = False
QUANTITY = "similarity after the best rotation, 0 to 1"


def chance(n: int, k: int | None = None) -> float | None:
    """None: it depends on the spectra and grows with width; take the permutation null.

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
    """Nuclear norm of X^T Y with both centred and scaled to Frobenius norm 1, for every layer pair.

    Parameters
    ----------
    x, y : Index
        Two models on the same n samples.
    k : None
        Not used.

    Returns
    -------
    ndarray of float64, shape (Lx, Ly)
        1 - d^2 / 2 of the Procrustes distance d; in [0, 1]; 1 at identity; NaN where a layer is the same for
        every sample.

    Raises
    ------
    MetricError
        If samples differ.

    Notes
    -----
    Widths may differ. A decomposition per layer and one per layer pair: about 0.2 s each at n = 1,024, so
    hundreds of times slower than the other metrics.

    References
    ----------
    Ding, Denain, Steinhardt 2021, arXiv 2108.01661, section 2.
    """
    check_pair(x, y)
    return full_correlations(over_layer_pairs(x, y, _nuclear_norm))


def _nuclear_norm(a: Factors, b: Factors) -> float:
    """Of the product of two layers, both scaled to norm 1."""
    cross = a.s[:, None] * (a.u.T @ b.u) * b.s[None, :]
    nuclear = np.linalg.svd(cross, compute_uv=False).sum()
    return float(nuclear / np.sqrt((a.s @ a.s) * (b.s @ b.s)))
