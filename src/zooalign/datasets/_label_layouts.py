"""Layouts in which labelled pictures are kept: tar shards, parquet files, saved datasets, folders of classes.

Each reader gives the rows of a split in the order of its files, whatever they are cut into, with pictures that are
read when they are asked for: within the row's turn, before the next one.
"""

from __future__ import annotations

import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from zooalign.data.repositories import Files
from zooalign.errors import DatasetError, unknown

IMAGES = ("webp", "png", "jpg", "jpeg")
# Most bytes of one picture and of one label in a tar: a header may claim anything.
LARGEST_IMAGE, LARGEST_LABEL = 64_000_000, 32
_WHOLE_NUMBER = re.compile(r"\s*(0|[1-9][0-9]{0,8})\s*")
# Rows of a parquet file that are in memory at a time.
_BATCH = 64


class Row(NamedTuple):
    """A labelled picture.

    Parameters
    ----------
    label : str
        Name of its class.
    image : callable
        Gives the encoded picture; to be called before the next row is asked for.
    """

    label: str
    image: Callable[[], bytes]


class Columns(NamedTuple):
    """Names of the columns of a parquet file or a saved dataset."""

    image: str
    label: str


def rows(files: Files, split: str, columns: Columns, config: str | None) -> Iterator[Row]:
    """Rows of a split, in whichever layout it is kept.

    Parameters
    ----------
    files : Files
        Of the repository or folder.
    split : str
        Name of the split as the files have it.
    columns : Columns
        Of parquet files and saved datasets.
    config : str or None
        Folder of the configuration, where parquet files of several are there.

    Raises
    ------
    DatasetError
        Without files of that split, and where a file, a label or a picture is not what it should be; names them.
    """
    names = files.names
    if {"dataset_dict.json", "state.json"} & set(names):
        return _saved(files, split, columns)
    shards = [name for name in names if re.fullmatch(rf"{re.escape(split)}/[0-9]+\.tar", name)]
    if shards:
        return _web_dataset(files, split, sorted(shards, key=lambda name: int(PurePosixPath(name).stem)))
    if tables := split_tables(files, split, config):
        return _parquet(files, tables, columns)
    pictures = [name for name in names if name.startswith(f"{split}/") and name.lower().endswith(IMAGES)]
    if any(name.count("/") > 1 for name in pictures):
        return _class_folders(files, split, pictures)
    raise DatasetError(
        f"{files.place}: no split {split!r}: neither {split}/0.tar nor a parquet file of that name nor pictures in "
        f"{split}/CLASS/. It has {files.summary()}. Name the split with options.train or options.test."
    )


def class_names(lines: list[str]) -> list[str]:
    """Names of classes, made different: one that is empty is its number, one that occurs again gets it as well.

    Examples
    --------
    >>> class_names(["near", "", "crane", "crane"])
    ['near', '1', 'crane (2)', 'crane (3)']
    """
    stripped = [line.strip() for line in lines]
    occurs = Counter(stripped)
    return [str(i) if not name else f"{name} ({i})" if occurs[name] > 1 else name for i, name in enumerate(stripped)]


def _named(number: int, names: list[str] | None, where: str) -> str:
    if names is None:
        return str(number)
    if not 0 <= number < len(names):
        raise DatasetError(f"{where}: label {number} is none of the {len(names)} classes.")
    return names[number]


# Tar shards -----------------------------------------------------------------------------------------------


