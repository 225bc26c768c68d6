"""Scores of every pair and means of every model, as the report shows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from zooalign import metrics
from zooalign.report.packing import number, numbers
from zooalign.results.frames import where
from zooalign.results.means import OTHER, mean_over, partners, select
from zooalign.results.means import scores as pair_scores
from zooalign.results.populations import partner_populations

if TYPE_CHECKING:
    import pandas as pd

    from zooalign.results.findings import Findings

VERSION = 1  # part of the digest of what this module determines

KEY = ["dataset", "comparison", "metric", "k", "model_x", "model_y"]
_INFERRED = ["low", "high", "p", "q", "calibrated"]
_SHOWN = ["score", *_INFERRED, "tied_x", "tied_y"]


def score_blocks(findings: Findings) -> list[dict[str, Any]]:
    """One block per dataset, comparison, metric and k, with a column per property of a pair.

    Returns
    -------
    list of dict
        "x" and "y" are positions in the sweep's models; all columns have one entry per pair, None where there is no
        value; a column without any value is left out. "layer_x" and "layer_y" are the best layers, from 0.
    """
    place = {spec.id: i for i, spec in enumerate(findings.sweep.models)}
    frame = findings.alignment.merge(findings.inference[[*KEY, *_INFERRED]], how="left", on=KEY)
    blocks: list[dict[str, Any]] = []
    groups = cast("Any", frame.sort_values(by=KEY, kind="stable").groupby(KEY[:4], sort=True))
    for (dataset, comparison, metric, k), rows in groups:
        blocks.append(
            {
                "dataset": dataset,
                "comparison": comparison,
                "metric": metric,
                "k": int(k),
                "label": metrics.label(str(metric), int(k) or None),
                "symmetric": bool(metrics.get(str(metric)).SYMMETRIC),
                "chance": number(rows["chance"].iloc[0]),
                "n": int(rows["n"].max()),
                "x": [place[name] for name in rows["model_x"]],
                "y": [place[name] for name in rows["model_y"]],
                "layer_x": numbers(rows["layer_x"]),
                "layer_y": numbers(rows["layer_y"]),
                **{name: numbers(rows[name]) for name in _SHOWN if rows[name].notna().to_numpy().any()},
            }
        )
    return blocks


def layer_names(findings: Findings) -> dict[str, dict[int, str]]:
    """Names of the layers that are the best of some pair, by model and position."""
    names: dict[str, dict[int, str]] = {}
    for side in "xy":
        columns = [f"model_{side}", f"layer_{side}", f"layer_name_{side}"]
        for model, layer, name in findings.alignment[columns].drop_duplicates().itertuples(index=False, name=None):
            names.setdefault(model, {})[int(layer)] = name
    return {model: dict(sorted(own.items())) for model, own in sorted(names.items())}


def means(findings: Findings) -> Iterator[dict[str, Any]]:
    """Mean alignment of models with the released models of the other modality, by dataset, metric, k and partners.

    "values" holds the models whose mean is over every partner, by id; others would be means over something else.
    """
    columns = ["dataset", "metric", "k"]
    known = cast("pd.DataFrame", findings.alignment[columns]).drop_duplicates().sort_values(by=columns)
    for dataset, metric, k in known.itertuples(index=False, name=None):
        scored = pair_scores(select(findings.alignment, dataset, metric, k))
        found: dict[str, dict[str, float | int | None]] = {}
        for modality, other in OTHER.items():
            others = set(partners(findings.models, modality, other, scored))
            for name, chosen in partner_populations([m for m in findings.sweep.models if m.id in others]):
                for model in _of(findings.models, modality):
                    mean = mean_over(model, chosen, scored)
                    if mean.complete:
                        found.setdefault(name, {})[model] = number(mean.value)
        for name, values in found.items():
            yield {"dataset": dataset, "metric": metric, "k": int(k), "partners": name, "values": values}


def _of(models: pd.DataFrame, modality: str) -> list[str]:
    return list(where(models, "modality", modality)["id"])
