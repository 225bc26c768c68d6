"""Is an alignment score real, and how exact is it: permutation null, intervals, many comparisons.

Everything works on indexes: permuting samples relabels neighbour lists and reorders kernels, so no
neighbour search is repeated. Seeds are settings; the same seed gives the same bits on any machine, thread
count and batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zooalign import metrics
from zooalign.errors import MetricError
from zooalign.indexing import Index
from zooalign.kept_null import index_sha256, kept_map
from zooalign.provenance import digest
from zooalign.relabelling import Relabelled, half_index, single_layer

VERSION = 1

# Share of neighbour lists that may run out in a split-half before the stored lists count as too short.
_SHORT = 1e-3


@dataclass(frozen=True)
class Null:
    """Observed best score of a pair of models against its permutation null.

    Attributes
    ----------
    metric : str
        Label of the score, "mutual_knn@10".
    observed : float
        Maximum over layer pairs.
    layer_x, layer_y : int
        Where it is.
    null : ndarray of float64, shape (permutations,)
        Maximum over layer pairs under each permutation.
    threshold : float
        Order statistic ceil((1 - alpha) (permutations + 1)) of the observed and permuted maxima together.
    p_value : float
        (1 + number of permuted maxima >= observed) / (permutations + 1).
    calibrated : float
        (observed - threshold) / (highest possible - threshold), clipped to [0, 1]; 0 under the null at
        level alpha.
    alpha : float
        Level of the threshold.
    seed : int or None
        None where the permutations were given.
    """

    metric: str
    observed: float
    layer_x: int
    layer_y: int
    null: np.ndarray
    threshold: float
    p_value: float
    calibrated: float
    alpha: float
    seed: int | None

    def settings(self) -> dict[str, Any]:
        """Everything but the single permuted maxima, JSON-able."""
        return {
            "observed": self.observed,
            "layers": [self.layer_x, self.layer_y],
            "permutations": len(self.null),
            "null_mean": float(self.null.mean()),
            "threshold": self.threshold,
            "p_value": self.p_value,
            "calibrated": self.calibrated,
            "alpha": self.alpha,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Interval:
    """A confidence interval of a score at one layer pair.

    Attributes
    ----------
    score, low, high, standard_error : float
        In the unit of the score.
    level : float
        Nominal coverage.
    method : str
        "query bootstrap" or "split-half".
    """

    score: float
    low: float
    high: float
    standard_error: float
    level: float
    method: str


def permutation_null(
    x: Index,
    y: Index,
    metric: str,
    k: int | None = None,
    *,
    permutations: int = 200,
    alpha: float = 0.05,
    seed: int = 0,
    orders: np.ndarray | None = None,
    keep: Path | None = None,
) -> Null:
    """Compare the best score over layer pairs with the best scores when samples are unpaired.

    Parameters
    ----------
    x, y : Index
        Two models on the same n samples.
    metric : str
        Name of a metric.
    k : int, optional
        Neighbours, for metrics that take them.
    permutations : int
        How many; p-values are multiples of 1 / (permutations + 1).
    alpha : float
        Level of the threshold, in (0, 1).
    seed : int
        Of the permutations.
    orders : ndarray of int, shape (permutations, n), optional
        Permutations to use instead: under orders[b], sample i of x meets sample orders[b, i] of y.
    keep : Path, optional
        File in which finished permutations are kept: an interrupted call with the same arguments goes on from there.

    Returns
    -------
    Null
        See there.

    Raises
    ------
    MetricError
        As the metric; and for no permutations, alpha outside (0, 1), or orders that are no permutations.

    Notes
    -----
    One permutation is applied to all layers of y and the maximum over layer pairs is taken under each, so
    the search for the best pair, the widths and the depths are all in the null. The test asks whether
    samples correspond at all: small p-values are easy to get, and a p-value does not measure alignment.
    Cost per permutation at n = 1,024 and 325 layer pairs: about 1 ms for neighbour metrics, 30 ms for CKA.

    References
    ----------
    Groeger, Wen, Brbic 2026, arXiv 2602.14486, algorithm 2.
    """
    module = metrics.get(metric)
    if not module.TAKES_K:
        k = None
    if not 0.0 < alpha < 1.0:
        raise MetricError(f"alpha is {alpha}: the level of a test lies between 0 and 1.")
    observed, layer_x, layer_y = metrics.best(module.matrix(x, y, k))
    given = orders is not None
    if orders is None:
        if permutations < 1:
            raise MetricError(f"{permutations} permutations: a null needs at least 1 (200 resolve p = .005).")
        generator = np.random.default_rng(seed)
        drawn: Any = (generator.permutation(x.n) for _ in range(permutations))
    else:
        drawn = _checked_orders(orders, x.n)

    def maximum(order: np.ndarray) -> float:
        return metrics.best(module.matrix(x, Relabelled(y, order), k))[0]

    if keep is None:
        null = np.array([maximum(order) for order in drawn])
    else:
        content = [index_sha256(side, module.NEEDS) for side in (x, y)]
        which = np.asarray(drawn).tolist() if given else seed
        null = np.array(
            kept_map(maximum, drawn, keep, digest("null", VERSION, metric, module.VERSION, k, content, which))
        )
    threshold, p_value = calibrate(observed, null, alpha)
    top = highest(metric, k)
    calibrated = float(np.clip((observed - threshold) / max(top - threshold, 1e-12), 0.0, 1.0))
    return Null(
        metrics.label(metric, k), observed, layer_x, layer_y, null, threshold, p_value, calibrated, alpha,
        None if given else seed,
    )  # fmt: skip


def calibrate(observed: float, null: np.ndarray, alpha: float = 0.05) -> tuple[float, float]:
    """Threshold and p-value of an observed statistic against permuted ones.

    Parameters
    ----------
    observed : float
        The statistic.
    null : ndarray, shape (K,)
        Its values under K permutations.
    alpha : float
        Level.

    Returns
    -------
    threshold : float
        Order statistic ceil((1 - alpha)(K + 1)) of {observed} and null together.
    p_value : float
        (1 + #{null >= observed}) / (K + 1), never 0.

    Examples
    --------
    >>> calibrate(0.5, np.array([0.1, 0.2, 0.3]), alpha=0.25)
    (0.3, 0.25)
    """
    together = np.sort(np.append(null, observed))
    place = min(max(math.ceil((1.0 - alpha) * len(together) - 1e-9) - 1, 0), len(null))
    return float(together[place]), float((1 + (null >= observed).sum()) / len(together))


def highest(metric: str, k: int | None) -> float:
    """Highest attainable value of a metric: the upper end of its RANGE, or 1 where it has none."""
    declared = metrics.get(metric).RANGE
    top = 1.0 if declared is None else declared[1]
    return float(k) if top == "k" and k is not None else float(top)


def query_bootstrap(terms: np.ndarray, *, resamples: int = 1000, level: float = 0.95, seed: int = 0) -> Interval:
    """Percentile interval of a mean of per-sample terms by resampling the samples.

    Parameters
    ----------
    terms : ndarray of float, shape (n,)
        From a metric's terms() at one layer pair.
    resamples : int
        How many.
    level : float
        Nominal coverage, in (0, 1).
    seed : int
        Of the resampling.

    Returns
    -------
    Interval
        Around the mean of the terms.

    Raises
    ------
    MetricError
        If terms are not one-dimensional, or a setting is out of range.

    Notes
    -----
    Neighbour sets are held fixed: this is the uncertainty about the queries given the gallery. Counted as
    uncertainty about fresh data it is too narrow: it covered .82-.91 at a nominal .95. Resampling the
    samples themselves and searching neighbours anew is no remedy, since duplicates raise the score; see
    :func:`split_half`. 20 ms for 1,000 resamples of 1,024 terms.
    """
    terms = np.asarray(terms, np.float64)
    if terms.ndim != 1 or len(terms) < 2:
        raise MetricError(f"terms of shape {terms.shape}: the bootstrap needs one value per sample, two at least.")
    _check_level(level)
    if resamples < 2:
        raise MetricError(f"{resamples} resamples: an interval needs at least 2 (1,000 is usual).")
    generator = np.random.default_rng(seed)
    n = len(terms)
    means = np.array([terms[generator.integers(0, n, n)].mean() for _ in range(resamples)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(terms.mean()), float(low), float(high), float(means.std(ddof=1)), level, "query bootstrap")


def split_half(
    x: Index,
    y: Index,
    metric: str,
    k: int,
    layer_x: int,
    layer_y: int,
    *,
    splits: int = 60,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Interval of a neighbour metric at one layer pair from differences between random halves.

    Parameters
    ----------
    x, y : Index
        Two models on the same n samples, with lists of about 5 k neighbours or more.
    metric : str
        A metric that needs nothing but neighbour lists.
    k : int
        Neighbours; kept the same inside a half.
    layer_x, layer_y : int
        Layer positions.
    splits : int
        Random splits into halves.
    level : float
        Nominal coverage, in (0, 1).
    seed : int
        Of the splits.

    Returns
    -------
    Interval
        Score plus and minus a normal quantile times the standard error.

    Raises
    ------
    MetricError
        For a metric that reads more than lists, lists too short, or a setting out of range.

    Notes
    -----
    Two halves are independent samples of n / 2, so the mean of their squared difference over 4 estimates
    the variance at n, with the neighbours of each half searched in that half alone: the gallery's part is
    in it. No search is repeated, stored lists are cut to the half. Covers .90-.98 at a nominal .95. Which
    layer pair is the best is held fixed. 10 ms per split at most.
    """
    module = metrics.get(metric)
    if not module.TAKES_K or frozenset({"neighbors"}) != module.NEEDS:
        raise MetricError(
            f"split-half needs a metric of neighbour lists alone; {metric} reads {sorted(module.NEEDS)}."
        )
    metrics.check_pair(x, y)
    k = metrics.check_k(metric, x, y, k)
    metrics.check_layers(x, y, layer_x, layer_y)
    _check_level(level)
    if splits < 2 or x.n < 4 or k >= x.n // 2:
        raise MetricError(
            f"split-half with {splits} splits, n = {x.n} and k = {k}: it needs 2 splits or more and k below n // 2."
        )
    sides = [np.ascontiguousarray(s.neighbors[layer]) for s, layer in ((x, layer_x), (y, layer_y))]
    generator = np.random.default_rng(seed)
    squares, short = np.empty(splits), 0
    for b in range(splits):
        half = np.zeros(x.n, np.uint8)
        half[generator.permutation(x.n)[: x.n // 2]] = 1
        scores = []
        for side in (0, 1):
            pair = []
            for lists in sides:
                cut, missing = half_index(lists, half, side, k)
                pair.append(cut)
                short += missing
            scores.append(float(module.matrix(pair[0], pair[1], k)[0, 0]))
        squares[b] = (scores[0] - scores[1]) ** 2
    if short > _SHORT * 2 * splits * x.n:
        raise MetricError(
            f"split-half: {short} neighbour lists of length {min(x.k_max, y.k_max)} held fewer than k = {k} of their "
            f"own half. Build the indexes with k_max of at least {5 * k}."
        )
    one_x, one_y = (single_layer(lists, k) for lists in sides)
    score = float(module.matrix(one_x, one_y, k)[0, 0])
    error = math.sqrt(squares.mean() / 4.0)
    width = _normal_quantile((1 + level) / 2) * error
    return Interval(score, score - width, score + width, error, level, "split-half")


def benjamini_hochberg(p_values: np.ndarray) -> np.ndarray:
    """Adjusted p-values that control the false discovery rate over a whole matrix.

    Parameters
    ----------
    p_values : ndarray of float, any shape
        In [0, 1]; NaN where there was no test.

    Returns
    -------
    ndarray of float64, same shape
        Reject where at most q: among the rejected, a share of at most q is expected to be false. NaN stays.

    Raises
    ------
    MetricError
        For a value outside [0, 1].

    Notes
    -----
    Valid for independent and for positively dependent tests, such as pairs that share a model.

    References
    ----------
    Benjamini and Hochberg 1995; Benjamini and Yekutieli 2001 for dependence.

    Examples
    --------
    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.5]))
    array([0.04      , 0.05333333, 0.05333333, 0.5       ])
    """
    p_values = np.asarray(p_values, np.float64)
    flat = p_values.ravel()
    tested = np.flatnonzero(~np.isnan(flat))
    if ((flat[tested] < 0) | (flat[tested] > 1)).any():
        raise MetricError("a p-value lies outside [0, 1].")
    order = tested[np.argsort(flat[tested], kind="stable")]
    scaled = flat[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted = np.full(flat.shape, np.nan)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted.reshape(p_values.shape)


def _checked_orders(orders: np.ndarray, n: int) -> np.ndarray:
    orders = np.asarray(orders)
    if orders.ndim != 2 or orders.shape[1] != n or not len(orders) or orders.dtype.kind not in "iu":
        raise MetricError(f"orders have shape {orders.shape}: expected whole numbers (permutations, n = {n}).")
    if not (np.sort(orders, axis=1) == np.arange(n)).all():
        raise MetricError(f"a row of orders is no permutation of 0 ... {n - 1}.")
    return orders


def _check_level(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise MetricError(f"level is {level}: the coverage of an interval lies between 0 and 1.")


def _normal_quantile(probability: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(probability)
