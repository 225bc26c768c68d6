"""The command line: `zooalign status`, `plan`, `score`, `submit`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zooalign import __version__
from zooalign.errors import ZooalignError

if TYPE_CHECKING:
    from zooalign.config import Sweep
    from zooalign.layout import Layout

app = typer.Typer(
    help="Which models see the world alike, and does it grow with capability?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
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
    """Show what is done, missing or stale, and why, before anything runs."""
    from rich.console import Console
    from rich.table import Table

    from zooalign.status import Status, summary

    sweep, layout = _sweep(config)
    states = Status(sweep, layout).artefacts()
    console = Console(width=None if sys.stdout.isatty() else 200)
    counts = Table(title=f"{config}: {len(sweep.models)} models, datasets {', '.join(sweep.config.datasets)}")
    for column in ("artefact", "done", "missing", "stale", "partial"):
        counts.add_column(column, justify="left" if column == "artefact" else "right")
    for kind, count in summary(states):
        counts.add_row(kind, *(str(count[name]) for name in ("done", "missing", "stale", "partial")))
    console.print(counts)
    for kind, _ in summary(states):
        listed = [s for s in states if s.kind == kind and (every or s.state != "done")]
        for s in listed[: limit or None]:
            log = f" (log: {s.log})" if s.log else ""
            console.print(f"{s.state:8} {kind:10} {s.name}: {s.reason or 'done'}{log}", highlight=False, markup=False)
        if limit and len(listed) > limit:
            console.print(f"         ... and {len(listed) - limit} more ({kind}); --limit 0 lists all")
    for name, reason in sweep.left_out.items():
        console.print(f"left out model      {name}: {reason}", highlight=False, markup=False)


@app.command()
def plan(config: ConfigOption = Path("config.yaml")) -> None:
    """Show what the sweep will need before it runs: jobs, hours, memory, GiB and files, per rule."""
    from rich.console import Console
    from rich.table import Table

    from zooalign.plan import make_plan

    sweep, layout = _sweep(config)
    rules = make_plan(sweep, layout)
    table = Table(title="What will run (estimates: from records of earlier runs where there are any)")
    for column in ("rule", "jobs due", "of", "GPU hours", "core hours", "largest MB", "GiB", "files"):
        table.add_column(column, justify="left" if column == "rule" else "right")
    for r in rules:
        gpu, core = (r.hours, 0.0) if r.on_gpu else (0.0, r.hours)
        table.add_row(
            r.rule,
            f"{r.due:,}",
            f"{r.total:,}",
            f"{gpu:.3f}",
            f"{core:.3f}",
            f"{r.mem_mb:,}",
            f"{r.gib:.2f}",
            f"{r.files:,}",
        )
    table.add_section()
    gpu_hours, core_hours = (sum(r.hours for r in rules if r.on_gpu is flag) for flag in (True, False))
    table.add_row(
        "all",
        f"{sum(r.due for r in rules):,}",
        f"{sum(r.total for r in rules):,}",
        f"{gpu_hours:.3f}",
        f"{core_hours:.3f}",
        f"{max(r.mem_mb for r in rules):,}",
        f"{sum(r.gib for r in rules):.2f}",
        f"{sum(r.files for r in rules):,}",
    )
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    weights = sum(4 * m.parameters for m in sweep.models) / 2**30
    pairs = next(r.pairs for r in rules if r.rule == "align_row")
    console.print(f"{len(sweep.models)} models, {weights:.2f} GiB of weights in float32, {pairs:,} pairs to compare.")


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


@app.command()
def submit(
    models: Annotated[list[str], typer.Argument(help="Ids of models.")],
    dataset: Annotated[str, typer.Option(help="Id of the dataset.")],
    config: ConfigOption = Path("config.yaml"),
    cluster: Annotated[str | None, typer.Option(help="slurm, local or debug; default: slurm where it is.")] = None,
    timeout_min: Annotated[int, typer.Option(help="Time limit of a job, minutes.")] = 60,
    mem_gb: Annotated[float, typer.Option(help="Memory of a job, GB.")] = 4.0,
    gpus: Annotated[int, typer.Option(help="GPUs of a job.")] = 0,
    partition: Annotated[str | None, typer.Option(help="SLURM partition.")] = None,
) -> None:
    """Extract features of some models as jobs of their own, outside the workflow, and wait for them."""
    from zooalign.errors import ConfigError, unknown
    from zooalign.progress import report_to_stderr
    from zooalign.submission import Extraction
    from zooalign.submission import submit as run

    known = ("slurm", "local", "debug")
    if cluster is not None and cluster not in known:
        raise ConfigError(unknown("cluster", cluster, known))
    sweep, layout = _sweep(config)
    tasks = [Extraction(sweep, layout, sweep.model(m).id, sweep.dataset(dataset).id) for m in models]
    stores = run(
        tasks,
        cluster,  # type: ignore[arg-type]
        layout.results / "logs" / "submit",
        report_to_stderr,
        timeout_min=timeout_min,
        mem_gb=mem_gb,
        gpus=gpus,
        partition=partition,
    )
    for store in stores:
        print(store)


def main() -> None:
    """Run the command line; a user's error is one message and exit status 1."""
    try:
        app()
    except ZooalignError as error:
        print(f"zooalign: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
