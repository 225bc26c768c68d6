"""`zooalign submit extract|align|score`: options of the command line to tasks and back."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zooalign.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zooalign.config import Sweep
    from zooalign.layout import Layout
    from zooalign.submission_base import Task

app = typer.Typer(
    help="Run a few tasks as jobs of their own, outside the workflow: on SLURM, as local processes, or here.",
    no_args_is_help=True,
)
ConfigOption = Annotated[Path, typer.Option("--config", help="The configuration of the sweep.")]
Models = Annotated[list[str], typer.Argument(help="Ids of models.")]
Dataset = Annotated[str, typer.Option(help="Id of the dataset.")]
ClusterOption = Annotated[str | None, typer.Option(help="slurm, local or debug (here); default: slurm where it is.")]
Minutes = Annotated[int | None, typer.Option(min=1, help="Time limit of a job, minutes; default from the manifest.")]
Memory = Annotated[float | None, typer.Option(help="Memory of a job, GB; default from the manifest.")]
Cpus = Annotated[int | None, typer.Option(min=1, help="CPUs of a job; default from config.yaml.")]
Gpus = Annotated[int | None, typer.Option(min=0, help="GPUs of a job; default from the manifest.")]
Partition = Annotated[str | None, typer.Option(help="SLURM partition.")]
Account = Annotated[str | None, typer.Option(help="SLURM account.")]
Qos = Annotated[str | None, typer.Option(help="SLURM quality of service.")]
MaxJobs = Annotated[int | None, typer.Option(min=1, help="Most jobs at a time; default 50, local: one per CPU.")]
MaxRequeues = Annotated[int, typer.Option(min=0, help="How often a job may reach its time limit and go on.")]
SignalS = Annotated[int, typer.Option(min=1, help="Seconds before the time limit at which a job is requeued.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Submit and leave.")]


def open_sweep(config: Path) -> tuple[Sweep, Layout]:
    """The checked configuration of a file, and where its artefacts lie."""
    from zooalign.config import load_sweep, read_config
    from zooalign.layout import Layout

    sweep = load_sweep(read_config(config), root=config.parent)
    return sweep, Layout(config.parent / sweep.config.results)


@app.command()
def extract(
    models: Models,
    dataset: Dataset,
    shards: Annotated[int, typer.Option(min=1, help="Jobs per model; their parts are joined at the end.")] = 1,
    keep_shards: Annotated[bool, typer.Option("--keep-shards", help="Do not remove shards once joined.")] = False,
    config: ConfigOption = Path("config.yaml"),
    cluster: ClusterOption = None,
    timeout_min: Minutes = None,
    mem_gb: Memory = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    partition: Partition = None,
    account: Account = None,
    qos: Qos = None,
    max_jobs: MaxJobs = None,
    max_requeues: MaxRequeues = 20,
    signal_s: SignalS = 120,
    no_wait: NoWait = False,
) -> None:
    """Features of models on a dataset: a job per model, or several with --shards."""
    from zooalign.submission import Extraction, JobOptions, Merge, ShardExtraction

    options = JobOptions(timeout_min, mem_gb, cpus, gpus, partition, account, qos, max_jobs, max_requeues, signal_s)
    sweep, layout = open_sweep(config)
    chosen = [(sweep.model(model).id, sweep.dataset(dataset).id) for model in dict.fromkeys(models)]
    if shards == 1:
        _submit([Extraction(sweep, layout, *parts) for parts in chosen], cluster, options, no_wait)
        return
    parts_of = [ShardExtraction(sweep, layout, *parts, i, shards) for parts in chosen for i in range(1, shards + 1)]
    if no_wait:
        _submit(parts_of, cluster, options, no_wait)
        for model, name in chosen:
            print(f"when they have ended: zooalign store merge --model {model} --dataset {name}")
        return
    _submit(parts_of, cluster, options, no_wait, show=False)
    merges = [Merge(sweep, layout, *parts, remove=not keep_shards, of=shards) for parts in chosen]
    # Joining needs no GPU and its own amount of time and memory, whatever the extraction was given.
    joining = JobOptions(None, None, None, None, partition, account, qos, max_jobs, max_requeues, signal_s)
    _submit(merges, cluster, joining, no_wait)


@app.command()
def align(
    models: Models,
    dataset: Dataset,
    config: ConfigOption = Path("config.yaml"),
    cluster: ClusterOption = None,
    timeout_min: Minutes = None,
    mem_gb: Memory = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    partition: Partition = None,
    account: Account = None,
    qos: Qos = None,
    max_jobs: MaxJobs = None,
    max_requeues: MaxRequeues = 20,
    signal_s: SignalS = 120,
    no_wait: NoWait = False,
) -> None:
    """Rows of models: each against its partners of the sweep, with the features and indexes that are missing."""
    from zooalign.submission import JobOptions, Row

    options = JobOptions(timeout_min, mem_gb, cpus, gpus, partition, account, qos, max_jobs, max_requeues, signal_s)
    sweep, layout = open_sweep(config)
    tasks = [Row(sweep, layout, sweep.model(m).id, sweep.dataset(dataset).id) for m in dict.fromkeys(models)]
    for task in tasks:
        _check_row(sweep, task.model, task.dataset)
    _submit(tasks, cluster, options, no_wait)


@app.command()
def score(
    x: Annotated[str, typer.Argument(help="First model: .npy or .npz array, feature store, or index.")],
    others: Annotated[list[str], typer.Argument(metavar="Y...", help="Second models, likewise: a job for each.")],
    metric: Annotated[str, typer.Option(help="Metrics, comma-separated.")] = "mutual_knn",
    k: Annotated[str, typer.Option(help="Numbers of neighbours, comma-separated.")] = "10",
    prepare: Annotated[str | None, typer.Option(help="Preparation, as key=value,... (docs/metrics.md).")] = None,
    null: Annotated[int, typer.Option(help="Permutations of the null; 0: none.")] = 0,
    bootstrap: Annotated[int, typer.Option(help="Resamples of the interval; 0: none.")] = 0,
    alpha: Annotated[float, typer.Option(help="Level of the test.")] = 0.05,
    level: Annotated[float, typer.Option(help="Coverage of the interval.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of permutations and resamples.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Folder of the JSON files; default scores in results.")] = None,
    config: ConfigOption = Path("config.yaml"),
    cluster: ClusterOption = None,
    timeout_min: Minutes = None,
    mem_gb: Memory = None,
    cpus: Cpus = None,
    partition: Partition = None,
    account: Account = None,
    qos: Qos = None,
    max_jobs: MaxJobs = None,
    max_requeues: MaxRequeues = 20,
    signal_s: SignalS = 120,
    no_wait: NoWait = False,
) -> None:
    """Scores of X against each Y, as `zooalign score`; each job writes a JSON file."""
    from zooalign.submission import JobOptions, Score

    options = JobOptions(timeout_min, mem_gb, cpus, 0, partition, account, qos, max_jobs, max_requeues, signal_s)
    # A configuration only says where results lie; scores need none.
    results = open_sweep(config)[1].results if config.exists() else Path("results")
    folder = output or results / "scores"
    names = score_names(x, others)
    for side in (x, *others):
        _check_side(side)
    tasks = [
        Score(
            x, y, folder / f"{name}.json", results / "logs" / "score", metric, k, prepare, null, bootstrap, alpha,
            level, seed,
        )
        for y, name in zip(others, names, strict=True)
    ]  # fmt: skip
    _submit(tasks, cluster, options, no_wait)


def score_names(x: str, others: Sequence[str]) -> list[str]:
    """File names for the scores of x against others, different for different others.

    Raises
    ------
    ConfigError
        If one of the others stands twice.

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


def _submit(tasks: Sequence[Task], cluster: str | None, options: Any, no_wait: bool, show: bool = True) -> None:
    """Submit and print what was made; an interrupted wait ends the process with status 130."""
    from zooalign.submission import FailedJobsError, submit

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    # A login node that is shut down, or a batch system that ends us, is like Ctrl-C: jobs are named or stopped.
    former = signal.signal(signal.SIGTERM, interrupt)
    made: list[Any] = []
    try:
        made = submit(tasks, cluster, options, wait=not no_wait)  # type: ignore[arg-type]
    except FailedJobsError as error:
        made = error.results
        raise
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    finally:
        signal.signal(signal.SIGTERM, former)
        for one in made if show else ():
            if one is not None:
                print(_shown(str(one)))


def _shown(made: str) -> str:
    """A path, with the best scores for a file of scores."""
    if not made.endswith(".json"):
        return made
    best = json.loads(Path(made).read_text())["best"]
    return f"{made}: " + ", ".join(f"{label} {one['score']:.4f}" for label, one in best.items())
