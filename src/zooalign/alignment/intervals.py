"""How exact an alignment score is: intervals from differences between random halves of the samples.

The two halves of a random split are independent samples of n / 2. Half their mean squared difference is the
variance of a score of n / 2 samples, from which that at n follows. Nothing is searched again: stored lists,
kernels and ranks are cut to the halves.
"""

# scipy and threadpoolctl have no types.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from zooalign import metrics
from zooalign.alignment.groups import Groups, singletons
from zooalign.alignment.inference import highest
from zooalign.errors import MetricError
from zooalign.indexes.index import Index
from zooalign.indexes.permuted import Relabelled, Subset, one_layer

VERSION = 1

# Share of neighbour lists that may run out in the halves before the stored lists count as too short.
_SHORT = 1e-3
# Degrees of freedom of the variance per split, from its measured spread over fresh draws.
_DEGREES = 0.3
# Permutations of all samples that show the mean score of unpaired ones.
_WHOLE = 10
# Shares of samples with a path of two steps of k neighbours: their level follows from k^2 / n.
_CYCLES = frozenset({"cycle_knn", "cycle_knn_reverse"})
# Stored lists hold k members of a half up to so many standard deviations of how many there happen to be.
_SLACK = 4.0


@dataclass(frozen=True)
class Interval:
    """A confidence interval of the expected score of fresh samples, as many as these.

    Attributes
    ----------
    score, low, high : float
        In the unit of the score, never beyond the metric's range.
    standard_error : float
        Of the score.
    level : float
        Nominal coverage.
    method : str
        "split-half".
    of : str
        "this layer pair", chosen beforehand, or "the best of N layer pairs": the expected maximum, the search
        being repeated in every half.
    splits : int
        Random splits.
    groups : int or None
        Number of groups, halves of which the halves are; None for single samples.
    """

    score: float
    low: float
    high: float
    standard_error: float
    level: float
    method: str
    of: str
    splits: int
    groups: int | None = None


