"""`zooalign store merge|verify`: join shards, and read stores back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from zooalign.cli.options import ConfigOption, open_config
from zooalign.errors import ConfigError, StoreError

app = typer.Typer(help="Join and check stored features.", no_args_is_help=True)


@app.command()
def merge(
    stores: Annotated[
        list[Path] | None, typer.Argument(help="Shards; or the store that they will be, MODEL.zarr.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Id of the model whose shards are joined.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Id of the dataset.")] = None,
    output: Annotated[Path | None, typer.Option(help="Store to write; default: where the shards belong.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove shards once the store was read back.")] = False,
    config: ConfigOption = Path("config.yaml"),
) -> None:
    """Join the shards of one model on one dataset; an interrupted merge continues."""
    from zooalign.features.merge import merge_shards
    from zooalign.features.shards import find_shards, shards_folder
    from zooalign.progress import report_to_stderr
    from zooalign.submit.tasks import Merge

    if model is not None and dataset is not None and not stores:
        sweep, layout = open_config(config)
        print(Merge(sweep, layout, sweep.model(model).id, sweep.dataset(dataset).id, remove)())
        return
    if not stores or model or dataset:
        raise ConfigError("say which shards: `zooalign store merge STORE...`, or --model and --dataset.")
    if len(stores) == 1 and not _is_shard(stores[0]):
        output, shards = output or stores[0], find_shards(stores[0])
        if not shards:
            raise StoreError(f"{stores[0]}: no shards of it in {shards_folder(stores[0])}.")
    else:
        shards = stores
    merge_shards(shards, output or _home(shards), report_to_stderr, remove)
    print(output or _home(shards))


def _is_shard(path: Path) -> bool:
    from zooalign.features.store import read_attributes

    return path.resolve().parent.name.endswith(".zarr.shards") or (path.exists() and "shard" in read_attributes(path))


def _home(shards: list[Path]) -> Path:
    """The store that shards belong to, by their folder."""
    folders = {shard.resolve().parent for shard in shards}
    folder = folders.pop()
    if folders or not folder.name.endswith(".zarr.shards"):
        raise StoreError(f"the folder {folder} does not say which store these shards belong to; give --output.")
    return shards[0].parent.with_name(folder.name.removesuffix(".shards"))


@app.command()
def verify(
    stores: Annotated[list[Path], typer.Argument(help="Feature stores, or shards.")],
    config: ConfigOption = Path("config.yaml"),
) -> None:
    """Read stores in full: sizes, checksums of all chunks, finite values, ids, and the manifest's digest."""
    from rich.console import Console
    from rich.table import Table

    from zooalign.features.verify import verify_store

    sweep, layout = open_config(config) if config.exists() else (None, None)
    verdicts = [verify_store(path, sweep, layout) for path in stores]
    table = Table(title="Stores, read in full")
    for column in ("store", "model", "dataset", "samples", "layers", "dtype", "MiB", "manifest", "state"):
        table.add_column(
            column, justify="right" if column in ("samples", "layers", "MiB") else "left", overflow="fold"
        )
    for one in verdicts:
        numbers = f"{one.samples:,}", str(one.layers), one.dtype, f"{one.mib:.1f}"
        state = "DAMAGED" if one.problem else "whole"
        table.add_row(str(one.path), one.model, one.dataset, *numbers, one.manifest, state)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    problems = [one.problem for one in verdicts if one.problem]
    if problems:
        more = f" (and {len(problems) - 1} more of the {len(verdicts)} stores have problems)" if problems[1:] else ""
        raise StoreError(f"{problems[0]}{more}")
