"""Which way pairs of models lean: whose neighbourhoods come back through the other more often."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from zooalign.results.cycles import BACK_IN_X, BACK_IN_Y, Lean, Summary, Z, cycles
from zooalign.results.frames import CONTROL_MARK, INTERVENTION_MARK, model_rows
from zooalign.results.markdown import number, with_error
from zooalign.results.publishing import Column, Shown, Table

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 1

_COLUMNS = (
    Column("dataset", "dataset of the alignment"),
    Column("comparison", "modalities of x and y"),
    Column("kind", "pair: of two models; summary: mean over the released pairs across modalities"),
    Column("model_x", "x, the vision model across modalities; empty for a summary"),
    Column("model_y", "y"),
    Column("k", "neighbours"),
    Column("n", "samples", "samples"),
    Column("pairs", "pairs of models", "pairs"),
    Column("released", "whether neither model is a control or an intervention"),
    Column("out_x", f"step to x's neighbours, back by y's ({BACK_IN_Y})", "share of samples"),
    Column("out_y", f"step to y's neighbours, back by x's ({BACK_IN_X})", "share of samples"),
    Column("difference", "out_x - out_y", "share of samples"),
    Column("standard_error", "of the difference, over samples, paired", "share of samples"),
    Column("low", "lower end of its 95 % interval", "share of samples"),
    Column("high", "upper end of its 95 % interval", "share of samples"),
    Column("error_of_models", "of the mean difference, leaving out a family at a time", "share of samples"),
    Column("above", "pairs whose interval is above 0", "pairs"),
    Column("below", "pairs whose interval is below 0", "pairs"),
)
_NOTES = (
    "A sample counts if a step to one of its k neighbours in one model and a step to one of that one's k neighbours "
    "in the other come back to it.",
    "Above 0: x's neighbourhoods come back through y more often than y's through x. Zhang et al. 2026 "
    "(arXiv 2605.09352) read the asymmetry as a direction of convergence; it also follows from hubs, samples that "
    "are in many lists of one model.",
    "Each direction is taken at its own best layers, and so are the terms of its samples.",
    f"Errors and intervals ({Z} standard errors) are of the samples, paired, with neighbours and best layers held "
    "fixed. All pairs share the samples and pairs share models: the mean over pairs has a second error, in the CSV "
    "and Parquet files, that leaves out a family at a time.",
    f"{CONTROL_MARK} marks random controls, {INTERVENTION_MARK} interventions; they are in no mean.",
)
_LACKS = f"This sweep lacks a direction: add {BACK_IN_X} and {BACK_IN_Y} at the same k to `metrics`."


def table(findings: Findings) -> Table:
    """Return a row per pair, and per dataset and k the mean over released pairs; empty without both directions."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for dataset in findings.shown.datasets:
        leans, summaries = cycles(findings, dataset)
        rows += [_summary(dataset, one, leans) for one in summaries]
        rows += [_pair(dataset, one) for one in sorted(leans, key=_order)]
    frame = pd.DataFrame(rows, columns=[column.name for column in _COLUMNS])
    frame = frame.astype(dict.fromkeys(("k", "n", "pairs", "above", "below"), "Int64"))
    marks = {row.id: row.mark for row in model_rows(findings.models)}

    def name(row: Any, side: str) -> str:
        return row[side] + marks.get(row[side], "")

    return Table(
        "Which way does each pair lean?",
        frame,
        _COLUMNS,
        (
            Shown("x", lambda row: name(row, "model_x") or f"mean of {row['pairs']} pairs"),
            Shown("y", lambda row: name(row, "model_y") or f"{row['above']} above 0, {row['below']} below"),
            Shown("out by x", "out_x"),
            Shown("out by y", "out_y"),
            Shown("difference", lambda row: with_error(row["difference"], row["standard_error"])),
            Shown("95 % interval", lambda row: f"{number(row['low'])} to {number(row['high'])}"),
        ),
        [*_NOTES, *_said(rows)],
        section=lambda row: f"{row['comparison']} on {row['dataset']}, k = {row['k']}",
    )


def _order(one: Lean) -> tuple[Any, ...]:
    return one.k, one.comparison != "vision-language", one.comparison, not one.released, -one.difference, one.x, one.y


def _numbers(one: Lean | Summary) -> dict[str, float]:
    reach = Z * one.error
    return {
        "out_x": one.out_x, "out_y": one.out_y, "difference": one.difference, "standard_error": one.error,
        "low": one.difference - reach, "high": one.difference + reach,
    }  # fmt: skip


def _pair(dataset: str, one: Lean) -> dict[str, Any]:
    about = {"dataset": dataset, "comparison": one.comparison, "kind": "pair", "model_x": one.x, "model_y": one.y}
    return {**about, "k": one.k, "n": one.n, "pairs": 1, "released": one.released, **_numbers(one)}


def _summary(dataset: str, one: Summary, leans: list[Lean]) -> dict[str, Any]:
    return {
        "dataset": dataset, "comparison": "vision-language", "kind": "summary", "model_x": "", "model_y": "",
        "k": one.k, "n": leans[0].n, "pairs": one.pairs, "released": True, **_numbers(one),
        "error_of_models": one.error_of_models, "above": one.above, "below": one.below,
    }  # fmt: skip


def _said(rows: list[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        yield _LACKS
    for row in rows:
        if row["kind"] == "summary":
            more = "no more or less often than the reverse, as far as its interval says"
            if row["low"] > 0:
                more = "more often than the reverse"
            if row["high"] < 0:
                more = "less often than the reverse"
            yield (
                f"{row['dataset']}, k = {row['k']}: vision's neighbourhoods come back through language {more} "
                f"({row['difference']:+.4f} ± {row['standard_error']:.4f} over samples, ± "
                f"{number(row['error_of_models']) or 'unknown'} over families; {row['pairs']} pairs)."
            )
