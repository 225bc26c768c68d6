"""Options that several commands take: the configuration, how scores are made, what jobs ask for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from zooalign.config.sweep import Sweep
    from zooalign.layout import Layout
    from zooalign.submit.options import JobOptions

ConfigOption = Annotated[Path, typer.Option("--config", help="The configuration of the sweep.")]


def open_config(path: Path) -> tuple[Sweep, Layout]:
    """The checked configuration of a file, and where its artefacts are.

    Notes
    -----
    Paths in the file are looked for beside it, in the working folder, then in the checkout. Results are in the
    working folder, as Snakemake has them; if there are none, those beside the file are taken.
    """
    from zooalign.config.sweep import read_config
    from zooalign.layout import Layout
    from zooalign.workflow.work import open_sweep

    sweep = open_sweep(read_config(path), roots(path))
    results = Path(sweep.config.results)
    beside = path.parent / results
    return sweep, Layout(beside if beside.exists() and not results.exists() else results)


def roots(config: Path) -> list[Path]:
    """Folders that paths in a configuration are relative to, as for Snakemake; of several, the first that has one."""
    import zooalign

    return [config.parent, Path(), Path(zooalign.__file__).resolve().parents[2]]


def named_zoo(files: list[str] | None, config: Path) -> tuple[list[str], Callable[[str], Path]]:
    """Zoo files that are named, or that the configuration names, and where a path leads; as `read_zoo` takes them."""
    from zooalign.config.reading import read_yaml
    from zooalign.errors import ConfigError

    def resolve(path: str) -> Path:
        return next((root / path for root in [Path(), *roots(config)] if (root / path).exists()), Path(path))

    names = files or read_yaml(config).get("zoo")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{config}: zoo: expected a list of zoo files.")
    return names, resolve


@dataclass(frozen=True)
class Jobs:
    """Where jobs run, what they ask for, and whether to wait for them."""

    cluster: str | None
    options: JobOptions
    wait: bool


def jobs(
    cluster: Annotated[str | None, typer.Option(help="slurm, local or debug (here); default: slurm if any.")] = None,
    timeout_min: Annotated[
        int | None, typer.Option(min=1, help="Time limit of a job, minutes; default from the manifest.")
    ] = None,
    mem_gb: Annotated[float | None, typer.Option(help="Memory of a job, GB; default from the manifest.")] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="CPUs of a job; default from config.yaml.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs of a job; default from the manifest.")] = None,
    partition: Annotated[str | None, typer.Option(help="SLURM partition.")] = None,
    account: Annotated[str | None, typer.Option(help="SLURM account.")] = None,
    qos: Annotated[str | None, typer.Option(help="SLURM quality of service.")] = None,
    max_jobs: Annotated[
        int | None, typer.Option(min=1, help="Most jobs at a time; default 50, local: one per CPU.")
    ] = None,
    max_requeues: Annotated[
        int, typer.Option(min=0, help="How often a job may reach its time limit and go on.")
    ] = 20,
    signal_s: Annotated[
        int, typer.Option(min=1, help="Seconds before the time limit at which a job saves and is requeued.")
    ] = 120,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Submit and leave.")] = False,
) -> Jobs:
    """Options of every command that submits jobs."""
    from zooalign.submit.options import JobOptions

    options = JobOptions(timeout_min, mem_gb, cpus, gpus, partition, account, qos, max_jobs, max_requeues, signal_s)
    return Jobs(cluster, options, not no_wait)


def scoring(
    metric: Annotated[str, typer.Option(help="Metrics, comma-separated.")] = "mutual_knn",
    k: Annotated[str, typer.Option(help="Numbers of neighbours, comma-separated.")] = "10",
    prepare: Annotated[str | None, typer.Option(help="Preparation, as key=value,... (docs/metrics.md).")] = None,
    null: Annotated[int, typer.Option(help="Permutations of the null; 0: none.")] = 0,
    splits: Annotated[int, typer.Option(help="Splits of the split-half interval (100 are usual); 0: none.")] = 0,
    groups: Annotated[
        str | None, typer.Option(help="Samples that belong together: a label per line, or a .csv with id,group.")
    ] = None,
    alpha: Annotated[float, typer.Option(help="Level of the test.")] = 0.05,
    level: Annotated[float, typer.Option(help="Coverage of the interval.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of permutations and splits.")] = 0,
) -> dict[str, Any]:
    """Options of every command that scores; arguments of `alignment.score.score_command`."""
    return {"metric": metric, "k": k, "prepare": prepare, "null": null, "splits": splits, "groups": groups,
            "alpha": alpha, "level": level, "seed": seed}  # fmt: skip


def takes(**makers: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of functions; it gets what each makes of them under the name given.

    Parameters
    ----------
    **makers
        By the command's parameter, a function whose parameters are options.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = _parameters(command)
        options = {name: _parameters(maker) for name, maker in makers.items()}
        kept = [p for name, p in own.items() if name not in makers]
        further = [p for parameters in options.values() for p in parameters.values()]

        @wraps(command)
        def run(**given: Any) -> None:
            made = {
                name: maker(**{option: given.pop(option) for option in options[name]})
                for name, maker in makers.items()
            }
            command(**given, **made)

        # What typer reads instead of the command's own.
        run.__signature__ = inspect.Signature([*kept, *further])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in (*kept, *further)}
        return run

    return decorate


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Parameters by keyword, their annotations evaluated; those of types that only type checkers import are kept."""
    names = {**vars(inspect.getmodule(function)), "Jobs": Jobs, "JobOptions": Any, "Sweep": Any, "Layout": Any}
    hints = get_type_hints(function, globalns=names, include_extras=True)
    return {
        name: p.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, p in inspect.signature(function).parameters.items()
    }
