"""Centred kernel alignment with the linear kernel and the unbiased HSIC, without the published 1e-6."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zooalign.errors import MetricError
from zooalign.metrics import _hsic, check_layers, check_pair

if TYPE_CHECKING:
    from zooalign.indexing import Index

VERSION = 1
NEEDS = frozenset({"gram"})
TAKES_K = False
SYMMETRIC = True
RANGE = None
IDENTITY = 1.0
HAS_TERMS = True


def chance(n: int, k: int | None = None) -> float:
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
    """Ratio of unbiased HSICs (kernels with zeroed diagonals), for every layer pair.

    Parameters
    ----------
    x, y : Index
        Two models on the same n > 3 samples.
    k : None
        Not used.

    Returns
    -------
    ndarray of float64, shape (Lx, Ly)
        1 at identity, 0 by chance, negative values possible; NaN where a layer's own HSIC is not positive.

    Raises
    ------
    MetricError
        If samples differ or there are fewer than 4.

    Notes
    -----
    From the same inner products as `cka`. The published code adds 1e-6 to the denominator, which at mean
    cosine .997 takes off .42: see `unbiased_cka_published`.

    References
    ----------
    Song, Smola, Gretton, Bedo, Borgwardt 2012, JMLR 13, equation 5.
    """
    check_pair(x, y)
    check_samples(x)
    return _hsic.ratio(*_hsic.unbiased(x, y, "gram"))


def terms(x: Index, y: Index, layer_x: int, layer_y: int, k: int | None = None) -> np.ndarray:
    """Share of every sample in the score at one layer pair, from U-centred kernels.

    Parameters
    ----------
    x, y : Index
        As in :func:`matrix`.
    layer_x, layer_y : int
        Layer positions.
    k : None
        Not used.

    Returns
    -------
    ndarray of float32, shape (n,)
        Mean equal to the score.

    References
    ----------
    Szekely and Rizzo 2014, arXiv 1310.2926: U-centring turns the estimator into one inner product.
    """
    check_pair(x, y)
    check_layers(x, y, layer_x, layer_y)
    check_samples(x)
    a, b = _u_centred(x, layer_x), _u_centred(y, layer_y)
    rows = np.einsum("ij,ij->i", a, b)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (x.n * rows / np.sqrt(np.sum(a * a) * np.sum(b * b))).astype(np.float32)


def check_samples(x: Index) -> None:
    """Raise MetricError below 4 samples, where the unbiased estimator divides by zero."""
    if x.n < 4:
        raise MetricError(f"unbiased_cka needs at least 4 samples; {x.name} has {x.n}. Use more samples, or cka.")


def _u_centred(x: Index, layer: int) -> np.ndarray:
    """Kernel without diagonal whose rows sum to zero, (n, n); from the doubly centred one."""
    n = x.n
    full = _hsic.square(x, "gram", layer)
    diagonal = np.diagonal(full).copy()
    full += (diagonal[:, None] + diagonal[None, :]) / (n - 2) - diagonal.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(full, 0.0)
    return full
