"""How many tasks each model solves, and how alike models are that solve as many.

results/tables/solved_tasks.csv (a row per model), .bins.csv (a row per bin) and .md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.results.frames import CONTROL_MARK, INTERVENTION_MARK, ModelRow, capability_rows, model_rows
from zooalign.results.markdown import head, is_absent, line, number, with_error
from zooalign.results.means import ShownAlignment, scores, select, trained
from zooalign.results.read import check_models
from zooalign.results.solved import BINS, THRESHOLD, Alike, Solved, Tasks, accuracies, alike, solved, tasks_of
from zooalign.storage.atomic import write_bytes, write_text

if TYPE_CHECKING:
    import pandas as pd

    from zooalign.results.findings import Findings

VERSION = 1
SUFFIXES = (".csv", ".bins.csv", ".md")

_MODEL = ("model", "modality", "family", "objective", "control", "intervention")
_COLUMNS = (*_MODEL, "solved", "tasks", "fraction", "average", "standard_error", "bin", "reason")
_BIN_COLUMNS = ("dataset", "modality", "bin", "models", "pairs", "alignment", "standard_error")


# All of it from the configuration.
Options = ShownAlignment


def write(findings: Findings, path: Path) -> None:
    """Write `path`.csv, .bins.csv and .md from what a sweep found."""
    files = (Path(f"{path}{suffix}") for suffix in SUFFIXES)
    make(findings.alignment, findings.capability, findings.models, findings.shown, *files)


def make(
    alignment: pd.DataFrame,
    capability: pd.DataFrame,
    models: pd.DataFrame,
    options: Options,
    csv_path: Path | str,
    bins_path: Path | str,
    md_path: Path | str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Count solved tasks, and write the table for programs and for people.

    Parameters
    ----------
    alignment : DataFrame
        Columns of alignment.csv.
    capability : DataFrame
        As `zooalign.results.read.read_capability` gives it. Tasks are the capabilities in the unit accuracy of which
        higher is better.
    models : DataFrame
        id, modality, family, objective, causal, control, intervention: every model of the sweep.
    options : Options
        Metric, k and datasets of the alignment within a bin.
    csv_path, bins_path, md_path : path
        Where to write.

    Returns
    -------
    DataFrame, DataFrame
        As written: a row per model of a modality that has tasks, and a row per dataset, modality and bin.

    Raises
    ------
    StoreError
        If the metric, k or dataset is not in the alignment table, or `models` cannot be joined.

    Notes
    -----
    Released models set the best of a task, and only tasks that all of them have count (but for models without any
    accuracy). Random controls and interventions are held against the same best, set none, and are in no bin's
    alignment.
    """
    import pandas as pd

    check_models(models)
    rows: list[dict[str, Any]] = []
    bins: list[dict[str, Any]] = []
    tasks: dict[str, Tasks] = {}
    for modality in ("vision", "language"):
        here = [row for row in model_rows(models) if row.modality == modality]
        values = accuracies(capability_rows(capability), [row.id for row in here])
        if not values:
            continue
        compared = trained(models, modality)
        tasks[modality] = tasks_of(values, compared)
        found = {row.id: solved(tasks[modality], values, row.id) for row in here}
        rows += sorted((_row(row, found[row.id], tasks[modality], values) for row in here), key=_rank)
        members = {name: one.bin for name, one in found.items() if one is not None and name in compared}
        bins += [
            {"dataset": dataset, "modality": modality, "bin": name, "models": one.models, "pairs": one.pairs,
             "alignment": one.mean, "standard_error": one.standard_error}
            for dataset, name, one in _within(alignment, options, modality, members)
        ]  # fmt: skip
    table, by_bin = pd.DataFrame(rows, columns=list(_COLUMNS)), pd.DataFrame(bins, columns=list(_BIN_COLUMNS))
    for column in ("solved", "tasks"):
        table[column] = table[column].astype("Int64")
    for path, content in ((csv_path, table), (bins_path, by_bin)):
        write_bytes(path, content.to_csv(index=False, float_format="%.6f", lineterminator="\n").encode())
    write_text(md_path, _markdown(rows, bins, tasks, options))
    return table, by_bin


