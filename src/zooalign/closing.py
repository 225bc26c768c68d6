"""The end of a run: the head of the table, and where everything lies."""

from __future__ import annotations

import csv
import shutil
import sys
from typing import TYPE_CHECKING, Any

from zooalign.accounting import print_accounting
from zooalign.config import Sweep
from zooalign.dag import RULES, Dag
from zooalign.layout import Layout

if TYPE_CHECKING:
    from rich.console import Console


def print_closing(sweep: Sweep, layout: Layout, since: float = 0.0, head: int = 20) -> None:
    """Print what a finished sweep found.

    Parameters
    ----------
    sweep : Sweep
        The checked configuration.
    layout : Layout
        Where artefacts lie.
    since : float
        When the run began, seconds since 1970; what its jobs took is printed.
    head : int
        Most models to list.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console(file=sys.stderr, width=None if sys.stderr.isatty() else 110)
    path = layout.table("capability_alignment").with_suffix(".csv")
    if path.exists():
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        headline = sweep.config.headline
        at = f"@{headline.k}" if headline.k else ""
        mean = "mean over the trained models of the other modality"
        table = Table(title=f"Capability and alignment ({headline.metric}{at}, {mean})")
        table.add_column("model", no_wrap=True)
        table.add_column("modality")
        columns = [c.id for c in sweep.config.capabilities] + [
            f"{d}_{what}" for d in sweep.datasets() for what in ("other", "rank")
        ]
        for name in columns:
            table.add_column(name.replace("_other", " alignment").replace("_", " "), justify="right")
        for row in rows[:head]:
            mark = " †" if row["control"] == "True" else ""
            table.add_row(row["id"] + mark, row["modality"], *(_short(row.get(name, "")) for name in columns))
        console.print(table)
        if any(row["control"] == "True" for row in rows):
            console.print("† random control: never trained, in no mean and in no rank")
        if len(rows) > head:
            console.print(f"... and {len(rows) - head} more models in {path}")
        # What applies to a model and is not there; that an encoder has no bits per byte is no news.
        aligned = [f"{dataset}_other" for dataset in sweep.datasets()]
        for row in rows:
            if row["reason"] and not all(row.get(column) for column in aligned):
                console.print(f"{row['id']}: {row['reason']}", markup=False)
    print_accounting(layout, _console(), since)
    for name, files in (
        ("tables", sorted((layout.results / "tables").glob("*"))),
        ("figures", sorted((layout.results / "figures").glob("*.png"))),
    ):
        for file in files:
            console.print(f"{name:8} {file}", highlight=False)
    for file in sorted((layout.results / "datasets").glob("*/ATTRIBUTION.md")):
        console.print(f"{'licences':8} {file}", highlight=False)
    console.print(f"{'logs':8} {layout.results / 'logs'}", highlight=False)
    if sweep.failures:
        print_failures(sweep, layout, sweep.failures)
    # Of use only while jobs wait for each other; what is done stands in the items' own receipts.
    shutil.rmtree(layout.results / "jobs", ignore_errors=True)


def finish_without_failed(sweep: Sweep, layout: Layout, scheduler: Any, since: float = 0.0) -> None:
    """After a run with failed jobs: finish what can be done without them, and say what failed and why.

    Parameters
    ----------
    sweep : Sweep
        The checked configuration.
    layout : Layout
        Where artefacts lie.
    scheduler : JobScheduler
        Snakemake's, which knows the jobs that failed after all their attempts.
    since : float
        When the run began, seconds since 1970.
    """
    from zooalign.failures import find_failures, second_pass

    failed = [(job.rule.name, job.wildcards.block) for job in scheduler.failed if hasattr(job.wildcards, "block")]
    failures = find_failures(sweep, layout, failed)
    # Ctrl-C and SIGTERM leave running jobs, or say so: then nothing more is started.
    interrupted = bool(scheduler.running) or scheduler._user_kill or not scheduler.keepgoing
    if interrupted or not second_pass(sweep, layout, failures):
        print_accounting(layout, _console(), since)
        print_failures(sweep, layout, failures)


def print_failures(sweep: Sweep, layout: Layout, failures: dict[str, dict[str, str]]) -> None:
    """Print which items failed, with their message and log, and what the next run will do."""
    console = _console()
    for rule, items in failures.items():
        for name, reason in items.items():
            console.print(f"FAILED {rule} {name}: {reason}", markup=False, soft_wrap=True)
    dag = Dag(sweep, layout)
    done = sum(dag.is_done(item) for rule in RULES for item in dag.items(rule))
    total = sum(len(dag.items(rule)) for rule in RULES)
    console.print(
        f"{done} of {total} items are done and kept, {sum(map(len, failures.values()))} failed. "
        "Mend the cause and run the same command again: it continues where this run ended. "
        "`zooalign status` lists what is missing."
    )


def _console() -> Console:
    from rich.console import Console

    return Console(file=sys.stderr, width=None if sys.stderr.isatty() else 200, highlight=False)


def _short(value: str) -> str:
    try:
        number = float(value)
    except ValueError:
        return value
    return str(int(number)) if number == int(number) and abs(number) >= 1 else f"{number:.3f}"
