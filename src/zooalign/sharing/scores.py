"""Scores of a sweep as one Parquet file, and those of another sweep held against them."""

# pyarrow has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from zooalign.alignment.table import table_schema
from zooalign.errors import ShareError
from zooalign.provenance import package_versions, stamp
from zooalign.registry import plugin, plugin_names
from zooalign.sharing.reading import ABOUT
from zooalign.storage.atomic import replacing

if TYPE_CHECKING:
    import pyarrow as pa

_FORMAT, _VERSION = "zooalign-scores", 1
_KEY = ("dataset", "metric", "k", "model_x", "model_y")
# What travels: matrices and terms of every pair would be most of the file.
_COLUMNS = tuple(name for name in table_schema().names if name not in ("matrix", "terms"))
_AGAIN = "Ask for the file again, or export it again."

Key = tuple[str, str, int, str, str]


class Comparison(NamedTuple):
    """Scores that two sweeps both have, of one metric.

    Attributes
    ----------
    dataset, metric : str
        Which.
    k : int
        0 where the metric takes none.
    n : int
        Pairs that both have.
    largest : float
        Largest absolute difference.
    pair : str
        Where it is, "x, y".
    """

    dataset: str
    metric: str
    k: int
    n: int
    largest: float
    pair: str


def export_scores(
    tables: Sequence[pa.Table], path: Path, contents: Mapping[str, str], model: str | None = None
) -> int:
    """Write scores to a file.

    Parameters
    ----------
    tables : sequence of Table
        Rows of the alignment matrix, with the columns of `alignment.table.table_schema`.
    path : Path
        Parquet file to write.
    contents : dict of str to str
        Content digest of every dataset.
    model : str, optional
        Only pairs of this model.

    Returns
    -------
    int
        Lines written.

    Raises
    ------
    ShareError
        If there is no line.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pa.concat_tables([table_schema().empty_table(), *tables]).select(_COLUMNS)
    if model is not None:
        sides = [pc.call_function("equal", [table[name], model]) for name in ("model_x", "model_y")]
        table = table.filter(pc.call_function("or", sides))
    if not len(table):
        raise ShareError(f"there are no scores{f' of {model}' if model else ''}: run the sweep first.")
    about = {
        "format": _FORMAT,
        "format_version": _VERSION,
        "datasets": dict(contents),
        "provenance": {"time": stamp()["time"], "versions": package_versions(("zooalign", "numpy", "numba"))},
    }
    table = table.sort_by([(name, "ascending") for name in _KEY]).replace_schema_metadata({ABOUT: json.dumps(about)})
    with replacing(path) as staged:
        pq.write_table(table, staged, write_page_checksum=True)
    return len(table)


def is_scores(path: Path) -> bool:
    """Whether a file says that it holds scores."""
    import pyarrow.parquet as pq

    try:
        about = json.loads((pq.read_schema(path).metadata or {})[ABOUT.encode()])
        return about.get("format") == _FORMAT
    except Exception:  # whatever pyarrow says of other files
        return False


def read_scores(path: Path, contents: Mapping[str, str | None]) -> pa.Table:
    """Read exported scores and check them.

    Parameters
    ----------
    path : Path
        File of :func:`export_scores`.
    contents : dict of str to str or None
        Content digest of every dataset of this sweep; None where it is not built.

    Returns
    -------
    Table
        A line per pair, metric and k.

    Raises
    ------
    ShareError
        If it is damaged, of another version, of a dataset that this sweep has not or that has other content, or holds
        a metric of another VERSION or a score that is not finite; names the file and the remedy.
    """
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, page_checksum_verification=True)
        about = json.loads(table.schema.metadata[ABOUT.encode()])
        version, datasets = about["format_version"], dict(about["datasets"])
    except MemoryError:
        raise
    except Exception as error:  # of pyarrow, or of a header that is none
        raise ShareError(f"{path}: damaged, or no export of scores. {_AGAIN}") from error
    if version != _VERSION:
        raise ShareError(
            f"{path}: written by another version of zooalign (format {version!r}, here {_VERSION}). Install "
            "the version that wrote it, or ask for an export by yours."
        )
    wanted = [(name, table_schema().field(name).type) for name in _COLUMNS]
    if [(field.name, field.type) for field in table.schema] != wanted:
        raise ShareError(f"{path}: damaged: its columns are not those of scores. {_AGAIN}")
    for name in sorted(set(table["dataset"].to_pylist())):
        if contents.get(name) is None or datasets.get(name) != contents[name]:
            raise ShareError(
                f"{path}: has scores on dataset {name!r} of content {str(datasets.get(name))[:12]}, and this sweep "
                f"has {str(contents.get(name) or 'none')[:12]}. Build the dataset that they were made on."
            )
    if problem := _problem(table):
        raise ShareError(f"{path}: cannot be used: {problem}. {_AGAIN}")
    return table


def _problem(table: pa.Table) -> str:
    """What is wrong with scores; empty if nothing is."""
    columns = [table[name].to_pylist() for name in (*_KEY, "score")]
    if any(None in column for column in columns):
        return "a score or what it is of is missing"
    if unknown := sorted(set(columns[1]) - set(plugin_names("metrics"))):
        return f"there is no metric {unknown[0]!r}"
    keys = list(zip(*columns[:-1], strict=True))
    if len(set(keys)) != len(keys):
        return "a pair occurs twice"
    return "" if all(math.isfinite(score) for score in columns[-1]) else "a score is not finite"


def compare(imported: pa.Table, own: Sequence[pa.Table]) -> list[Comparison]:
    """Differences of scores that both sweeps have.

    Parameters
    ----------
    imported : Table
        As :func:`read_scores` gives it.
    own : sequence of Table
        Rows of the alignment matrix.

    Returns
    -------
    list of Comparison
        Per dataset, metric and k, sorted; a symmetric pair may be turned.
    """
    theirs, ours = _scores([imported]), _scores(own)
    found: dict[tuple[str, str, int], list[tuple[float, str]]] = {}
    for (dataset, metric, k, x, y), score in theirs.items():
        value = ours.get((dataset, metric, k, x, y))
        if value is None and plugin("metrics", metric, "metric").SYMMETRIC:
            value = ours.get((dataset, metric, k, y, x))
        if value is not None:
            found.setdefault((dataset, metric, k), []).append((abs(score - value), f"{x}, {y}"))
    return [Comparison(*key, len(differences), *max(differences)) for key, differences in sorted(found.items())]


def _scores(tables: Sequence[pa.Table]) -> dict[Key, float]:
    lines: dict[Key, Any] = {}
    for table in tables:
        columns = [table[name].to_pylist() for name in (*_KEY, "score")]
        lines.update({key: score for *parts, score in zip(*columns, strict=True) for key in [tuple(parts)]})
    return lines
