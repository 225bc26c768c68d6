"""Do metrics agree on which models are alike, and do they keep what theory demands (Huh et al. 2024, Figure 12)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from zooalign.results.agreement import Agreement, agreements
from zooalign.results.demands import Verdict, verdicts
from zooalign.results.populations import MIN_FAMILIES, MIN_MODELS
from zooalign.results.publishing import Column, Shown, Table

if TYPE_CHECKING:
    import pandas as pd

    from zooalign.results.findings import Findings

VERSION = 2

_COLUMNS = (
    Column("dataset", "dataset of the alignment"),
    Column("comparison", "modalities of the two models of a pair"),
    Column("kind", "correlation: of two metrics; demand: what theory says of two metrics"),
    Column("first", "metric and k; of a demand its left side"),
    Column("second", "metric and k; of a demand its right side"),
    Column("demand", "what theory demands; empty for a correlation"),
    Column("pairs", "pairs of models: released ones of a correlation, all of a demand", "pairs"),
    Column("models", "models in the pairs of a correlation", "models"),
    Column("families", "families that they are from", "families"),
    Column("spearman", "rank correlation of the two over pairs, each at its own best layers"),
    Column("standard_error", "of the correlation, leaving out a family at a time"),
    Column("layer_pairs", "layer pairs that a demand was checked in", "layer pairs"),
    Column("violations", "of them, those that violate it beyond rounding", "layer pairs"),
    Column("worst", "largest left minus right side (of an equality: difference); not above 0: none exceeds", "score"),
    Column("holds", "whether no layer pair violates it"),
)
_NOTES = (
    "Spearman's rank correlation of two metrics over the pairs of released models that have a score under every "
    "metric. High: both put the same pairs of models first.",
    "Each metric is taken at its own best layers of a pair, never at layers that another metric chose.",
    "Pairs that share a model are not independent: read n as models and families rather than pairs. The standard "
    f"error, in the CSV and Parquet files, leaves out a family at a time. Fewer than {MIN_MODELS} models have no "
    f"correlation, fewer than {MIN_FAMILIES} families no error.",
    "What theory demands is checked at the same layer pair, in every layer pair of every pair of models, controls "
    "and interventions included; maxima follow.",
)
_NO_DEMANDS = (
    "Theory demands nothing of the metrics of this sweep. It does of edit_distance_knn, lcs_knn, jaccard_knn and "
    "mutual_knn at the same k: add two of them."
)
_NO_LIMIT = (
    "That CKNNA at k = n - 1 is the unbiased CKA was not checked: it takes cknna_exact at that k and unbiased_cka, "
    "or cknna at that k and unbiased_cka_published."
)


def table(findings: Findings) -> Table:
    """Return a row per two metrics and per demand; people see a matrix per dataset and comparison."""
    import pandas as pd

    datasets = findings.shown.datasets
    found, checked = list(agreements(findings, datasets)), verdicts(findings, datasets)
    names = [column.name for column in _COLUMNS]
    frame = pd.DataFrame([*_correlations(found), *_demands(checked)], columns=names)
    counts = ("models", "families", "layer_pairs", "violations")
    frame = frame.astype({**dict.fromkeys(counts, "Int64"), "holds": "boolean"})
    labels = list(dict.fromkeys(label for one in found for label in one.labels))
    return Table(
        "Do metrics agree on which models are alike?",
        frame,
        _COLUMNS,
        (Shown("metric", "metric"), *(Shown(label, lambda row, at=label: _short(row.get(at))) for label in labels)),
        [*_NOTES, *_said(checked)],
        section="section",
        rows_shown=_matrices(found, labels),
    )


def _correlations(found: Sequence[Agreement]) -> Iterator[dict[str, Any]]:
    for one in found:
        for i, j in combinations(range(len(one.labels)), 2):
            yield {
                "dataset": one.dataset, "comparison": one.comparison, "kind": "correlation", "first": one.labels[i],
                "second": one.labels[j], "demand": "", "pairs": one.pairs, "models": one.models,
                "families": one.families, "spearman": one.spearman[i, j],
                "standard_error": one.standard_error[i, j],
            }  # fmt: skip


def _demands(checked: Sequence[Verdict]) -> Iterator[dict[str, Any]]:
    for one in checked:
        yield {
            "dataset": one.dataset, "comparison": one.comparison, "kind": "demand", "first": str(one.demand.left),
            "second": str(one.demand.right), "demand": str(one.demand), "pairs": one.pairs,
            "layer_pairs": one.layer_pairs, "violations": one.violations, "worst": one.worst, "holds": one.holds,
        }  # fmt: skip


def _matrices(found: Sequence[Agreement], labels: Sequence[str]) -> pd.DataFrame:
    """A row per metric of two or more, with its correlation with each of them."""
    import pandas as pd

    rows = []
    for one in found:
        if len(one.labels) < 2:
            continue
        of = f"{one.pairs:,} pairs of {one.models} models of {one.families} families"
        section = f"{one.comparison} on {one.dataset}: {of}"
        for label, values in zip(one.labels, one.spearman, strict=True):
            rows.append(
                {"section": section, "metric": label, **dict(zip(one.labels, map(float, values), strict=True))}
            )
    return pd.DataFrame(rows, columns=["section", "metric", *labels])


def _said(checked: Sequence[Verdict]) -> Iterator[str]:
    """What was demanded and found, in words: one sentence per demand and dataset."""
    groups: dict[tuple[str, str], list[Verdict]] = {}
    for one in checked:
        groups.setdefault((one.dataset, str(one.demand)), []).append(one)
    for (dataset, demand), those in groups.items():
        yield f"{demand} on {dataset}: {_verdict(those)}."
    if not checked:
        yield _NO_DEMANDS
    if not any(one.demand.equal for one in checked):
        yield _NO_LIMIT


def _verdict(those: Sequence[Verdict]) -> str:
    pairs, layer_pairs = sum(one.pairs for one in those), sum(one.layer_pairs for one in those)
    violations, worst = sum(one.violations for one in those), max(one.worst for one in those)
    where = f"{layer_pairs:,} layer pairs of {pairs:,} pairs of models"
    largest = "largest difference" if those[0].demand.equal else "largest left minus right"
    if violations:
        return f"violated in {violations:,} of {where} ({largest} {worst:.2e})"
    return f"holds in {where} ({largest} {worst:.2e})"


def _short(value: Any) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.2f}"
