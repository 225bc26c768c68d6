"""Folder: a user's own images and a table of captions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from zooalign.datasets._attribution import Attribution
from zooalign.datasets._options import DatasetOptions
from zooalign.datasets._records import Pair
from zooalign.datasets._rendering import png
from zooalign.datasets._tables import read_rows
from zooalign.datasets._writing import write_samples
from zooalign.errors import DatasetError, unknown
from zooalign.samples import AS_WRITTEN, NORMALISED, count, decode

VERSION = 1
KIND = "pairs"

# Columns that mean something; every other column is a text density.
_RESERVED = ("image", "caption", "id", "group", "source", "licence")


class Options(DatasetOptions):
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


class _Row(NamedTuple):
    line: int
    cells: dict[str, str]
    image: Path


def fingerprint(options: Options) -> str:
    """SHA-256 of the table and of every image in it: a touched file changes nothing, another content does."""
    rows = _rows(options, "folder")
    files = [Path(options.table), *(row.image for row in rows)]
    stamps = []
    for file in files:
        stat = file.stat()
        stamps.append((str(file), stat.st_size, stat.st_mtime_ns))
    return _digest(tuple(stamps))


@lru_cache(maxsize=8)
def _digest(stamps: tuple[tuple[str, int, int], ...]) -> str:
    """Size and time only tell whether the files must be read again within this process."""
    content = hashlib.sha256()
    for path, _, _ in stamps:
        content.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return content.hexdigest()


def build(options: Options, folder: Path, report: Callable[[str], None]) -> None:
    """Write the dataset.

    Parameters
    ----------
    options : Options
        Table, images and what rows lack.
    folder : pathlib.Path
        Dataset folder to make; its name is the dataset's id.
    report : callable
        Takes one line of progress at a time.

    Raises
    ------
    DatasetError
        Names the table, line and image: as :func:`zooalign.datasets._tables.read_rows`; a missing column; a
        missing or corrupt image, or one outside the folder; an empty caption; an id that stands twice.

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
        raise DatasetError(f"{where}: image {cells['image']!r} lies outside {images}; move it into the folder.")
    if not path.is_file():
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
            raise DatasetError(f"{where}: id {identity!r} already stands on line {seen[identity]}; make ids unique.")
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
        picture = decode(data)
    except Exception as error:  # Pillow's plugins raise what they like for corrupt data
        raise DatasetError(
            f"{where}: image {row.cells['image']!r} cannot be decoded ({error}); replace it."
        ) from error
    if options.longest_side is None or max(picture.size) <= options.longest_side:
        return data
    picture.thumbnail((options.longest_side, options.longest_side), Image.Resampling.LANCZOS)
    return png(picture)
