"""The square matrix of all models, and the order in which its models are shown: by modality, family and likeness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from zooalign.registry import plugin
from zooalign.results.clustering import leaves
from zooalign.results.frames import ModelRow, model_rows, where
from zooalign.results.means import scores

if TYPE_CHECKING:
    import pandas as pd

    from zooalign.results.findings import Findings

VERSION = 1  # part of the digest of what this module determines

MODALITIES = ("vision", "language")
INTERVENTIONS, CONTROLS = "interventions", "random controls"


# Columns of `wide` before those of models.
ABOUT = ("dataset", "metric", "k", "model", "modality", "chance", "n")


class Block(NamedTuple):
    """Models that are shown side by side.

    Attributes
    ----------
    modality : str
        "vision" or "language".
    name : str
        Their family, or `INTERVENTIONS` or `CONTROLS`.
    models : tuple of str
        Ids in their order.
    """

    modality: str
    name: str
    models: tuple[str, ...]


def wide(findings: Findings) -> tuple[pd.DataFrame, dict[str, str]]:
    """The matrix of every dataset, metric and k.

    Returns
    -------
    frame : DataFrame
        A row per dataset, metric, k and model: columns `ABOUT`, then a column of scores per model (float64; NaN where
        the pair was not compared). Models have the order of :func:`ordered` under the headline on the first dataset.
        A directed metric is not mirrored: its scores are those of the row's model to the column's.
    columns : dict of str to str
        Column of each model, in that order: its id, unless that is in `ABOUT`.
    """
    import pandas as pd

    alignment, shown = findings.alignment, findings.shown
    first = where(where(where(alignment, "dataset", shown.datasets[0]), "metric", shown.metric), "k", shown.k)
    ids = [model for block in ordered(findings.models, scores(first)) for model in block.models]
    columns = {model: f"model {model}" if model in ABOUT else model for model in ids}
    modality = dict(zip(findings.models["id"], findings.models["modality"], strict=True))
    parts = [pd.DataFrame(columns=[*ABOUT, *columns.values()])]
    for key, rows in alignment.groupby(["dataset", "metric", "k"], sort=True):
        dataset, metric, k = cast("tuple[str, str, int]", key)
        symmetric = plugin("metrics", metric, "metric").SYMMETRIC
        about = {"dataset": dataset, "metric": metric, "k": k, "model": ids, "modality": [modality[m] for m in ids],
                 "chance": rows["chance"].max(), "n": rows["n"].max()}  # fmt: skip
        grid = pd.DataFrame(square(ids, scores(rows, symmetric)), columns=list(columns.values()))
        parts.append(pd.concat([pd.DataFrame(about), grid], axis=1))
    return pd.concat(parts[1:] or parts, ignore_index=True), columns


def square(ids: Sequence[str], pair_scores: Mapping[tuple[str, str], float]) -> np.ndarray:
    """Score of every model of `ids` (rows) with every other (columns), shape (n, n); NaN where there is none."""
    grid = np.array([[pair_scores.get((x, y), np.nan) for y in ids] for x in ids], dtype=float)
    grid = grid.reshape(len(ids), len(ids))
    np.fill_diagonal(grid, np.nan)
    return grid


def ordered(models: pd.DataFrame, pair_scores: Mapping[tuple[str, str], float]) -> list[Block]:
    """Models in blocks: vision first; of a modality the released families, then interventions, then random controls.

    Parameters
    ----------
    models : DataFrame
        As `Findings.models`.
    pair_scores : mapping
        Score by (x, y), as `means.scores` gives it; of a directed pair that has both ways, the mean counts.

    Returns
    -------
    list of Block
        Families that are alike stand side by side, and so do models of a family. Interventions stand by family, in
        the order of the manifest.

    Notes
    -----
    Hierarchical clustering (average linkage) of the families by the mean distance of their models, then of the models
    of each family, with the order of leaves that keeps neighbours nearest. Distance is the highest score less the
    score, which is 1 - score but for a constant that changes no order. A pair without a score is as far apart as the
    least alike. Where the sweep compares no models within the modality, distance is the mean difference between
    scores with the other one.

    References
    ----------
    Bar-Joseph, Gifford and Jaakkola 2001, Bioinformatics 17 (optimal leaf order).
    """
    rows = model_rows(models)
    blocks: list[Block] = []
    for modality in MODALITIES:
        here = [row for row in rows if row.modality == modality]
        others = sorted(row.id for row in rows if row.modality != modality)
        blocks += _released(modality, [row for row in here if not row.mark], others, pair_scores)
        changed = sorted((row for row in here if row.intervention and not row.control), key=lambda row: row.family)
        for name, chosen in ((INTERVENTIONS, changed), (CONTROLS, [row for row in here if row.control])):
            if chosen:
                blocks.append(Block(modality, name, tuple(row.id for row in chosen)))
    return blocks


def _released(
    modality: str, rows: Sequence[ModelRow], others: Sequence[str], pair_scores: Mapping[tuple[str, str], float]
) -> list[Block]:
    rows = sorted(rows)
    distance = _distances([row.id for row in rows], others, pair_scores)
    families: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        families.setdefault(row.family, []).append(place)
    members = list(families.values())
    between = np.array([[distance[np.ix_(a, b)].mean() for b in members] for a in members])
    names = list(families)
    blocks: list[Block] = []
    for family in leaves(between):
        own = members[family]
        inside = leaves(distance[np.ix_(own, own)])
        blocks.append(Block(modality, names[family], tuple(rows[own[i]].id for i in inside)))
    return blocks


def _distances(ids: Sequence[str], others: Sequence[str], pair_scores: Mapping[tuple[str, str], float]) -> np.ndarray:
    """Symmetric distances of models of one modality, shape (n, n), none of them NaN."""
    one_way = square(ids, pair_scores)
    scores = _mean(np.stack([one_way, one_way.T]))
    if np.isfinite(scores).any():
        distance = np.nanmax(scores) - scores
    else:
        pairs = [[pair_scores.get((x, y), pair_scores.get((y, x), np.nan)) for y in others] for x in ids]
        profiles = np.array(pairs, dtype=float).reshape(len(ids), len(others))
        distance = _mean(np.abs(profiles.T[:, :, None] - profiles.T[:, None, :]))
    farthest = distance[np.isfinite(distance)].max(initial=0.0)
    distance = np.where(np.isfinite(distance), distance, farthest)
    np.fill_diagonal(distance, 0)
    return distance


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is not NaN; NaN where all is."""
    known = np.isfinite(values)
    counts = known.sum(axis=0)
    return np.where(counts > 0, np.where(known, values, 0).sum(axis=0) / np.maximum(counts, 1), np.nan)
