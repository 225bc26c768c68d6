"""Who is nearest to whom: the nearest released models of every model, within its modality and across."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from zooalign.results.frames import CONTROL_MARK, INTERVENTION_MARK
from zooalign.results.neighbours import ACROSS, NEAREST, WITHIN, Neighbour, neighbours
from zooalign.results.publishing import Column, Shown, Table

if TYPE_CHECKING:
    import pandas as pd

    from zooalign.results.findings import Findings

VERSION = 1

_COLUMNS = (
    Column("dataset", "dataset of the alignment"),
    Column("model", "model"),
    Column("modality", "vision or language"),
    Column("family", "models that have more in common than the modality"),
    Column("control", "whether it was never trained"),
    Column("intervention", "how it was changed on purpose; empty as released"),
    Column("side", "within its modality, or across"),
    Column("rank", "1 is the nearest"),
    Column("candidates", "released models of that side with a score, the model itself not counted", "models"),
    Column("neighbour", "the near model"),
    Column("neighbour_family", "its family"),
    Column("score", "alignment of the two", "score"),
)
_NOTES = (
    f"The {NEAREST} released models of highest score, each pair at its best layers; of equals, the first id.",
    f"{CONTROL_MARK} marks random controls, {INTERVENTION_MARK} interventions: they have neighbours and are none.",
    "A control shows how near two models are that share no training.",
    "A pair has one score, also under a metric that has a direction: the one computed counts for both models.",
)


def table(findings: Findings) -> Table:
    """Return a row per model, side and rank; people see a row per model."""
    import pandas as pd

    found = [(dataset, one) for dataset in findings.shown.datasets for one in neighbours(findings, dataset)]
    return Table(
        "Who is nearest to whom?",
        pd.DataFrame([_row(*pair) for pair in found], columns=[column.name for column in _COLUMNS]),
        _COLUMNS,
        (
            Shown("model", "model"),
            Shown("family", "family"),
            Shown("nearest within its modality", WITHIN),
            Shown("nearest across", ACROSS),
        ),
        _NOTES,
        section="section",
        rows_shown=_by_model(found),
    )


def _row(dataset: str, one: Neighbour) -> dict[str, Any]:
    model = one.model
    return {
        "dataset": dataset, "model": model.id, "modality": model.modality, "family": model.family,
        "control": bool(model.control), "intervention": model.intervention, "side": one.side, "rank": one.rank,
        "candidates": one.candidates, "neighbour": one.neighbour, "neighbour_family": one.family, "score": one.score,
    }  # fmt: skip


def _by_model(found: Iterable[tuple[str, Neighbour]]) -> pd.DataFrame:
    """A row per model, released ones first, with the neighbours of either side in one cell each."""
    import pandas as pd

    rows: dict[tuple[Any, ...], dict[str, str]] = {}
    for dataset, one in found:
        model = one.model
        key = dataset, model.modality != "vision", bool(model.control), model.intervention != "", model.id
        section = f"{model.modality.capitalize()} models on {dataset}"
        row = rows.setdefault(
            key, {"section": section, "model": model.shown, "family": model.family, WITHIN: "", ACROSS: ""}
        )
        row[one.side] += f"{', ' if row[one.side] else ''}{one.neighbour} {one.score:.3f}"
    columns = ["section", "model", "family", WITHIN, ACROSS]
    return pd.DataFrame([rows[key] for key in sorted(rows)], columns=columns)
