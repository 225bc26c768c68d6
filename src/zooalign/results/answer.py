"""The answer of a sweep: whether alignment grows with capability, for which models, and what the controls say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zooalign import metrics
from zooalign.results.frames import capability_rows
from zooalign.results.means import OTHER, mean_over, partners, scores, select, trained
from zooalign.results.populations import (
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
    """The answer in plain sentences: one per population that matters most, then what random controls say.

    All populations are in the table `populations`. No sentence claims more than its interval does.
    """
    headline = findings.sweep.config.headline.capability
    label = metrics.label(findings.metric, findings.k or None)
    found: list[str] = []

    def wanted(question: Question) -> bool:
        plain = (question.population, question.partners) == (RELEASED, ALL)
        main = question.capability == headline and (
            (question.population in (UNIMODAL, WITH_INTERVENTIONS) and question.partners == ALL)
            or (question.population == RELEASED and question.partners == UNIMODAL)
        )
        return plain or main

    ordered = sorted(answers(findings, wanted), key=lambda pair: (pair[0].dataset, pair[0].capability != headline))
    for question, answer in ordered:
        whom = "" if question.partners == ALL else f" ({question.partners})"
        found.append(
            f"{question.dataset}, {question.capability} of {question.modality} models, {question.population}: "
            f"{answer} ({label}, mean over the trained {OTHER[question.modality]} models{whom})."
        )
    for dataset in findings.shown.datasets:
        found += _controls(findings, dataset, label)
    return tuple(found)


def _controls(findings: Findings, dataset: str, label: str) -> Iterator[str]:
    """What models that were never trained score, by modality."""
    rows = select(findings.alignment, dataset, findings.metric, findings.k)
    pair_scores, models = scores(rows, findings.symmetric), findings.models
    chance = rows["chance"].dropna()
    by_chance = f"; chance is {chance.max():.4f}" if len(chance) else ""
    for modality in ("vision", "language"):
        others = partners(models, modality, OTHER[modality], pair_scores)
        random = sorted(models["id"][(models["modality"] == modality) & models["control"].astype(bool)])
        means = {
            kind: [
                mean.value
                for mean in (mean_over(model, others, pair_scores) for model in those)
                if mean.value is not None and mean.complete
            ]
            for kind, those in (("control", random), ("released", trained(models, modality)))
        }
        if means["control"] and means["released"]:
            low, high = min(means["control"]), max(means["control"])
            yield (
                f"{dataset}: {len(means['control'])} {modality} models that were never trained score "
                f"{low:.4f} to {high:.4f}, the {len(means['released'])} released ones "
                f"{min(means['released']):.4f} to {max(means['released']):.4f} ({label}{by_chance})."
            )
