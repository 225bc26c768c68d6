"""The alignment matrix: a row per dataset, metric, k and model, a column per model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zooalign import metrics
from zooalign.results.frames import imported_note, model_rows, where
from zooalign.results.markdown import short
from zooalign.results.matrix import wide
from zooalign.results.publishing import Column, Shown, Table

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 1

_ABOUT = (
    Column("dataset", "dataset of the samples"),
    Column("metric", "name of the metric"),
    Column("k", "neighbours; 0 for a metric without", "samples"),
    Column("model", "model of the row"),
    Column("modality", "its modality"),
    Column("chance", "what unrelated models score, where there is a formula", "unit of the metric"),
    Column("n", "samples", "samples"),
)
_NOTES = (
    "A score is the maximum over all layer pairs of two models. A cell is empty where a pair was not compared, and "
    "for a model with itself.",
    "A directed metric, as cycle_knn, is not mirrored: a cell is the score of the row's model to the column's.",
    "Vision comes first. Families that are alike stand side by side, and so do models of a family; interventions (‡) "
    "and random controls (†) come last. The order is that of the headline on the first dataset.",
    "People see the headline, its columns numbered as its rows are; every metric and k is in the CSV and Parquet "
    "files.",
)


def table(findings: Findings) -> Table:
    """Return the matrix of every dataset, metric and k; people see those of the headline."""
    frame, columns = wide(findings)
    label = metrics.label(findings.metric, findings.k or None)
    names = {row.id: row.shown for row in model_rows(findings.models)}
    numbers = {model: str(place) for place, model in enumerate(columns, 1)}
    return Table(
        "Alignment of every model with every other",
        frame,
        [*_ABOUT, *(Column(name, f"score with {m}", "unit of the metric") for m, name in columns.items())],
        (
            Shown("", lambda row: numbers[row["model"]]),
            Shown("model", lambda row: names[row["model"]]),
            *(Shown(numbers[m], lambda row, name=name: short(row[name])) for m, name in columns.items()),
        ),
        [*_NOTES, *imported_note(findings.models)],
        section=lambda row: f"{label} on {row['dataset']} ({row['n']:,} samples)",
        rows_shown=where(where(frame, "metric", findings.metric), "k", findings.k),
    )
