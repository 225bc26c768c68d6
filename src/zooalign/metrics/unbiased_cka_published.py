"""Unbiased CKA with the published code's 1e-6 in the denominator; for comparison only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zooalign.metrics import _hsic, check_pair, unbiased_cka

if TYPE_CHECKING:
    from zooalign.indexing import Index

VERSION = 1
NEEDS = frozenset({"gram"})
TAKES_K = False
SYMMETRIC = True
RANGE = None
IDENTITY = None
HAS_TERMS = False


def chance(n: int, k: int | None = None) -> float | None:
    """Expected score of unrelated models: 0.

    Parameters
    ----------
    n : int
        Samples.
    k : None
        Not used.

    Returns
    -------
    float
        0.0.
    """
    return 0.0


def matrix(x: Index, y: Index, k: int | None = None) -> np.ndarray:
    """HSIC(K, L) / (sqrt(HSIC(K, K) HSIC(L, L)) + 1e-6) with unbiased HSICs, for every layer pair.

    Parameters
    ----------
    x, y : Index
        Two models on the same n samples.
    k : None
        Not used.

    Returns
    -------
    ndarray of float64, shape (Lx, Ly)
        Below 1 at identity: by 2e-5, 7e-4 and .42 at mean cosine .5, .9 and .997. Prefer `unbiased_cka`.

    Raises
    ------
    MetricError
        If samples differ or there are fewer than 4.

    Notes
    -----
    n (n + 1) / 2 multiply-adds per layer pair in float32 chunks summed in float64: error below 1e-7.

    References
    ----------
    Huh et al. 2024, arXiv 2405.07987, public code; Song et al. 2012, equation 5.
    """
    check_pair(x, y)
    unbiased_cka.check_samples(x)
    return _hsic.ratio(*_hsic.unbiased(x, y, "gram"), added=1e-6)
