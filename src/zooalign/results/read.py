"""Reads what the tables and figures are made of, and refuses what is not what it claims to be."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from zooalign.alignment.table import is_whole, table_schema
from zooalign.capability._record import CapabilityRecord
from zooalign.errors import StoreError
from zooalign.provenance import file_sha256, read_object
from zooalign.results.frames import capability_rows

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

VERSION = 1  # part of the digest of what this module determines

_AGAIN = "Delete it and run the sweep again."
# Columns of a row that may have empty fields.
_OPTIONAL = frozenset({"chance", "tied_x", "tied_y", "matrix", "terms"})

CAPABILITY_COLUMNS = {
    "capability": "str",
    "model": "str",
    "value": "float64",
    "standard_error": "float64",
    "unit": "str",
    "higher_is_better": "bool",
    "n": "int64",
    "reason": "str",
}


class Documents(NamedTuple):
    """Bits and UTF-8 bytes of each document that a model was scored on."""

    bits: list[float]
    n_bytes: list[int]


def read_row_file(path: Path) -> pa.Table:
    """One alignment row file with the columns of :func:`zooalign.alignment.table.table_schema`, in that order.

    Raises
    ------
    StoreError
        If the file is not Parquet, a column is missing or of another type, a field other than chance, tied_x,
        tied_y, matrix and terms is empty, a score is not finite, or anything else than what was written is read;
        names the file, the column and the pair.
    """
    return read_pairs(path, table_schema(), _OPTIONAL, ("score",))


def read_pairs(path: Path, schema: pa.Schema, optional: Collection[str], finite: Sequence[str]) -> pa.Table:
    """A table of pairs, which has the columns model_x, model_y and metric, without its metadata.

    Parameters
    ----------
    path : Path
        Parquet file that `alignment.table.write_table` wrote.
    schema : Schema
        Its columns, in the order that is returned.
    optional : collection of str
        Columns that may have empty fields.
    finite : sequence of str
        Columns of numbers that must be finite where they are not empty.

    Raises
    ------
    StoreError
        As :func:`read_row_file`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path, page_checksum_verification=True).read()
        whole = is_whole(table, schema)
        table = _typed(table, path, schema)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path}: not a table of alignment ({' '.join(str(error).split())}). {_AGAIN}", path) from error
    _check_values(table, path, optional, finite)
    if not whole:
        raise StoreError(f"{path}: its content changed since it was written. {_AGAIN}", path)
    return table


def read_light_rows(path: Path) -> pd.DataFrame:
    """An alignment row file without its heavy columns (matrix, terms), which are not read from the disk.

    Raises
    ------
    StoreError
        As :func:`read_row_file`; that the file is as it was written is seen by its receipt, where that has a digest.
    """
    table = read_rows(path, _light())
    _check_values(table, path, _OPTIONAL, ("score",))
    return table.to_pandas()


def read_rows(path: Path, columns: list[str] | None = None) -> pa.Table:
    """An alignment row file, all columns or some, as it was written; values are not looked at one by one.

    Raises
    ------
    StoreError
        As :func:`read_light_rows`, but for values.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    _check_unchanged(path)
    names = columns or table_schema().names
    try:
        table = pq.ParquetFile(path, page_checksum_verification=True).read(columns=names)
        return _typed(table, path, pa.schema([table_schema().field(name) for name in names]))
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path}: not a table of alignment ({' '.join(str(error).split())}). {_AGAIN}", path) from error


def no_rows() -> pd.DataFrame:
    """What :func:`read_light_rows` gives of a row without lines."""
    return table_schema().empty_table().select(_light()).to_pandas()


def read_arrays(
    paths: Iterable[Path], column: str, metric: str, k: int, comparison: str
) -> dict[tuple[str, str], np.ndarray]:
    """One heavy column (matrix or terms) of the lines of one metric, k and comparison, by pair; none where empty.

    Raises
    ------
    StoreError
        If a file cannot be read, or changed since it was written.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    found: dict[tuple[str, str], np.ndarray] = {}
    for path in paths:
        _check_unchanged(path)
        wanted = (pc.field("metric") == metric) & (pc.field("k") == k) & (pc.field("comparison") == comparison)
        try:
            table = pq.read_table(
                path, columns=["model_x", "model_y", column], filters=wanted, page_checksum_verification=True
            )
        except (OSError, pa.ArrowException) as error:
            said = " ".join(str(error).split())
            raise StoreError(f"{path}: not a table of alignment ({said}). {_AGAIN}", path) from error
        for x, y, values in zip(*(table[name] for name in table.column_names), strict=True):
            if values.is_valid:
                found[x.as_py(), y.as_py()] = values.values.to_numpy()
    return found


