"""The answer of a sweep: whether alignment grows with capability, for which models, and what the controls say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from zooalign import metrics
from zooalign.results.means import OTHER, mean_over, partners, scores, select, trained
from zooalign.results.populations import LEVEL, MIN_MODELS, RELEASED, UNIMODAL, WITH_INTERVENTIONS, Trend
from zooalign.results.questions import ALL, Question, cases

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 1  # part of the digest of what this module determines


def answers(
    findings: Findings, wanted: Callable[[Question], bool] = lambda question: True
) -> Iterator[tuple[Question, Trend]]:
    """Every question of a sweep that is wanted, with its answer."""
    for case in cases(findings, wanted):
        yield case.question, case.trend


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
    >>> from zooalign.results.populations import trend
    >>> question = Question("emoji", "bits_per_byte", "language", RELEASED, ALL)
    >>> print(sentence(question, trend([1, 2, 3, 4], [2, 1, 3, 4], ["a", "a", "b", "b"])))
    bits_per_byte of released language models and their alignment with released vision models: Spearman +0.80, 4 \
models of 2 families: too few families for an interval (at least 5), so this shows no trend.
    """
    who, whom = _named(question.population, question.modality), _named(question.partners, OTHER[question.modality])
    what, of = question.capability, _counted(found)
    if found.n < MIN_MODELS:
        return (
            f"too few {who} have both {what} and a score with every one of the {whom} for a correlation "
            f"({found.n}; at least {MIN_MODELS})."
        )
    if not math.isfinite(found.spearman):
        return f"no correlation of {what} with alignment over {found.n} {who}: {found.reason}."
    spearman = f"Spearman {found.spearman:+.2f}"
    if not math.isfinite(found.low):
        return (
            f"{what} of {who} and their alignment with {whom}: {spearman}, {of}: {found.reason}, so this shows no "
            "trend."
        )
    if f"{found.spearman_noise_free:+.2f}" != f"{found.spearman:+.2f}":
        spearman += f" ({found.spearman_noise_free:+.2f} without measurement error)"
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
    pair_scores, models = scores(rows), findings.models
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
