"""The command line: `zooalign status`, `plan`, `score`, `submit`, `store`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zooalign import __version__
from zooalign.errors import ZooalignError
from zooalign.store_command import app as store_app
from zooalign.submit_command import app as submit_app

if TYPE_CHECKING:
    from zooalign.config import Sweep
    from zooalign.layout import Layout

app = typer.Typer(
    help="Which models see the world alike, and does it grow with capability?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(submit_app, name="submit")
app.add_typer(store_app, name="store")
ConfigOption = Annotated[Path, typer.Option("--config", help="The configuration of the sweep.")]


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


def _sweep(config: Path) -> tuple[Sweep, Layout]:
    from zooalign.config import load_sweep, read_config
    from zooalign.layout import Layout

    sweep = load_sweep(read_config(config), root=config.parent)
    return sweep, Layout(config.parent / sweep.config.results)


@app.command()
def status(
    config: ConfigOption = Path("config.yaml"),
    every: Annotated[bool, typer.Option("--all", help="List what is done, too.")] = False,
    limit: Annotated[int, typer.Option(help="Most lines per kind; 0 lists everything.")] = 20,
) -> None:
    """Show what is done, running, failed, stale or missing, and why: before, while and after a sweep runs."""
    from rich.console import Console
    from rich.table import Table

    from zooalign.status import STATES, Status, summary

    sweep, layout = _sweep(config)
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
    for name, reason in sweep.left_out.items():
        console.print(f"left out model      {name}: {reason}", **plain)


@app.command()
def plan(
    config: ConfigOption = Path("config.yaml"),
    cluster: Annotated[
        bool | None,
        typer.Option("--cluster/--local", help="For SLURM or for this machine; default: SLURM if it is here."),
    ] = None,
) -> None:
    """Show what the sweep will need before it runs: jobs, submissions, hours, memory, GiB and files, per rule."""
    import shutil

    from rich.console import Console

    from zooalign.plan import make_plan
    from zooalign.plan_table import print_plan

    sweep, layout = _sweep(config)
    on_cluster = shutil.which("sbatch") is not None if cluster is None else cluster
    print_plan(make_plan(sweep, layout, on_cluster), Console(width=None if sys.stdout.isatty() else 140))


@app.command()
def partitions() -> None:
    """Print a partition file (profiles/slurm/partitions.yaml) with what this cluster's SLURM says of itself."""
    from zooalign.preflight import Cluster, partition_yaml

    print(partition_yaml(Cluster.read().nodes), end="")


@app.command()
def score(
    x: Annotated[str, typer.Argument(help="First model: .npy or .npz array, feature store, or index.")],
    y: Annotated[str, typer.Argument(help="Second model, likewise; same samples in the same order.")],
    metric: Annotated[str, typer.Option(help="Metrics, comma-separated.")] = "mutual_knn",
    k: Annotated[str, typer.Option(help="Numbers of neighbours, comma-separated.")] = "10",
    prepare: Annotated[str | None, typer.Option(help="Preparation, as key=value,... (docs/metrics.md).")] = None,
    null: Annotated[int, typer.Option(help="Permutations of the null; 0: none.")] = 0,
    bootstrap: Annotated[int, typer.Option(help="Resamples of the interval; 0: none.")] = 0,
    alpha: Annotated[float, typer.Option(help="Level of the test.")] = 0.05,
    level: Annotated[float, typer.Option(help="Coverage of the interval.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of permutations and resamples.")] = 0,
    json_file: Annotated[str | None, typer.Option("--json", help="Write everything to this file.")] = None,
) -> None:
    """Score two models against each other: every layer pair, the best one printed."""
    from zooalign.scoring import score_command

    table = score_command(
        x,
        y,
        metric=metric,
        k=k,
        prepare=prepare,
        null=null,
        bootstrap=bootstrap,
        alpha=alpha,
        level=level,
        seed=seed,
        json_file=json_file,
    )
    print(table)


def main() -> None:
    """Run the command line; a user's error is one message and exit status 1."""
    try:
        app()
    except ZooalignError as error:
        print(f"zooalign: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
