"""The end of a run: the head of the table, and where everything lies."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from zooalign.config import Sweep
from zooalign.layout import Layout


def print_closing(sweep: Sweep, layout: Layout, head: int = 20) -> None:
    """Print what a finished sweep found.

    Parameters
    ----------
    sweep : Sweep
        The checked configuration.
    layout : Layout
        Where artefacts lie.
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
            f"{d}_{what}" for d in sweep.config.datasets for what in ("other", "rank")
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
        aligned = [f"{dataset}_other" for dataset in sweep.config.datasets]
        for row in rows:
            if row["reason"] and not all(row.get(column) for column in aligned):
                console.print(f"{row['id']}: {row['reason']}", markup=False)
    for name, files in (
        ("tables", sorted((layout.results / "tables").glob("*"))),
        ("figures", sorted((layout.results / "figures").glob("*.png"))),
    ):
        for file in files:
            console.print(f"{name:8} {file}", highlight=False)
    for file in sorted((layout.results / "datasets").glob("*/ATTRIBUTION.md")):
        console.print(f"{'licences':8} {file}", highlight=False)
    console.print(f"{'logs':8} {layout.results / 'logs'}", highlight=False)


def print_failures(sweep: Sweep, layout: Layout) -> None:
    """Print which jobs failed, with their message and log, and what the next run will do.

    Parameters
    ----------
    sweep : Sweep
        The checked configuration.
    layout : Layout
        Where artefacts lie.
    """
    from rich.console import Console

    from zooalign.status import Status

    console = Console(file=sys.stderr, width=None if sys.stderr.isatty() else 200, highlight=False, markup=False)
    states = Status(sweep, layout).artefacts()
    failed = [s for s in states if s.log]
    for s in failed:
        errors = [line for line in Path(s.log).read_text(encoding="utf-8").splitlines() if "ERROR: " in line]
        console.print(f"FAILED {s.kind} {s.name}: {errors[-1].split('ERROR: ', 1)[1]} (log: {s.log})")
    done = sum(s.state == "done" for s in states)
    console.print(
        f"{done} of {len(states)} artefacts are done and kept, {len(failed)} jobs failed. "
        "Mend the cause and run the same command again: it continues where this run ended."
    )


def _short(value: str) -> str:
    try:
        number = float(value)
    except ValueError:
        return value
    return str(int(number)) if number == int(number) and abs(number) >= 1 else f"{number:.3f}"
