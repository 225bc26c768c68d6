"""How many tasks each model solves: a row per model of a modality that has tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from zooalign.results.frames import CONTROL_MARK, INTERVENTION_MARK, ModelRow
from zooalign.results.markdown import is_absent, number, with_error
from zooalign.results.publishing import Column, Shown, Table
from zooalign.results.solved import THRESHOLD, Solved, Tasks, by_modality

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 2

_MODEL = ("model", "modality", "family", "objective", "control", "intervention")
_COLUMNS = (
    Column("model", "model"),
    Column("modality", "vision or language"),
    Column("family", "models that have more in common than the modality"),
    Column("objective", "what it was trained for"),
    Column("control", "whether it was never trained"),
    Column("intervention", "how it was changed on purpose; empty as released"),
    Column("solved", "tasks that it solves", "tasks"),
    Column("tasks", "tasks that all compared models have", "tasks"),
    Column("fraction", "solved / tasks", "share of tasks"),
    Column("average", "mean accuracy over the tasks", "accuracy"),
    Column("standard_error", "of the average, from the test samples", "accuracy"),
    Column("bin", "fifth that the share is in; a border belongs to the upper one"),
    Column("reason", "why there is no number"),
)
_NOTES = (
    f"A model solves a task with at least {THRESHOLD:.0%} of what the best released model gets.",
    "Tasks are the capabilities that are an accuracy. Only those that every released model has count, so that all "
    "are compared on the same ones; a model without any accuracy is not compared.",
    f"{CONTROL_MARK} marks random controls, {INTERVENTION_MARK} interventions: they are held against the same best, "
    "and set none.",
    "Average accuracy is over those tasks; ± is one standard error of the test samples.",
)


def table(findings: Findings) -> Table:
    """Return what every model solves, best first, and as notes the tasks with their best."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for modality, (models, values, tasks, found) in by_modality(findings).items():
        rows += sorted((_row(model, found[model.id], tasks, values) for model in models), key=_rank)
        notes += list(_about(modality, tasks))
    frame = pd.DataFrame(rows, columns=[column.name for column in _COLUMNS])
    for column in ("solved", "tasks"):
        frame[column] = frame[column].astype("Int64")
    return Table(
        "Solved tasks",
        frame,
        _COLUMNS,
        (
            Shown("model", lambda row: row["model"] + _mark(row)),
            Shown("family", "family"),
            Shown("solved", lambda row: "" if is_absent(row["solved"]) else f"{row['solved']} of {row['tasks']}"),
            Shown("share", lambda row: "" if is_absent(row["fraction"]) else f"{row['fraction']:.0%}"),
            Shown("average accuracy", lambda row: with_error(row["average"], row["standard_error"])),
            Shown("bin", "bin"),
            Shown("missing", "reason"),
        ),
        [*_NOTES, *(notes or ["No capability of this sweep is an accuracy."])],
        section=lambda row: f"{row['modality'].capitalize()} models",
    )


def _about(modality: str, tasks: Tasks) -> Iterator[str]:
    for task, (best, model) in tasks.best.items():
        yield f"{task}: the best of the {modality} models is {model}, {number(best)}."
    for task, missing in tasks.incomplete.items():
        yield f"{task} counts for nobody: not measured for {', '.join(missing)}."


def _row(model: ModelRow, found: Solved | None, tasks: Tasks, values: Mapping[str, Any]) -> dict[str, Any]:
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


def _mark(row: Mapping[str, Any]) -> str:
    return f" {CONTROL_MARK}" if row["control"] else f" {INTERVENTION_MARK}" if row["intervention"] else ""
