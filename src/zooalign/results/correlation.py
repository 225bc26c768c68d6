"""Correlation of capability and alignment over models, with intervals that resample families as wholes.

The target is the correlation, over models of such families, of the values without measurement error: capabilities on
endless test sets, alignments on endless samples. Three things stand between it and the correlation that is measured:

- Models are few and come in families. Families are resampled: a clustered bootstrap from `MIN_BOOTSTRAP` families on
  where no errors are known, otherwise each left out once (jackknife, Student's t on the scale atanh): bootstraps of
  few families or blurred values cover too little or too much.
- Errors of single models blur both sides. Resampling has them already, as they are part of how models differ; to add
  them again would count them twice. But they pull the correlation towards zero, which is corrected for (Spearman 1904).
- All models share the samples of a dataset, so errors of alignment move together, which no resampling of models shows.
  That part is added: the variance over samples, less what resampled families hold of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from zooalign.errors import MetricError
from zooalign.results.resampling import LEVEL, REPLICATES, SEED, drawn_families, families_left_out
from zooalign.results.weighted import Kind, correlate, given_others, residuals, standardised

VERSION = 1  # part of the digest of what this module determines

# Fewer models than this have no correlation; fewer families no interval, or none by bootstrap.
MIN_MODELS, MIN_FAMILIES, MIN_BOOTSTRAP = 4, 5, 15
# Share of the variance between models that must not be measurement error.
MIN_RELIABILITY = 0.5
_ONE = 1 - 1e-12
# Reliability of both sides together that a replicate has at least.
_FLOOR = 0.1


class Correlation(NamedTuple):
    """A correlation with its interval; NaN where there is none, and `reason` says why.

    Attributes
    ----------
    n, families : int
        Models with finite values, and families that they are from.
    value : float
        Correlation of the values as they were measured, -1 to 1.
    noise_free : float
        The same corrected for measurement error; `value` where no error is known.
    low, high : float
        95 % interval of the correlation without measurement error.
    method : str
        "bootstrap of families", "families left out", or "" without an interval.
    propagated : str
        Whose errors are in it ("capability (8 of 9 models), alignment"); "" for none.
    reason : str
        Why there is no correlation or no interval; "" where there are both.
    """

    n: int
    families: int
    value: float
    noise_free: float
    low: float
    high: float
    method: str
    propagated: str
    reason: str


class Sample(NamedTuple):
    """Checked values in an order that does not depend on the caller's.

    Attributes
    ----------
    columns : ndarray of float64, shape (2 + covariates, n)
        Capability, alignment, covariates.
    member : ndarray of int, shape (n,)
        Family of each model.
    errors : ndarray of float64, shape (2, n)
        Standard errors of capability and alignment; NaN where unknown.
    draws : ndarray of float64, shape (D, n), or None
        Joint draws of the alignments, less their mean.
    """

    columns: np.ndarray
    member: np.ndarray
    errors: np.ndarray
    draws: np.ndarray | None


def correlation(
    capability: Sequence[float] | np.ndarray,
    alignment: Sequence[float] | np.ndarray,
    families: Sequence[str],
    kind: Kind = "spearman",
    *,
    capability_errors: Sequence[float] | np.ndarray | None = None,
    alignment_errors: Sequence[float] | np.ndarray | None = None,
    alignment_draws: np.ndarray | None = None,
    replicates: int = REPLICATES,
    seed: int = SEED,
    level: float = LEVEL,
) -> Correlation:
    """Correlation of capability and alignment, with an interval that resamples families.

    Parameters
    ----------
    capability, alignment : array, shape (n,)
        Higher is better, whatever the unit. Models with a value that is not finite are left out.
    families : sequence of str, length n
        Family of each model.
    kind : str
        "pearson" or "spearman".
    capability_errors : array, shape (n,), optional
        Standard errors; NaN where unknown, which counts as none and is said in `propagated`.
    alignment_errors : array, shape (n,), optional
        The same of alignment, taken as independent between models; give draws where there are any.
    alignment_draws : ndarray, shape (D, n), optional
        Joint draws of all alignments, as `resampling.alignment_draws` gives them.
    replicates, seed : int
        Of the bootstrap, which there is for 15 families or more without known errors.
    level : float
        Nominal coverage.

    Raises
    ------
    MetricError
        If lengths differ, both errors and draws of alignment are given, or an error is negative.

    References
    ----------
    Spearman 1904, American Journal of Psychology 15 (correction for attenuation); Charles 2005, Psychological Methods
    10 (its interval); Cameron, Gelbach and Miller 2011, Journal of Business & Economic Statistics 29 (two ways of
    clustering); Hesterberg 2015, The American Statistician 69 (quantiles for few). Coverage: docs/validation.md.
    """
    sample = checked([capability, alignment], families, capability_errors, alignment_errors, alignment_draws)
    return of_sample(sample, kind, replicates, seed, level)


def checked(
    columns: Sequence[Sequence[float] | np.ndarray],
    families: Sequence[str],
    capability_errors: Sequence[float] | np.ndarray | None = None,
    alignment_errors: Sequence[float] | np.ndarray | None = None,
    alignment_draws: np.ndarray | None = None,
) -> Sample:
    """Values of models that have all of them, sorted by family and value; raises as :func:`correlation` does."""
    table = [np.asarray(column, np.float64) for column in columns]
    n = len(families)
    unknown = np.full(n, np.nan)
    errors = [unknown if e is None else np.asarray(e, np.float64) for e in (capability_errors, alignment_errors)]
    if alignment_errors is not None and alignment_draws is not None:
        raise MetricError("alignment has errors and draws: give one of them, draws where there are any.")
    if any(values.shape != (n,) for values in [*table, *errors]):
        raise MetricError(f"values of shapes {[v.shape for v in [*table, *errors]]} for {n} families: need {(n,)}.")
    if any((error < 0).any() for error in errors):
        raise MetricError("a standard error is negative.")
    draws = None if alignment_draws is None else np.asarray(alignment_draws, np.float64)
    if draws is not None and (draws.ndim != 2 or draws.shape[1] != n or len(draws) < 2):
        raise MetricError(f"draws of shape {draws.shape} for {n} models: need (draws, {n}), two draws or more.")
    names = np.unique(np.array(list(families), dtype=str), return_inverse=True)[1]
    values = np.array(table).reshape(len(table), n)
    kept = np.asarray(np.isfinite(values).all(axis=0))
    if draws is not None:
        kept &= np.isfinite(draws).all(axis=0)
    order = np.lexsort([*errors, *values[::-1], names])
    order = order[kept[order]]
    if draws is not None:
        draws = draws[:, order] - draws[:, order].mean(axis=0)
    member = np.unique(names[order], return_inverse=True)[1]
    both = np.array(errors)[:, order]
    return Sample(values[:, order], member, np.where(np.isfinite(both), both, np.nan), draws)


def of_sample(sample: Sample, kind: Kind, replicates: int, seed: int, level: float) -> Correlation:
    """Correlation of the first two columns given the others; see :func:`correlation` and `partial`."""
    columns, member = sample.columns, sample.member
    given, n = len(columns) - 2, columns.shape[1]
    families = int(member.max()) + 1 if n else 0
    propagated, nan = _propagated(sample), math.nan
    none = Correlation(n, families, nan, nan, nan, nan, "", propagated, "")
    if n < MIN_MODELS + given:
        return none._replace(reason=f"too few models for a correlation ({n}; at least {MIN_MODELS + given})")
    value = float(correlate(columns, np.ones((1, n)), kind)[0])
    if not math.isfinite(value):
        return none._replace(reason=_why_none(columns))
    none = none._replace(value=value)
    reliability = reliabilities(sample, np.ones((1, n)))[0]
    for of, share in zip(("capability", "alignment"), reliability, strict=True):
        if share < MIN_RELIABILITY:
            return none._replace(reason=f"errors of {of} are as large as what models differ by")
    both = float(reliability.prod())
    none = none._replace(noise_free=corrected(value, both, kind))
    if families < MIN_FAMILIES + given:
        return none._replace(reason=f"too few families for an interval (at least {MIN_FAMILIES + given})")
    low, high, method = _interval(sample, kind, value, replicates, seed, level)
    if not method:
        return none._replace(reason="without one family all models have the same capability or alignment")
    low, high = corrected(low, both, kind), corrected(high, both, kind)
    return none._replace(low=low, high=high, method=method)


def reliabilities(sample: Sample, weights: np.ndarray) -> np.ndarray:
    """Share of the variance of capability and alignment that is no measurement error, 1 where none is known; (B, 2).

    Of what covariates leave, per row of weights; 0 at least.
    """
    columns, n = sample.columns, sample.columns.shape[1]
    noise = np.nan_to_num(sample.errors**2)
    if sample.draws is not None:
        centred = sample.draws - sample.draws.mean(axis=1, keepdims=True)  # a shift of all models is no error
        noise[1] = (centred**2).mean(axis=0) * n / (n - 1)
    degrees = (n + 1 - len(columns)) / n  # what residuals have left
    spread = np.diagonal(given_others(columns, weights, "pearson")[1], axis1=1, axis2=2)
    mean_noise = degrees * (weights @ noise.T) / weights.sum(axis=1, keepdims=True) / columns[:2].var(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(mean_noise > 0, np.maximum(0, 1 - mean_noise / spread), 1.0)


def corrected(value: float, reliability: float, kind: Kind) -> float:
    """A correlation without what errors take from it; for ranks by way of the normal pair that has it.

    Parameters
    ----------
    value : float
        As measured.
    reliability : float
        Product of those of both sides.

    Examples
    --------
    >>> round(corrected(0.4, 0.64, "pearson"), 3), corrected(0.9, 0.64, "pearson")
    (0.5, 1.0)
    """
    if reliability == 1:
        return value
    linear = 2 * math.sin(math.pi / 6 * value) if kind == "spearman" else value
    linear = max(-1.0, min(1.0, linear / math.sqrt(reliability)))
    return 6 / math.pi * math.asin(linear / 2) if kind == "spearman" else linear


def _interval(
    sample: Sample, kind: Kind, value: float, replicates: int, seed: int, level: float
) -> tuple[float, float, str]:
    """Interval of the correlation as measured, and its method; no method where a family is all that varies."""
    from scipy import special

    columns, member, given = sample.columns, sample.member, len(sample.columns) - 2
    families, n = int(member.max()) + 1, columns.shape[1]
    quantile = float(special.stdtrit(families - 1 - given, (1 + level) / 2))
    without = correlate(columns, families_left_out(member), kind)
    if not np.isfinite(without).all():
        return math.nan, math.nan, ""
    if kind == "spearman" and abs(value) == 1:
        # All replicates are perfect too. The rank correlation is taken to be halfway to the next one below, and
        # families to count as one model each.
        centre, error = math.atanh(1 - 6 / (n**3 - n)), 1 / math.sqrt(families - 3 - given)
        low = math.tanh(centre - quantile * error)
        return (low, 1.0, "families left out") if value > 0 else (-1.0, -low, "families left out")
    if abs(value) > _ONE:
        return value, value, "families left out"
    centre = math.atanh(value)
    if families - given >= MIN_BOOTSTRAP and sample.draws is None and np.isnan(sample.errors).all():
        found = correlate(columns, drawn_families(member, replicates, seed), kind)
        tail = bootstrap_tail(families, level)
        # A replicate of one family over and over may have no variation, and so no correlation.
        low, high = np.quantile(found[np.isfinite(found)], [tail, 1 - tail])
        return float(low), float(high), "bootstrap of families"
    scores = _scores(without, sample, families_left_out(member), kind, value)
    variance = (families - 1) / families * float(((scores - scores.mean()) ** 2).sum())
    width = quantile * math.sqrt(variance + _shared_variance(sample, kind, value))
    return math.tanh(centre - width), math.tanh(centre + width), "families left out"


def _scores(found: np.ndarray, sample: Sample, weights: np.ndarray, kind: Kind, value: float) -> np.ndarray:
    """atanh of replicates, moved by how much more or less errors take from each than from the value itself.

    Where the models drawn differ more, errors weigh less: both raise what is measured, and only one the corrected.
    """
    scores = np.arctanh(np.clip(found, -_ONE, _ONE))
    reliability = np.maximum(reliabilities(sample, weights).prod(axis=1), _FLOOR)
    whole = reliabilities(sample, np.ones_like(weights[:1])).prod()
    if whole == 1:
        return scores
    per_log = value  # d value / d log of the linear correlation
    if kind == "spearman":
        per_log = 2 * math.sin(math.pi / 6 * value) / (math.pi / 3 * math.cos(math.pi / 6 * value))
    return scores - per_log / (1 - value**2) / 2 * np.log(reliability / whole)


def bootstrap_tail(families: int, level: float) -> float:
    """Share of replicates beyond each end: less than (1 - level) / 2, as few families vary too little in a bootstrap.

    Examples
    --------
    >>> [round(bootstrap_tail(n, 0.95), 4) for n in (15, 30, 10000)]
    [0.016, 0.0204, 0.025]
    """
    from scipy import special

    return float(special.ndtr(-special.stdtrit(families - 1, (1 + level) / 2)))


def _shared_variance(sample: Sample, kind: Kind, value: float) -> float:
    """Variance that shared samples add, on the scale atanh: that of all models together less that within families."""
    if sample.draws is None or abs(value) > _ONE:
        return 0.0
    from scipy.stats import rankdata

    columns, moved = sample.columns, sample.draws
    if kind == "spearman":
        moved = rankdata(columns[1] + moved, axis=1) - rankdata(columns[1])
        columns = rankdata(columns, axis=1)
    x, y = residuals(columns)
    slope = (x / x.std() - value * y / y.std()) / (len(x) * y.std())  # d correlation / d alignment
    effect = moved * slope  # (D, n)
    by_family = effect @ np.eye(int(sample.member.max()) + 1)[sample.member]
    shared = float(effect.sum(axis=1).var(ddof=1) - by_family.var(axis=0, ddof=1).sum())
    return max(0.0, shared) / (1 - value**2) ** 2


def _propagated(sample: Sample) -> str:
    n = sample.columns.shape[1]
    known = [int(np.isfinite(error).sum()) for error in sample.errors]
    if sample.draws is not None:
        known[1] = n
    sides = zip(("capability", "alignment"), known, strict=True)
    return ", ".join(of if count == n else f"{of} ({count} of {n} models)" for of, count in sides if count)


def _why_none(columns: np.ndarray) -> str:
    if any(not standardised(column).any() for column in columns[:2]):
        return f"all {columns.shape[1]} models have the same capability or alignment"
    return "what is given explains all of the capability or the alignment"
