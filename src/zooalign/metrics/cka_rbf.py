"""Centred kernel alignment with the Gaussian kernel of bandwidth 1, biased estimator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zooalign.metrics import _hsic, check_layers, check_pair

if TYPE_CHECKING:
    from zooalign.indexing import Index

VERSION = 1
NEEDS = frozenset({"gram_rbf"})
TAKES_K = False
SYMMETRIC = True
RANGE = (0.0, 1.0)
IDENTITY = 1.0
HAS_TERMS = True


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
    """CKA of exp(-|x_i - x_j|^2 / 2), for every layer pair.

    Parameters
    ----------
    x, y : Index
        Two models on the same n samples.
    k : None
        Not used.

    Returns
    -------
    ndarray of float64, shape (Lx, Ly)
        In [0, 1]; 1 at identity; NaN where a layer is the same for every sample. Biased upwards: unrelated
        wide features score far above 0.

    Raises
    ------
    MetricError
        If samples differ.

    Notes
    -----
    On unit rows sigma = 1 is wide: values lie near linear CKA. See `cka_rbf_median` for a scaled one.
    n (n + 1) / 2 multiply-adds per layer pair in float32 chunks summed in float64: error below 1e-7.

    References
    ----------
    Kornblith, Norouzi, Lee, Hinton 2019, arXiv 1905.00414, section 3. The published alignment code uses sigma = 1.
    """
    check_pair(x, y)
    return _hsic.ratio(*_hsic.biased(x, y, "gram_rbf"))


def terms(x: Index, y: Index, layer_x: int, layer_y: int, k: int | None = None) -> np.ndarray:
    """Share of every sample in the score at one layer pair: n sum_j K_ij L_ij / normaliser.

    Parameters
    ----------
    x, y : Index
        As in :func:`matrix`.
    layer_x, layer_y : int
        Layer positions; -1 the last.
    k : None
        Not used.

    Returns
    -------
    ndarray of float32, shape (n,)
        Mean equal to the score; a term may be negative.
    """
    check_pair(x, y)
    check_layers(x, y, layer_x, layer_y)
    return _hsic.terms(x, y, layer_x, layer_y, "gram_rbf")
