"""What damage does to capability and to alignment: a row per model of every curve of interventions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zooalign.results.dose_response import DOSES, MIN_DOSES, curves, lacks, said
from zooalign.results.markdown import number
from zooalign.results.means import OTHER
from zooalign.results.publishing import Column, Shown, Table

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 1

_COLUMNS = (
    Column("dataset", "dataset of the alignment"),
    Column("base", "the released model"),
    Column("modality", "its modality"),
    Column("kind", "what was changed"),
    Column("capability", "capability of the next columns; empty where there is none"),
    Column("unit", "unit of the capability"),
    Column("higher_is_better", "which way the capability counts"),
    Column("model", "the released model or a variant of it"),
    Column("dose", "how much was changed; 0 for the released model", "as `kind` has it"),
    Column("value", "the capability of the model", "column unit"),
    Column("alignment", "mean score with the released models of the other modality", "score"),
    Column("partners", "models that alignment is the mean over", "models"),
    Column("n", "models of the curve, the released one included", "models"),
    Column("dose_capability", "Spearman of dose and capability over the curve; negative: damage makes it worse"),
    Column("dose_alignment", "Spearman of dose and alignment over the curve"),
    Column("capability_alignment", "Spearman of capability and alignment over the curve"),
    Column("answer", "the correlations in words"),
)
_NOTES = (
    f"The released model is dose 0. Correlations are of one curve and of its models that have both values, at least "
    f"{MIN_DOSES}; they are not independent, so there is no interval.",
    "They show how alignment follows damage, not how it grows with better training.",
    *(f"Dose of {kind}: {dose}." for kind, dose in DOSES.items()),
)


def table(findings: Findings) -> Table:
    """Return every model of every curve, a section per curve."""
    import pandas as pd

    rows = [
        (
            curve.dataset, curve.base, curve.modality, curve.kind, curve.capability, curve.unit,
            curve.higher_is_better, *point, curve.partners, len(curve.points), curve.dose_capability,
            curve.dose_alignment, curve.capability_alignment, said(curve),
        )
        for curve in curves(findings)
        for point in curve.points
    ]  # fmt: skip
    return Table(
        "What damage does to capability and alignment",
        pd.DataFrame(rows, columns=[column.name for column in _COLUMNS]),
        _COLUMNS,
        (
            Shown("dose", lambda row: f"{row['dose']:.3g}" if row["dose"] == row["dose"] else ""),
            Shown("model", "model"),
            Shown("capability", lambda row: f"{number(row['value'])} {row['unit']}".strip()),
            Shown("alignment", "alignment"),
        ),
        [*_NOTES, *lacks(findings)],
        section=lambda row: (
            f"{row['base']}, {row['kind']}: {row['capability'] or 'no capability'}, alignment with {row['partners']} "
            f"{OTHER[row['modality']]} models on {row['dataset']}; {row['answer']}"
        ),
    )
