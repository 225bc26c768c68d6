"""What theory demands of the scores of a sweep, whatever the models, and whether it holds in every layer pair."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zooalign import metrics
from zooalign.results.frames import n_samples, where

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 1  # part of the digest of what this module determines

# Matrices are stored in float32: what two values up to 1 may lose. One sample that broke an inequality would show as
# 1 / (n k), which is far more.
_ROUNDED = 2.0**-22
# float32 kernels with float64 sums: what the property tests of the metrics allow.
_CLOSE = 2e-5
_SCORE, _OVER_K, _JENSEN = "", "/k", "m/(2 - m)"


class Side(NamedTuple):
    """One side of a demand: a metric at a k (0 for none), as it is or changed."""

    metric: str
    k: int
    form: str = _SCORE

    def __str__(self) -> str:
        """As a reader sees it.

        Examples
        --------
        >>> str(Side("lcs_knn", 10, "/k")), str(Side("mutual_knn", 5, "m/(2 - m)"))
        ('lcs_knn@10 / 10', 'm / (2 - m), m = mutual_knn@5')
        """
        label = metrics.label(self.metric, self.k or None)
        if self.form == _OVER_K:
            return f"{label} / {self.k}"
        return f"m / (2 - m), m = {label}" if self.form == _JENSEN else label

    def of(self, scores: np.ndarray) -> np.ndarray:
        """Its values from stored scores, float64."""
        values = scores.astype(np.float64)
        if self.form == _OVER_K:
            return values / self.k
        return values / (2.0 - values) if self.form == _JENSEN else values


class Demand(NamedTuple):
    """That the left side is at most the right one, or equal to it, up to rounding."""

    left: Side
    right: Side
    equal: bool

    @property
    def allowed(self) -> float:
        """How far rounding may take the left side above the right one, or away from it."""
        return _CLOSE if self.equal else _ROUNDED

    def __str__(self) -> str:
        """As a reader sees it."""
        return f"{self.left} {'=' if self.equal else '≤'} {self.right}"


class Verdict(NamedTuple):
    """Whether a demand holds on the pairs of a dataset and comparison, controls and interventions included.

    Attributes
    ----------
    dataset, comparison : str
        Where the pairs are from.
    demand : Demand
        What was checked.
    pairs, layer_pairs : int
        How many were checked; layer pairs without a score are not.
    violations : int
        Layer pairs where the left side is above the right one (or differs from it) by more than rounding.
    worst : float
        Largest left minus right, or absolute difference; NaN if nothing was checked. Zero or less: none was above.
    """

    dataset: str
    comparison: str
    demand: Demand
    pairs: int
    layer_pairs: int
    violations: int
    worst: float

    @property
    def holds(self) -> bool:
        """Whether no layer pair violates it."""
        return self.violations == 0


def demands(entries: Iterable[tuple[str, int]], n: int) -> list[Demand]:
    """What theory demands of some metrics and k on n samples.

    Parameters
    ----------
    entries : iterable of (str, int)
        Metric and k.
    n : int
        Samples.

    Returns
    -------
    list of Demand
        At equal k, for any two lists of neighbours: an edit distance counts at least what the longest common
        subsequence leaves, and a common subsequence consists of common neighbours. The Jaccard index of a sample is
        m / (2 - m) of its overlap m, which is convex, so the mean over samples is at least that of the mean (Jensen) and
        at most the mean of m. At k = n - 1 every pair of samples is kept, and CKNNA is the unbiased CKA.
    """
    known = sorted(set(entries))
    found: list[Demand] = []
    for k in sorted({k for _, k in known if k}):
        chain = [
            Side("edit_distance_knn", k), Side("lcs_knn", k, _OVER_K), Side("mutual_knn", k),
        ]  # fmt: skip
        present = [side for side in chain if (side.metric, k) in known]
        found += [Demand(a, b, False) for a, b in zip(present, present[1:], strict=False)]
        if {("jaccard_knn", k), ("mutual_knn", k)} <= set(known):
            jaccard = Side("jaccard_knn", k)
            found += [Demand(Side("mutual_knn", k, _JENSEN), jaccard, False)]
            found += [Demand(jaccard, Side("mutual_knn", k), False)]
    for masked, whole in (("cknna", "unbiased_cka_published"), ("cknna_exact", "unbiased_cka")):
        if {(masked, n - 1), (whole, 0)} <= set(known):
            found.append(Demand(Side(masked, n - 1), Side(whole, 0), True))
    return found


def verdicts(findings: Findings, datasets: Sequence[str]) -> list[Verdict]:
    """Check every demand on every layer pair of every pair of models, dataset by dataset.

    Maxima over layer pairs follow: what is at most something else everywhere has at most its maximum.
    """
    found: list[Verdict] = []
    for dataset in datasets:
        here = where(findings.alignment, "dataset", dataset)
        entries = {(metric, int(k)) for metric, k in set(zip(here["metric"], here["k"], strict=True))}
        asked = demands(entries, n_samples(here)) if len(here) else []
        if asked:
            found += _checked(findings, dataset, asked)
    return found


def _checked(findings: Findings, dataset: str, asked: Sequence[Demand]) -> list[Verdict]:
    counts: dict[tuple[str, int], Verdict] = {}
    wanted = {side.metric for demand in asked for side in (demand.left, demand.right)}
    for by_pair in findings.arrays_of(dataset, "matrix", wanted):
        for (comparison, _, _), scores in by_pair.items():
            for place, demand in enumerate(asked):
                left, right = (scores.get((side.metric, side.k)) for side in (demand.left, demand.right))
                if left is None or right is None:
                    continue
                key = comparison, place
                before = counts.get(key) or Verdict(dataset, comparison, demand, 0, 0, 0, np.nan)
                counts[key] = _with(before, demand.left.of(left) - demand.right.of(right))
    return [counts[key] for key in sorted(counts, key=lambda key: (_across_first(key[0]), key))]


def _across_first(comparison: str) -> bool:
    first, second = comparison.split("-")
    return first == second


def _with(before: Verdict, excess: np.ndarray) -> Verdict:
    """A verdict with one more pair; `excess` is left minus right in each of its layer pairs."""
    excess = excess[np.isfinite(excess)]
    excess = np.abs(excess) if before.demand.equal else excess
    return before._replace(
        pairs=before.pairs + 1,
        layer_pairs=before.layer_pairs + len(excess),
        violations=before.violations + int((excess > before.demand.allowed).sum()),
        worst=float(np.fmax(before.worst, excess.max())) if len(excess) else before.worst,
    )
