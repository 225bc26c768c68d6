"""The command line of zooalign: one module per group of commands, and those that stand alone here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from zooalign import __version__
from zooalign.cli.capability import app as capability_app
from zooalign.cli.options import ConfigOption, open_config, scoring, takes
from zooalign.cli.sharing import app as export_app
from zooalign.cli.sharing import import_file
from zooalign.cli.store import app as store_app
from zooalign.cli.submit import app as submit_app
from zooalign.cli.zoo import app as zoo_app
from zooalign.errors import ZooalignError

app = typer.Typer(
    help="Which models see the world alike, and does it grow with capability?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(submit_app, name="submit")
app.add_typer(store_app, name="store")
app.add_typer(zoo_app, name="zoo")
app.add_typer(capability_app, name="capability")
app.add_typer(export_app, name="export")
app.command("import")(import_file)


def _version(show: bool) -> None:
    if show:
        print(f"zooalign {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del version


@app.command()
def status(
    config: ConfigOption = Path("config.yaml"),
    every: Annotated[bool, typer.Option("--all", help="List what is done, too.")] = False,
    limit: Annotated[int, typer.Option(help="Most lines per kind; 0 lists everything.")] = 20,
) -> None:
    """Show what is done, running, failed, stale or missing, and why: before, while and after a sweep runs."""
    from rich.console import Console
    from rich.table import Table

    from zooalign.slurm.squeue import queued, waiting
    from zooalign.workflow.status import STATES, Status, not_imported, summary

    sweep, layout = open_config(config)
    states = Status(sweep, layout).artefacts()
    console = Console(width=None if sys.stdout.isatty() else 200)
    plain: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}
    counts = Table(title=f"{config}: {len(sweep.models)} models, datasets {', '.join(sweep.config.datasets)}")
    for column in ("artefact", *STATES):
        counts.add_column(column, justify="left" if column == "artefact" else "right")
    for kind, count in summary(states):
        counts.add_row(kind, *(str(count[name] or "") for name in STATES))
    console.print(counts)
    for kind, _ in summary(states):
        listed = [s for s in states if s.kind == kind and (every or s.state != "done")]
        for s in listed[: limit or None]:
            log = f" (log: {s.log})" if s.log else ""
            console.print(f"{s.state:8} {kind:10} {s.name}: {s.reason or 'done'}{log}", **plain)
        if limit and len(listed) > limit:
            console.print(f"         ... and {len(listed) - limit} more ({kind}); --limit 0 lists all")
    pending = waiting(queued())
    for line in pending[: limit or None]:
        console.print(f"pending  {line}", **plain)
    if limit and len(pending) > limit:
        console.print(f"         ... and {len(pending) - limit} more jobs wait; --limit 0 lists all")
    for line in not_imported(sweep):
        console.print(f"imported model      {line}", **plain)
    for name, reason in sweep.left_out.items():
        console.print(f"left out model      {name}: {reason}", **plain)


@app.command()
def plan(
    config: ConfigOption = Path("config.yaml"),
    cluster: Annotated[
        bool | None,
        typer.Option("--cluster/--local", help="For SLURM or for this machine; default: SLURM if it is here."),
    ] = None,
    profile: Annotated[
        Path, typer.Option(help="Snakemake profile whose groups put small jobs together, beside the configuration.")
    ] = Path("profiles/slurm"),
) -> None:
    """Show what the sweep will need before it runs: jobs, submissions, hours, memory, GiB and files, per rule."""
    import shutil

    from rich.console import Console

    from zooalign.cli.plan_table import print_plan
    from zooalign.workflow.plan import Groups, make_plan

    sweep, layout = open_config(config)
    on_cluster = shutil.which("sbatch") is not None if cluster is None else cluster
    groups = Groups.read(config.parent / profile / "config.yaml")
    print_plan(make_plan(sweep, layout, on_cluster, groups), Console(width=None if sys.stdout.isatty() else 140))


@app.command()
def partitions() -> None:
    """Print a partition file (profiles/slurm/partitions.yaml) with what this cluster's SLURM says of itself."""
    from zooalign.slurm.sinfo import partition_yaml, read_cluster_nodes

    print(partition_yaml(read_cluster_nodes()), end="")


@app.command()
@takes(how=scoring)
def score(
    x: Annotated[str, typer.Argument(help="First model: .npy or .npz array, feature store, or index.")],
    y: Annotated[str, typer.Argument(help="Second model, likewise; same samples in the same order.")],
    *,
    how: dict[str, Any],
    json_file: Annotated[str | None, typer.Option("--json", help="Write everything to this file.")] = None,
    part: Annotated[
        str | None, typer.Option(help="Only a range of the layers of X: 2/8, the second of eight.")
    ] = None,
) -> None:
    """Score two models against each other: every layer pair, the best one printed."""
    from zooalign.alignment.score import score_command

    print(score_command(x, y, json_file=json_file, part=part, **how))


@app.command("merge-scores")
def merge_scores(
    files: Annotated[list[Path], typer.Argument(help="JSON files of all parts (score --part 1/8 --json FILE).")],
    json_file: Annotated[str | None, typer.Option("--json", help="Write everything to this file.")] = None,
) -> None:
    """Put the scores of one pair together that was scored in parts, its null included."""
    from zooalign.alignment.parts import merge_parts

    scores = merge_parts(files)
    if json_file is not None:
        scores.write(json_file)
    print(scores)


def main() -> None:
    """Run the command line; a user's error is one message and exit status 1."""
    try:
        app()
    except ZooalignError as error:
        print(f"zooalign: {error}", file=sys.stderr)
        raise SystemExit(1) from None
