"""At which numbers of neighbours alignment grows with capability (Huh et al. 2024, Figure 10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zooalign.results.frames import capability_rows, where
from zooalign.results.means import OTHER, mean_over, partners, scores
from zooalign.results.populations import Trend, trend

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 1  # part of the digest of what this module determines

# CKNNA is CKA over nearest neighbours only; the first is its limit of few neighbours without kernels.
METRICS = ("mutual_knn", "cknna", "cknna_centered", "cknna_exact")
ALL_MODELS, TERCILES = "all models", ("least capable third", "middle third", "most capable third")
# Fewer models than this in a third, and they stay together.
_MIN_THIRD = 2


class Spread(NamedTuple):
    """Scores of the pairs of a group of models with their released partners at one k.

    Attributes
    ----------
    group : str
        One of `TERCILES` by capability, or `ALL_MODELS` where there are too few.
    models, pairs : int
        Models of the group, and pairs.
    mean, low, high : float
        Mean and quartiles of the scores.
    """

    group: str
    models: int
    pairs: int
    mean: float
    low: float
    high: float


class AtK(NamedTuple):
    """One metric at one k: the spread of the scores by group, and whether better models are aligned more."""

    metric: str
    k: int
    spreads: tuple[Spread, ...]
    trend: Trend


def by_k(findings: Findings, dataset: str) -> tuple[str, list[AtK]]:
    """Alignment and its trend at every k of the metrics of `METRICS` that the sweep has at two k or more.

    Parameters
    ----------
    findings : Findings
        What the sweep found.
    dataset : str
        Dataset of the alignment.

    Returns
    -------
    modality : str
        Of the models whose capability (that of the headline) counts.
    list of AtK
        By metric and k. Only released models count, with a capability and a score with every partner; the trends of
        all k of a metric are of the same models.
    """
    known, up = _capability(findings)
    modality = next((m.modality for m in findings.sweep.models if m.id in known), "language")
    families = {m.id: m.family for m in findings.sweep.models}
    rows = where(where(findings.alignment, "dataset", dataset), "comparison", "vision-language")
    found: list[AtK] = []
    for metric in METRICS:
        of_metric = where(rows, "metric", metric)
        # A pair has one score, whichever side it is seen from: that CKNNA is not quite symmetric does not matter here.
        ks = sorted({int(k) for k in of_metric["k"]})
        at = {k: _Scored(findings, scores(where(of_metric, "k", k)), modality) for k in ks}
        if len(at) < 2:
            continue
        whole = set.intersection(*(set(one.means) for one in at.values()))
        models = sorted(whole & set(known), key=lambda model: (up * known[model], model))
        for k, one in sorted(at.items()):
            groups = thirds(models) if models else {ALL_MODELS: sorted(whole)}
            spreads = tuple(one.spread(group, ids) for group, ids in groups.items() if ids)
            better, aligned = (np.array([of[m] for m in models], dtype=float) for of in (known, one.means))
            found.append(AtK(metric, k, spreads, trend(up * better, aligned, [families[m] for m in models])))
    return modality, found


def thirds(models: Sequence[str]) -> dict[str, list[str]]:
    """Thirds of models in rising order of capability; all of them together where a third would have too few.

    Examples
    --------
    >>> thirds(["a", "b", "c"])
    {'all models': ['a', 'b', 'c']}
    >>> [len(ids) for ids in thirds("abcdefgh").values()]
    [2, 3, 3]
    """
    n = len(models)
    if n < _MIN_THIRD * len(TERCILES):
        return {ALL_MODELS: list(models)}
    cuts = [n * i // len(TERCILES) for i in range(len(TERCILES) + 1)]
    return {name: list(models[a:b]) for name, (a, b) in zip(TERCILES, pairwise(cuts), strict=True)}


class _Scored:
    """Scores of one metric and k, and the means of the released models that have all of theirs."""

    def __init__(self, findings: Findings, pair_scores: dict[tuple[str, str], float], modality: str) -> None:
        self.scores = pair_scores
        self.partners = partners(findings.models, modality, OTHER[modality], pair_scores)
        those = partners(findings.models, OTHER[modality], modality, pair_scores)
        means = {model: mean_over(model, self.partners, pair_scores) for model in those}
        self.means: Mapping[str, float] = {
            model: mean.value for model, mean in means.items() if mean.complete and mean.value is not None
        }

    def spread(self, group: str, models: Sequence[str]) -> Spread:
        """Mean and quartiles over the pairs of some models."""
        values = np.array([self.scores[model, other] for model in models for other in self.partners])
        low, high = np.quantile(values, [0.25, 0.75])
        return Spread(group, len(models), len(values), float(values.mean()), float(low), float(high))


def _capability(findings: Findings) -> tuple[dict[str, float], int]:
    """Values of the headline capability by model, and 1 if higher is better, else -1."""
    wanted = findings.sweep.config.headline.capability
    rows = [row for row in capability_rows(findings.capability) if row.capability == wanted and not row.reason]
    return {row.model: row.value for row in rows}, 1 if rows and rows[0].higher_is_better else -1
