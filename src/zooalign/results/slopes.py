"""Slope of alignment on capability within families: how alignment moves where everything else is alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from zooalign.results.correlation import MIN_FAMILIES, checked
from zooalign.results.weighted import standardised
from zooalign.results.resampling import LEVEL, families_left_out

VERSION = 1  # part of the digest of what this module determines

# Models of a family with a slope of its own; two are enough to count in the pooled slope.
MIN_OF_FAMILY = 3


class Slope(NamedTuple):
    """Least-squares slope of one family; NaN where there is none, and `reason` says why.

    Attributes
    ----------
    family : str
        Name of the family.
    n : int
        Its models with finite values.
    slope, standard_error : float
        Alignment per unit of capability, and the error of the residuals (n - 2 degrees of freedom).
    standardised : float
        The slope times the standard deviation of capability over that of alignment, both of all models: comparable
        between families and capabilities.
    reason : str
        Why there is no slope; "" where there is one.
    """

    family: str
    n: int
    slope: float
    standard_error: float
    standardised: float
    reason: str


class PooledSlope(NamedTuple):
    """One slope for all families, each with a level of its own; NaN where there is none.

    Attributes
    ----------
    n, families : int
        Models of families with two models or more that differ in capability, and those families.
    slope, standard_error, low, high : float
        Alignment per unit of capability, with its 95 % interval.
    standardised : float
        As in `Slope`.
    reason : str
        Why there is no slope or no interval; "" where there are both.
    """

    n: int
    families: int
    slope: float
    standard_error: float
    low: float
    high: float
    standardised: float
    reason: str


def family_slopes(
    capability: Sequence[float] | np.ndarray, alignment: Sequence[float] | np.ndarray, families: Sequence[str]
) -> list[Slope]:
    """Slope of every family of three models or more, sorted by name.

    Parameters
    ----------
    capability, alignment : array, shape (n,)
        Higher is better. Models with a value that is not finite are left out.
    families : sequence of str, length n
        Family of each model.

    Raises
    ------
    MetricError
        If lengths differ.
    """
    (x, y), member = checked([capability, alignment], families)[:2]
    names = _names(capability, alignment, families)
    unit, found = _unit(x, y), list[Slope]()
    for number, name in enumerate(names):
        own_x, own_y = x[member == number], y[member == number]
        n = len(own_x)
        if n < MIN_OF_FAMILY:
            continue
        if not standardised(own_x).any():
            found.append(Slope(name, n, math.nan, math.nan, math.nan, "all have the same capability"))
            continue
        own_x, own_y = own_x - own_x.mean(), own_y - own_y.mean()
        slope = float(own_x @ own_y / (own_x @ own_x))
        error = math.sqrt(float(((own_y - slope * own_x) ** 2).sum()) / (n - 2) / float(own_x @ own_x))
        found.append(Slope(name, n, slope, error, slope * unit, ""))
    return found


def pooled_slope(
    capability: Sequence[float] | np.ndarray,
    alignment: Sequence[float] | np.ndarray,
    families: Sequence[str],
    *,
    level: float = LEVEL,
) -> PooledSlope:
    """Slope within families, over all of them: what differences between families do not enter.

    Parameters
    ----------
    capability, alignment, families
        As in :func:`family_slopes`.
    level : float
        Nominal coverage.

    Returns
    -------
    PooledSlope
        Its error leaves a family out at a time. The interval has Student's t of the effective number of families, less
        one; there is none for fewer than five families.

    References
    ----------
    Cameron and Miller 2015, Journal of Human Resources 50, sections III and VI (fixed effects, few clusters); Carter,
    Schnepel and Steigerwald 2017, Review of Economics and Statistics 99 (effective number of clusters).
    """
    from scipy import special

    (x, y), member = checked([capability, alignment], families)[:2]
    unit = _unit(x, y)
    apart = np.zeros(len(x), bool)
    inner_x, inner_y = np.zeros_like(x), np.zeros_like(y)
    for number in np.unique(member):
        of = member == number
        if standardised(x[of]).any():
            apart |= of
            inner_x[of], inner_y[of] = x[of] - x[of].mean(), y[of] - y[of].mean()
    inner_x, inner_y = inner_x[apart], inner_y[apart]
    member = np.unique(member[apart], return_inverse=True)[1]
    n, count, nan = len(inner_x), len(np.unique(member)), math.nan
    none = PooledSlope(n, count, nan, nan, nan, nan, nan, "no family has two models of different capability")
    if not count:
        return none
    slope = float(inner_x @ inner_y / (inner_x @ inner_x))
    none = none._replace(slope=slope, standardised=slope * unit)
    if count < MIN_FAMILIES:
        return none._replace(reason=f"too few families for an interval (at least {MIN_FAMILIES})")
    kept = families_left_out(member)
    without = (kept @ (inner_x * inner_y)) / (kept @ inner_x**2)
    error = math.sqrt((count - 1) / count * float(((without - slope) ** 2).sum()))
    # Families whose models differ more in capability count for more: as many equal ones as this.
    spread = np.bincount(member, weights=inner_x**2)
    alike = float(spread.sum() ** 2 / (spread**2).sum())
    width = float(special.stdtrit(max(1.0, alike - 1), (1 + level) / 2)) * error
    return none._replace(standard_error=error, low=slope - width, high=slope + width, reason="")


def _names(
    capability: Sequence[float] | np.ndarray, alignment: Sequence[float] | np.ndarray, families: Sequence[str]
) -> list[str]:
    """Families of models with finite values, sorted as `checked` numbers them."""
    finite = np.isfinite(np.asarray(capability, float)) & np.isfinite(np.asarray(alignment, float))
    return sorted({str(name) for name, kept in zip(families, finite, strict=True) if kept})


def _unit(x: np.ndarray, y: np.ndarray) -> float:
    """Standard deviation of capability over that of alignment; NaN where alignment does not vary."""
    return float(x.std() / y.std()) if len(y) and standardised(y).any() else math.nan
