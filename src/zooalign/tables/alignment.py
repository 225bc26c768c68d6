"""Every pair of models, a row per pair, dataset, metric and k; layer matrices and terms are in the Parquet file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zooalign import metrics
from zooalign.alignment.table import table_schema
from zooalign.errors import StoreError
from zooalign.results.frames import where
from zooalign.results.markdown import number
from zooalign.results.publishing import Column, Shown, Table
from zooalign.results.read import read_light_rows, read_rows

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from zooalign.results.findings import Findings

VERSION = 3

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
)
_NOTES = (
    "A score is the maximum over all layer pairs of two models.",
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
    headline = where(where(frame, "metric", findings.metric), "k", findings.k)
    return Table(
        "Alignment of every pair of models",
        frame,
        _COLUMNS,
        (
            Shown("model", "model_x"),
            Shown("model", "model_y"),
            Shown(metrics.label(findings.metric, findings.k or None), lambda row: number(row["score"])),
            Shown("layers", lambda row: f"{row['layer_name_x']}, {row['layer_name_y']}"),
        ),
        _NOTES,
        section=lambda row: f"{row['comparison']} on {row['dataset']}",
        rows_shown=headline.sort_values(
            ["dataset", "comparison", "score"], ascending=[True, True, False], kind="stable"
        ),
        content=_parts(frame, findings.row_paths),
    )


def _parts(frame: pd.DataFrame, row_paths: Sequence[Path]) -> Iterator[pa.Table]:
    """Rows with their heavy columns, sorted by `KEY`, one metric at a time so that memory holds few of them."""
    import pyarrow as pa

    whole = pa.concat_tables([table_schema().empty_table(), *(read_rows(path) for path in row_paths)])
    order = whole.select(KEY).to_pandas().sort_values(list(KEY), kind="stable")
    for _, group in order.groupby(list(_BATCH), sort=True):
        yield whole.take(pa.array(group.index.to_numpy()))
    if not len(frame):
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
