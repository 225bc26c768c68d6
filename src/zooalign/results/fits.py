"""Does alignment level off with capability: a straight line, a saturating curve, a broken stick, cross-validated."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from zooalign.results.correlation import checked
from zooalign.results.weighted import standardised

VERSION = 1  # part of the digest of what this module determines

# Fewer models are not fitted; fewer families are not left out as wholes; curves bend over as many values at least.
MIN_MODELS, MIN_FAMILIES, MIN_VALUES = 8, 4, 5
LINE, SATURATING, BROKEN = "straight line", "saturating curve", "broken stick"
# Rates of the saturating curve over the range of capability: from nearly straight to a step at its lower end.
_RATES = np.geomspace(0.05, 50, 40)
_KNOTS = 40


class Fit(NamedTuple):
    """A curve fitted to all models, and how it predicts models that it was not fitted to.

    Attributes
    ----------
    name : str
        `LINE`, `SATURATING` or `BROKEN`.
    coefficients : tuple of float
        (a, b) of a + b x; (a, b, c) of a - b exp(-c (x - least x)); (a, b, d, k) of a + b x + d max(0, x - k). In the
        units of capability and alignment.
    error : float
        Root mean squared error on models left out, in the unit of alignment.
    explained : float
        Share of the variance that the fit explains, of all models, not cross-validated.
    """

    name: str
    coefficients: tuple[float, ...]
    error: float
    explained: float


class Shape(NamedTuple):
    """Which curve predicts best; `chosen` is "" where nothing is fitted, and `reason` says why.

    Attributes
    ----------
    n, families : int
        Models with finite values, and their families.
    left_out : str
        What is left out at a time: "families" or "models".
    fits : tuple of Fit
        Line, saturating curve, broken stick; empty where nothing is fitted.
    chosen : str
        The line, unless another curve is better by more than the standard error of the difference.
    reason : str
        Why nothing is fitted.
    """

    n: int
    families: int
    left_out: str
    fits: tuple[Fit, ...]
    chosen: str
    reason: str

    def fit(self, name: str) -> Fit:
        """The fit of that name."""
        return next(fit for fit in self.fits if fit.name == name)

    def __str__(self) -> str:
        """A sentence that claims no more than the errors do."""
        if not self.fits:
            return self.reason
        errors = ", ".join(f"{fit.name} {fit.error:.4g}" for fit in self.fits)
        behind = f"(cross-validated error: {errors}; {self.n} models, {self.left_out} left out one at a time)"
        if self.chosen == LINE:
            return f"a straight line predicts as well as any: no sign of saturation {behind}"
        return f"a {self.chosen} predicts better than a straight line: {self._said()} {behind}"

    def _said(self) -> str:
        values = self.fit(self.chosen).coefficients
        if self.chosen == SATURATING:
            return "alignment " + ("rises" if values[1] > 0 else "falls") + " and levels off with capability"
        _, before, change, knot = values
        after = before + change
        if before * after < 0:
            return f"the trend turns at a capability of {knot:.4g}"
        return f"the trend is {'flatter' if abs(after) < abs(before) else 'steeper'} above a capability of {knot:.4g}"


def shape(
    capability: Sequence[float] | np.ndarray, alignment: Sequence[float] | np.ndarray, families: Sequence[str]
) -> Shape:
    """Compare three curves of alignment over capability by their errors on models left out.

    Parameters
    ----------
    capability, alignment : array, shape (n,)
        Higher is better. Models with a value that is not finite are left out.
    families : sequence of str, length n
        Families are left out as wholes where there are four or more, otherwise models one at a time.

    Raises
    ------
    MetricError
        If lengths differ.

    Notes
    -----
    Both curves are linear but for one number, the rate or the knot, which is searched on a grid and refined; it can
    make a curve straight but not let it bend upwards (saturating). The more complex curve is chosen only if its mean
    squared error is lower than the line's by more than one standard error of the difference over what is left out
    (Breiman et al. 1984, section 3.4.3, paired). Under a straight line that happens in 4 to 13 of a hundred
    samples; see docs/validation.md. Nothing is said of what lies beyond the capabilities measured.
    """
    (x, y), member = checked([capability, alignment], families)[:2]
    n, count = len(x), len(np.unique(member))
    none = Shape(n, count, "families" if count >= MIN_FAMILIES else "models", (), "", "")
    if n < MIN_MODELS:
        return none._replace(reason=f"too few models to compare curves ({n}; at least {MIN_MODELS})")
    if len(np.unique(x)) < MIN_VALUES or not standardised(x).any():
        return none._replace(reason=f"too few different capabilities to compare curves (at least {MIN_VALUES})")
    if not standardised(y).any():
        return none._replace(reason=f"all {n} models have the same alignment")
    folds = member if count >= MIN_FAMILIES else np.arange(n)
    squared = {name: _left_out(name, x, y, folds) for name in _FITTERS}
    fits = tuple(_fit(name, x, y, squared[name]) for name in _FITTERS)
    return none._replace(fits=fits, chosen=_chosen(squared, folds, 1e-15 * float(y.var())))


def _chosen(squared: dict[str, np.ndarray], folds: np.ndarray, rounding: float) -> str:
    best = min((SATURATING, BROKEN), key=lambda name: squared[name].mean())
    gain = squared[LINE] - squared[best]
    by_fold = np.bincount(folds, weights=gain - gain.mean())
    count = len(by_fold)
    error = math.sqrt(count / (count - 1) * float((by_fold**2).sum())) / len(gain)
    return best if gain.mean() > max(error, rounding) else LINE


def _fit(name: str, x: np.ndarray, y: np.ndarray, squared: np.ndarray) -> Fit:
    low, width = float(x.min()), float(np.ptp(x))
    bend, coefficients = _FITTERS[name]((x - low) / width, y)
    predicted = _design(name, (x - low) / width, bend) @ coefficients
    explained = 1 - float(((y - predicted) ** 2).sum()) / float(((y - y.mean()) ** 2).sum())
    a, b, *rest = (float(c) for c in coefficients)
    if name == SATURATING:
        values = (a, -b, bend / width)
    else:
        values = (a - b / width * low, b / width, *(c / width for c in rest))
        values += (low + width * bend,) if rest else ()
    return Fit(name, values, math.sqrt(float(squared.mean())), explained)


def _left_out(name: str, x: np.ndarray, y: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Squared error of every model where its fold is not fitted; that of the mean where nothing else varies."""
    errors = np.empty(len(x))
    for fold in np.unique(folds):
        out = folds == fold
        rest = x[~out]
        low, width = rest.min(), np.ptp(rest)
        if width == 0:
            errors[out] = (y[out] - y[~out].mean()) ** 2
            continue
        bend, coefficients = _FITTERS[name]((rest - low) / width, y[~out])
        errors[out] = (y[out] - _design(name, (x[out] - low) / width, bend) @ coefficients) ** 2
    return errors


