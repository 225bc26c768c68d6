"""The questions of a sweep: capability beside alignment, for every population of models and of partners."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zooalign.results.frames import CapabilityRow, capability_rows
from zooalign.results.means import OTHER, mean_over, partners, scores, select
from zooalign.results.populations import partner_populations, populations
from zooalign.results.resampling import alignment_draws, mean_terms

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 1  # part of the digest of what this module determines

ALL = "all"
_CROSS = "vision-language"


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


def cases(findings: Findings, wanted: Callable[[Question], bool] = lambda question: True) -> Iterator[Case]:
    """Every question of a sweep that is wanted, with its values.

    Parameters
    ----------
    findings : Findings
        What the sweep found.
    wanted : callable
        Which questions; all of them unless given.
    """
    manifest, shown = findings.sweep.models, findings.shown
    specs = {spec.id: spec for spec in manifest}
    values: dict[str, dict[str, CapabilityRow]] = {}
    for row in capability_rows(findings.capability):
        if not row.reason and row.model in specs:
            values.setdefault(row.capability, {})[row.model] = row
    for dataset in shown.datasets:
        errors = _Errors(findings, dataset)
        pair_scores = scores(select(findings.alignment, dataset, shown.metric, shown.k), shown.symmetric)
        for name, known in sorted(values.items()):
            modality = specs[next(iter(known))].modality
            known = {model: row for model, row in known.items() if specs[model].modality == modality}
            others = set(partners(findings.models, modality, OTHER[modality], pair_scores))
            for with_whom, chosen in partner_populations([m for m in manifest if m.id in others]):
                means = {model: mean_over(model, chosen, pair_scores) for model in known}
                whole = {m: mean.value for m, mean in means.items() if mean.complete and mean.value is not None}
                for population, ids in populations([specs[model] for model in known]):
                    question = Question(dataset, name, modality, population, with_whom)
                    if wanted(question):
                        models = tuple(model for model in ids if model in whole)
                        yield Case(
                            question,
                            models,
                            tuple(specs[model].family for model in models),
                            np.array([_up(known[model]) for model in models], np.float64),
                            np.array([known[model].standard_error for model in models], np.float64),
                            np.array([whole[model] for model in models], np.float64),
                            *errors.of(models, tuple(chosen)),
                        )


def _up(row: CapabilityRow) -> float:
    return row.value if row.higher_is_better else -row.value


class _Errors:
    """How far samples move the alignments of models on a dataset, read when it is first asked for."""

    def __init__(self, findings: Findings, dataset: str) -> None:
        self._findings, self._dataset = findings, dataset
        self._terms = cache(self._mean_terms)
        self._of = cache(self._model)

    def of(self, models: tuple[str, ...], partners: tuple[str, ...]) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Draws of the mean alignments, or their errors; neither where nothing is known."""
        terms = [self._of(model, partners) for model in models]
        rows = [row for row in terms if row is not None]
        if rows and len(rows) == len(terms):
            return alignment_draws(np.array(rows), groups=self._findings.sample_groups(self._dataset)), None
        return None, self._standard_errors(models, partners)

    def _model(self, model: str, partners: tuple[str, ...]) -> np.ndarray | None:
        found = mean_terms(self._pairs(), [model], partners)
        return None if found is None else found[0]

    def _pairs(self) -> Mapping[tuple[str, str], np.ndarray]:
        return self._terms()

    def _mean_terms(self) -> dict[tuple[str, str], np.ndarray]:
        found = self._findings
        one_way = found.terms(self._dataset, found.metric, found.k, _CROSS)
        # As `means.scores` turns pairs.
        return {(y, x): terms for (x, y), terms in one_way.items()} | one_way if found.symmetric else one_way

    def _standard_errors(self, models: tuple[str, ...], partners: tuple[str, ...]) -> np.ndarray | None:
        known = self._findings.standard_errors(self._dataset)
        pairs = [[known.get((model, other), np.nan) for other in partners if other != model] for model in models]
        means = np.array([np.mean(row) if row else np.nan for row in pairs], np.float64)
        return means if len(means) and np.isfinite(means).all() else None
