"""Capabilities that were measured elsewhere: the user's CSV files."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from zooalign.errors import ConfigError, unknown

_NEEDED = ("model", "capability", "value")
_KNOWN = (*_NEEDED, "standard_error", "unit", "higher_is_better", "n", "source")
_YES, _NO = ("true", "yes", "1"), ("false", "no", "0")


class External(NamedTuple):
    """A capability of a model that somebody else measured; fields as in `CapabilityRow`, and where it is from."""

    capability: str
    model: str
    value: float
    standard_error: float
    unit: str
    higher_is_better: bool
    n: int
    source: str
    where: str


def read_external(paths: Iterable[Path], models: Sequence[str]) -> list[External]:
    """Read CSV files of capabilities.

    Parameters
    ----------
    paths : iterable of Path
        UTF-8, with a header: model, capability, value, and where known standard_error, unit, higher_is_better
        (true or false; default true), n (samples) and source (default: the file's name).
    models : sequence of str
        Ids of every model of the zoo files, in the sweep or not.

    Returns
    -------
    list of External
        In the order of the files.

    Raises
    ------
    ConfigError
        For a file that cannot be read, an unknown column or model (with the nearest names), or a value that is no
        number; names file and line.
    """
    return [row for path in paths for row in _read(path, models)]


def _read(path: Path, models: Sequence[str]) -> list[External]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read as UTF-8 text ({error}). Correct `external` or the file."
        ) from error
    reader = csv.DictReader(lines)
    try:
        columns = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = columns
        rows = [(row, reader.line_num) for row in reader]
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num + 1}: {error}. Correct the file.") from error
    if missing := [name for name in _NEEDED if name not in columns]:
        raise ConfigError(f"{path}: column {missing[0]!r} is missing; needed are {', '.join(_NEEDED)}.")
    for name in columns:
        if name not in _KNOWN:
            raise ConfigError(f"{path}: {unknown('column', name[:100], _KNOWN)}")
        if columns.count(name) > 1:
            raise ConfigError(f"{path}: column {name!r} occurs twice; rename or delete one.")
    return [_row(row, models, f"{path}, line {number}", path.stem) for row, number in rows]


def _row(row: Mapping[str | None, Any], models: Sequence[str], where: str, stem: str) -> External:
    text = {key: (value or "").strip() for key, value in row.items() if key is not None}
    if None in row:
        raise ConfigError(f"{where}: has more fields than the header.")
    if text["model"] not in models:
        raise ConfigError(f"{where}: {unknown('model', text['model'][:100], models)}")
    if not text["capability"]:
        raise ConfigError(f"{where}: capability is empty.")
    better = (text.get("higher_is_better") or "true").lower()
    if better not in (*_YES, *_NO):
        raise ConfigError(f"{where}: higher_is_better is {better[:40]!r}; write true or false.")
    value = _number(text["value"], "value", where)
    error = _number(text["standard_error"], "standard_error", where) if text.get("standard_error") else math.nan
    if error < 0:
        raise ConfigError(f"{where}: standard_error is {error:g}; it cannot be negative.")
    n = _number(text["n"], "n", where) if text.get("n") else 0.0
    return External(
        text["capability"], text["model"], value, error, text.get("unit", ""), better in _YES, int(n),
        text.get("source") or stem, where,
    )  # fmt: skip


def _number(text: str, column: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"{where}: {column} is {text[:40]!r}, not a finite number.")
    return number