def _row(model: ModelRow, found: Solved | None, tasks: Tasks, values: Any) -> dict[str, Any]:
    about = {"model": model.id, **{name: getattr(model, name) for name in _MODEL[1:]}}
    if found is not None:
        return {**about, **found._asdict(), "fraction": found.solved / found.tasks, "reason": ""}
    lacking = [task for task in tasks.best if model.id not in values[task]]
    reason = f"no value of {', '.join(lacking)}" if lacking else "no task that all compared models have"
    return {**about, **dict.fromkeys(Solved._fields), "fraction": None, "reason": reason}


def _rank(row: dict[str, Any]) -> tuple[Any, ...]:
    """Released models first, then by tasks solved and average."""
    counted = row["solved"] is not None
    return (row["control"], row["intervention"] != "", not counted, -(row["solved"] or 0), -(row["average"] or 0.0),
            row["model"])  # fmt: skip


def _within(
    alignment: pd.DataFrame, options: Options, modality: str, members: dict[str, str]
) -> Iterator[tuple[str, str, Alike]]:
    """Dataset, bin, and how alike the models of the bin are, where models of a modality are compared."""
    for dataset in options.datasets:
        selected = select(alignment, dataset, options.metric, options.k)
        if f"{modality}-{modality}" not in set(selected["comparison"]):
            continue
        pair_scores = scores(selected, options.symmetric)
        for name in BINS:
            yield dataset, name, alike([model for model, own in members.items() if own == name], pair_scores)


def _markdown(
    rows: Sequence[dict[str, Any]], bins: Sequence[dict[str, Any]], tasks: dict[str, Tasks], options: Options
) -> str:
    text = ["# Solved tasks", ""]
    if not tasks:
        text += ["No capability of this sweep is an accuracy.", ""]
    for modality, those in tasks.items():
        text += [f"## {modality.capitalize()} models", "", "Tasks, with the best of the compared models:", ""]
        text += [f"- {task}: {number(best)} ({model})" for task, (best, model) in those.best.items()]
        text += [
            f"- {task} counts for nobody: not measured for {', '.join(missing)}"
            for task, missing in those.incomplete.items()
        ]
        text += ["", *head(["model", "family", "solved", "share", "average accuracy", "bin", "missing"])]
        text += [line(_cells(row)) for row in rows if row["modality"] == modality]
        part = [row for row in bins if row["modality"] == modality]
        if part:
            label = options.metric + (f" at k = {options.k}" if options.k else "")
            text += ["", f"Mean {label} among the models of a bin:", ""]
            text += head(["dataset", "bin", "models", "pairs", "alignment"])
            text += [
                line([row["dataset"], row["bin"], str(row["models"]), str(row["pairs"]),
                      with_error(row["alignment"], row["standard_error"])])
                for row in part
            ]  # fmt: skip
        text.append("")
    text += [
        "## How to read it",
        "",
        f"- A model solves a task with at least {THRESHOLD:.0%} of what the best released model gets.",
        "- Tasks are the capabilities that are an accuracy. Only those that every released model has count, so that",
        "  all are compared on the same ones; a model without any accuracy is not compared.",
        f"- {CONTROL_MARK} marks random controls, {INTERVENTION_MARK} interventions: they set no best and are in no"
        " bin's alignment.",
        "- Average accuracy is over those tasks; ± is one standard error of the test samples. A share on the border",
        "  of two bins is in the upper one.",
        "- ± of an alignment leaves out one model of the bin at a time, as pairs that share a model are not",
        "  independent; a bin of fewer than three models has none.",
    ]
    return "\n".join(text) + "\n"


def _cells(row: dict[str, Any]) -> list[str]:
    mark = f" {CONTROL_MARK}" if row["control"] else f" {INTERVENTION_MARK}" if row["intervention"] else ""
    counted = not is_absent(row["solved"])
    return [
        row["model"] + mark,
        row["family"],
        f"{row['solved']} of {row['tasks']}" if counted else "",
        f"{row['fraction']:.0%}" if counted else "",
        with_error(row["average"], row["standard_error"]),
        row["bin"] or "",
        row["reason"],
    ]
