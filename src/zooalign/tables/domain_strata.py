"""Which samples models agree on: mean alignment of every group and source of a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zooalign import metrics
from zooalign.registry import plugin
from zooalign.results.frames import where
from zooalign.results.markdown import number, with_error
from zooalign.results.publishing import Column, Shown, Table
from zooalign.results.strata import strata

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 1

_UNIT = "unit of the metric"
_COLUMNS = (
    Column("dataset", "dataset of the samples"),
    Column("metric", "metric of the headline"),
    Column("k", "neighbours", "samples"),
    Column("kind", "what the stratum is of: the whole dataset, a group, a source"),
    Column("stratum", "which one"),
    Column("n", "samples in it", "samples"),
    Column("pairs", "released vision-language pairs averaged over", "pairs"),
    Column("mean", "mean alignment of its samples", _UNIT),
    Column("standard_error", "of the mean, over samples", _UNIT),
    Column("low", "lower end of its 95 % interval over samples", _UNIT),
    Column("high", "upper end of its 95 % interval over samples", _UNIT),
    Column("chance", "what unrelated models score", _UNIT),
    *(
        column
        for modality in ("vision", "language")
        for end, what in (("best", "highest"), ("worst", "lowest"))
        for column in (
            Column(f"{end}_{modality}", f"{modality} model with the {what} mean in the stratum"),
            Column(f"{end}_{modality}_score", "its mean over partners", _UNIT),
        )
    ),
)
_NOTES = (
    "A sample's value is its term of the score (for mutual_knn the share of its neighbours that two models have in "
    "common) at the best layers of a pair, averaged over all released vision-language pairs.",
    "Neighbours are those of the whole dataset, not searched again within a stratum: samples of a stratum with many "
    "near relatives elsewhere compete with those, and strata of different sizes compare.",
    "± is one standard error over samples with the models held fixed. Samples of one stratum are not independent of "
    "each other, so differences of less than two errors say nothing.",
)


def table(findings: Findings) -> Table:
    """Return the strata of every dataset; empty, with the reason, where there are none to tell apart."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    notes: list[str] = list(_NOTES)
    label = metrics.label(findings.metric, findings.k or None)
    if not plugin("metrics", findings.metric, "metric").HAS_TERMS:
        notes.append(f"{label} is no mean over samples, so it has no terms by stratum; name another headline metric.")
    else:
        for dataset in findings.shown.datasets:
            if findings.layout.dataset(dataset).is_dir():
                rows += _rows(findings, dataset)
            else:
                notes.append(f"{dataset}: its samples are no longer in the results, so its strata are not known.")
    return Table(
        "Alignment by group and source of the samples",
        pd.DataFrame(rows, columns=[column.name for column in _COLUMNS]),
        _COLUMNS,
        (
            Shown("kind", "kind"),
            Shown("stratum", "stratum"),
            Shown("samples", lambda row: f"{row['n']:,}"),
            Shown(label, lambda row: with_error(row["mean"], row["standard_error"])),
            Shown("chance", lambda row: number(row["chance"])),
            Shown("best vision model", lambda row: f"{row['best_vision']} ({number(row['best_vision_score'])})"),
            Shown(
                "best language model", lambda row: f"{row['best_language']} ({number(row['best_language_score'])})"
            ),
        ),
        notes,
        section=lambda row: f"{row['dataset']}, {row['pairs']:,} pairs",
    )


def _rows(findings: Findings, dataset: str) -> list[dict[str, Any]]:
    lines = where(where(where(findings.alignment, "dataset", dataset), "metric", findings.metric), "k", findings.k)
    found: list[dict[str, Any]] = []
    for one in strata(findings, dataset):
        about = {"dataset": dataset, "metric": findings.metric, "k": findings.k, "stratum": one.name,
                 "chance": lines["chance"].max()}  # fmt: skip
        for modality, extreme in one.extremes.items():
            for end in ("best", "worst"):
                about[f"{end}_{modality}"] = getattr(extreme, end)
                about[f"{end}_{modality}_score"] = getattr(extreme, f"{end}_score")
        numbers = {name: value for name, value in one._asdict().items() if name not in ("name", "extremes")}
        found.append({**about, **numbers})
    return found
