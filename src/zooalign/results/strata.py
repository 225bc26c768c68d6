"""Alignment of the samples of each group and source of a dataset, from the terms that its scores are means of.

The neighbours behind a term are those of the whole dataset: nothing is searched again within a stratum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zooalign import metrics
from zooalign.results.means import ACROSS, trained
from zooalign.results.populations import LEVEL

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 1  # part of the digest of what this module determines

WHOLE, GROUP, SOURCE = "whole dataset", "group", "source"
# A sample that its source puts into no group.
NO_GROUP = "(none)"


class Extreme(NamedTuple):
    """Models of a modality with the highest and lowest mean over a stratum and their partners."""

    best: str
    best_score: float
    worst: str
    worst_score: float


class Stratum(NamedTuple):
    """Mean alignment of some samples of a dataset.

    Attributes
    ----------
    kind, name : str
        `WHOLE`, `GROUP` or `SOURCE`, and which one.
    n : int
        Samples.
    pairs : int
        Released cross-modal pairs that terms are averaged over.
    mean, standard_error, low, high : float
        Mean of the samples' pair-averaged terms; its error over samples and 95 % interval, NaN for one sample and for metrics of
        kernels.
    extremes : dict of str to Extreme
        By modality.
    """

    kind: str
    name: str
    n: int
    pairs: int
    mean: float
    standard_error: float
    low: float
    high: float
    extremes: Mapping[str, Extreme]


def strata(findings: Findings, dataset: str) -> list[Stratum]:
    """The whole dataset, then its groups and sources, the largest first; none for a metric without terms.

    A metric has terms where it is a mean over samples. A kind that does not divide the dataset is left out.

    Raises
    ------
    DatasetError
        If the dataset cannot be read.
    """
    from statistics import NormalDist

    models = {m: set(trained(findings.models, m)) for m in ("vision", "language")}
    known = findings.terms(dataset, findings.metric, findings.k, ACROSS)
    pairs = [pair for pair in sorted(known) if pair[0] in models["vision"] and pair[1] in models["language"]]
    if not pairs:
        return []
    terms = np.stack([known[pair] for pair in pairs])  # (pairs, samples)
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    samples = terms.mean(axis=0, dtype=np.float64)
    by_model = {
        modality: _by_model(terms, [pair[side] for pair in pairs]) for side, modality in enumerate(("vision", "language"))
    }  # fmt: skip
    # Terms of kernels follow from all samples, so their spread is not all of the error.
    of_lists = metrics.counts_neighbours(findings.metric)
    found: list[Stratum] = []
    for kind, name, members in _members(findings, dataset, terms.shape[1]):
        own, n = samples[members], len(members)
        mean = float(own.mean())
        error = float(own.std(ddof=1)) / math.sqrt(n) if n > 1 and of_lists else math.nan
        extremes = {modality: _extreme(means, members) for modality, means in by_model.items()}
        found.append(Stratum(kind, name, n, len(pairs), mean, error, mean - z * error, mean + z * error, extremes))
    return found


def _members(findings: Findings, dataset: str, n: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """Kind, name and places of the samples of every stratum."""
    yield WHOLE, dataset, np.arange(n)
    samples = findings.samples(dataset)
    for kind, values in ((GROUP, samples.groups), (SOURCE, samples.sources)):
        named = np.array([NO_GROUP if value is None else value for value in values], dtype=str)
        names, counts = np.unique(named, return_counts=True)
        if len(names) > 1:
            for place in np.lexsort((names, -counts)):
                yield kind, str(names[place]), np.flatnonzero(named == names[place])


def _by_model(terms: np.ndarray, models: Sequence[str]) -> dict[str, np.ndarray]:
    """Mean terms of every model over its partners, (samples,) each."""
    names, member = np.unique(np.array(models, dtype=str), return_inverse=True)
    return {str(name): terms[member == i].mean(axis=0, dtype=np.float64) for i, name in enumerate(names)}


def _extreme(means: Mapping[str, np.ndarray], members: np.ndarray) -> Extreme:
    scores = {model: float(values[members].mean()) for model, values in means.items()}
    best, worst = max(sorted(scores), key=scores.__getitem__), min(sorted(scores), key=scores.__getitem__)
    return Extreme(best, scores[best], worst, scores[worst])
