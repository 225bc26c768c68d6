"""Centred kernel alignment as a family: a stored kernel, an estimator of its HSIC, what is added below the line.

Not a metric: every file of the family declares its own values and takes its functions from here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from zooalign.errors import MetricError
from zooalign.metrics import _hsic, check_layers, check_pair

if TYPE_CHECKING:
    from zooalign.indexes.index import Index

# The unbiased estimator divides by n - 3.
_FEWEST_UNBIASED = 4


def matrix_of(array: str, unbiased: bool = False, added: float = 0.0) -> Callable[..., np.ndarray]:
    """The function `matrix` of a metric of the family.

    Parameters
    ----------
    array : str
        Name of the stored, centred kernel.
    unbiased : bool
        Whether HSIC is the unbiased estimator.
    added : float
        Added to the denominator: the published code's 1e-6.
    """
    estimate = _hsic.unbiased if unbiased else _hsic.biased

    def matrix(x: Index, y: Index, k: int | None = None) -> np.ndarray:
        """HSIC(K, L) / (sqrt(HSIC(K, K) HSIC(L, L)) + added) of every layer pair; the module says which forms.

        Parameters
        ----------
        x, y : Index
            Two models on the same n samples; n > 3 for the unbiased estimator.
        k : None
            Not used.

        Returns
        -------
        ndarray of float64, shape (Lx, Ly)
            In the metric's RANGE. NaN where a layer's own HSIC is not positive: it is the same for every sample, or
            (unbiased) all samples are equally far from each other.

        Raises
        ------
        MetricError
            If samples differ, or there are fewer than 4 for the unbiased estimator.

        Notes
        -----
        n (n + 1) / 2 multiply-adds per layer pair in float32 chunks summed in float64: error below 1e-7.

        References
        ----------
        Kornblith, Norouzi, Lee, Hinton 2019, arXiv 1905.00414, section 3 (biased). Song, Smola, Gretton, Bedo,
        Borgwardt 2012, JMLR 13, equation 5 (unbiased). Huh et al. 2024, arXiv 2405.07987, public code (added).
        """
        _check(x, y, unbiased)
        values = _hsic.ratio(*estimate(x, y, array), added=added)
        # Where nearly all of a layer's own HSIC cancels, rounding of float32 kernels goes beyond the bounds.
        return np.clip(values, -1.0, 1.0)

    return matrix


def terms_of(array: str, unbiased: bool = False) -> Callable[..., np.ndarray]:
    """The function `terms` of a metric of the family, without anything added below the line; see `matrix_of`."""

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

        References
        ----------
        Szekely and Rizzo 2014, arXiv 1310.2926: U-centring turns the unbiased estimator into one inner product.
        """
        _check(x, y, unbiased)
        check_layers(x, y, layer_x, layer_y)
        if not unbiased:
            return _hsic.terms(x, y, layer_x, layer_y, array)
        if np.isnan(_hsic.ratio(*_hsic.unbiased(x, y, array))[layer_x, layer_y]):
            return np.full(x.n, np.nan, np.float32)
        return _hsic.shares(_hsic.u_centred(x, array, layer_x), _hsic.u_centred(y, array, layer_y))

    return terms


def chance_of_biased(n: int, k: int | None = None) -> None:
    """None: the score of unrelated features depends on their spectra (.46 for Gaussian d ~ n)."""


def chance_of_unbiased(n: int, k: int | None = None) -> float:
    """Expected score of unrelated models: 0."""
    return 0.0


def _check(x: Index, y: Index, unbiased: bool) -> None:
    check_pair(x, y)
    if unbiased and x.n < _FEWEST_UNBIASED:
        raise MetricError(f"unbiased_cka needs at least 4 samples; {x.name} has {x.n}. Use more samples, or cka.")
