"""How alike models are that solve as many tasks: a row per dataset, modality and bin (Huh et al. 2024, Figure 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zooalign.results.markdown import with_error
from zooalign.results.publishing import Column, Shown, Table
from zooalign.results.solved import Bin, bins

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 1

_COLUMNS = (
    Column("dataset", "dataset of the alignment"),
    Column("modality", "modality of the models"),
    Column("bin", "share of tasks that they solve"),
    Column("models", "released models in the bin", "models"),
    Column("pairs", "pairs among them", "pairs"),
    Column("alignment", "mean score of those pairs", "score"),
    Column("standard_error", "of the mean, leaving out a model at a time", "score"),
)
_NOTES = (
    "Which tasks count and who solves them is in the table `solved_tasks`. Only released models are in a bin.",
    "± leaves out one model of the bin at a time, as pairs that share a model are not independent; a bin of fewer "
    "than three models has none.",
)


def table(findings: Findings) -> Table:
    """Return how alike the models of every bin are, where models of a modality are compared with each other."""
    import pandas as pd

    return Table(
        "Alignment of models that solve as many tasks",
        pd.DataFrame(list(bins(findings)), columns=list(Bin._fields)),
        _COLUMNS,
        (
            Shown("bin", "bin"),
            Shown("models", "models"),
            Shown("pairs", "pairs"),
            Shown("alignment", lambda row: with_error(row["alignment"], row["standard_error"])),
        ),
        _NOTES,
        section=lambda row: f"{row['modality'].capitalize()} models on {row['dataset']}",
    )
