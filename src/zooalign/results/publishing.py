"""A table as it is published: Parquet and CSV for programs, Markdown and LaTeX for people, one header for all four."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from zooalign.errors import StoreError
from zooalign.results import latex, markdown
from zooalign.storage.atomic import replacing, write_bytes, write_text

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

VERSION = 1  # part of the digest of what this module determines

SUFFIXES = (".parquet", ".csv", ".md", ".tex")
# What every line of the header of a CSV begins with; readers skip it: pandas.read_csv(path, comment="#").
COMMENT = "#"
# Lines of one section in Markdown and LaTeX; all are in the Parquet and CSV files.
MOST_SHOWN = 200
# A field with one of these is quoted in a CSV.
_QUOTED = (",", '"', "\n", "\r", COMMENT)
NO_ROWS = "There are no rows."
# Metadata of the Parquet file, and of each of its fields.
HEADER_KEY, MEANING_KEY, UNIT_KEY = b"zooalign.header", b"meaning", b"unit"


class Column(NamedTuple):
    """A column of a table for programs.

    Attributes
    ----------
    name : str
        As in the frame.
    meaning : str
        One line.
    unit : str
        Empty for names and flags.
    """

    name: str
    meaning: str
    unit: str = ""


class Shown(NamedTuple):
    """A column of a table for people.

    Attributes
    ----------
    heading : str
        Its name, with the unit.
    cell : str or callable
        A column of the frame (numbers get four decimals), or what makes the text of a cell from a row.
    """

    heading: str
    cell: str | Callable[[Mapping[str, Any]], str]

    def text(self, row: Mapping[str, Any]) -> str:
        """The cell of a row."""
        if callable(self.cell):
            return self.cell(row)
        value = row[self.cell]
        if markdown.is_absent(value):
            return ""
        return markdown.number(value) if isinstance(value, float) else str(value)


class Header(NamedTuple):
    """What stands above every table.

    Attributes
    ----------
    answers : tuple of str
        Whether alignment grows with capability: a sentence per population, and what controls and interventions say.
    settings : dict of str to str
        What the numbers depend on.
    """

    answers: tuple[str, ...]
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """A table, before it is written.

    Attributes
    ----------
    title : str
        One line.
    frame : DataFrame
        For programs; its columns are those of `columns`, in their order.
    columns : sequence of Column
        What is in it.
    shown : sequence of Shown
        What people see.
    notes : sequence of str
        How to read it: a sentence or two each.
    section : str or callable
        What names the section that a row is in; one section if empty.
    rows_shown : DataFrame, optional
        Rows that people see, in their order; all unless given.
    content : iterable of pyarrow Table, optional
        Parts of the Parquet file, where it holds more than the frame.
    """

    title: str
    frame: pd.DataFrame
    columns: Sequence[Column]
    shown: Sequence[Shown]
    notes: Sequence[str] = ()
    section: str | Callable[[Mapping[str, Any]], str] = ""
    rows_shown: pd.DataFrame | None = None
    content: Iterable[pa.Table] | None = None

    def __post_init__(self) -> None:
        named = [column.name for column in self.columns]
        assert named == list(self.frame.columns), (self.title, named, list(self.frame.columns))

    def sections(self) -> dict[str, list[Mapping[str, Any]]]:
        """Rows that people see, by section, in their order."""
        frame = self.frame if self.rows_shown is None else self.rows_shown
        found: dict[str, list[Mapping[str, Any]]] = {}
        for row in frame.to_dict(orient="records"):
            name = self.section(row) if callable(self.section) else str(row[self.section]) if self.section else ""
            found.setdefault(name, []).append(row)
        return found


def publish(table: Table, header: Header, path: Path | str) -> list[Path]:
    """Write `path`.parquet, .csv, .md and .tex, each in one step; the same table gives the same bytes.

    Raises
    ------
    StoreError
        If the disk is full.
    """
    files = [Path(f"{path}{suffix}") for suffix in SUFFIXES]
    _write_parquet(table, header, files[0])
    write_bytes(files[1], csv_text(table, header).encode())
    write_text(files[2], _markdown(table, header))
    write_text(files[3], latex.document(table, header, files[3].stem))
    return files


def csv_text(table: Table, header: Header) -> str:
    """The CSV with its header: UTF-8, eight decimals, fields quoted where they must be.

    A field with a # is quoted, so that it begins no comment.
    """
    units = [f"{c.name}{f' [{c.unit}]' if c.unit else ''}: {c.meaning}" for c in table.columns]
    about = [table.title, *header.answers, *_settings(header), *units]
    lines = "".join(f"{COMMENT} {' '.join(line.split())}\n" for line in about)
    fields = [[_field(name), *map(_field, table.frame[name])] for name in table.frame.columns]
    return lines + "".join(f"{','.join(row)}\n" for row in zip(*fields, strict=True))


def _field(value: Any) -> str:
    if isinstance(value, float):  # first, as most are
        return "" if math.isnan(value) else f"{value:.8f}"
    text = "" if markdown.is_absent(value) else str(value)
    return '"' + text.replace('"', '""') + '"' if any(special in text for special in _QUOTED) else text


def read_csv(path: Path | str) -> list[dict[str, str]]:
    """Rows of a CSV that was published, without its header, all as text.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: cannot be read ({error}). Delete it and run the sweep again.") from error
    while text.startswith(COMMENT):
        text = text.partition("\n")[2]
    return list(csv.DictReader(io.StringIO(text, newline="")))


