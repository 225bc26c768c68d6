"""The end of a run: the head of the table, and where everything lies."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import TYPE_CHECKING

from zooalign.planning.usage import print_accounting
from zooalign.results.frames import IMPORTED_MARK, IMPORTED_NOTE
from zooalign.results.publishing import read_csv, read_header
from zooalign.workflow.work import Item, Work

if TYPE_CHECKING:
    from rich.console import Console


def print_closing(work: Work, since: float = 0.0, head: int = 30) -> None:
    """Print what a run that succeeded made; the head of the table only if it is the sweep's.

    Parameters
    ----------
    work : Work
        The sweep, as it is now.
    since : float
        When the run began, seconds since 1970; what its jobs took is printed.
    head : int
        Most models to list.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console(file=sys.stderr, width=None if sys.stderr.isatty() else 110)
    sweep, layout = work.sweep, work.layout
    due = [item for item in work.all_items() if work.is_due(item)]
    path = layout.table("capability_alignment").with_suffix(".csv")
    if path.exists() and Item("make_tables", ("capability_alignment",)) not in due:
        rows = read_csv(path)
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
        imported = {m.id for m in sweep.models if m.imported}
        for row in rows[:head]:
            mark = " †" if row["control"] == "True" else " ‡" if row["intervention"] else ""
            mark += f" {IMPORTED_MARK}" if row["id"] in imported else ""
            table.add_row(row["id"] + mark, row["modality"], *(_short(row.get(name, "")) for name in columns))
        console.print(table)
        if any(row["control"] == "True" for row in rows):
            console.print("† random control: never trained, in no mean and in no rank")
        if any(row["intervention"] for row in rows):
            console.print("‡ intervention: a model changed on purpose, in no mean and in no rank")
        if imported & {row["id"] for row in rows}:
            console.print(IMPORTED_NOTE)
        if len(rows) > head:
            console.print(f"... and {len(rows) - head} more models in {path}")
        # What applies to a model and is not there; that an encoder has no bits per byte is no news.
        aligned = [f"{dataset}_other" for dataset in sweep.datasets()]
        for row in rows:
            if row["reason"] and not all(row.get(column) for column in aligned):
                console.print(f"{row['id']}: {row['reason']}", markup=False)
    _print_answer(work, due, console)
    print_accounting(layout, _console(), since)
    for rule, name in (("make_tables", "tables"), ("make_figures", "figures")):
        made = [work.files(*item) for item in work.items(rule) if item not in due]
        if made:
            suffixes = [file.suffix for file in made[0]]
            names = ", ".join(sorted(files[0].stem for files in made))
            said = f"{layout.results / name}: {names} ({', '.join(suffixes[:-1])} and {suffixes[-1]} each)"
            console.print(f"{name:8} {said}", highlight=False)
    [report] = work.items("make_report")
    if report not in due:
        console.print(f"{'report':8} {layout.report()} (open it in a browser)", highlight=False)
    for file in sorted((layout.results / "datasets").glob("*/ATTRIBUTION.md")):
        console.print(f"{'licences':8} {file}", highlight=False)
    console.print(f"{'logs':8} {layout.results / 'logs'}", highlight=False)
    if sweep.failures:
        print_failures(work, sweep.failures)
    elif due:
        console.print(
            f"{len(due)} of {len(work.all_items())} outputs are not made or not up to date (this run was asked for "
            "others): run without targets, --until and --omit-from for all of them.",
            soft_wrap=True,
        )


def _print_answer(work: Work, due: Collection[Item], console: Console) -> None:
    """The answer that stands above every table, from one that is the sweep's."""
    made = [item for item in work.items("make_tables") if item not in due]
    if made:
        parquet = next(file for file in work.files(*made[0]) if file.suffix == ".parquet")
        for answer in read_header(parquet).answers:
            console.print(answer, soft_wrap=True, markup=False, highlight=False)


def finish_without_failed(
    work: Work, failed: Collection[Item], interrupted: bool, folder: str, since: float
) -> dict[str, dict[str, str]]:
    """After a run with failed jobs: finish what can be done without them.

    Parameters
    ----------
    work : Work
        The sweep, as it is now.
    failed : collection of Item
        What failed after all attempts.
    interrupted : bool
        Whether the user ended the run: then nothing more is started.
    folder : str
        Where the command was given; paths in it are relative to that.
    since : float
        When the run began, seconds since 1970.

    Returns
    -------
    dict
        What failed and why, as `Sweep.failures`; empty where a second pass has said so.
    """
    from zooalign.workflow.failures import find_failures, find_refused, second_pass

    if not interrupted:
        refused = find_refused(work, failed, since)
        if second_pass(work, find_failures(work, set(failed) - refused), folder, refused):
            return {}
    return find_failures(work, failed)


def print_failures(work: Work, failures: dict[str, dict[str, str]], since: float | None = None) -> None:
    """Print which items failed, with their message and log, and what the next run will do."""
    if since is not None:
        print_accounting(work.layout, _console(), since)
    console = _console()
    for rule, items in failures.items():
        for name, reason in items.items():
            console.print(f"FAILED {rule} {name}: {reason}", markup=False, soft_wrap=True)
    items = work.all_items()
    done = sum(not work.is_due(item) for item in items)
    console.print(
        f"{done} of {len(items)} items are done and kept, {sum(map(len, failures.values()))} failed. "
        "Fix the cause and run the same command again: it continues where this run ended. "
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
