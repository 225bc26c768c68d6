"""Capabilities that were measured elsewhere: the user's CSV files, and files that others publish."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from zooalign.config.tables import Row, read_csv
from zooalign.errors import ConfigError, unknown
from zooalign.registry import member

if TYPE_CHECKING:
    from zooalign.config.manifest import ModelSpec

NEEDED = ("model", "capability", "value")
COLUMNS = (*NEEDED, "standard_error", "unit", "higher_is_better", "n", "source")
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


def read_external(paths: Iterable[Path], models: Sequence[ModelSpec]) -> list[External]:
    """Read files of capabilities.

    Parameters
    ----------
    paths : iterable of Path
        CSV, UTF-8, with a header: model, capability, value, and where known standard_error, unit, higher_is_better
        (true or false; default true), n (samples) and source (default: the file's name); or what a reader of the room
        `published` recognises.
    models : sequence of ModelSpec
        Every model of the zoo files, in the sweep or not.

    Returns
    -------
    list of External
        In the order of the files.

    Raises
    ------
    ConfigError
        For a file that cannot be read, an unknown column or model (with the nearest names), or a value that is no
        number; names file and line. Of a published file, models that are not in the zoo files are left out.
    """
    ids = [spec.id for spec in models]
    return [row for path in paths for row in _read(path, models, ids)]


def _read(path: Path, models: Sequence[ModelSpec], ids: Sequence[str]) -> list[External]:
    # Readers of published files lie above; they know a file by its content.
    published = member("zooalign.published._importing", "external_rows")(path, models)
    if published is not None:
        return published
    rows = read_own(path)
    for row in rows:
        if row.model not in ids:
            raise ConfigError(f"{row.where}: {unknown('model', row.model[:100], ids)}")
    return rows


def read_own(path: Path) -> list[External]:
    """Read a CSV file of our own form; as :func:`read_external`, whatever its models are called."""
    columns, rows = read_csv(path)
    check_columns(columns, str(path))
    return [from_row(row, path.stem) for row in rows]


def check_columns(columns: Sequence[str], where: str) -> None:
    """Refuse a table of our own form that lacks a column or has an unknown one."""
    for name in columns:
        if name not in COLUMNS:
            raise ConfigError(f"{where}: {unknown('column', name[:100], COLUMNS)}")
    if missing := [name for name in NEEDED if name not in columns]:
        raise ConfigError(f"{where}: column {missing[0]!r} is missing; needed are {', '.join(NEEDED)}.")


def from_row(row: Row, source: str) -> External:
    """A line of our own form; `source` where it names none. Raises as :func:`read_external`."""
    text, where = row
    if not text.get("capability"):
        raise ConfigError(f"{where}: capability is empty.")
    better = (text.get("higher_is_better") or "true").lower()
    if better not in (*_YES, *_NO):
        raise ConfigError(f"{where}: higher_is_better is {better[:40]!r}; write true or false.")
    value = _number(text.get("value", ""), "value", where)
    error = _number(text["standard_error"], "standard_error", where) if text.get("standard_error") else math.nan
    if error < 0:
        raise ConfigError(f"{where}: standard_error is {error:g}; it cannot be negative.")
    n = _number(text["n"], "n", where) if text.get("n") else 0.0
    return External(
        text["capability"], text.get("model", ""), value, error, text.get("unit", ""), better in _YES, int(n),
        text.get("source") or source, where,
    )  # fmt: skip


def _number(text: str, column: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"{where}: {column} is {text[:40]!r}, not a finite number.")
    return number
