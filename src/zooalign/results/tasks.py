"""Accuracy of models on each task, beside their mean alignment with the other modality."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from zooalign.results.answer import answers
from zooalign.results.frames import capability_rows, model_rows
from zooalign.results.intervals import SHARE
from zooalign.results.means import OTHER, mean_over, partners, scores, select
from zooalign.results.populations import RELEASED, Trend
from zooalign.results.questions import ALL

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 1  # part of the digest of what this module determines


class TaskPoint(NamedTuple):
    """A model on a task: mean alignment, accuracy with its standard error (NaN if not known), and its mark."""

    model: str
    mark: str
    alignment: float
    accuracy: float
    standard_error: float


class TaskAlignment(NamedTuple):
    """A task with the models that have both values.

    Attributes
    ----------
    task, modality : str
        Capability, and the modality of its models.
    n_partners : int
        Released models of the other modality that alignment is the mean over.
    points : tuple of TaskPoint
        By model.
    trend : Trend
        Of the released models.
    """

    task: str
    modality: str
    n_partners: int
    points: tuple[TaskPoint, ...]
    trend: Trend


def tasks_against_alignment(findings: Findings, dataset: str) -> list[TaskAlignment]:
    """Every capability that is an accuracy, language tasks first; without tasks whose models have no alignment."""
    shown = findings.shown
    pair_scores = scores(select(findings.alignment, dataset, shown.metric, shown.k))
    asked = answers(findings, lambda q: (q.dataset, q.population, q.partners) == (dataset, RELEASED, ALL))
    trends = {question.capability: found for question, found in asked}
    values: dict[str, dict[str, tuple[float, float]]] = {}
    for row in capability_rows(findings.capability):
        if row.unit == SHARE and row.higher_is_better and not row.reason:
            values.setdefault(row.capability, {})[row.model] = row.value, row.standard_error
    found: list[TaskAlignment] = []
    for modality in ("language", "vision"):
        others = partners(findings.models, modality, OTHER[modality], pair_scores)
        here = sorted(row for row in model_rows(findings.models) if row.modality == modality)
        means = {row.id: mean_over(row.id, others, pair_scores) for row in here}
        for task, known in sorted(values.items()):
            chosen = [row for row in here if row.id in known and means[row.id].complete]
            points = tuple(TaskPoint(r.id, r.mark, means[r.id].value or 0.0, *known[r.id]) for r in chosen)
            if points:
                found.append(TaskAlignment(task, modality, len(others), points, trends[task]))
    return found
