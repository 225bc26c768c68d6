"""Gaussian CKA (bandwidth 1) with the published code's 1e-6 in the denominator; for comparison only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zooalign.metrics import _hsic, check_pair

if TYPE_CHECKING:
    from zooalign.indexing import Index

VERSION = 1
NEEDS = frozenset({"gram_rbf"})
TAKES_K = False
SYMMETRIC = True
RANGE = (0.0, 1.0)
IDENTITY = None
HAS_TERMS = False


def chance(n: int, k: int | None = None) -> float | None:
    """None: the score of unrelated features depends on their spectra (.46 for Gaussian d ~ n).

    Parameters
    ----------
    n : int
        Samples.
    k : None
        Not used.

    Returns
    -------
    None
        None.
    """
    return None


def matrix(x: Index, y: Index, k: int | None = None) -> np.ndarray:
    """HSIC(K, L) / (sqrt(HSIC(K, K) HSIC(L, L)) + 1e-6) of Gaussian kernels, for every layer pair.

    Parameters
    ----------
    x, y : Index
        Two models on the same n samples.
    k : None
        Not used.

    Returns
    -------
    ndarray of float64, shape (Lx, Ly)
        In [0, 1]; below 1 at identity by 1e-6 / HSIC(K, K).

    Raises
    ------
    MetricError
        If samples differ.

    Notes
    -----
    n (n + 1) / 2 multiply-adds per layer pair in float32 chunks summed in float64: error below 1e-7.

    References
    ----------
    Huh et al. 2024, arXiv 2405.07987, public code.
    """
    check_pair(x, y)
    return _hsic.ratio(*_hsic.biased(x, y, "gram_rbf"), added=1e-6)
