"""Published files read, their models matched with the zoo, and one value per capability and row of it."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from zooalign.config.external import COLUMNS, External
from zooalign.config.manifest import ModelSpec
from zooalign.config.tables import read_csv
from zooalign.errors import ConfigError
from zooalign.published._files import Record, files_of, read_records
from zooalign.published._matching import Fit, Zoo
from zooalign.published._results import Published, Result
from zooalign.registry import plugin, plugin_names

_OWN = "external"


class Import(NamedTuple):
    """What files hold of a zoo.

    Attributes
    ----------
    rows : list of External
        One per capability and row of the zoo, in the order of the files.
    matched : dict of Published to list of Fit
        Models of the files that rows of the zoo are.
    unmatched : list of Published
        Those that none is; `zoo.nearest` has the nearest ids.
    several : list of str
        Values that contradict each other, in words; none of them is among the rows.
    remarks : list of str
        What else was left out or chosen.
    zoo : Zoo
        The rows, by what they are called.
    """

    rows: list[External]
    matched: dict[Published, list[Fit]]
    unmatched: list[Published]
    several: list[str]
    remarks: list[str]
    zoo: Zoo


def import_files(
    paths: Iterable[Path], models: Sequence[ModelSpec], form: str | None = None, source: str | None = None
) -> Import:
    """Read published files and match them with the zoo.

    Parameters
    ----------
    paths : iterable of Path
        Files, or folders whose .json files are read.
    models : sequence of ModelSpec
        Every model of the zoo files.
    form : str, optional
        Name of a reader; default: the one that recognises the content.
    source : str, optional
        Source of every value; default: the reader's name, for our own form what it says.

    Raises
    ------
    ConfigError
        For an unknown `form` (with the nearest names), and for a file that cannot be read or that no reader
        recognises; names file and place.
    """
    if form is not None:
        plugin("published", form, "format")
    # Runs of one table may lie in files of their own: a reader sees all of them at once.
    together: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for file in (file for path in paths for file in files_of(path)):
        name, records = _recognise(file, form)
        together[name, file.stem if name == _OWN else name] += records
    zoo, found, remarks = Zoo(models), [], []
    for (name, default), records in together.items():
        reading = _module(name).read(records)
        remarks += [f"{name}: {remark}" for remark in reading.remarks]
        found += [r._replace(source=source or r.source or default) for r in reading.results]
    fits = {model: zoo.match(model) for model in dict.fromkeys(r.model for r in found)}
    rows, several = _one_each(found, fits)
    matched = {model: fit for model, fit in fits.items() if fit}
    return Import(rows, matched, [model for model in fits if model not in matched], several, remarks, zoo)


def external_rows(path: Path, models: Sequence[ModelSpec]) -> list[External] | None:
    """Rows of a published file that config.yaml names; None for our own form and for what no reader recognises.

    Raises
    ------
    ConfigError
        As :func:`import_files`; also where values contradict each other.
    """
    table = path.suffix not in (".json", ".jsonl", ".parquet") and not path.is_dir()
    if table and recognised(set(read_csv(path)[0])) in (None, _OWN):
        return None
    result = import_files([path], models)
    if result.several:
        raise ConfigError(
            f"{result.several[0]} (and {len(result.several) - 1} more). Run `zooalign capability import {path} "
            "--output FILE`, which leaves them out, and name that file in `external`."
        )
    return result.rows


def recognised(keys: AbstractSet[str]) -> str | None:
    """Name of the reader for a file with these columns or keys; None if there is none."""
    return next((name for name in plugin_names("published") if _module(name).recognises(keys)), None)


def _module(name: str) -> ModuleType:
    return plugin("published", name, "format")


def _recognise(path: Path, form: str | None) -> tuple[str, list[Record]]:
    records = read_records(path)
    keys = records[0].values.keys()
    name = form or recognised(keys)
    if name is None or not _module(name).recognises(keys):
        formats = form or f"a format that is known ({', '.join(plugin_names('published'))})"
        listed = ", ".join(repr(str(key)[:40]) for key in list(keys)[:8])
        raise ConfigError(f"{path}: is not {formats}; it has {listed}{', ...' if len(keys) > 8 else ''}.")
    for record in records:
        if not _module(name).recognises(record.values.keys()):
            raise ConfigError(f"{record.where}: is not {name}, as the first is. Delete it, or split the file.")
    return name, records


def _one_each(found: Sequence[Result], fits: dict[Published, list[Fit]]) -> tuple[list[External], list[str]]:
    """One value per source, capability and row; where the run of one is the row's, it is that."""
    values: dict[tuple[str, str, str], list[tuple[Result, Fit]]] = defaultdict(list)
    for result in found:
        for fit in fits[result.model]:
            values[result.source, result.capability, fit.row].append((result, fit))
    rows, several = [], []
    for (source, capability, row), candidates in values.items():
        same = [result for result, fit in candidates if not fit.but] or [result for result, _ in candidates]
        if len({result.value for result in same}) > 1:
            places = ", ".join(f"{result.value:g} ({result.where})" for result in same)
            several.append(f"{row} has several values of {capability}: {places}")
            continue
        one = same[0]
        measured = (one.value, one.standard_error, one.unit, one.higher_is_better, one.n)
        rows.append(External(capability, row, *measured, source, one.where))
    return rows, several


def to_csv(rows: Sequence[External]) -> str:
    """Rows in the form that `external` in config.yaml takes; numbers to the last bit.

    Examples
    --------
    >>> print(to_csv([External("arc", "gpt", 0.5, float("nan"), "accuracy", True, 0, "paper", "")]), end="")
    model,capability,value,standard_error,unit,higher_is_better,n,source
    gpt,arc,0.5,,accuracy,true,,paper
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        error = "" if math.isnan(row.standard_error) else repr(row.standard_error)
        better = str(row.higher_is_better).lower()
        writer.writerow(
            [row.model, row.capability, repr(row.value), error, row.unit, better, row.n or "", row.source]
        )
    return text.getvalue()
