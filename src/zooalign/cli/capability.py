"""`zooalign capability import`: results that others publish, matched with the zoo, as a file for `external`."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from zooalign.cli.options import ConfigOption, named_zoo
from zooalign.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from zooalign.published._importing import Import
    from zooalign.published._results import Published

T = TypeVar("T")

app = typer.Typer(help="Take over capabilities that others measured.", no_args_is_help=True)


@app.callback()
def _capability() -> None:
    """Take over capabilities that others measured."""


@app.command("import")
def import_results(
    files: Annotated[
        list[Path], typer.Argument(help="Published files (CSV, JSON, JSON lines, Parquet), or folders of JSON.")
    ],
    form: Annotated[
        str | None, typer.Option("--format", help="Reader in src/zooalign/published; default: by content.")
    ] = None,
    zoo: Annotated[list[str] | None, typer.Option("--zoo", help="Zoo files; default: the configuration's.")] = None,
    output: Annotated[Path | None, typer.Option(help="CSV to write, as `external` in config.yaml takes it.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Source of the values, for capability_sources; default: the format's name.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the output.")] = False,
    limit: Annotated[int, typer.Option(help="Most lines per list; 0 lists everything.")] = 20,
    config: ConfigOption = Path("config.yaml"),
) -> None:
    """Read published results, show which models of the zoo they are of, and write them as a CSV for `external`."""
    from rich.console import Console

    from zooalign.config.manifest import read_zoo
    from zooalign.published._importing import import_files, to_csv
    from zooalign.storage.atomic import write_text

    if output is not None and output.exists() and not force:
        raise ConfigError(f"{output}: is already there. Name another file, or overwrite it with --force.")
    result = import_files(files, read_zoo(*named_zoo(zoo, config)), form, source)
    _show(result, Console(width=None if sys.stdout.isatty() else 160, highlight=False), limit)
    if output is None:
        return
    if not result.rows:
        raise ConfigError(f"{output}: not written, no model of the zoo is among those published.")
    write_text(output, to_csv(result.rows))
    sources = dict.fromkeys(row.source for row in result.rows)
    print(f"wrote {output}; to use it, add to config.yaml:\n  external: {_flow([str(output)])}")
    print(f"and where the sweep measures one of these, too:\n  capability_sources: {_flow(['measured', *sources])}")


def _show(result: Import, console: Console, limit: int) -> None:
    from rich.table import Table

    def listed(kind: str, items: Sequence[T], line: Callable[[T], str]) -> None:
        for item in items[: limit or None]:
            console.print(_plain(f"{kind}: {line(item)}"), soft_wrap=True)
        if limit and len(items) > limit:
            console.print(f"... and {len(items) - limit:,} more ({kind}); --limit 0 lists all", markup=False)

    def with_near(model: Published) -> str:
        near = result.zoo.nearest(model)
        return model.label + (f" (near: {', '.join(near)})" if near else "")

    counts: dict[str, int] = defaultdict(int)
    by_capability: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in result.rows:
        counts[row.model] += 1
        by_capability[row.capability, row.unit].append(row.value)
    fits = [(model.label, fit) for model, found in result.matched.items() for fit in found]
    models = Table(title=f"Published models that are in the zoo: {len(result.matched)}")
    for column in ("published", "model", "values", "but"):
        models.add_column(column, justify="right" if column == "values" else "left", overflow="fold")
    for name, fit in fits[: limit or None]:
        models.add_row(_plain(name), fit.row, str(counts[fit.row]), fit.but)
    if fits:
        console.print(models)
    capabilities = Table(title=f"Capabilities: {len(by_capability)}")
    for column in ("capability", "unit", "models", "lowest", "highest"):
        capabilities.add_column(column, justify="left" if column in ("capability", "unit") else "right")
    for (name, unit), values in list(by_capability.items())[: limit or None]:
        capabilities.add_row(name, unit, str(len(values)), f"{min(values):.4g}", f"{max(values):.4g}")
    if by_capability:
        console.print(capabilities)
    for kind, total in (("models", len(fits)), ("capabilities", len(by_capability))):
        if limit and total > limit:
            console.print(f"... and {total - limit:,} more {kind}; --limit 0 lists all", markup=False)
    listed("not in the zoo", result.unmatched, with_near)
    listed("left out", result.several, str)
    listed("note", result.remarks, str)
    console.print(
        f"values: {len(result.rows):,}; models of the zoo: {len(counts)}; published models that are not in the zoo: "
        f"{len(result.unmatched):,}; left out because values contradict each other: {len(result.several):,}",
        soft_wrap=True,
    )


def _flow(names: list[str]) -> str:
    """A list as it stands in YAML.

    Examples
    --------
    >>> _flow(["measured", "a, b"])
    "[measured, 'a, b']"
    """
    import yaml

    return yaml.safe_dump(names, default_flow_style=True, width=10_000, allow_unicode=True).strip()


def _plain(text: str) -> Text:
    """A text of a file of others for the terminal: no markup, and nothing that a terminal would obey."""
    from rich.text import Text

    return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))
