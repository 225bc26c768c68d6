"""The questions of a sweep: capability beside alignment, for every population of models and of partners."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zooalign import metrics
from zooalign.results.frames import CapabilityRow, capability_rows
from zooalign.results.means import ACROSS, OTHER, mean_over, partners, scores, select
from zooalign.results.populations import Trend, partner_populations, populations, trend
from zooalign.results.resampling import alignment_draws, mean_terms

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


class Case(NamedTuple):
    """A question with its values: the n models that have both the capability and a score with every partner.

    Attributes
    ----------
    question : Question
        What is asked.
    models : tuple of str, length n
        Ids.
    families : tuple of str, length n
        Family of each model.
    capability, capability_errors : ndarray of float64, shape (n,)
        Higher is better: a capability of which lower is better has its sign turned. Standard errors, NaN where unknown.
    alignment : ndarray of float64, shape (n,)
        Mean score over the partners.
    alignment_draws : ndarray of float64, shape (draws, n), or None
        Joint draws of the alignments over resampled samples; None for a metric that is no mean over samples.
    alignment_errors : ndarray of float64, shape (n,), or None
        Standard errors where there are no draws: the mean of those of the pairs, which share the samples. None where
        a pair has no interval.
    """

    question: Question
    models: tuple[str, ...]
    families: tuple[str, ...]
    capability: np.ndarray
    capability_errors: np.ndarray
    alignment: np.ndarray
    alignment_draws: np.ndarray | None
    alignment_errors: np.ndarray | None


    @property
    def trend(self) -> Trend:
        """How capability and alignment go together, with the errors that are known."""
        return trend(
            self.capability, self.alignment, self.families, capability_errors=self.capability_errors,
            alignment_errors=self.alignment_errors, alignment_draws=self.alignment_draws,
        )  # fmt: skip


class Scored:
    """Scores of one dataset under one metric and k, and how far other samples would move their means.

    Parameters
    ----------
    findings : Findings
        What the sweep found.
    dataset, metric : str
        Where the scores are from.
    k : int
        0 for a metric without.
    """

    def __init__(self, findings: Findings, dataset: str, metric: str, k: int) -> None:
        self._findings, self._of = findings, (dataset, metric, k)
        self.scores = scores(select(findings.alignment, dataset, metric, k))
        self._pair_terms = cache(self._read_terms)
        self._terms = cache(self._mean_terms)

    def means(self, models: Iterable[str], partners: Sequence[str]) -> dict[str, float]:
        """Mean score of the models that have one with every partner."""
        found = {model: mean_over(model, list(partners), self.scores) for model in models}
        return {model: mean.value for model, mean in found.items() if mean.complete and mean.value is not None}

    def case(
        self,
        question: Question,
        measured: Mapping[str, CapabilityRow],
        families: Mapping[str, str],
        models: Iterable[str],
        partners: Sequence[str],
    ) -> Case:
        """The values of a question.

        Parameters
        ----------
        question : Question
            What is asked.
        measured : mapping of str to CapabilityRow
            The capability by model.
        families : mapping of str to str
            Family by model.
        models, partners : iterable of str
            Who may count, and whom alignment is the mean over.
        """
        models = list(models)
        whole = self.means([model for model in models if model in measured], partners)
        chosen = tuple(model for model in models if model in whole)
        draws, errors = self._errors(chosen, tuple(partners))
        return Case(
            question,
            chosen,
            tuple(families[model] for model in chosen),
            np.array([_up(measured[model]) for model in chosen], np.float64),
            np.array([measured[model].standard_error for model in chosen], np.float64),
            np.array([whole[model] for model in chosen], np.float64),
            draws,
            errors,
        )

    def _errors(
        self, models: tuple[str, ...], partners: tuple[str, ...]
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Draws of the mean alignments, or their errors; neither where nothing is known."""
        dataset, metric, k = self._of
        rows = [row for row in (self._terms(model, partners) for model in models) if row is not None]
        if rows and len(rows) == len(models):
            return alignment_draws(np.array(rows), groups=self._findings.sample_groups(dataset)), None
        known = self._findings.standard_errors(dataset, metric, k)
        pairs = [[known.get((model, other), np.nan) for other in partners if other != model] for model in models]
        means = np.array([np.mean(row) if row else np.nan for row in pairs], np.float64)
        return None, means if len(means) and np.isfinite(means).all() else None

    def _mean_terms(self, model: str, partners: tuple[str, ...]) -> np.ndarray | None:
        found = mean_terms(self._pair_terms(), [model], partners)
        return None if found is None else found[0]

    def _read_terms(self) -> dict[tuple[str, str], np.ndarray]:
        dataset, metric, k = self._of
        # Terms of kernels follow from all samples: that one of them is drawn again is not all that would change.
        if not metrics.counts_neighbours(metric):
            return {}
        one_way = self._findings.terms(dataset, metric, k, ACROSS)
        return {(y, x): terms for (x, y), terms in one_way.items()} | one_way


def cases(findings: Findings, wanted: Callable[[Question], bool] = lambda question: True) -> Iterator[Case]:
    """Every question of a sweep that is wanted, with its values, by the headline metric.

    Parameters
    ----------
    findings : Findings
        What the sweep found.
    wanted : callable
        Which questions; all of them unless given.
    """
    manifest, shown = findings.sweep.models, findings.shown
    specs, families = {spec.id: spec for spec in manifest}, {spec.id: spec.family for spec in manifest}
    values = measured(findings)
    for dataset in shown.datasets:
        scored = Scored(findings, dataset, shown.metric, shown.k)
        for name, rows in values.items():
            modality = specs[next(iter(rows))].modality
            known = {model: row for model, row in rows.items() if specs[model].modality == modality}
            others = set(partners(findings.models, modality, OTHER[modality], scored.scores))
            for with_whom, chosen in partner_populations([m for m in manifest if m.id in others]):
                for population, ids in populations([specs[model] for model in known]):
                    question = Question(dataset, name, modality, population, with_whom)
                    if wanted(question):
                        yield scored.case(question, known, families, ids, chosen)


def measured(findings: Findings) -> dict[str, dict[str, CapabilityRow]]:
    """Capabilities that were measured, by name and model of the sweep, sorted by name."""
    models = {spec.id for spec in findings.sweep.models}
    values: dict[str, dict[str, CapabilityRow]] = {}
    for row in capability_rows(findings.capability):
        if not row.reason and row.model in models:
            values.setdefault(row.capability, {})[row.model] = row
    return dict(sorted(values.items()))


def _up(row: CapabilityRow) -> float:
    return row.value if row.higher_is_better else -row.value
