"""Folder: a user's own images and a table of captions."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from zooalign.closed import Closed
from zooalign.data.attribution import Attribution
from zooalign.data.decoding import decode
from zooalign.data.records import Pair
from zooalign.data.rendering import png
from zooalign.data.samples import AS_WRITTEN, NORMALISED, count
from zooalign.data.writing import write_samples
from zooalign.datasets._tables import read_rows
from zooalign.errors import DatasetError, unknown
from zooalign.progress import Report
from zooalign.storage.fingerprints import content_digest

VERSION = 1
KIND = "pairs"
# Options that are paths: relative to the configuration, and no part of a digest, which has the files' content.
PATHS = ("table", "images")

# Columns that mean something; every other column is a text density.
_RESERVED = ("image", "caption", "id", "group", "source", "licence")


class Options(Closed):
    """Options of the `folder` family."""

    table: str = Field(
        description="A .csv, .tsv or .jsonl file with the columns image (path below `images`) and caption; "
        "id, group, source and licence are optional, further columns are texts of other densities."
    )
    images: str | None = Field(default=None, description="Folder of the images; null: the folder of the table.")
    densities: tuple[str, ...] | None = Field(
        default=None, description="Columns to keep as texts; null: every column that has no other meaning."
    )
    licence: str = Field(default="not stated", description="Licence of rows without one.")
    authors: str = Field(default="not stated", description="Whose work it is, for ATTRIBUTION.md.")
    longest_side: int | None = Field(
        default=None,
        ge=32,
        description="Larger pictures are scaled down to this many px; null: kept as they are.",
    )


# A scan that is scaled down anyway may be larger than Pillow takes by itself.
_LARGEST_PIXELS = 500_000_000


class _Row(NamedTuple):
    line: int
    cells: dict[str, str]
    image: Path


def fingerprint(options: Options, name: str) -> str:
    """SHA-256 of the table and of every image in it: a touched file changes nothing, another content does.

    Raises
    ------
    DatasetError
        As `build` about the table and the images' paths.
    """
    table = Path(options.table)
    folder = options.images or str(table.parent)
    _, images = _summary(table, name)
    try:
        if any(not image.strip() or os.path.isabs(image) or ".." in image for image in images):
            raise FileNotFoundError
        return content_digest([table, *(f"{folder}/{image}" for image in images)])
    except (OSError, ValueError):
        # Something is wrong with a path, or may be: the whole check says which line, or that it is right.
        return content_digest([table, *(row.image for row in _rows(options, name))])


def size(options: Options, name: str) -> int:
    """Number of rows of the table."""
    return _summary(Path(options.table), name)[0]


def _summary(table: Path, name: str) -> tuple[int, tuple[str, ...]]:
    """Number of rows, and every image once; a large table is read once in a process."""
    try:
        stat = table.stat()
    except OSError:
        return len(read_rows(table, name)), ()  # has the message
    return _read_summary(table, name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@lru_cache(maxsize=8)
def _read_summary(table: Path, name: str, *stamps: int) -> tuple[int, tuple[str, ...]]:
    del stamps
    rows = read_rows(table, name)
    return len(rows), tuple(dict.fromkeys(cells.get("image", "") for _, cells in rows))


def build(options: Options, folder: Path, report: Report) -> None:
    """Write the dataset.

    Raises
    ------
    DatasetError
        Names the table, line and image: as :func:`zooalign.datasets._tables.read_rows`; a missing column; a
        missing or corrupt image, or one outside the folder; an empty caption; an id that occurs twice.

    Notes
    -----
    Rows keep the order of the table. Without the column id, the path of the image is the id. Pictures are
    stored as they are: orientation and transparency are resolved when they are read.
    """
    name = folder.name
    rows = _rows(options, name)
    sources = count([row.cells.get("source") or name for row in rows])
    write_samples(
        folder,
        KIND,
        _pairs(rows, options, name),
        name=name,
        description=f"{len(rows)} pairs from {Path(options.table).name}.",
        attribution=[
            Attribution(source, source, options.authors, options.licence + " (see each sample)", "the user's files")
            for source in sources
        ],
        options=options.model_dump(mode="json"),
        family="folder",
        version=VERSION,
    )
    report(f"{name}: {len(rows)} pairs")


def _rows(options: Options, name: str) -> list[_Row]:
    """Rows of the table, each with an image that exists inside the folder."""
    table = Path(options.table)
    images = Path(options.images) if options.images else table.parent
    rows = read_rows(table, name)
    columns = list(rows[0][1])
    for needed in ("image", "caption", *(options.densities or ())):
        if needed not in columns:
            raise DatasetError(f"{name}: {table}: {unknown('column', needed, columns)}")
    taken = [column for column in _densities(columns, options) if column in (*_RESERVED, NORMALISED, AS_WRITTEN)]
    if taken:
        raise DatasetError(f"{name}: {table}: column {taken[0]!r} cannot be a density; rename it.")
    return [_Row(line, cells, _image_path(images, cells, f"{name}: {table}, line {line}")) for line, cells in rows]


def _densities(columns: list[str], options: Options) -> list[str]:
    if options.densities is not None:
        return list(options.densities)
    return [column for column in columns if column not in _RESERVED]


def _image_path(images: Path, cells: dict[str, str], where: str) -> Path:
    if not cells["image"].strip():
        raise DatasetError(f"{where}: empty image; write a path below {images}.")
    path = (images / cells["image"]).resolve()
    # Resolved first, so that neither "..", an absolute path nor a link leads out.
    if not path.is_relative_to(images.resolve()):
        raise DatasetError(f"{where}: image {cells['image']!r} is outside {images}; move it into the folder.")
    if not path.is_file():
        near = path.parent.iterdir() if path.parent.is_dir() else ()
        composed = unicodedata.normalize("NFC", path.name)
        if any(unicodedata.normalize("NFC", other.name) == composed for other in near):
            raise DatasetError(
                f"{where}: image {cells['image']!r} differs from the file's name only in its Unicode form "
                "(composed or decomposed letters); rename the file or write the name as the file has it."
            )
        raise DatasetError(f"{where}: image {cells['image']!r} does not exist in {images}; check the name.")
    return path


def _pairs(rows: list[_Row], options: Options, name: str) -> Iterator[Pair]:
    seen: dict[str, int] = {}
    for row in rows:
        where = f"{name}: {options.table}, line {row.line}"
        cells = row.cells
        if not cells["caption"].strip():
            raise DatasetError(f"{where}: empty caption of image {cells['image']!r}; write one or delete the row.")
        identity = cells["id"] if "id" in cells else cells["image"]
        if identity in seen:
            raise DatasetError(f"{where}: id {identity!r} is already on line {seen[identity]}; make ids unique.")
        seen[identity] = row.line
        yield Pair(
            id=identity,
            image=_image(row, options, where),
            caption=cells["caption"],
            texts={k: cells[k] for k in _densities(list(cells), options) if cells[k].strip()},
            group=cells.get("group") or None,
            source=cells.get("source") or name,
            licence=cells.get("licence") or options.licence,
        )


def _image(row: _Row, options: Options, where: str) -> bytes:
    from PIL import Image

    data = row.image.read_bytes()
    try:
        picture = decode(data, None if options.longest_side is None else _LARGEST_PIXELS)
    except Exception as error:  # Pillow's plugins raise what they like for corrupt data
        remedy = "set longest_side" if isinstance(error, Image.DecompressionBombError) else "replace it"
        raise DatasetError(f"{where}: image {row.cells['image']!r} cannot be decoded ({error}); {remedy}.") from error
    if options.longest_side is None or max(picture.size) <= options.longest_side:
        return data
    picture.thumbnail((options.longest_side, options.longest_side), Image.Resampling.LANCZOS)
    return png(picture)
