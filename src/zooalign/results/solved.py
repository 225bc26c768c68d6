"""Which tasks a model solves, and how alike models are that solve as many.

A task is a capability that is an accuracy. A model solves it with at least 80 % of what the best model gets (Huh et
al. 2024, section 2.1: vision models binned by the share of VTAB tasks that they solve).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from zooalign.results.frames import CapabilityRow, ModelRow, capability_rows, model_rows
from zooalign.results.intervals import SHARE
from zooalign.results.means import scores, select, trained
from zooalign.results.read import check_models

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 1  # part of the digest of what this module determines

THRESHOLD = 0.8
BINS = ("0-20 %", "20-40 %", "40-60 %", "60-80 %", "80-100 %")
# Rounding of a product must not cost a task.
_ROUNDING = 1e-12


class Tasks(NamedTuple):
    """Tasks on which models are compared.

    Attributes
    ----------
    best : dict of str to tuple of (float, str)
        By task, the best value of the compared models, and whose it is (the first id of equals).
    incomplete : dict of str to tuple of str
        Tasks that some of the compared models lack, with those models; they count for nobody.
    """

    best: dict[str, tuple[float, str]]
    incomplete: dict[str, tuple[str, ...]]


class Solved(NamedTuple):
    """How a model does on the tasks.

    Attributes
    ----------
    solved, tasks : int
        Tasks solved, of how many.
    average, standard_error : float
        Mean accuracy over the tasks, in [0, 1]; its error is that of the test samples, NaN if one is not known.
    bin : str
        One of `BINS`; a share on a border is in the upper one.
    """

    solved: int
    tasks: int
    average: float
    standard_error: float
    bin: str


class Compared(NamedTuple):
    """The models of a modality, their accuracies by task and model, the tasks, and what each model solves."""

    models: list[ModelRow]
    values: dict[str, dict[str, CapabilityRow]]
    tasks: Tasks
    solved: dict[str, Solved | None]


class Alike(NamedTuple):
    """Mean alignment of the pairs among some models; NaN without a pair, an error for three models or more."""

    models: int
    pairs: int
    mean: float
    standard_error: float


class Bin(NamedTuple):
    """Alignment among the released models of one modality that solve a like share of the tasks.

    Attributes
    ----------
    dataset, modality, bin : str
        Dataset of the alignment; one of `BINS`.
    models, pairs : int
        Models in the bin, and pairs of them that have a score.
    alignment, standard_error : float
        As in `Alike`.
    """

    dataset: str
    modality: str
    bin: str
    models: int
    pairs: int
    alignment: float
    standard_error: float


def bins(findings: Findings) -> Iterator[Bin]:
    """Every bin, empty ones too, of each dataset and modality with tasks whose models are compared with each other.

    References
    ----------
    Huh et al. 2024, Figure 2 (left).
    """
    shown = findings.shown
    for modality, compared in by_modality(findings).items():
        released = trained(findings.models, modality)
        members = {name: one.bin for name, one in compared.solved.items() if one is not None and name in released}
        for dataset in shown.datasets:
            selected = select(findings.alignment, dataset, shown.metric, shown.k)
            if f"{modality}-{modality}" not in set(selected["comparison"]):
                continue
            pair_scores = scores(selected)
            for name in BINS:
                one = alike([model for model, own in members.items() if own == name], pair_scores)
                yield Bin(dataset, modality, name, *one)


def by_modality(findings: Findings) -> dict[str, Compared]:
    """What the models of each modality that has tasks solve.

    Released models set the best of a task, and only tasks that all of them have count (but for models without any
    accuracy).
    """
    check_models(findings.models)
    found: dict[str, Compared] = {}
    for modality in ("vision", "language"):
        here = [row for row in model_rows(findings.models) if row.modality == modality]
        values = accuracies(capability_rows(findings.capability), [row.id for row in here])
        if values:
            tasks = tasks_of(values, trained(findings.models, modality))
            solve = {row.id: solved(tasks, values, row.id) for row in here}
            found[modality] = Compared(here, values, tasks, solve)
    return found


def accuracies(rows: Iterable[CapabilityRow], models: Iterable[str]) -> dict[str, dict[str, CapabilityRow]]:
    """Accuracies by task and model: what was measured for `models` in that unit, and higher is better."""
    wanted, found = set(models), dict[str, dict[str, CapabilityRow]]()
    for row in rows:
        if row.unit == SHARE and row.higher_is_better and not row.reason and row.model in wanted:
            found.setdefault(row.capability, {})[row.model] = row
    return dict(sorted(found.items()))


def tasks_of(values: Mapping[str, Mapping[str, CapabilityRow]], compared: Iterable[str]) -> Tasks:
    """Tasks that all compared models have, with the best of them.

    Parameters
    ----------
    values : mapping
        As :func:`accuracies` gives them.
    compared : iterable of str
        Models that set the best. One without any accuracy is not compared.
    """
    known = {model for by_model in values.values() for model in by_model}
    those = sorted(set(compared) & known)
    best: dict[str, tuple[float, str]] = {}
    incomplete: dict[str, tuple[str, ...]] = {}
    for task, by_model in values.items():
        missing = tuple(model for model in those if model not in by_model)
        if missing:
            incomplete[task] = missing
        elif those:
            first = max(those, key=lambda model: by_model[model].value)
            best[task] = by_model[first].value, first
    return Tasks(best, incomplete)


def solved(tasks: Tasks, values: Mapping[str, Mapping[str, CapabilityRow]], model: str) -> Solved | None:
    """How a model does; None if it lacks a task, or there is none."""
    if not tasks.best or any(model not in values[task] for task in tasks.best):
        return None
    own = [values[task][model] for task in tasks.best]
    n = sum(is_solved(row.value, tasks.best[row.capability][0]) for row in own)
    error = math.sqrt(math.fsum(row.standard_error**2 for row in own)) / len(own)
    return Solved(n, len(own), math.fsum(row.value for row in own) / len(own), error, bin_of(n, len(own)))


def is_solved(value: float, best: float) -> bool:
    """Whether a value is at least 80 % of the best; where all are zero nobody solves a task.

    Examples
    --------
    >>> is_solved(0.72, 0.9), is_solved(0.719, 0.9), is_solved(0.0, 0.0)
    (True, False, False)
    """
    return best > 0 and value >= THRESHOLD * best * (1 - _ROUNDING)


def bin_of(solved: int, tasks: int) -> str:
    """Bin of a share of tasks.

    Examples
    --------
    >>> bin_of(0, 19), bin_of(1, 5), bin_of(19, 19)
    ('0-20 %', '20-40 %', '80-100 %')
    """
    return BINS[min(len(BINS) * solved // tasks, len(BINS) - 1)]


def alike(models: Sequence[str], pair_scores: Mapping[tuple[str, str], float]) -> Alike:
    """Mean alignment of the pairs among some models.

    Parameters
    ----------
    models : sequence of str
        Ids.
    pair_scores : mapping
        Score by (x, y); of a pair that has both directions the mean counts, a pair without a score does not.

    Returns
    -------
    Alike
        Pairs that share a model are not independent, so the error leaves out a model at a time (jackknife):
        sqrt((m - 1) / m * sum (mean_-i - mean of those)^2).

    References
    ----------
    Arvesen 1969, Annals of Mathematical Statistics 40 (jackknife of U-statistics).
    """
    pairs: dict[tuple[str, str], float] = {}
    for x, y in combinations(sorted(models), 2):
        both = [pair_scores[pair] for pair in ((x, y), (y, x)) if pair in pair_scores]
        if both:
            pairs[x, y] = math.fsum(both) / len(both)
    if not pairs:
        return Alike(len(models), 0, math.nan, math.nan)
    mean = math.fsum(pairs.values()) / len(pairs)
    without = [[s for pair, s in pairs.items() if model not in pair] for model in models]
    if not all(without):
        return Alike(len(models), len(pairs), mean, math.nan)
    means = [math.fsum(scores) / len(scores) for scores in without]
    middle = math.fsum(means) / len(means)
    spread = math.fsum((one - middle) ** 2 for one in means)
    return Alike(len(models), len(pairs), mean, math.sqrt((len(means) - 1) / len(means) * spread))
