"""CKNNA as the published code computes it: unbiased HSIC of kernels masked to common neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zooalign.metrics import _hsic, _lists, cknna_exact

if TYPE_CHECKING:
    from zooalign.indexes.index import Index

VERSION = 2
NEEDS = cknna_exact.NEEDS
TAKES_K = True
SYMMETRIC = False
RANGE = None
IDENTITY = None
HAS_TERMS = False
QUANTITY = "kernel alignment over common {k} nearest neighbours, as published"

beyond_lists = cknna_exact.beyond_lists


def chance(n: int, k: int) -> float | None:
    """None: it depends on the mean similarity of neighbours; take the permutation null.

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
        2 <= k < n; beyond the k_max of an index it must hold what `beyond_lists` says.

    Returns
    -------
    ndarray of float64, shape (Lx, Ly)
        Below 1 at identity by 1e-6 / HSIC(K, K), about 1e-4; unbiased_cka_published at k = n - 1; can exceed 1
        at large k where all similarities are high; slightly asymmetric, since the masks are. NaN where a
        layer is the same for every sample.

    Raises
    ------
    MetricError
        If samples differ, there are fewer than 4, or k is out of range.

    Notes
    -----
    The denominators use each model's own mask; the constant is the published code's and `cknna_exact` is
    without it. The paper's equations 16-18 say something else: `cknna_centered`.

    References
    ----------
    Huh et al. 2024, arXiv 2405.07987, public code.
    """
    return _lists.defined(x, y, _hsic.ratio(*cknna_exact.parts("cknna", x, y, k), added=1e-6))