def read_header(path: Path | str) -> Header:
    """The header of a table that was published, from its Parquet file.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        says = json.loads((pq.read_schema(path).metadata or {})[HEADER_KEY])
        return Header(tuple(says["answers"]), says["settings"])
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        said = " ".join(str(error).split())
        raise StoreError(f"{path}: has no header ({said}). Delete it and run the sweep again.") from error


def _settings(header: Header) -> list[str]:
    return [f"{name}: {value}" for name, value in header.settings.items()]


def _write_parquet(table: Table, header: Header, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = table.content or [pa.Table.from_pandas(table.frame, preserve_index=False)]
    about = {c.name: {MEANING_KEY: c.meaning.encode(), UNIT_KEY: c.unit.encode()} for c in table.columns}
    says = {"title": table.title, "answers": list(header.answers), "settings": dict(header.settings),
            "notes": list(table.notes)}  # fmt: skip
    writer: pq.ParquetWriter | None = None
    with replacing(path) as staged:
        try:
            for part in parts:
                fields = [f.with_metadata(about.get(f.name)) for f in part.schema]
                schema = pa.schema(fields, metadata={HEADER_KEY: json.dumps(says, sort_keys=True).encode()})
                writer = writer or pq.ParquetWriter(staged, schema, compression="zstd")
                # Small groups, so that a reader after a few rows need not load them all.
                writer.write_table(part.cast(schema), row_group_size=4096)
        finally:
            if writer is not None:
                writer.close()


def _markdown(table: Table, header: Header) -> str:
    text = [f"# {table.title}", ""]
    text += ["\n>\n".join(f"> {markdown.one_line(answer)}" for answer in header.answers), ""] if header.answers else []
    sections = table.sections()
    for name, rows in sections.items():
        if name:
            text += [f"## {markdown.escape(name)}", ""]
        text += markdown.head([column.heading for column in table.shown])
        text += [markdown.line([column.text(row) for column in table.shown]) for row in rows[:MOST_SHOWN]]
        text += ["", *(f"{left_out(len(rows))}\n" for _ in rows[MOST_SHOWN : MOST_SHOWN + 1])]
    if not sections:
        text += [NO_ROWS, ""]
    notes = [*table.notes, *(f"{setting}." for setting in _settings(header))]
    text += ["## How to read it", "", *(f"- {markdown.one_line(note)}" for note in notes)]
    return "\n".join(text) + "\n"


def left_out(n: int) -> str:
    """What stands below a section of `n` rows, more than people are shown."""
    return f"... and {n - MOST_SHOWN:,} more rows, in the CSV and Parquet files."
