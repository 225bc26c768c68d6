"""At which numbers of neighbours alignment grows with capability (Huh et al. 2024, Figure 10)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zooalign.results.frames import where
from zooalign.results.means import ACROSS, OTHER, partners, trained
from zooalign.results.populations import RELEASED, Trend
from zooalign.results.questions import ALL, Question, Scored, measured

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
    headline = findings.sweep.config.headline.capability
    known, specs = measured(findings).get(headline, {}), {m.id: m for m in findings.sweep.models}
    modality = specs[next(iter(known))].modality if known else "language"
    up = 1 if all(row.higher_is_better for row in known.values()) else -1
    families, released = {m.id: m.family for m in findings.sweep.models}, trained(findings.models, modality)
    rows = where(where(findings.alignment, "dataset", dataset), "comparison", ACROSS)
    question = Question(dataset, headline, modality, RELEASED, ALL)
    found: list[AtK] = []
    for metric in METRICS:
        ks = sorted({int(k) for k in where(rows, "metric", metric)["k"]})
        if len(ks) < 2:
            continue
        at = {k: Scored(findings, dataset, metric, k) for k in ks}
        others = {k: partners(findings.models, modality, OTHER[modality], one.scores) for k, one in at.items()}
        whole = set.intersection(*(set(one.means(released, others[k])) for k, one in at.items()))
        models = sorted(whole & set(known), key=lambda model: (up * known[model].value, model))
        for k, one in at.items():
            groups = thirds(models) if models else {ALL_MODELS: sorted(whole)}
            spreads = tuple(_spread(one, others[k], group, ids) for group, ids in groups.items() if ids)
            case = one.case(question, known, families, models, others[k])
            found.append(AtK(metric, k, spreads, case.trend))
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


def _spread(scored: Scored, others: Sequence[str], group: str, models: Sequence[str]) -> Spread:
    """Mean and quartiles over the pairs of some models."""
    values = np.array([scored.scores[model, other] for model in models for other in others])
    low, high = np.quantile(values, [0.25, 0.75])
    return Spread(group, len(models), len(values), float(values.mean()), float(low), float(high))
