"""Documents: whole texts of a dataset of the Hugging Face hub, or of files of your own, for bits per byte."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from zooalign.data.attribution import Attribution
from zooalign.data.records import Text
from zooalign.data.repositories import Files, Place
from zooalign.data.writing import write_samples
from zooalign.datasets._label_layouts import split_tables
from zooalign.datasets._tables import decoded, json_lines
from zooalign.errors import DatasetError, unknown
from zooalign.progress import Report
from zooalign.storage.atomic import write_json

VERSION = 1
KIND = "texts"
# Options that are paths: relative to the configuration, and no part of a digest, which has the files' content.
PATHS = ("folder",)

# Rows of a parquet file that are in memory at a time.
_BATCH = 256


class Options(Place):
    """Options of the `documents` family; a folder has .txt files (a document each), .jsonl or parquet files."""

    split: str = Field(default="train", pattern=r"^[\w.-]+$", description="Split whose parquet files are read.")
    column: str = Field(default="text", description="Column or key of the text.")
    byte_budget: int | None = Field(
        default=20_000_000, gt=0, description="Most UTF-8 bytes: whole documents in order while they fit; null: all."
    )


def fingerprint(options: Options, name: str) -> list[str] | None:
    """Names and content of a folder on disk."""
    return options.fingerprint(name)


def build(options: Options, folder: Path, report: Report) -> None:
    """Write the dataset.

    Raises
    ------
    DatasetError
        If repository, folder, column or network is missing, a text is empty, no text or not UTF-8, or the first is
        larger than the byte budget; names file and row.

    Notes
    -----
    Order: that of the files' names, and of the rows in them. Files beyond the budget are not fetched.
    """
    name = folder.name
    source = options.repository or name  # not the path: a folder that is moved is the same dataset
    scratch = options.scratch(folder)
    files = options.files(scratch, name)
    texts = list(_within(_texts(files, options), options.byte_budget))
    if not texts:
        raise DatasetError(
            f"{name}: no whole document fits byte_budget {options.byte_budget}, or {files.place} has none of split "
            f"{options.split!r} (it has {files.summary()})."
        )
    n_bytes = sum(len(text.encode()) for _, text in texts)
    report(f"{name}: {len(texts):,} documents, {n_bytes:,} bytes of UTF-8")
    write_samples(
        folder,
        KIND,
        (Text(where, text, source, options.licence) for where, text in texts),
        name=name,
        description=f"{len(texts)} documents, {n_bytes} bytes of UTF-8 of {source}, {files.revision or 'on disk'}.",
        attribution=[Attribution(source, source, options.authors, options.licence, f"dataset {source}")],
        options=options.model_dump(exclude={"cache", "folder"}),
        family="documents",
        version=VERSION,
        packages={source: files.revision} if files.revision else None,
    )
    if files.revision:
        write_json(folder / "revision.json", {"repository": options.repository, "revision": files.revision})
    shutil.rmtree(scratch, ignore_errors=True)


def _within(texts: Iterator[tuple[str, str]], budget: int | None) -> Iterator[tuple[str, str]]:
    used = 0
    for where, text in texts:
        used += len(text.encode())
        if budget is not None and used > budget:
            return
        yield where, text


def _texts(files: Files, options: Options) -> Iterator[tuple[str, str]]:
    """Id and text of every document; the files of one layout, the first that is there."""
    tables = split_tables(files, options.split, options.config)
    lines = [name for name in files.names if name.endswith(".jsonl")]
    for name in tables or lines or [name for name in files.names if name.endswith(".txt")]:
        where = f"{files.place}: {name}"
        with files.at(name) as path:
            if name in tables:
                yield from _of_a_table(path, name, where, options.column)
                continue
            text = decoded(path.read_bytes(), where)
            yield from _of_lines(text, name, where, options.column) if name in lines else [(name, text)]


def _of_lines(text: str, name: str, where: str, key: str) -> Iterator[tuple[str, str]]:
    for number, row in json_lines(text, where):
        if key not in row:
            raise DatasetError(f"{where}, line {number}: {unknown('key', key, row)}")
        yield f"{name}:{number}", _checked(row[key], f"{where}, line {number}")


def _of_a_table(path: Path, name: str, where: str, column: str) -> Iterator[tuple[str, str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if column not in file.schema_arrow.names:
                raise DatasetError(f"{where}: {unknown('column', column, file.schema_arrow.names)}")
            row = 0
            for batch in file.iter_batches(batch_size=_BATCH, columns=[column]):
                for value in batch.column(0).to_pylist():
                    yield f"{name}:{row}", _checked(value, f"{where}, row {row}")
                    row += 1
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{where}: damaged parquet file ({error}); remove it and build again.") from error


def _checked(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise DatasetError(
            f"{where}: the text is {type(value).__name__}; name the column of texts in options.column."
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DatasetError(f"{where}: the text is not valid UTF-8 ({error.reason}); save it as UTF-8.") from error
    return value
