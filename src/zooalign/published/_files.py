"""Published files as records: CSV, JSON, JSON lines and Parquet; what is broken is one message that says where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from zooalign.config.tables import read_csv, read_text
from zooalign.errors import ConfigError
from zooalign.published._results import shown


class Record(NamedTuple):
    """One row of a table, or one object; cells of a CSV file are text."""

    values: Mapping[str, Any]
    where: str


def files_of(path: Path) -> list[Path]:
    """The file itself, or every .json file below a folder, in the order of their names.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if not path.is_dir():
        return [path]
    files = sorted(path.rglob("*.json"))
    if not files:
        raise ConfigError(f"{path}: no .json files in this folder. Name the files that hold the results.")
    return files


def read_records(path: Path) -> list[Record]:
    """Read a file, by its suffix: .json, .jsonl, .parquet, anything else as CSV.

    Raises
    ------
    ConfigError
        Names the file and line or item: unreadable, not UTF-8, cut off, a key or column that occurs twice, objects
        too deep in one another, an integer of thousands of digits, or no records at all.
    """
    if path.suffix == ".parquet":
        records = _parquet(path)
    elif path.suffix in (".json", ".jsonl"):
        records = _json(path)
    else:
        records = _csv(path)
    if not records:
        raise ConfigError(f"{path}: is empty; it holds no results.")
    return records


def _csv(path: Path) -> list[Record]:
    columns, rows = read_csv(path)
    for cells, where in rows:
        if len(cells) < len(columns):
            raise ConfigError(
                f"{where}: {len(cells)} fields, the header has {len(columns)}. Is the file cut off? Fetch it again."
            )
    return [Record(*row) for row in rows]


def _parquet(path: Path) -> list[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        said = " ".join(str(error).split())
        raise ConfigError(f"{path}: cannot be read as Parquet ({said}). Fetch it again.") from error
    return [Record(row, f"{path}, row {i + 1}") for i, row in enumerate(rows)]


def _json(path: Path) -> list[Record]:
    text = read_text(path)
    if not text.strip():
        return []
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if len(lines) > 1 and _is_object(lines[0][1]):
        return [r for number, line in lines for r in _objects(_parse(line, f"{path}, line {number}"),
                                                              f"{path}, line {number}")]  # fmt: skip
    return _objects(_parse(text, str(path)), str(path))


def _is_object(line: str) -> bool:
    """Whether a line is a whole object, as in JSON lines."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _parse(text: str, where: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ConfigError(f"{where}: the key {twice[:100]!r} occurs twice in one object; delete one.")
        return value

    try:
        return json.loads(text, object_pairs_hook=unique)
    except RecursionError as error:
        raise ConfigError(f"{where}: lists or objects lie too deep in one another.") from error
    except ValueError as error:
        raise ConfigError(
            f"{where}: not valid JSON ({error}). The file may be cut off: fetch it again, or correct it."
        ) from error


def _objects(value: Any, where: str) -> list[Record]:
    """Objects that a value holds: itself, those of a list, or rows as the hub's server of datasets gives them."""
    if isinstance(value, dict) and isinstance(rows := value.get("rows"), list):
        value = [row["row"] if isinstance(row, dict) and "row" in row else row for row in rows]
    if isinstance(value, dict):
        return [Record(value, where)]
    if not isinstance(value, list):
        raise ConfigError(f"{where}: holds {shown(value)}, neither an object nor a list of objects.")
    for i, item in enumerate(value):
        if not isinstance(item, dict):
            raise ConfigError(f"{where}, item {i + 1}: is {shown(item)}, not an object.")
    return [Record(item, f"{where}, item {i + 1}") for i, item in enumerate(value)]