def _web_dataset(files: Files, split: str, shards: list[str]) -> Iterator[Row]:
    """Tar files with `key.cls` and a picture `key.webp` per sample, side by side."""
    listed = files.text("classnames.txt")
    names = class_names(listed.splitlines()) if listed is not None else None
    stated = files.text(f"{split}/nshards.txt")
    if stated is not None:
        match = _WHOLE_NUMBER.fullmatch(stated)
        wanted = [f"{split}/{i}.tar" for i in range(min(int(match[1]), 10**6))] if match else []
        missing = sorted(set(wanted) - set(shards))
        if not wanted or missing:
            what = f"{missing[0]} is missing" if missing else "that is no number of shards"
            raise DatasetError(f"{files.place}: {split}/nshards.txt says {stated.strip()[:20]!r}, and {what}.")
        shards = wanted
    seen: dict[str, str] = {}
    for shard in shards:
        where = f"{files.place}: {shard}"
        with files.at(shard) as path:
            try:
                with tarfile.open(path, "r:") as tar:  # not compressed: a small file cannot unpack to a large one
                    for key, group in _groups(tar, where):
                        if key in seen:
                            raise DatasetError(f"{where}: key {key!r} is in {seen[key]} already; keys must differ.")
                        seen[key] = shard
                        yield _web_row(tar, group, names, f"{where}, key {key!r}")
            except (tarfile.TarError, EOFError, OSError) as error:
                raise DatasetError(f"{where}: damaged tar file ({error}); remove it and build again.") from error


def _groups(tar: tarfile.TarFile, where: str) -> Iterator[tuple[str, dict[str, tarfile.TarInfo]]]:
    """Members of one key that stand side by side, by ending. Names are compared, never used as paths."""
    key, group = None, {}
    for member in tar:
        if member.isdir():
            continue
        if not member.isreg() or member.issparse():
            raise DatasetError(f"{where}: {member.name[:200]!r} is no regular file.")
        folder, _, base = member.name.rpartition("/")
        stem, _, ending = base.partition(".")
        current, ending = f"{folder}/{stem}", ending.lower()
        if current != key:
            if key is not None:
                yield key.removeprefix("/"), group
            key, group = current, {}
        if ending in group:
            raise DatasetError(f"{where}: {member.name[:200]!r} occurs twice.")
        group[ending] = member
    if key is not None:
        yield key.removeprefix("/"), group


def _web_row(tar: tarfile.TarFile, group: dict[str, tarfile.TarInfo], names: list[str] | None, where: str) -> Row:
    pictures = [ending for ending in group if ending in IMAGES]
    if "cls" not in group or len(pictures) != 1:
        what = "no .cls" if "cls" not in group else f"{len(pictures)} pictures ({', '.join(IMAGES)})"
        raise DatasetError(f"{where}: {what}, only {sorted(group)}; each sample needs a .cls and one picture.")
    text = _content(tar, group["cls"], LARGEST_LABEL, where).decode("ascii", errors="replace")
    match = _WHOLE_NUMBER.fullmatch(text)
    if match is None:
        raise DatasetError(f"{where}: the .cls holds {text[:LARGEST_LABEL]!r}, which is no class number.")
    label = _named(int(match[1]), names, where)
    return Row(label, lambda: _content(tar, group[pictures[0]], LARGEST_IMAGE, where))


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, largest: int, where: str) -> bytes:
    if member.size > largest:
        raise DatasetError(f"{where}: {member.name[:200]!r} has {member.size} bytes, more than {largest}.")
    try:
        content = tar.extractfile(member)
        data = content.read() if content is not None else b""
    except (tarfile.TarError, OSError) as error:
        raise DatasetError(f"{where}: {member.name[:200]!r} cannot be read ({error}); the tar is damaged.") from error
    if len(data) < member.size:
        raise DatasetError(f"{where}: {member.name[:200]!r} ends early; the tar is damaged.")
    return data


# Parquet --------------------------------------------------------------------------------------------------


def split_tables(files: Files, split: str, config: str | None) -> list[str]:
    """Parquet files of a split: `data/train-00000-of-00002.parquet` or `train/0000.parquet`, in any folder."""
    endings = r"(-[0-9]+-of-[0-9]+(-[0-9a-f]+)?|/[^/]+)?\.parquet"
    found = [name for name in files.names if re.fullmatch(rf"(.*/)?{re.escape(split)}{endings}", name)]
    if config is not None:
        found = [name for name in found if config in PurePosixPath(name).parts[:-1]]
    folders = sorted({str(PurePosixPath(name).parent) for name in found})
    if len(folders) > 1:
        raise DatasetError(
            f"{files.place}: split {split!r} is in several folders ({', '.join(folders)}); name one with "
            "options.config."
        )
    return found


