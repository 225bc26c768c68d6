"""Tables of a user's own dataset, read as text: nothing becomes a number, a date or a missing value."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zooalign.errors import DatasetError

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
# A caption may be longer than the csv module's default of 128 kB per cell.
_LONGEST_CELL = 10_000_000


def read_rows(path: Path, name: str) -> list[tuple[int, dict[str, str]]]:
    """Rows of a .csv, .tsv or .jsonl file.

    Parameters
    ----------
    path : pathlib.Path
        UTF-8, with or without a byte-order mark.
    name : str
        Dataset, for messages.

    Returns
    -------
    list of tuple of int and dict
        Line the row ends on (from 1), and its cells by column; an absent cell of a .jsonl row is "".

    Raises
    ------
    DatasetError
        Names the file and line: missing, another suffix, not UTF-8, no header, a column that occurs twice,
        a row with more or fewer cells than the header, invalid JSON, a cell that is no text, no rows.
    """
    where = f"{name}: {path}"
    if path.suffix not in {*_DELIMITERS, ".jsonl"}:
        raise DatasetError(f"{where}: the table must be .csv, .tsv or .jsonl.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{where}: cannot be read ({error.strerror}); check options.table.") from error
    text = decoded(data, where)
    rows = _json_rows(text, where) if path.suffix == ".jsonl" else _csv_rows(text, _DELIMITERS[path.suffix], where)
    if not rows:
        raise DatasetError(f"{where}: no rows; write one per image.")
    return rows


def _csv_rows(text: str, delimiter: str, where: str) -> list[tuple[int, dict[str, str]]]:
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = []
    try:
        header = next(reader, [])
        twice = {column for column in header if header.count(column) > 1}
        if not header or twice:
            problem = f"column {min(twice)!r} occurs twice" if twice else "no header"
            raise DatasetError(f"{where}, line 1: {problem}; the first line must name each column once.")
        for cells in reader:
            if cells and len(cells) != len(header):
                raise DatasetError(
                    f"{where}, line {reader.line_num}: {len(cells)} cells, the header has {len(header)}; put "
                    "quotes around cells that hold the separator."
                )
            if cells:
                rows.append((reader.line_num, dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        raise DatasetError(f"{where}, line {reader.line_num}: {error}; check the quotes.") from error
    return rows


def decoded(data: bytes, where: str) -> str:
    """Text of a file in UTF-8, with or without a byte-order mark.

    Raises
    ------
    DatasetError
        If it is not UTF-8; names the line.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DatasetError(f"{where}, line {line}: not UTF-8 ({error.reason}); save it as UTF-8.") from error


def json_lines(text: str, where: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects of a text with one on every line that is not empty, each with the line's number (from 1).

    Raises
    ------
    DatasetError
        For a line that is no JSON object; names it.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_constant=_no_number, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{where}, line {number}: not valid JSON ({error}).") from error
        if not isinstance(row, dict):
            raise DatasetError(f"{where}, line {number}: expected an object, one per line.")
        yield number, row


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} occurs twice")
    return dict(pairs)


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def _json_rows(text: str, where: str) -> list[tuple[int, dict[str, str]]]:
    rows = []
    for number, row in json_lines(text, where):
        wrong = [k for k, v in row.items() if v is not None and not isinstance(v, str)]
        if wrong:
            raise DatasetError(f"{where}, line {number}: {wrong[0]!r} is no text; put it in quotes.")
        rows.append((number, {k: v or "" for k, v in row.items()}))
    columns = {column: "" for _, row in rows for column in row}
    return [(number, columns | row) for number, row in rows]
