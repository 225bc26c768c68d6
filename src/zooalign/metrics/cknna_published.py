"""CKNNA with the published code's 1e-6 in the denominator, for comparison with published numbers only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zooalign.metrics import _hsic, cknna

if TYPE_CHECKING:
    from zooalign.indexing import Index

VERSION = 1
NEEDS = cknna.NEEDS
TAKES_K = True
SYMMETRIC = False
RANGE = None
IDENTITY = None
HAS_TERMS = False


def chance(n: int, k: int) -> float | None:
    """None: as for `cknna`.

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
    """HSIC(K, L) / (sqrt(HSIC(K, K) HSIC(L, L)) + 1e-6) of masked kernels, for every layer pair.

    Parameters
    ----------
    x, y : Index
        Two models on the same n > 3 samples.
    k : int
        2 <= k < n, at most the k_max of both.

    Returns
    -------
    ndarray of float64, shape (Lx, Ly)
        Below 1 at identity, by 1e-6 / HSIC(K, K).

    Raises
    ------
    MetricError
        As `cknna`.

    References
    ----------
    Huh et al. 2024, arXiv 2405.07987, public code.
    """
    return _hsic.ratio(*cknna.parts("cknna_published", x, y, k), added=1e-6)
