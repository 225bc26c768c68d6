"""Intervals of capabilities: 95 % on one model, over samples or documents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from zooalign.results.frames import CapabilityRow
from zooalign.results.resampling import LEVEL, REPLICATES, SEED

VERSION = 1  # part of the digest of what this module determines

# Unit of what is a share of samples, in [0, 1].
SHARE = "accuracy"
_Z = NormalDist().inv_cdf((1 + LEVEL) / 2)


class Interval(NamedTuple):
    """Bounds of an interval, and how they were found."""

    low: float
    high: float
    method: str

    def one_minus(self) -> Interval:
        """The interval of 1 - value."""
        return Interval(1 - self.high, 1 - self.low, self.method)


def of_value(row: CapabilityRow) -> Interval | None:
    """Interval of a value from its standard error; None without one.

    Returns
    -------
    Interval or None
        For a plain share of n samples Wilson's, which does not shrink to a point at 0 and 1. Otherwise
        value +- 1.96 standard errors, for shares within [0, 1].

    References
    ----------
    Wilson 1927, Journal of the American Statistical Association 22.
    """
    value, error, n = row.value, row.standard_error, row.n
    if not math.isfinite(value) or not math.isfinite(error):
        return None
    low, high = value - _Z * error, value + _Z * error
    if row.unit != SHARE or not 0 <= value <= 1:
        return Interval(low, high, "normal")
    if n > 1 and math.isclose(error**2, value * (1 - value) / (n - 1), rel_tol=0.01, abs_tol=1e-12):
        middle, spread = value + _Z**2 / (2 * n), _Z * math.sqrt(value * (1 - value) / n + _Z**2 / (4 * n**2))
        scale = 1 + _Z**2 / n
        return Interval((middle - spread) / scale, (middle + spread) / scale, "Wilson")
    return Interval(max(0.0, low), min(1.0, high), "normal")


def of_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Interval | None:
    """Interval of sum(numerators) / sum(denominators) over pairs drawn together: bits and bytes of documents.

    Returns
    -------
    Interval or None
        Quantiles of 2,000 resamples of the pairs, the same draws for every model of the same documents; None for
        fewer than two.

    References
    ----------
    Davison and Hinkley 1997, section 2.4 (percentile bootstrap of a ratio).
    """
    a, b = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    if a.size < 2:
        return None
    drawn = np.random.default_rng(SEED).integers(0, a.size, size=(REPLICATES, a.size))
    low, high = np.quantile(a[drawn].sum(axis=1) / b[drawn].sum(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high), "bootstrap of documents")