def _design(name: str, t: np.ndarray, bend: float) -> np.ndarray:
    """What a curve is linear in, (n, 2 or 3); t is capability over its range, 0 to 1 where it was fitted."""
    one = np.ones_like(t)
    if name == LINE:
        return np.stack([one, t], axis=1)
    if name == SATURATING:
        # Below the range that was fitted it goes on straight: exponentials there know no bounds.
        return np.stack([one, np.where(t >= 0, np.exp(-bend * np.maximum(t, 0)), 1 - bend * t)], axis=1)
    return np.stack([one, t, np.maximum(0, t - bend)], axis=1)


def _least_squares(name: str, t: np.ndarray, y: np.ndarray, bend: float) -> tuple[float, np.ndarray]:
    design = _design(name, t, bend)
    coefficients = np.linalg.lstsq(design, y)[0]
    return float(((y - design @ coefficients) ** 2).sum()), coefficients


def _searched(name: str, t: np.ndarray, y: np.ndarray, grid: np.ndarray) -> tuple[float, np.ndarray]:
    """Best bend between the ends of a grid, and the coefficients there."""
    from scipy.optimize import minimize_scalar

    losses = [_least_squares(name, t, y, float(bend))[0] for bend in grid]
    best = int(np.argmin(losses))
    ends = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, len(grid) - 1)])
    bend = float(grid[best])
    if ends[0] < ends[1]:
        # scipy's result has no types.
        refined: Any = minimize_scalar(lambda b: _least_squares(name, t, y, b)[0], bounds=ends, method="bounded")
        if refined.fun < losses[best]:
            bend = float(refined.x)
    return bend, _least_squares(name, t, y, bend)[1]


def _line(t: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    return 0.0, _least_squares(LINE, t, y, 0.0)[1]


def _saturating(t: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    return _searched(SATURATING, t, y, _RATES)


def _broken(t: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """The knot leaves two different capabilities or more on either side, so that both slopes are of data."""
    values = np.unique(t)
    inner = values[1:-1]
    if len(inner) < 2:  # too few for a knot: straight
        return 1.0, _least_squares(BROKEN, t, y, 1.0)[1]
    return _searched(BROKEN, t, y, np.unique(np.quantile(inner, np.linspace(0, 1, _KNOTS))))


# Each gives the bend and the coefficients of the columns of `_design`.
_FITTERS: dict[str, Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]] = {LINE: _line, SATURATING: _saturating, BROKEN: _broken}
