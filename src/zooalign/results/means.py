"""Mean alignment of each model, over named partners: what the capability table and the figures share."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from zooalign.closed import Closed
from zooalign.errors import StoreError, unknown
from zooalign.results.frames import where

if TYPE_CHECKING:
    import pandas as pd

VERSION = 2  # part of the digest of what this module determines

# The comparison that answers the question of a sweep.
ACROSS = "vision-language"
OTHER = {"vision": "language", "language": "vision"}


class ShownAlignment(Closed):
    """Which alignment a table shows: that of the headline, on every dataset."""

    metric: str = Field(description="Metric of the alignment.")
    k: int = Field(ge=0, description="Its number of neighbours; 0 for metrics without k.")
    datasets: tuple[str, ...] = Field(description="Datasets, in this order.")


class Mean(NamedTuple):
    """Mean score of a model over the trained models of one modality.

    Attributes
    ----------
    value : float or None
        None where no partner has a score.
    n : int
        Partners in the mean.
    missing : tuple of str
        Trained models of that modality whose score is missing, sorted; the model itself is not among them.
    """

    value: float | None
    n: int
    missing: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every trained partner is in the mean: only then is it comparable with another model's."""
        return self.value is not None and not self.missing


def select(alignment: pd.DataFrame, dataset: str, metric: str, k: int) -> pd.DataFrame:
    """Rows of one dataset and metric at one k (0 for metrics without k); none if nothing was compared on the dataset.

    Raises
    ------
    StoreError
        If the dataset has no such metric or k; the message gives the nearest names or the k there are.
    """
    rows = where(alignment, "dataset", dataset)
    if not len(rows):
        return rows
    known = sorted(set(rows["metric"]))
    if metric not in known:
        raise StoreError(f"alignment table: {unknown('metric', metric, known)}")
    rows = where(rows, "metric", metric)
    known_k = sorted({int(value) for value in rows["k"]})
    if k not in known_k:
        raise StoreError(f"alignment table: {metric} on {dataset} has no k = {k}; there are {known_k}.")
    return where(rows, "k", k)


def scores(rows: pd.DataFrame, symmetric: bool = True) -> dict[tuple[str, str], float]:
    """Score of each ordered pair of models.

    Parameters
    ----------
    rows : DataFrame
        One dataset, metric and k; at most one row per ordered pair.
    symmetric : bool
        Whether a row also gives the score of the turned pair, where that has no row of its own. Means take it so for
        every metric: of a directed one the direction that was computed (from vision to language) counts for both
        models. Only a square of directed scores is not mirrored.
    """
    pair_scores = {(x, y): float(s) for x, y, s in zip(rows["model_x"], rows["model_y"], rows["score"], strict=True)}
    if not symmetric:
        return pair_scores
    return {(y, x): s for (x, y), s in pair_scores.items()} | pair_scores


def mean_over(model: str, partners: list[str], pair_scores: dict[tuple[str, str], float]) -> Mean:
    """Mean score of `model` with `partners`; the model itself is left out, absent scores are not zeros."""
    import math

    others = sorted(set(partners) - {model})
    present = [pair_scores[model, other] for other in others if (model, other) in pair_scores]
    missing = tuple(other for other in others if (model, other) not in pair_scores)
    return Mean(math.fsum(present) / len(present) if present else None, len(present), missing)


def trained(models: pd.DataFrame, modality: str) -> list[str]:
    """Ids of the trained models of a modality (no random controls, no interventions), sorted."""
    as_released = ~models["control"].astype(bool) & (models["intervention"] == "")
    chosen = models[(models["modality"] == modality) & as_released]
    return sorted(chosen["id"])


def partners(models: pd.DataFrame, modality: str, side: str, pair_scores: dict[tuple[str, str], float]) -> list[str]:
    """Trained models of `side` that have a score with at least one model of `modality`, sorted.

    A model that failed altogether is thereby in nobody's mean, and the means still compare; a model that
    lacks a few pairs stays a partner, and is missing from the means it should be in.
    """
    models_here = set(models["id"][models["modality"] == modality])
    seen = {y for x, y in pair_scores if x in models_here}
    return [name for name in trained(models, side) if name in seen]
