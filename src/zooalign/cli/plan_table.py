"""The plan as a table, and what it means for the scheduler."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from zooalign.progress import duration

if TYPE_CHECKING:
    from rich.console import Console

    from zooalign.workflow.plan import JobPlan, Plan, RulePlan

_COLUMNS = (
    "rule",
    "jobs due",
    "items due",
    "of",
    "GPU hours",
    "core hours",
    "expected MB",
    "asked MB",
    "GiB",
    "files",
    "minutes per job",
)


def print_plan(plan: Plan, console: Console) -> None:
    """Print a plan: a line per rule, then submissions, the largest job, the total, and where the numbers come from.

    Parameters
    ----------
    plan : Plan
        As `plan.make_plan` gives it.
    console : rich.console.Console
        Where to.
    """
    from rich.table import Table

    where = "on a cluster" if plan.cluster else "on this machine"
    table = Table(title=f"What will run {where}")
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column == "rule" else "right")
    for r in plan.rules:
        if r.total:
            table.add_row(r.rule, *_cells([r]))
    table.add_section()
    table.add_row("all", *_cells(plan.rules))
    console.print(table)
    for line in summary_lines(plan):
        console.print(line, highlight=False, markup=False)


def _cells(rules: Sequence[RulePlan]) -> Iterable[str]:
    jobs = [job for r in rules for job in r.jobs]
    yield f"{len(jobs):,}"
    yield f"{sum(r.due for r in rules):,}"
    yield f"{sum(r.total for r in rules):,}"
    yield f"{sum(r.gpu_hours for r in rules):.3f}"
    yield f"{sum(r.core_hours for r in rules):.3f}"
    yield f"{max((r.expected_mb for r in rules), default=0):,}"
    yield f"{max((r.mem_mb for r in rules), default=0):,}"
    yield f"{sum(r.gib for r in rules):.2f}"
    yield f"{sum(r.files for r in rules):,}"
    yield _span([job.minutes for job in jobs])


def _span(minutes: Sequence[float]) -> str:
    """Shortest and longest job."""
    if not minutes:
        return ""
    low, high = f"{min(minutes):.1f}", f"{max(minutes):.1f}"
    return low if low == high else f"{low} to {high}"


def summary_lines(plan: Plan) -> list[str]:
    """What stands below the table."""
    jobs = sum(len(r.jobs) for r in plan.rules)
    temp = "" if plan.peak_gib is None else f", of which at most {plan.peak_gib:.2f} GiB fetched ones at a time"
    lines = [f"{plan.pairs:,} pairs of models to compare; {plan.weights_gib:.2f} GiB of weights{temp}."]
    if plan.cluster:
        here = jobs - plan.submissions
        beside = f"; {here:,} jobs run where Snakemake runs" if here else ""
        lines.append(f"{plan.submissions:,} submissions to SLURM, without repetitions{beside}.")
    if plan.gpu_classes:
        parts = (f"{name} {hours:.2f} ({jobs:,} jobs)" for name, (jobs, hours) in plan.gpu_classes.items())
        lines.append(f"GPU hours by class: {', '.join(parts)}.")
    if plan.largest:
        lines.append(f"Largest job: {_describe(plan.largest)}.")
    gpu, core = (sum(getattr(r, key) for r in plan.rules) for key in ("gpu_hours", "core_hours"))
    files, gib = sum(r.files for r in plan.rules), sum(r.gib for r in plan.rules)
    lines.append(
        f"Total: {gpu:.3f} GPU hours and {core:.3f} core hours; {files:,} files and folders (inodes), {gib:.2f} GiB."
    )
    measured, due = (sum(getattr(r, key) for r in plan.rules) for key in ("measured", "due"))
    if not due:
        return ["Nothing to do: everything is there."]
    if not measured:
        lines.append("Times follow from the manifest; nothing has been measured yet.")
    elif measured == due:
        lines.append("Times follow from records of earlier jobs.")
    else:
        rest = due - measured
        lines.append(
            f"Times of {measured:,} items follow from records of earlier jobs, of {rest:,} from the manifest."
        )
    return lines


def _describe(job: JobPlan) -> str:
    gpus = f"{job.gpus} GPU{'s' * (job.gpus > 1)}, " if job.gpus else ""
    items = f"{job.items} items" if job.items > 1 else "1 item"
    return (
        f"{job.rule} {job.name} ({items}): about {duration(60 * job.minutes)}, asks for {gpus}{job.cpus} "
        f"CPU{'s' * (job.cpus > 1)}, {job.mem_mb:,} MB and {duration(60 * job.limit_min)}"
    )
