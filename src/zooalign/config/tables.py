"""CSV from outside: read whole, every mistake in one line that names the file and line."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, NamedTuple

from zooalign.errors import ConfigError


class Row(NamedTuple):
    """Cells of a line by column, without blanks around them; a line that is too short lacks the last ones."""

    cells: dict[str, str]
    where: str


def read_text(path: Path) -> str:
    """Read a text file, with or without a byte-order mark.

    Raises
    ------
    ConfigError
        If it cannot be read, or is not UTF-8; names the file.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error}). Correct its name or the file.") from error


def read_csv(path: Path) -> tuple[list[str], list[Row]]:
    """Read a CSV file as text.

    Returns
    -------
    columns : list of str
        Names in the first line; none for an empty file.
    rows : list of Row
        In the order of the file.

    Raises
    ------
    ConfigError
        As :func:`read_text`; for a column that occurs twice, a line with more cells than the first, or a cell that
        the csv module refuses.
    """
    reader: Any = csv.DictReader(io.StringIO(read_text(path), newline=""))
    try:
        columns = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = columns
        lines = [(line, reader.line_num) for line in reader]
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num + 1}: {error}. Correct the file.") from error
    for name in columns:
        if columns.count(name) > 1:
            raise ConfigError(f"{path}: column {name[:100]!r} occurs twice; rename or delete one.")
    return columns, [_row(line, f"{path}, line {number}") for line, number in lines]


def _row(line: dict[str | None, Any], where: str) -> Row:
    if None in line:
        raise ConfigError(f"{where}: has more fields than the header.")
    return Row({str(key): cell.strip() for key, cell in line.items() if cell is not None}, where)