def split_half(
    x: Index,
    y: Index,
    metric: str,
    k: int | None = None,
    layer_x: int | None = None,
    layer_y: int | None = None,
    *,
    splits: int = 100,
    groups: Groups | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Interval of the score at one layer pair, or of the best score over all of them.

    Parameters
    ----------
    x, y : Index
        Two models on the same n samples; for metrics of neighbours with lists of about 5 k or more.
    metric : str
        Name of a metric, see :func:`no_interval`.
    k : int, optional
        Neighbours, for metrics that take them.
    layer_x, layer_y : int, optional
        A layer pair that was chosen before the scores were seen. Without, the interval is one of the best
        score over all layer pairs, and the best pair is searched in every half.
    splits : int
        Random splits into halves.
    groups : Groups, optional
        Samples that belong together stay in one half.
    level : float
        Nominal coverage, in (0, 1).
    seed : int
        Of the splits.

    Returns
    -------
    Interval
        Of the expected score of n fresh samples: a biased score (cka of wide layers, the maximum of many)
        keeps its bias.

    Raises
    ------
    MetricError
        For a metric without an interval, lists too short, too few samples or groups, a chosen layer that is the
        same for all samples, or a setting out of range.

    Notes
    -----
    Let t1 and t2 be the scores of the halves of a split. The standard error at n is that of a half over the
    square root of 2 if the variance falls as 1 / n, so s^2 = mean (t1 - t2)^2 / 4.

    Means over samples of a share of neighbours are taken on the scale asin sqrt(share): their variance there
    is of the order 1 / n whatever the share, which itself depends on n with k held the same. The share of
    cycles depends on k^2 / n, so there the halves have k / sqrt 2 neighbours, and the variance of a chosen layer
    pair is at least that of independent samples, 1 / (4 n); that of a maximum is smaller.

    For other scores there are two corrections. The variance of unpaired samples falls as 1 / n^2, not as
    1 / n: the differences between halves whose samples are unpaired, x of one with y of the other, give s0^2,
    of which half is too much. And the bias of a biased score (cka) takes more room in a half: signal moves
    the score by (top - c) times as much as without bias, c being the mean score of unpaired samples, c0 that
    in halves. So the variance is (s^2 - r^2 s0^2) ((top - c) / (top - c0))^2 + r^2 s0^2 / 2, where r, from 0
    to 1, is how far the score of halves lies below the top, over how far unpaired ones do. Groups of
    different sizes cannot be unpaired, and s^2 stays as it is.

    Quantiles of Student's t, its degrees of freedom from how exactly so many splits give the variance, at
    most the number of samples or groups less one. Coverage and cost are measured in docs/validation.md.
    """
    reason = no_interval(x, y, metric, k)
    if reason is not None:
        raise MetricError(f"{metric} has no interval: {reason}.")
    metrics.check_pair(x, y)
    module = metrics.get(metric)
    k = metrics.check_k(metric, x, y, k) if module.TAKES_K else None
    _check(x, splits, level, k, groups)
    if (layer_x is None) != (layer_y is None):
        raise MetricError("give both layers, chosen beforehand, or neither for the best over all pairs.")
    if layer_x is not None and layer_y is not None:
        metrics.check_layers(x, y, layer_x, layer_y)
        x, y = one_layer(x, layer_x), one_layer(y, layer_y)
    from threadpoolctl import threadpool_limits

    pairs = x.n_layers * y.n_layers
    scores = module.matrix(x, y, k)
    if pairs == 1 and np.isnan(scores).all():
        raise MetricError(
            f"{metric} of layer {x.layer_names[0]} of {x.name} and layer {y.layer_names[0]} of {y.name} is not "
            "defined: one of them is the same for all samples. Choose other layers, or none for the best pair."
        )
    score = metrics.best(scores)[0]
    scale = _Scale(metric, k)
    with threadpool_limits(1, "blas"):  # LAPACK orders its sums by the number of threads
        halves = _halves(x, y, metric, k, scale, splits, groups, seed)
    floor = 0.25 / x.n if metric in _CYCLES and np.isfinite(scores).sum() == 1 else 0.0
    error = math.sqrt(max(_variance(scale, halves), floor))
    degrees = splits * _DEGREES
    independent = (x.n if groups is None else groups.count) - 1
    width = _student_quantile((1 + level) / 2, min(degrees, independent)) * error
    low, high, error = scale.back(score, width, error)
    of = "this layer pair" if pairs == 1 else f"the best of {pairs} layer pairs"
    together = None if groups is None else groups.count
    return Interval(score, low, high, error, level, "split-half", of, splits, together)


def no_interval(x: Index, y: Index, metric: str, k: int | None = None) -> str | None:
    """Why a metric of two indexes has no interval; None if it has one.

    Parameters
    ----------
    x, y : Index
        Two models on the same samples.
    metric : str
        Name of a metric.
    k : int, optional
        Neighbours, for metrics that take them.

    Returns
    -------
    str or None
        A reason that continues a sentence.
    """
    module = metrics.get(metric)
    if "sketches" in module.NEEDS:
        return "its random draws differ from half to half; svcca has one"
    if "subspace" in module.NEEDS and not all("features" in s.holds for s in (x, y)):
        return "the subspaces of halves need the features, which the index does not hold; score the features"
    if k is not None and module.TAKES_K:
        if 2 * k >= x.n:
            return f"k = {k} is not below half the number of samples, {x.n}"
        for side in (x, y):
            if side.k_max < side.n - 1 and side.k_max < list_length(k):
                return (
                    f"the halves need about {list_length(k)} stored neighbours and the index of {side.name} has "
                    f"{side.k_max}; build it with k_max of at least that, or score the features"
                )
    return None


def list_length(k: int) -> int:
    """Stored neighbours among which the k nearest members of a random half nearly surely are.

    Parameters
    ----------
    k : int
        Neighbours in a half.

    Returns
    -------
    int
        48 for k = 10.
    """
    length = 2 * k
    while 0.5 * length - _SLACK * 0.5 * math.sqrt(length) < k:
        length += 1
    return length


@dataclass(frozen=True)
class _Differences:
    """Mean squared differences of the halves over 4, on the scale of a metric, and mean scores.

    `unpaired_whole` is the mean score of all samples of x with those of y in another order. NaN where
    nothing could be unpaired.
    """

    paired: float
    unpaired: float
    score: float
    unpaired_score: float
    unpaired_whole: float


def _variance(scale: _Scale, halves: _Differences) -> float:
    """Variance of the score of all samples, see :func:`split_half`."""
    if scale.share or math.isnan(halves.unpaired):
        return halves.paired
    below = max(scale.top - halves.unpaired_score, 1e-12)
    room = min(max((scale.top - halves.score) / below, 0.0), 1.0)
    steeper = max((scale.top - halves.unpaired_whole) / below, 1.0)
    chance = min(room**2 * halves.unpaired, halves.paired)
    return (halves.paired - chance) * steeper**2 + 0.5 * chance


class _Scale:
    """The scale on which a metric's variance is taken: asin sqrt(score / top) for shares, else the score."""

    def __init__(self, metric: str, k: int | None) -> None:
        module = metrics.get(metric)
        self.share = metrics.counts_neighbours(metric)
        self.top = highest(metric, k)
        self.low, self.high = (-math.inf, math.inf) if module.RANGE is None else (module.RANGE[0], self.top)

    def forward(self, scores: np.ndarray) -> np.ndarray:
        """Scores on this scale."""
        return np.arcsin(np.sqrt(np.clip(scores / self.top, 0.0, 1.0))) if self.share else scores

    def back(self, score: float, width: float, error: float) -> tuple[float, float, float]:
        """Ends of the interval and standard error in the unit of the score."""
        if not self.share:
            return max(score - width, self.low), min(score + width, self.high), error
        middle = float(self.forward(np.array(score)))
        low, high = max(middle - width, 0.0), min(middle + width, 0.5 * math.pi)
        low, high = (self.top * math.sin(angle) ** 2 for angle in (low, high))
        return min(low, score), max(high, score), self.top * math.sin(2.0 * middle) * error


def _halves(
    x: Index, y: Index, metric: str, k: int | None, scale: _Scale, splits: int, groups: Groups | None, seed: int
) -> _Differences:
    """Score random halves, paired and unpaired; inputs already checked."""
    matrix = metrics.get(metric).matrix
    chosen = groups or singletons(x.n)
    # Whole groups can be unpaired only with others of their size.
    unpair = not scale.share and len(np.unique(chosen.sizes)) == 1
    generator = np.random.default_rng(seed)
    paired, unpaired = np.empty((splits, 2)), np.full((splits, 2), np.nan)
    half_k = k
    if k is not None and metric in _CYCLES:
        half_k = max(round(k / math.sqrt(2.0)), 1)
    longest = None if k is None else list_length(k)
    short = used = 0
    for b in range(splits):
        halves = chosen.halves(generator)
        sides = [tuple(Subset(side, half, half_k or 1, longest) for side in (x, y)) for half in halves]
        for i, (own_x, own_y) in enumerate(sides):
            paired[b, i] = metrics.best(matrix(own_x, own_y, half_k))[0]
            if unpair:
                unpaired[b, i] = metrics.best(matrix(own_x, sides[1 - i][1], half_k))[0]
            short += own_x.short + own_y.short
        used += sum(len(half) for half in halves)
    if short > _SHORT * used * (x.n_layers + y.n_layers):
        raise MetricError(
            f"split-half: {short} neighbour lists of length {min(longest or 1, x.k_max, y.k_max)} held fewer than "
            f"k = {k} of their own half. Build the indexes with k_max above {list_length(k or 1)}."
        )
    # An odd sample or group is left out of a split: the halves stand for a little less than n.
    share = used / (splits * x.n)
    first, second = (share * float(np.mean(np.diff(scale.forward(v), axis=1) ** 2)) / 4.0 for v in (paired, unpaired))
    orders = [chosen.order(generator) for _ in range(_WHOLE if unpair else 0)]
    whole = np.mean([metrics.best(matrix(x, Relabelled(y, order), k))[0] for order in orders]) if orders else np.nan
    return _Differences(first, second, float(paired.mean()), float(unpaired.mean()), float(whole))


def _check(x: Index, splits: int, level: float, k: int | None, groups: Groups | None) -> None:
    if not 0.0 < level < 1.0:
        raise MetricError(f"level is {level}: the coverage of an interval lies between 0 and 1.")
    if splits < 2 or x.n < 8:
        raise MetricError(
            f"split-half with {splits} splits of {x.n} samples: it needs at least 2 splits (100 are usual) and 8 "
            "samples."
        )
    if groups is None:
        return
    if len(groups.codes) != x.n:
        raise MetricError(f"groups of {len(groups.codes)} samples for models of {x.n}.")
    smallest = (x.n - int(groups.sizes.max())) // 2
    if groups.count < 4 or (k is not None and k >= smallest):
        raise MetricError(
            f"split-half by {groups.count} groups of up to {groups.sizes.max()} of {x.n} samples: a half needs at "
            f"least 2 groups, and more samples than k."
        )


def _student_quantile(probability: float, degrees: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, probability))
