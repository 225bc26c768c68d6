"""Capabilities that were measured elsewhere: the user's CSV files, joined with what the sweep measures."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from zooalign.errors import ConfigError, unknown

VERSION = 1  # part of the digest of what this module determines

# What the sweep's own values are called among the sources.
MEASURED = "measured"

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
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error}). Correct `external` or the file.") from error
    reader = csv.DictReader(lines)
    columns = [name.strip() for name in reader.fieldnames or []]
    reader.fieldnames = columns
    if missing := [name for name in _NEEDED if name not in columns]:
        raise ConfigError(f"{path}: column {missing[0]!r} is missing; needed are {', '.join(_NEEDED)}.")
    for name in columns:
        if name not in _KNOWN:
            raise ConfigError(f"{path}: {unknown('column', name, _KNOWN)}")
    return [_row(row, models, f"{path}, line {reader.line_num}", path.stem) for row in reader]


def _row(row: Mapping[str | None, Any], models: Sequence[str], where: str, stem: str) -> External:
    text = {key: (value or "").strip() for key, value in row.items() if key is not None}
    if None in row:
        raise ConfigError(f"{where}: has more fields than the header.")
    if text["model"] not in models:
        raise ConfigError(f"{where}: {unknown('model', text['model'], models)}")
    if not text["capability"]:
        raise ConfigError(f"{where}: capability is empty.")
    better = (text.get("higher_is_better") or "true").lower()
    if better not in (*_YES, *_NO):
        raise ConfigError(f"{where}: higher_is_better is {better!r}; write true or false.")
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
        raise ConfigError(f"{where}: {column} is {text!r}, not a finite number.")
    return number


def join(
    rows: Sequence[Mapping[str, Any]], external: Sequence[External], ranking: Sequence[str]
) -> list[dict[str, Any]]:
    """The sweep's own capability rows and those of others, one per capability and model.

    Parameters
    ----------
    rows : sequence of mapping
        Columns of `read.CAPABILITY_COLUMNS`.
    external : sequence of External
        Of models of the sweep.
    ranking : sequence of str
        Sources by trust, the sweep's own are "measured"; where a capability of a model has several values, that of
        the first source named counts.

    Raises
    ------
    ConfigError
        If values of two sources meet and the ranking lacks one of them, or a capability has two units or directions.
    """
    chosen: dict[tuple[str, str], tuple[str, str, dict[str, Any]]] = {}
    # A measurement that failed gives way.
    own = [(MEASURED, "the sweep's own value", dict(row)) for row in rows if not row["reason"]]
    others = [(e.source, e.where, {**e._asdict(), "reason": ""}) for e in external]
    meant: dict[str, tuple[Any, str]] = {}
    for source, where, row in [*own, *others]:
        same = (row["unit"], row["higher_is_better"])
        first, at = meant.setdefault(row["capability"], (same, where))
        if first != same:
            raise ConfigError(
                f"{where}: {row['capability']} has unit and direction {same}, in {at} {first}; rename one of the two."
            )
        key = (row["capability"], row["model"])
        if key not in chosen:
            chosen[key] = (source, where, row)
            continue
        other = chosen[key]
        absent = [name for name in (other[0], source) if name not in ranking]
        if absent or other[0] == source:
            raise ConfigError(
                f"{where}: {row['model']} has its {row['capability']} already in {other[1]}: take one out, or rank the "
                f"sources in config.yaml (capability_sources: [{other[0]}, {source}])."
            )
        if ranking.index(source) < ranking.index(other[0]):
            chosen[key] = (source, where, row)
    failed = [dict(row) for row in rows if row["reason"] and (row["capability"], row["model"]) not in chosen]
    return [*(row for _, _, row in chosen.values()), *failed]
