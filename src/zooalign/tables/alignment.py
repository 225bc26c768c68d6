"""Every pair of models, a row per pair, dataset, metric and k; layer matrices and terms are in the Parquet file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign import metrics
from zooalign.alignment.table import table_schema
from zooalign.errors import StoreError
from zooalign.results.frames import imported_note, model_rows, where
from zooalign.results.markdown import is_absent, number
from zooalign.results.publishing import Column, Shown, Table
from zooalign.results.read import read_light_rows, read_rows

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from zooalign.results.findings import Findings

VERSION = 4

KEY = ("dataset", "comparison", "metric", "k", "model_x", "model_y")
# What one metric is read and written in at a time.
_BATCH = ("dataset", "comparison", "metric", "k")

_COLUMNS = (
    Column("dataset", "dataset of the samples"),
    Column("comparison", "modalities that are compared"),
    Column("metric", "name of the metric"),
    Column("k", "neighbours; 0 for a metric without", "samples"),
    Column("model_x", "first model"),
    Column("model_y", "second model"),
    Column("modality_x", "modality of the first"),
    Column("modality_y", "modality of the second"),
    Column("score", "alignment at the best of all layer pairs", "unit of the metric"),
    Column("chance", "what unrelated models score, where there is a formula", "unit of the metric"),
    Column("n", "samples", "samples"),
    Column("layer_x", "best layer of the first model, from 0; -1 is all layers side by side"),
    Column("layer_y", "best layer of the second model"),
    Column("layer_name_x", "its name"),
    Column("layer_name_y", "its name"),
    Column("tied_x", "samples whose k neighbours depend on the order of ties at layer_x", "share of samples"),
    Column("tied_y", "the same at layer_y", "share of samples"),
    Column("n_layers_x", "layers of the first model", "layers"),
    Column("n_layers_y", "layers of the second model", "layers"),
    Column("digest", "what determines the score"),
    Column("low", "lower end of the interval of the score", "unit of the metric"),
    Column("high", "upper end", "unit of the metric"),
    Column("standard_error", "of the score, over samples", "unit of the metric"),
    Column("level", "nominal coverage of the interval"),
    Column("interval_reason", "why there is no interval; empty where there is one, or none was asked for"),
    Column("permutations", "permutations of the null", "permutations"),
    Column("null_mean", "mean of the best score where samples are unpaired", "unit of the metric"),
    Column("threshold", "score that unpaired samples exceed with probability alpha", "unit of the metric"),
    Column("alpha", "level of the threshold"),
    Column("p", "share of permutations that reach the score, the observed order among them"),
    Column("q", "p adjusted for all pairs of a dataset, metric and k (Benjamini and Hochberg)"),
    Column(
        "calibrated", "(score - threshold) / (highest possible - threshold), 0 where the score is below", "0 to 1"
    ),
    Column("null_reason", "why there is no null; empty where there is one, or none was asked for"),
)
_INFERRED = tuple(column.name for column in _COLUMNS[-13:])
_NOTES = (
    "A score is the maximum over all layer pairs of two models; so are its null, which takes the maximum under every "
    "permutation, and its interval, which searches the best pair in every half.",
    "A small p says that samples correspond at all, which is easy to reach; it does not measure alignment. The "
    "calibrated score does: 0 is what a share alpha of permutations reaches, 1 the highest there is.",
    "People see the metric of the headline; every metric and k is in the CSV and Parquet files.",
    "The Parquet file also holds `matrix`, the scores of all layer pairs (row-major, layers of x times layers of y), "
    "and `terms`, what each sample adds to a score that is a mean over samples.",
)


def table(findings: Findings) -> Table:
    """Return every pair of the sweep under every metric and k.

    Raises
    ------
    StoreError
        If a row file is damaged, or a pair occurs twice; names the files.
    """
    frame = findings.alignment.sort_values(list(KEY), kind="stable", ignore_index=True)
    _check_once(frame, findings.row_paths)
    frame = frame.merge(findings.inference[[*KEY, *_INFERRED]], how="left", on=list(KEY), validate="one_to_one")
    for name in ("interval_reason", "null_reason"):
        frame[name] = frame[name].fillna("")
    imported = {row.id: row.shown for row in model_rows(findings.models) if row.imported}
    headline = where(where(frame, "metric", findings.metric), "k", findings.k)
    return Table(
        "Alignment of every pair of models",
        frame,
        _COLUMNS,
        (
            Shown("model", lambda row: str(imported.get(row["model_x"], row["model_x"]))),
            Shown("model", lambda row: str(imported.get(row["model_y"], row["model_y"]))),
            Shown(metrics.label(findings.metric, findings.k or None), lambda row: number(row["score"])),
            Shown("interval", _interval),
            Shown("calibrated", "calibrated"),
            Shown("q", "q"),
            Shown("layers", lambda row: f"{row['layer_name_x']}, {row['layer_name_y']}"),
        ),
        [*_NOTES, *imported_note(findings.models)],
        section=lambda row: f"{row['comparison']} on {row['dataset']}",
        rows_shown=headline.sort_values(
            ["dataset", "comparison", "score"], ascending=[True, True, False], kind="stable"
        ),
        content=_parts(frame, findings.row_paths),
    )


def _interval(row: Mapping[str, Any]) -> str:
    return "" if is_absent(row["low"]) else f"{number(row['low'])} to {number(row['high'])}"


def _parts(frame: pd.DataFrame, row_paths: Sequence[Path]) -> Iterator[pa.Table]:
    """Rows with their heavy columns, sorted by `KEY`, one metric at a time so that memory holds few of them."""
    import pyarrow as pa

    whole = pa.concat_tables([table_schema().empty_table(), *(read_rows(path) for path in row_paths)])
    order = whole.select(KEY).to_pandas().sort_values(list(KEY), kind="stable")
    # `frame` has the same order.
    inferred = pa.Table.from_pandas(frame[list(_INFERRED)], preserve_index=False)
    start = 0
    for _, group in order.groupby(list(_BATCH), sort=True):
        part = whole.take(pa.array(group.index.to_numpy()))
        beside = inferred.slice(start, len(group))
        for name in _INFERRED:
            part = part.append_column(name, beside[name])
        start += len(group)
        yield part
    if not len(frame):
        for name in _INFERRED:
            whole = whole.append_column(name, inferred[name])
        yield whole


def _check_once(frame: pd.DataFrame, row_paths: Sequence[Path]) -> None:
    """Refuse a pair, metric and k that is in two files."""
    if not (twice := frame.duplicated(list(KEY))).any():
        return
    key = tuple(frame.loc[twice.idxmax(), list(KEY)])
    files = [path for path in row_paths if key in set(read_light_rows(path)[list(KEY)].itertuples(index=False))]
    raise StoreError(
        f"{files[-1]}: {', '.join(map(str, key))} is already in {files[0]}. "
        "Delete both files and run the sweep again."
    )
