"""The answer of a sweep: whether alignment grows with capability, for which models, and what the controls say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zooalign import metrics
from zooalign.results.frames import capability_rows
from zooalign.results.means import OTHER, mean_over, partners, scores, select, trained
from zooalign.results.populations import (
    LEVEL,
    MIN_FAMILIES,
    MIN_MODELS,
    RELEASED,
    UNIMODAL,
    WITH_INTERVENTIONS,
    Trend,
    partner_populations,
    populations,
    trend,
)

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 1  # part of the digest of what this module determines

ALL = "all"


class Question(NamedTuple):
    """Whose alignment with whom grows with what.

    Attributes
    ----------
    dataset, capability, modality : str
        Modality is that of the models whose capability counts.
    population, partners : str
        Populations of those models, and of the models of the other modality that alignment is the mean over.
    """

    dataset: str
    capability: str
    modality: str
    population: str
    partners: str


def answers(
    findings: Findings, wanted: Callable[[Question], bool] = lambda question: True
) -> Iterator[tuple[Question, Trend]]:
    """Every question of a sweep that is wanted, with its answer.

    Parameters
    ----------
    findings : Findings
        What the sweep found.
    wanted : callable
        Which questions to answer; all of them unless given.

    Yields
    ------
    tuple of (Question, Trend)
        Models count that have both the capability and a score with every partner.
    """
    manifest, shown = findings.sweep.models, findings.shown
    specs = {spec.id: spec for spec in manifest}
    values: dict[str, dict[str, float]] = {}
    for row in capability_rows(findings.capability):
        if not row.reason and row.model in specs:
            values.setdefault(row.capability, {})[row.model] = row.value if row.higher_is_better else -row.value
    for dataset in shown.datasets:
        pair_scores = scores(select(findings.alignment, dataset, shown.metric, shown.k), shown.symmetric)
        for name, known in sorted(values.items()):
            modality = specs[next(iter(known))].modality
            known = {model: value for model, value in known.items() if specs[model].modality == modality}
            others = set(partners(findings.models, modality, OTHER[modality], pair_scores))
            for with_whom, chosen in partner_populations([m for m in manifest if m.id in others]):
                means = {model: mean_over(model, chosen, pair_scores) for model in known}
                whole = {model: mean.value for model, mean in means.items() if mean.complete}
                for population, ids in populations([specs[model] for model in known]):
                    question = Question(dataset, name, modality, population, with_whom)
                    if wanted(question):
                        there = [model for model in ids if model in whole]
                        yield (
                            question,
                            trend(
                                np.array([known[model] for model in there]),
                                np.array([whole[model] for model in there], dtype=float),
                                [specs[model].family for model in there],
                            ),
                        )


def sentences(findings: Findings) -> tuple[str, ...]:
    """The answer in plain sentences: one per population that matters most, then what random controls score.

    All populations are in the table `populations`. No sentence claims more than its interval does.
    """
    headline = findings.sweep.config.headline.capability

    def wanted(question: Question) -> bool:
        plain = (question.population, question.partners) == (RELEASED, ALL)
        main = question.capability == headline and (
            (question.population in (UNIMODAL, WITH_INTERVENTIONS) and question.partners == ALL)
            or (question.population == RELEASED and question.partners == UNIMODAL)
        )
        return plain or main

    label = metrics.label(findings.metric, findings.k or None)
    ordered = sorted(answers(findings, wanted), key=lambda pair: (pair[0].dataset, pair[0].capability != headline))
    said = [f"{question.dataset}, {label}: {sentence(question, found)}" for question, found in ordered]
    if not said:
        said.append("No capability was measured: whether alignment grows with capability is not answered.")
    for dataset in findings.shown.datasets:
        said += [f"{dataset}, {label}: {control}" for control in _controls(findings, dataset)]
    return tuple(said)


def sentence(question: Question, found: Trend) -> str:
    """One answer, with the number of models and families; it claims a trend where the interval leaves out zero.

    Examples
    --------
    >>> question = Question("emoji", "bits_per_byte", "language", RELEASED, ALL)
    >>> sentence(question, Trend(20, 8, 0.61, 0.25, 0.83, 0.58))
    'released language models with better bits_per_byte are aligned more with released vision models: Spearman \
+0.61, 95 % interval +0.25 to +0.83, 20 models of 8 families.'
    """
    who, whom = _named(question.population, question.modality), _named(question.partners, OTHER[question.modality])
    what, of = question.capability, _counted(found)
    if found.n < MIN_MODELS:
        return (
            f"too few {who} have both {what} and a score with every one of the {whom} for a correlation "
            f"({found.n}; at least {MIN_MODELS})."
        )
    if not math.isfinite(found.spearman):
        return f"no correlation of {what} with alignment: all {found.n} {who} are equal in one of the two."
    spearman = f"Spearman {found.spearman:+.2f}"
    if not math.isfinite(found.low):
        return (
            f"{what} of {who} and their alignment with {whom}: {spearman}, {of}; too few families for an interval "
            f"(at least {MIN_FAMILIES}), so this shows no trend."
        )
    interval = f"{spearman}, {LEVEL:.0%} interval {found.low:+.2f} to {found.high:+.2f}, {of}".replace("%", " %")
    if found.low <= 0 <= found.high:
        return f"no trend is shown in how {who} with better {what} are aligned with {whom}: {interval}."
    direction = "more" if found.low > 0 else "less"
    return f"{who} with better {what} are aligned {direction} with {whom}: {interval}."


def _named(population: str, modality: str) -> str:
    """Models of a population, in words."""
    if population in (RELEASED, ALL):
        return f"released {modality} models"
    if population == WITH_INTERVENTIONS:
        return f"released {modality} models and interventions on them"
    return f"released {modality} models {population}"


def _counted(found: Trend) -> str:
    return f"{found.n} models of {found.families} {'family' if found.families == 1 else 'families'}"


def _controls(findings: Findings, dataset: str) -> Iterator[str]:
    """What models that were never trained score, by modality."""
    rows = select(findings.alignment, dataset, findings.metric, findings.k)
    pair_scores, models = scores(rows, findings.symmetric), findings.models
    chance = rows["chance"].dropna()
    by_chance = f"; chance is {chance.max():.4f}" if len(chance) else ""
    for modality in ("vision", "language"):
        others = partners(models, modality, OTHER[modality], pair_scores)
        random = sorted(models["id"][(models["modality"] == modality) & models["control"].astype(bool)])
        untrained, released = _means(random, others, pair_scores), _means(trained(models, modality), others, pair_scores)
        if untrained and released:
            yield (
                f"{len(untrained)} {modality} {'model' if len(untrained) == 1 else 'models'} never trained: mean score "
                f"{_range(untrained)} with the released {OTHER[modality]} models; {len(released)} released: "
                f"{_range(released)}{by_chance}."
            )


def _means(models: Iterable[str], others: list[str], pair_scores: dict[tuple[str, str], float]) -> list[float]:
    """Means of the models that have a score with every partner."""
    found = (mean_over(model, others, pair_scores) for model in models)
    return [mean.value for mean in found if mean.value is not None and mean.complete]


def _range(values: list[float]) -> str:
    low, high = f"{min(values):.4f}", f"{max(values):.4f}"
    return low if low == high else f"{low} to {high}"
