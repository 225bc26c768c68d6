"""Does alignment grow with capability, and for whom: a row per population of models and of partners."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zooalign.results.answer import answers
from zooalign.results.correlation import MIN_BOOTSTRAP
from zooalign.results.means import OTHER
from zooalign.results.populations import LEVEL, MIN_FAMILIES, MIN_MODELS, REPLICATES, Trend
from zooalign.results.publishing import Column, Shown, Table
from zooalign.results.questions import Question

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 2

_COLUMNS = (
    Column("dataset", "dataset of the alignment"),
    Column("capability", "capability that alignment is set against"),
    Column("modality", "modality of the models"),
    Column("population", "which models count"),
    Column("partners", "models of the other modality that alignment is the mean over"),
    Column("n", "models that have both values", "models"),
    Column("families", "families that they are from", "families"),
    Column("spearman", "rank correlation of capability and alignment; positive: better models are aligned more"),
    Column("low", f"lower end of its {LEVEL:.0%} interval, without measurement error"),
    Column("high", "upper end"),
    Column("pearson", "linear correlation of the two"),
    Column("pearson_low", f"lower end of its {LEVEL:.0%} interval, without measurement error"),
    Column("pearson_high", "upper end"),
    Column("spearman_noise_free", "rank correlation corrected for measurement error, as far as that is known"),
    Column("pearson_noise_free", "linear correlation, corrected likewise"),
    Column("propagated", "whose measurement errors are in the interval; empty for none"),
    Column("reason", "why there is no correlation or no interval"),
    Column("answer", "the row in words"),
)
_SHOWN = (Shown("models", "population"), Shown("partners", "partners"), Shown("answer", "answer"))
_NOTES = (
    "Alignment of a model is its mean score with the partners named, each at the best of all layer pairs.",
    "Positive: models that are better at the capability are aligned more, whichever way it counts.",
    f"Intervals are {LEVEL:.0%} and take families as wholes, as models of one family are not independent: "
    f"{REPLICATES:,} resamples of them; of fewer than {MIN_BOOTSTRAP}, or where errors are known, each is left out "
    f"once. Fewer than {MIN_MODELS} models have no correlation, fewer than {MIN_FAMILIES} families no interval.",
    "Measurement error pulls a correlation to zero: intervals are of the correlation without it, as far as standard "
    "errors of capabilities and the spread over samples of alignments tell.",
    "Random controls are in no population. Interventions are released models changed on purpose: they show how "
    "alignment follows damage, not how it grows with better training.",
    "A population of four or more models is listed for every tag of the manifest that divides them; with many "
    "populations some intervals miss zero by chance (one in twenty where nothing is there).",
)


def table(findings: Findings) -> Table:
    """Return every question of the sweep with its answer, a section per dataset and capability."""
    import pandas as pd

    rows = [
        {**question._asdict(), **answer._asdict(), "answer": str(answer)} for question, answer in answers(findings)
    ]
    return Table(
        "Does alignment grow with capability?",
        pd.DataFrame(rows, columns=[*Question._fields, *Trend._fields, "answer"]),
        _COLUMNS,
        _SHOWN,
        _NOTES,
        section=lambda row: (
            f"{row['capability']} of {row['modality']} models, aligned with {OTHER[row['modality']]} models on "
            f"{row['dataset']}"
        ),
    )
