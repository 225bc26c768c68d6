"""`zooalign submit extract|align|score`: options of the command line to tasks and back."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zooalign.cli import options
from zooalign.cli.options import ConfigOption, Jobs, open_config, takes
from zooalign.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zooalign.config.sweep import Sweep
    from zooalign.submit.task import Task

app = typer.Typer(
    help="Run a few tasks as jobs of their own, outside the workflow: on SLURM, as local processes, or here.",
    no_args_is_help=True,
)
Models = Annotated[list[str], typer.Argument(help="Ids of models.")]
Dataset = Annotated[str, typer.Option(help="Id of the dataset.")]


@app.command()
@takes(jobs=options.jobs)
def extract(
    models: Models,
    dataset: Dataset,
    *,
    jobs: Jobs,
    shards: Annotated[int, typer.Option(min=1, help="Jobs per model; their parts are joined at the end.")] = 1,
    keep_shards: Annotated[bool, typer.Option("--keep-shards", help="Do not remove shards once joined.")] = False,
    config: ConfigOption = Path("config.yaml"),
) -> None:
    """Features of models on a dataset: a job per model, or several with --shards."""
    from zooalign.submit.submission import Extraction, Merge, ShardExtraction

    sweep, layout = open_config(config)
    chosen = [(sweep.model(model).id, sweep.dataset(dataset).id) for model in dict.fromkeys(models)]
    if shards == 1:
        _submit([Extraction(sweep, layout, *parts) for parts in chosen], jobs)
        return
    parts_of = [ShardExtraction(sweep, layout, *parts, i, shards) for parts in chosen for i in range(1, shards + 1)]
    if not jobs.wait:
        _submit(parts_of, jobs)
        for model, name in chosen:
            print(f"when they have ended: zooalign store merge --model {model} --dataset {name}")
        return
    _submit(parts_of, jobs, show=False)
    merges = [Merge(sweep, layout, *parts, remove=not keep_shards, of=shards) for parts in chosen]
    # Joining needs no GPU and its own amount of time and memory, whatever the extraction was given.
    joining = replace(jobs.options, timeout_min=None, mem_gb=None, cpus=None, gpus=None)
    _submit(merges, replace(jobs, options=joining))


@app.command()
@takes(jobs=options.jobs)
def align(
    models: Models,
    dataset: Dataset,
    *,
    jobs: Jobs,
    config: ConfigOption = Path("config.yaml"),
) -> None:
    """Rows of models: each against its partners of the sweep, with the features and indexes that are missing."""
    from zooalign.submit.submission import Row

    sweep, layout = open_config(config)
    tasks = [Row(sweep, layout, sweep.model(m).id, sweep.dataset(dataset).id) for m in dict.fromkeys(models)]
    for task in tasks:
        _check_row(sweep, task.model, task.dataset)
    _submit(tasks, jobs)


@app.command()
@takes(how=options.scoring, jobs=options.jobs)
def score(
    x: Annotated[str, typer.Argument(help="First model: .npy or .npz array, feature store, or index.")],
    others: Annotated[list[str], typer.Argument(metavar="Y...", help="Second models, likewise: a job for each.")],
    *,
    how: dict[str, Any],
    jobs: Jobs,
    output: Annotated[Path | None, typer.Option(help="Folder of the JSON files; default scores in results.")] = None,
    parts: Annotated[int, typer.Option(min=1, help="Jobs per pair: ranges of X's layers (merge-scores).")] = 1,
    config: ConfigOption = Path("config.yaml"),
) -> None:
    """Scores of X against each Y, as `zooalign score`; each job writes a JSON file."""
    from zooalign.submit.submission import Score

    # A configuration only says where results are; scores need none.
    results = open_config(config)[1].results if config.exists() else Path("results")
    folder = output or results / "scores"
    names = score_names(x, others)
    for side in (x, *others):
        _check_side(side)
    if jobs.options.gpus:
        raise ConfigError("scores use no GPU: leave out --gpus.")
    if parts > 1 and how["splits"]:
        raise ConfigError("an interval is of the best score over all layers: leave out --splits, or --parts.")
    # A task has a method of the name `prepare`.
    how = {("prepare_with" if name == "prepare" else name): value for name, value in how.items()}
    which = [(f".{i}-of-{parts}", f"{i}/{parts}") for i in range(1, parts + 1)] if parts > 1 else [("", None)]
    tasks = [
        Score(x, y, folder / f"{name}{ending}.json", results / "logs" / "score", part=part, **how)
        for y, name in zip(others, names, strict=True)
        for ending, part in which
    ]
    _submit(tasks, jobs)


def score_names(x: str, others: Sequence[str]) -> list[str]:
    """File names for the scores of x against others, different for different others.

    Raises
    ------
    ConfigError
        If one of the others is given twice.

    Examples
    --------
    >>> score_names("run/7.npy", ["emoji/vit.zarr", "emoji/bert.zarr"])
    ['7--vit', '7--bert']
    >>> score_names("run/7.npy", ["emoji/vit.zarr", "pictures/vit.zarr"])
    ['7--emoji-vit', '7--pictures-vit']
    """
    parts = [Path(y.replace(".npz:", "-")).with_suffix("").parts for y in others]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["-".join(p.strip("/") or "root" for p in one[-depth:]) for one in parts]
        if len(set(names)) == len(names):
            return [f"{Path(x).stem}--{name}" for name in names]
    twice = next(y for i, y in enumerate(others) if parts[i] in parts[:i])
    raise ConfigError(f"{twice!r} is asked for twice; leave one out.")


def _check_side(side: str) -> None:
    path = Path(f"{side.partition('.npz:')[0]}.npz" if ".npz:" in side else side)
    if not path.exists():
        raise ConfigError(f"{path}: no such file or store.")


def _check_row(sweep: Sweep, model: str, dataset: str) -> None:
    if dataset not in sweep.config.datasets:
        raise ConfigError(
            f"dataset {dataset!r} is not compared in this sweep, so it has no rows: add it to `datasets` in "
            "config.yaml."
        )
    if model not in {m.id for m in sweep.compared(dataset)}:
        raise ConfigError(
            f"model {model!r} takes part in no comparison on {dataset!r}: see comparisons in config.yaml."
        )


def _submit(tasks: Sequence[Task], jobs: Jobs, show: bool = True) -> None:
    """Submit and print what was made; an interrupted wait ends the process with status 130."""
    from zooalign.submit.submission import FailedJobsError, submit

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    # A login node that is shut down, a batch system that ends us and a terminal that is closed are like Ctrl-C: jobs
    # are named or stopped. What the caller ignores (SIGHUP under nohup) stays ignored.
    heard = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
    former = {number: signal.signal(number, interrupt) for number in heard}
    made: list[Any] = []
    try:
        made = submit(tasks, jobs.cluster, jobs.options, wait=jobs.wait)  # type: ignore[arg-type]
    except FailedJobsError as error:
        made = error.results
        raise
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        for one in made if show else ():
            if one is not None:
                print(_shown(str(one)))


def _shown(made: str) -> str:
    """A path, with the best scores for a file of scores."""
    if not made.endswith(".json"):
        return made
    best = json.loads(Path(made).read_text())["best"]
    return f"{made}: " + ", ".join(f"{label} {one['score']:.4f}" for label, one in best.items())
