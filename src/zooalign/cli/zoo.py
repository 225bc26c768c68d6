"""`zooalign zoo list|show|check|add`: the models there are, whether their rows are right, and new rows."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zooalign.cli.options import ConfigOption, named_zoo
from zooalign.errors import ConfigError, unknown

if TYPE_CHECKING:
    from rich.console import Console

    from zooalign.config.manifest import ModelSpec

app = typer.Typer(help="List, show, check and add models.", no_args_is_help=True)

FilesArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Zoo files, or their names in config/zoo; default: those of the configuration."),
]


@app.command("list")
def list_models(
    files: FilesArgument = None,
    modality: Annotated[str | None, typer.Option(help="vision or language.")] = None,
    family: Annotated[str | None, typer.Option(help="Only this family.")] = None,
    objective: Annotated[str | None, typer.Option(help="Only this training objective.")] = None,
    tuned: Annotated[str | None, typer.Option(help="base, instruct or distilled.")] = None,
    released_after: Annotated[str | None, typer.Option(help="Only later than this month, 2024-05.")] = None,
    largest: Annotated[float | None, typer.Option(help="Most parameters, in 10^9.")] = None,
    open_only: Annotated[bool, typer.Option("--open", help="Leave out what the hub asks an account for.")] = False,
    config: ConfigOption = Path("config.yaml"),
) -> None:
    """List models with what tells them apart, and the published models that cannot be had."""
    from rich.table import Table

    from zooalign.config.manifest import read_zoo, read_zoo_file, zoo_files

    zoo = named_zoo(files, config)
    wanted = {"modality": modality, "family": family, "objective": objective, "tuned": tuned}
    models = [
        spec
        for spec in read_zoo(*zoo)
        if all(value is None or getattr(spec, key) == value for key, value in wanted.items())
        and (released_after is None or (spec.released or "") > released_after)
        and (largest is None or spec.parameters <= largest * 1e9)
        and not (open_only and spec.gated)
    ]
    table = Table(title=f"{len(models)} models")
    for column in ("id", "modality", "family", "objective", "parameters", "layers", "released", "licence", "notes"):
        table.add_column(column, justify="right" if column in ("parameters", "layers") else "left", overflow="fold")
    for spec in models:
        table.add_row(spec.id, spec.modality, spec.family, spec.objective, _billions(spec.parameters),
                      str(spec.layers or ""), spec.released or "", spec.licence, _notes(spec))  # fmt: skip
    console = _console()
    console.print(table)
    for missing in (one for path in zoo_files(*zoo) for one in read_zoo_file(path).unavailable):
        console.print(f"not available: {missing.n} x {missing.of}; {missing.needs}", markup=False, soft_wrap=True)


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="Id of a model.")],
    files: Annotated[list[str] | None, typer.Option("--zoo", help="Zoo files; default: the configuration's.")] = None,
    config: ConfigOption = Path("config.yaml"),
) -> None:
    """Show a model's row with every default, and what `check` says of it."""
    import yaml

    from zooalign.config.manifest import read_zoo
    from zooalign.zoo.check import check_row

    models = {spec.id: spec for spec in read_zoo(*named_zoo(files, config))}
    if model not in models:
        raise ConfigError(unknown("model", model, models))
    row = models[model].model_dump(mode="json", exclude_none=True)
    print(yaml.safe_dump([row], sort_keys=False, allow_unicode=True, width=110), end="")
    verdict = check_row(models[model])
    print(f"# {verdict.state}" + (f": {verdict.reason}" if verdict.reason else ""))


@app.command()
def check(files: FilesArgument = None, config: ConfigOption = Path("config.yaml")) -> None:
    """Build every architecture without weights and compare it with its row; needs no network."""
    from rich.progress import track

    from zooalign.config.manifest import read_zoo
    from zooalign.zoo.check import check_rows

    models = read_zoo(*named_zoo(files, config))
    console = _console()
    rows = check_rows(models)
    steps = track(rows, "checking", len(models), console=console) if sys.stdout.isatty() else rows
    verdicts = list(steps)
    for verdict in verdicts:
        if verdict.state != "verified":
            console.print(f"{verdict.state}: {verdict.model}: {verdict.reason}", markup=False, soft_wrap=True)
    counts = Counter(verdict.state for verdict in verdicts)
    console.print(", ".join(f"{counts[state]} {state}" for state in ("verified", "unverified", "wrong")))
    if counts["wrong"]:
        raise ConfigError(f"{counts['wrong']} of {len(models)} rows are wrong: correct what is listed above.")


@app.command()
def add(
    what: Annotated[str, typer.Argument(help="owner/name on the hub, a name of timm with its tag, or a folder.")],
    to: Annotated[Path, typer.Option(help="Zoo file that the row is appended to; made if it is not there.")] = Path(
        "config/zoo/mine.yaml"
    ),
    model_id: Annotated[str | None, typer.Option("--id", help="Id; default: from the name.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence, where none is stated.")] = None,
    objective: Annotated[str | None, typer.Option(help="Training objective; default: what the name says.")] = None,
    family: Annotated[str | None, typer.Option(help="Family; default: what the architecture is called.")] = None,
    pooling: Annotated[str | None, typer.Option(help="Pooling; default: cls where there is one, else mean.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Print the row and write nothing.")] = False,
) -> None:
    """Write the row of a model by inspecting it: its numbers, licence, precision and preprocessing."""
    import yaml

    from zooalign.zoo.add import append, describe

    stated = {"licence": licence, "objective": objective, "family": family, "pooling": pooling}
    row = describe(what, model_id=model_id, **stated)
    print(yaml.safe_dump([row], sort_keys=False, default_flow_style=None, allow_unicode=True, width=110), end="")
    if dry_run:
        return
    append(row, to)
    print(f"# appended to {to}: read it once; objective, family and training are what the name says")


def _billions(parameters: int) -> str:
    """Number of parameters for people.

    Examples
    --------
    >>> _billions(134_515_008), _billions(70_553_706_496)
    ('134.5 M', '70.6 B')
    """
    return f"{parameters / 1e9:.1f} B" if parameters >= 1e9 else f"{parameters / 1e6:.1f} M"


def _notes(spec: ModelSpec) -> str:
    """What the other columns do not say."""
    said = [spec.tuned or "", "gated" if spec.gated else "", str(spec.intervention or "")]
    if spec.slot is not None and spec.slot.status == "stand-in":
        said.append(f"stands in for {spec.slot.of}")
    return ", ".join(part for part in said if part)


def _console() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 200, highlight=False)
