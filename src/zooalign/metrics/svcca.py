"""SVCCA: mean canonical correlation between the leading singular subspaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zooalign.metrics import check_pair
from zooalign.metrics._factors import full_correlations, one_thread

if TYPE_CHECKING:
    from zooalign.indexes.index import Index

VERSION = 2
NEEDS = frozenset({"subspace"})
TAKES_K = False
SYMMETRIC = True
RANGE = (0.0, 1.0)
IDENTITY = 1.0
HAS_TERMS = False
QUANTITY = "mean canonical correlation of leading subspaces, 0 to 1"


def chance(n: int, k: int | None = None) -> float | None:
    """None: take the permutation null (about .08 for ten directions among 1,024 samples).

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
    """Mean of the singular values of U_x^T U_y, for every layer pair.

    Parameters
    ----------
    x, y : Index
        Two models on the same n samples.
    k : None
        Not used.

    Returns
    -------
    ndarray of float64, shape (Lx, Ly)
        In [0, 1]; 1 at identity; NaN where a layer is the same for every sample.

    Raises
    ------
    MetricError
        If samples differ.

    Notes
    -----
    U are the ten leading left singular vectors of the z-scored columns (fewer where the rank is lower; the
    mean is over the smaller number). Deterministic, unlike the published code, whose randomised
    decomposition and iterative CCA wander by .03.

    References
    ----------
    Raghu, Gilmer, Yosinski, Sohl-Dickstein 2017, arXiv 1706.05806; Bjorck and Golub 1973 for canonical
    correlations as singular values.
    """
    check_pair(x, y)
    with one_thread():
        # Products of one fixed shape (r, n) (n, r) per layer pair: no layer's value depends on the others.
        cross = _transposed(x)[:, None] @ y.array("subspace")[None]  # (Lx, Ly, r, r)
        values = full_correlations(np.linalg.svd(cross, compute_uv=False)).sum(axis=-1)
    ranks = np.minimum(_ranks(x)[:, None], _ranks(y)[None, :])
    with np.errstate(invalid="ignore"):
        return np.where(ranks > 0, values / np.maximum(ranks, 1), np.nan)


def _transposed(x: Index) -> np.ndarray:
    """Bases as rows, (L, r, n) float64."""
    return x.derived("bases as rows", lambda: np.ascontiguousarray(x.array("subspace").transpose(0, 2, 1)))


def _ranks(x: Index) -> np.ndarray:
    """Directions that each layer has, (L,); missing ones are stored as zero columns."""
    return x.derived("subspace ranks", lambda: np.any(x.array("subspace") != 0.0, axis=1).sum(axis=1))
