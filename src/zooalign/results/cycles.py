"""Which way pairs of models lean: a step in one model and back in the other, against the opposite way round.

Zhang et al. 2026, arXiv 2605.09352, read the asymmetry of cycle k-NN as a direction of convergence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zooalign.results.leave_out import standard_error
from zooalign.results.means import ACROSS, trained

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 1  # part of the digest of what this module determines

# What the sweep needs: x takes the step back in the first, y in the second.
BACK_IN_X, BACK_IN_Y = "cycle_knn", "cycle_knn_reverse"
Z = 1.96  # of a 95 % interval


class Lean(NamedTuple):
    """How a pair leans; errors are of the samples, paired.

    Attributes
    ----------
    comparison, x, y : str
        The pair; x is the vision model of a pair across modalities.
    k, n : int
        Neighbours and samples.
    out_x, out_y : float
        Share of samples reached by a step to x's neighbours and back by y's (`cycle_knn_reverse`), and by a step to
        y's neighbours and back by x's (`cycle_knn`), each at its own best layers.
    error : float
        Standard error of `difference`.
    released : bool
        Whether neither is a control or an intervention.
    """

    comparison: str
    x: str
    y: str
    k: int
    n: int
    out_x: float
    out_y: float
    error: float
    released: bool

    @property
    def difference(self) -> float:
        """`out_x` - `out_y`: above 0, x's neighbourhoods come back through y more often than y's through x."""
        return self.out_x - self.out_y


class Summary(NamedTuple):
    """How released pairs across modalities lean on the whole; x is vision.

    Attributes
    ----------
    k, pairs, above, below : int
        Pairs, and those whose 95 % interval is above and below 0.
    out_x, out_y, difference : float
        Means over pairs.
    error, error_of_models : float
        Of the difference: over samples, which all pairs share; leaving out a family at a time (NaN for few).
    """

    k: int
    pairs: int
    above: int
    below: int
    out_x: float
    out_y: float
    difference: float
    error: float
    error_of_models: float


def cycles(findings: Findings, dataset: str) -> tuple[list[Lean], list[Summary]]:
    """Every pair that has both directions at the same k, and a summary per k; empty where a sweep lacks one.

    The difference of a sample is of terms at two pairs of best layers: each direction is taken at its own.
    """
    released = {*trained(findings.models, "vision"), *trained(findings.models, "language")}
    family = dict(zip(findings.models["id"], findings.models["family"], strict=True))
    leans: list[Lean] = []
    totals: dict[int, np.ndarray] = {}
    for by_pair in findings.arrays_of(dataset, "terms", (BACK_IN_X, BACK_IN_Y)):
        for (comparison, *pair), terms in by_pair.items():
            for k in sorted(k for metric, k in terms if metric == BACK_IN_X and (BACK_IN_Y, k) in terms):
                out_x, out_y = terms[BACK_IN_Y, k].astype(float), terms[BACK_IN_X, k].astype(float)
                one = _lean(comparison, (pair[0], pair[1]), k, out_x, out_y, released)
                leans.append(one)
                if one.released and comparison == ACROSS:
                    totals[k] = totals.get(k, 0.0) + (out_x - out_y)
    leans.sort(key=lambda one: (one.k, one.comparison, one.x, one.y))
    summaries: list[Summary] = []
    for k, total in sorted(totals.items()):
        chosen = [one for one in leans if one.released and one.comparison == ACROSS and one.k == k]
        of = [(family[one.x], family[one.y]) for one in chosen]
        summaries.append(_summary(chosen, total / len(chosen), of))
    return leans, summaries


def _lean(
    comparison: str, pair: tuple[str, str], k: int, out_x: np.ndarray, out_y: np.ndarray, released: set[str]
) -> Lean:
    means = float(out_x.mean()), float(out_y.mean())
    return Lean(comparison, *pair, k, len(out_x), *means, _error(out_x - out_y), released.issuperset(pair))


def _summary(leans: list[Lean], terms: np.ndarray, families: list[tuple[str, str]]) -> Summary:
    differences = np.array([one.difference for one in leans])
    sure = np.array([abs(one.difference) > Z * one.error for one in leans])
    of_models = float(standard_error(lambda kept: differences[kept].mean() if kept.any() else np.nan, families))
    return Summary(
        leans[0].k, len(leans), int((sure & (differences > 0)).sum()), int((sure & (differences < 0)).sum()),
        float(np.mean([one.out_x for one in leans])), float(np.mean([one.out_y for one in leans])),
        float(differences.mean()), _error(terms), of_models,
    )  # fmt: skip


def _error(differences: np.ndarray) -> float:
    return float(differences.std(ddof=1) / np.sqrt(len(differences))) if len(differences) > 1 else float("nan")