def read_metrics(path: Path, column: str, wanted: Iterable[str]) -> pa.Table:
    """The lines of some metrics in one row file, with one heavy column: all that is wanted of a file in one pass.

    Returns
    -------
    pyarrow Table
        model_x, model_y, comparison, metric, k and `column` ("matrix" or "terms").

    Raises
    ------
    StoreError
        If the file cannot be read, or changed since it was written.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    _check_unchanged(path)
    names = ["model_x", "model_y", "comparison", "metric", "k", column]
    chosen = pc.field("metric").isin(sorted(wanted))
    try:
        return pq.read_table(path, columns=names, filters=chosen, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        said = " ".join(str(error).split())
        raise StoreError(f"{path}: not a table of alignment ({said}). {_AGAIN}", path) from error


def _light() -> list[str]:
    return [name for name in table_schema().names if name not in ("matrix", "terms")]


def _typed(table: pa.Table, path: Path, schema: pa.Schema) -> pa.Table:
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise StoreError(f"{path}: column {missing[0]!r} is missing. {_AGAIN}", path)
    return table.select(schema.names).replace_schema_metadata(None).cast(schema)


def _check_values(table: pa.Table, path: Path, optional: Collection[str], finite: Sequence[str]) -> None:
    import pyarrow.compute as pc

    for name in table.column_names:
        if name not in optional and table[name].null_count:
            raise StoreError(f"{path}: column {name!r} has empty fields. {_AGAIN}", path)
    for name in finite if table.num_rows else ():
        is_finite = pc.call_function("is_finite", [table[name]]).combine_chunks()
        if is_finite.false_count:
            row = is_finite.index(False).as_py()
            pair = f"{table['model_x'][row].as_py()} and {table['model_y'][row].as_py()}"
            what = table["metric"][row].as_py() if name == "score" else f"{name} of {table['metric'][row].as_py()}"
            raise StoreError(f"{path}: the {what} of {pair} is not finite. {_AGAIN}", path)


def _check_unchanged(path: Path) -> None:
    """As :func:`_unchanged`, once per state of the file."""
    try:
        state = path.stat()
    except OSError as error:
        raise StoreError(f"{path}: not a table of alignment ({error.strerror}). {_AGAIN}", path) from error
    _unchanged(path, state.st_mtime_ns, state.st_size)


@cache
def _unchanged(path: Path, modified_ns: int, size: int) -> None:
    """Refuse a row that is not the one its receipt is of; without a receipt the digest in the file decides."""
    del modified_ns, size
    try:
        recorded = read_object(path.with_name(f"{path.stem}.receipt.json"))["sha256"]
    except (OSError, ValueError, KeyError):
        read_row_file(path)
        return
    if file_sha256(path) != recorded:
        read_row_file(path)  # says what is wrong with it, where that can be told
        raise StoreError(f"{path}: its content changed since it was written. {_AGAIN}", path)


def read_capability(paths: Iterable[Path | str]) -> pd.DataFrame:
    """Capability records as one tidy frame.

    Parameters
    ----------
    paths : iterable of path
        Files results/capability/{capability}/{model}.json, in any order.

    Returns
    -------
    DataFrame
        Columns of `CAPABILITY_COLUMNS`, sorted by capability and model. Where a measurement failed `value`
        is NaN and `reason` says why; elsewhere `reason` is "".

    Raises
    ------
    StoreError
        If a file is no record or has another capability or model than its path says, a model has two
        records of a capability, or records of one capability differ in unit or direction; names the files.
    """
    import pandas as pd

    places: dict[tuple[str, str], Path] = {}
    rows: list[dict[str, Any]] = []
    first: dict[str, tuple[CapabilityRecord, Path]] = {}
    for path in sorted(Path(p) for p in paths):
        record = _record(path)
        key = (record.capability, record.model)
        if key in places:
            raise StoreError(
                f"{path}: {record.model!r} has its {record.capability} already in {places[key]}; delete one."
            )
        places[key] = path
        other, other_path = first.setdefault(record.capability, (record, path))
        if (other.unit, other.higher_is_better) != (record.unit, record.higher_is_better):
            raise StoreError(
                f"{path} and {other_path}: {record.capability} in different units or directions "
                f"({record.unit!r}, {other.unit!r}). Delete the older one and run the sweep again."
            )
        fields = record.model_dump(include=set(CAPABILITY_COLUMNS) - {"reason"})
        rows.append({**fields, "reason": str(record.details.get("reason", "")) if record.value is None else ""})
    frame = pd.DataFrame(rows, columns=list(CAPABILITY_COLUMNS)).astype(CAPABILITY_COLUMNS)
    return frame.sort_values(["capability", "model"], kind="stable", ignore_index=True)


def read_documents(paths: Iterable[Path | str]) -> dict[tuple[str, str], Documents]:
    """Documents by capability and model, of the records that list them (`details.documents`: bits and bytes).

    Raises
    ------
    StoreError
        If a file is no record, or its documents do not add up to its value; names the file.
    """
    found: dict[tuple[str, str], Documents] = {}
    for path in map(Path, paths):
        record = _record(path)
        if record.value is None or "documents" not in record.details:
            continue
        try:
            listed = record.details["documents"]
            documents = Documents([float(bits) for bits in listed["bits"]], [int(n) for n in listed["bytes"]])
            ratio = math.fsum(documents.bits) / sum(documents.n_bytes)
            if len(documents.bits) != len(documents.n_bytes) or not math.isclose(ratio, record.value, rel_tol=1e-9):
                raise ValueError("not the value")
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise StoreError(f"{path}: its documents do not add up to its value. {_AGAIN}", path) from error
        found[record.capability, record.model] = documents
    return found


def _record(path: Path) -> CapabilityRecord:
    try:
        record = CapabilityRecord.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror}). {_AGAIN}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise StoreError(f"{path}: not a capability record: {place or 'file'}: {first['msg']}. {_AGAIN}") from error
    if record.model != path.stem:
        raise StoreError(f"{path}: holds the record of {record.model!r}. {_AGAIN}")
    return record


def check_models(models: pd.DataFrame) -> None:
    """Refuse a frame of models that the tables and figures cannot join.

    Raises
    ------
    StoreError
        If a column is missing, an id occurs twice, or a modality is neither vision nor language.
    """
    wanted = ["id", "modality", "family", "objective", "causal", "control", "intervention"]
    missing = [name for name in wanted if name not in models.columns]
    if missing:
        raise StoreError(f"models: column {missing[0]!r} is missing; needed are {', '.join(wanted)}.")
    twice = [name for name, n in Counter(models["id"]).items() if n > 1]
    if twice:
        raise StoreError(f"models: id {twice[0]!r} occurs twice.")
    other = set(models["modality"]) - {"vision", "language"}
    if other:
        raise StoreError(f"models: modality {min(other)!r}; there are vision and language.")


def failures(capability: pd.DataFrame) -> Mapping[tuple[str, str], str]:
    """(capability, model) -> why it could not be measured."""
    return {(r.capability, r.model): r.reason for r in capability_rows(capability) if r.reason}
