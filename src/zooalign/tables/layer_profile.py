"""At which depth models align with those of the other modality: a row per model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from zooalign.results.frames import CONTROL_MARK, INTERVENTION_MARK, ModelRow
from zooalign.results.layers import BINS, Profile, profiles
from zooalign.results.markdown import is_absent
from zooalign.results.publishing import Column, Shown, Table

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 1

_IN_BIN = tuple(f"score_{name.removesuffix(' %').replace('-', '_')}" for name in BINS)
_COLUMNS = (
    Column("dataset", "dataset of the alignment"),
    *(
        Column(name, meaning)
        for name, meaning in (
            ("model", "model"),
            ("modality", "vision or language"),
            ("family", "models that have more in common than the modality"),
            ("control", "whether it was never trained"),
            ("intervention", "how it was changed on purpose; empty as released"),
        )
    ),
    Column("layers", "its layers, all of them side by side not counted", "layers"),
    Column("partners", "released models of the other modality", "models"),
    Column("depth_mean", "relative depth of its best layer, mean over partners", "0 first to 1 last layer"),
    Column("depth_q25", "lower quartile over partners", "0 first to 1 last layer"),
    Column("depth_median", "median over partners", "0 first to 1 last layer"),
    Column("depth_q75", "upper quartile over partners", "0 first to 1 last layer"),
    *(Column(f"score_{name.removesuffix(' %').replace('-', '_')}", f"score of layers at {name} depth", "score")
      for name in BINS),
)  # fmt: skip
_NOTES = (
    "Relative depth is layer / (layers - 1), 0 for the first layer that was taken and 1 for the last. Models of one "
    "layer have none.",
    "The best layer of a model with a partner is that of the best layer pair; the spread is over partners.",
    "The score of a layer is the mean over partners of the highest score with any of the partner's layers; a column "
    "of scores has the mean of the layers at that depth, empty where there is none.",
    f"Partners are the released models of the other modality. {CONTROL_MARK} marks random controls, "
    f"{INTERVENTION_MARK} interventions; they are nobody's partners.",
)


def table(findings: Findings) -> Table:
    """Return a row per model and dataset, deepest first within a modality, controls and interventions last."""
    import pandas as pd

    rows = [_row(dataset, one) for dataset in findings.shown.datasets for one in profiles(findings, dataset)]
    rows.sort(key=_order)
    return Table(
        "At which depth do models align with the other modality?",
        pd.DataFrame(rows, columns=[column.name for column in _COLUMNS]),
        _COLUMNS,
        (
            Shown("model", lambda row: row["model"] + _as_model(row).mark),
            Shown("layers", "layers"),
            Shown("partners", "partners"),
            Shown("depth of the best layer", lambda row: _short(row["depth_mean"])),
            Shown("quartiles", _quartiles),
            *(Shown(f"score at {name}", column) for name, column in zip(BINS, _IN_BIN, strict=True)),
        ),
        _NOTES,
        section=lambda row: f"{row['modality'].capitalize()} models on {row['dataset']}",
    )


def _row(dataset: str, one: Profile) -> dict[str, Any]:
    model = one.model
    quartiles = np.quantile(one.best, (0.25, 0.5, 0.75)).tolist()
    return {
        "dataset": dataset, "model": model.id, "modality": model.modality, "family": model.family,
        "control": bool(model.control), "intervention": model.intervention, "layers": len(one.depths),
        "partners": len(one.best), "depth_mean": float(one.best.mean()),
        **dict(zip(("depth_q25", "depth_median", "depth_q75"), quartiles, strict=True)),
        **dict(zip(_IN_BIN, one.by_bin.tolist(), strict=True)),
    }  # fmt: skip


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    deepest = 1.0 if is_absent(row["depth_mean"]) else -row["depth_mean"]
    changed = row["control"], row["intervention"] != ""
    return row["dataset"], row["modality"] != "vision", *changed, deepest, row["model"]


def _as_model(row: Mapping[str, Any]) -> ModelRow:
    return ModelRow(row["model"], "", "", "", False, row["control"], row["intervention"])


def _short(value: Any) -> str:
    return "" if is_absent(value) else f"{value:.2f}"


def _quartiles(row: Mapping[str, Any]) -> str:
    return "" if is_absent(row["depth_q25"]) else f"{row['depth_q25']:.2f} to {row['depth_q75']:.2f}"
