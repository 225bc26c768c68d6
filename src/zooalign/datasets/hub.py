"""Hub: image-caption pairs of a Hugging Face dataset at a pinned revision, or of one saved on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from zooalign.closed import Closed
from zooalign.data.attribution import Attribution
from zooalign.data.records import Pair
from zooalign.data.writing import write_samples
from zooalign.errors import DatasetError, unknown
from zooalign.progress import Report

VERSION = 1
KIND = "pairs"


class Options(Closed):
    """Options of the `hub` family."""

    path: str = Field(description="Id of a dataset on the hub, or a folder written by `save_to_disk`.")
    revision: str | None = Field(
        default=None,
        description="Branch, tag or commit; needed for a dataset on the hub, whose main may change.",
    )
    config: str | None = Field(default=None, description="Configuration of the dataset; null: its only one.")
    split: str = Field(default="train", description="Split to read.")
    image: str = Field(default="image", description="Column of the images.")
    caption: str = Field(default="text", description="Column of the captions: a text or a list of texts.")
    caption_index: int = Field(default=0, ge=0, description="Which text of a list is the caption.")
    densities: dict[str, int | str] = Field(
        default_factory=dict,
        description="Further texts by name: a column, or a number for another text of the list of captions.",
    )
    id: str | None = Field(default=None, description="Column of the ids; null: the row number.")
    group: str | None = Field(default=None, description="Column of the domains; null: none.")
    n: int | None = Field(default=None, ge=2, description="First rows to take; null: all.")
    licence: str = Field(default="not stated", description="Licence of the dataset.")
    authors: str = Field(default="see the dataset's card", description="Whose work it is, for ATTRIBUTION.md.")


def fingerprint(options: Options, name: str) -> str | None:
    """Return the fingerprint of a folder on disk; for the hub the revision says enough."""
    state = Path(options.path) / "state.json"
    return json.loads(state.read_text(encoding="utf-8"))["_fingerprint"] if state.is_file() else None


def build(options: Options, folder: Path, report: Report) -> None:
    """Write the dataset.

    Raises
    ------
    DatasetError
        Without a revision, if the dataset cannot be loaded or lacks a column; names row and id otherwise.
    """
    name = folder.name
    dataset = _load(options, name)
    report(f"{name}: {len(dataset)} rows of {options.path}")
    write_samples(
        folder,
        KIND,
        _pairs(dataset, options, name),
        name=name,
        description=f"{options.path}, split {options.split}, revision {options.revision or 'on disk'}.",
        attribution=[
            Attribution(options.path, options.path, options.authors, options.licence, f"dataset {options.path}")
        ],
        options=options.model_dump(),
        family="hub",
        version=VERSION,
    )


def _load(options: Options, name: str) -> Any:
    """Rows of the split as a `datasets.Dataset`, images not decoded."""
    import datasets

    local = any((Path(options.path) / name).is_file() for name in ("state.json", "dataset_dict.json"))
    if not local and options.revision is None:
        raise DatasetError(
            f"{name}: options.revision is missing: {options.path!r} is no saved folder, and "
            "a dataset on the hub needs a pinned revision."
        )
    try:
        if local:
            dataset: Any = datasets.load_from_disk(options.path)
        else:
            dataset = datasets.load_dataset(
                options.path, options.config, split=options.split, revision=options.revision
            )
    except Exception as error:  # whatever the hub's client raises: no network, no such revision, gated
        raise DatasetError(
            f"{name}: dataset {options.path!r} at revision {options.revision!r} cannot be loaded ({error}). "
            "Build it on a machine with a network, or check the id, revision and split."
        ) from error
    texts = [column for column in options.densities.values() if isinstance(column, str)]
    if isinstance(dataset, datasets.DatasetDict) and options.split in dataset:
        dataset = dataset[options.split]
    if not isinstance(dataset, datasets.Dataset):
        splits = ", ".join(str(split) for split in dataset)
        raise DatasetError(f"{name}: {options.path!r} has no split {options.split!r}, only {splits}.")
    for column in (options.image, options.caption, options.id, options.group, *texts):
        if column is not None and column not in dataset.column_names:
            raise DatasetError(f"{name}: {options.path}: {unknown('column', column, dataset.column_names)}")
    dataset = dataset.select(range(min(options.n or len(dataset), len(dataset))))
    # Not decoded: the bytes are stored as they are.
    return dataset.cast_column(options.image, datasets.Image(decode=False))


def _pairs(dataset: Iterable[dict[str, Any]], options: Options, name: str) -> Iterator[Pair]:
    for number, row in enumerate(dataset):
        if options.id and row[options.id] is None:
            raise DatasetError(f"{name}, row {number}: no id in column {options.id!r}; leave out options.id.")
        identity = str(row[options.id]) if options.id else f"{number:07d}"
        where = f"{name}, row {number}, sample {identity!r}"
        image = row[options.image]
        data = image["bytes"] if image else None
        if data is None and image and image["path"]:
            data = _file(image["path"], options, where)
        if data is None:
            raise DatasetError(f"{where}: no image; choose another column or leave the row out.")
        texts = {
            density: text
            for density, column in options.densities.items()
            if (text := _text(row, options, column, where, required=False))
        }
        yield Pair(
            id=identity,
            image=data,
            caption=_text(row, options, options.caption_index, where, required=True),
            texts=texts,
            group=str(row[options.group]) if options.group and row[options.group] is not None else None,
            source=options.path,
            licence=options.licence,
        )


def _file(path: str, options: Options, where: str) -> bytes:
    """Content of a picture that a row only names: it must lie inside the dataset, or in the hub's own cache."""
    from datasets.config import HF_DATASETS_CACHE
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(options.path)
    local = folder.is_dir()
    roots = [folder] if local else [Path(HF_DATASETS_CACHE), Path(HF_HUB_CACHE)]
    # Resolved first, so that neither "..", an absolute path nor a link leads out.
    file = (folder / path if local else Path(path)).resolve()
    if not any(file.is_relative_to(root.resolve()) for root in roots):
        raise DatasetError(f"{where}: image {path!r} lies outside {options.path}; put the pictures into the dataset.")
    try:
        return file.read_bytes()
    except OSError as error:
        raise DatasetError(f"{where}: image {path!r} cannot be read ({error.strerror}).") from error


def _text(row: dict[str, Any], options: Options, column: int | str, where: str, *, required: bool) -> str:
    """Text of a column, or the text of that number in the caption column's list; "" where there is none."""
    value = row[options.caption if isinstance(column, int) else column]
    if isinstance(value, list):
        index = column if isinstance(column, int) else 0
        value = value[index] if index < len(value) else None
    if value is None or (isinstance(value, str) and not value.strip()):
        if required:
            raise DatasetError(f"{where}: empty caption; leave the row out, or choose another caption_index.")
        return ""
    if not isinstance(value, str):
        named = options.caption if isinstance(column, int) else column
        raise DatasetError(f"{where}: column {named!r} holds {type(value).__name__}; choose a column of texts.")
    return value