def _parquet(files: Files, tables: list[str], columns: Columns) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for table in tables:
        where = f"{files.place}: {table}"
        with files.at(table) as path:
            try:
                with pq.ParquetFile(path) as file:
                    _check_columns(columns, file.schema_arrow.names, where)
                    names = _feature_names(file.schema_arrow, columns.label)
                    row = 0
                    for batch in file.iter_batches(batch_size=_BATCH, columns=list(columns)):
                        pictures, labels = batch.column(columns.image), batch.column(columns.label)
                        for i in range(len(batch)):
                            yield _table_row(pictures[i], labels[i].as_py(), names, f"{where}, row {row + i}")
                        row += len(batch)
            except (pa.ArrowException, OSError) as error:
                raise DatasetError(f"{where}: damaged parquet file ({error}); remove it and build again.") from error


def _check_columns(columns: Columns, known: list[str], where: str) -> None:
    for column in columns:
        if column not in known:
            raise DatasetError(f"{where}: {unknown('column', column, known)}")


def _feature_names(schema: Any, column: str) -> list[str] | None:
    """Names of the classes, where the column says that it holds numbers of them."""
    import datasets

    feature = datasets.Features.from_arrow_schema(schema).get(column)
    return class_names(list(feature.names)) if isinstance(feature, datasets.ClassLabel) else None


def _table_row(picture: Any, label: Any, names: list[str] | None, where: str) -> Row:
    if isinstance(label, bool) or not isinstance(label, int | str):
        raise DatasetError(f"{where}: the label is {label!r}; it must be a class number or a name.")

    def image() -> bytes:
        value = picture.as_py() if hasattr(picture, "as_py") else picture
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise DatasetError(f"{where}: no picture in the row; save the dataset with the pictures inside.")
        return data

    return Row(label if isinstance(label, str) else _named(label, names, where), image)


# Saved datasets and folders -------------------------------------------------------------------------------


def _saved(files: Files, split: str, columns: Columns) -> Iterator[Row]:
    """A folder written by `save_to_disk` of a dataset with splits."""
    import datasets

    try:
        saved = datasets.load_from_disk(str(files.folder))
    except Exception as error:  # whatever the library raises for a folder that is not its own any more
        raise DatasetError(f"{files.place} cannot be loaded ({error}); save the dataset again.") from error
    if not isinstance(saved, datasets.DatasetDict) or split not in saved:
        known = ", ".join(map(str, saved)) if isinstance(saved, datasets.DatasetDict) else "one without a name"
        raise DatasetError(f"{files.place}: no split {split!r}, only {known}; save a DatasetDict with both splits.")
    part = saved[split]
    _check_columns(columns, part.column_names, f"{files.place}, split {split!r}")
    feature = part.features[columns.label]
    names = class_names(list(feature.names)) if isinstance(feature, datasets.ClassLabel) else None
    part = part.select_columns(list(columns))
    if isinstance(part.features[columns.image], datasets.Image):  # not decoded: the bytes are stored as they are
        part = part.cast_column(columns.image, datasets.Image(decode=False))
    for i, row in enumerate(part):
        assert isinstance(row, dict)
        where = f"{files.place}, split {split!r}, row {i}"
        yield _table_row(row[columns.image], row[columns.label], names, where)


def _class_folders(files: Files, split: str, pictures: list[str]) -> Iterator[Row]:
    """Pictures in split/CLASS/, the class being all folders between."""
    for name in pictures:
        label = "/".join(PurePosixPath(name).parts[1:-1])
        if not label:
            raise DatasetError(f"{files.place}: {name} lies in no class; put it into {split}/CLASS/.")
        yield Row(label, lambda name=name: _read(files, name))


def _read(files: Files, name: str) -> bytes:
    with files.at(name) as path:
        return Path(path).read_bytes()
