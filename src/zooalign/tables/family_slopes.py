"""How alignment moves with capability within one family: a row per family of three or more released models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zooalign.results.growth import slopes
from zooalign.results.publishing import Column, Shown, Table
from zooalign.results.slopes import MIN_OF_FAMILY

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 1

_COLUMNS = (
    Column("dataset", "dataset of the alignment"),
    Column("capability", "capability that alignment is set against"),
    Column("modality", "modality of the models"),
    Column("family", "family of models"),
    Column("n", "its released models that have both values", "models"),
    Column("slope", "alignment per unit of capability, least squares", "score per unit"),
    Column("standard_error", "of the slope, from the residuals", "score per unit"),
    Column("standardised", "slope times the spread of capability over that of alignment, both of all models"),
    Column("reason", "why there is no slope"),
)
_NOTES = (
    f"Families of fewer than {MIN_OF_FAMILY} released models have no slope of their own; the table `growth` has that "
    "of all families together.",
    "Capability counts so that higher is better: bits per byte with its sign turned.",
)


def table(findings: Findings) -> Table:
    """Return the slope of every family."""
    import pandas as pd

    rows = [
        {"dataset": question.dataset, "capability": question.capability, "modality": question.modality,
         **slope._asdict()}
        for question, found in slopes(findings)
        for slope in found
    ]  # fmt: skip
    return Table(
        "Slope of alignment on capability, by family",
        pd.DataFrame(rows, columns=[column.name for column in _COLUMNS]),
        _COLUMNS,
        (
            Shown("family", "family"),
            Shown("models", "n"),
            Shown("slope", _slope),
            Shown("standardised", "standardised"),
        ),
        _NOTES,
        section=lambda row: f"{row['capability']} of {row['modality']} models on {row['dataset']}",
    )


def _slope(row: Mapping[str, Any]) -> str:
    if not math.isfinite(row["slope"]):
        return row["reason"]
    return f"{row['slope']:+.3g} ± {row['standard_error']:.2g}"
