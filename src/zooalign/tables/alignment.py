"""Every pair of models in one table: results/tables/alignment.parquet and .csv."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from zooalign.alignment.table import table_schema
from zooalign.errors import StoreError
from zooalign.results.read import read_row_file
from zooalign.storage.atomic import replacing, write_bytes

if TYPE_CHECKING:
    import pyarrow as pa

    from zooalign.results.findings import Findings

VERSION = 2
SUFFIXES = (".parquet", ".csv")

KEY = ("dataset", "comparison", "metric", "k", "model_x", "model_y")


def write(findings: Findings, path: Path) -> None:
    """Write `path`.parquet and `path`.csv from what a sweep found."""
    make(findings.row_paths, *(Path(f"{path}{suffix}") for suffix in SUFFIXES))


def make(row_paths: Iterable[Path | str], parquet_path: Path | str, csv_path: Path | str) -> None:
    """Join the rows of the alignment matrix into one table.

    Parameters
    ----------
    row_paths : iterable of path
        Files results/alignment/{dataset}/{model}.parquet, in any order.
    parquet_path, csv_path : path
        Where to write. Both hold a row per pair, dataset, metric and k, sorted by `KEY`; the layer x layer
        matrix and the per-sample terms are in the Parquet file only. Scores in the CSV have 8 decimals.

    Raises
    ------
    StoreError
        If a row file is damaged, or a pair occurs twice; names the files. Also if the disk is full.

    Notes
    -----
    The same rows give the same bytes, whatever the order of files and of the manifest. Both files are
    written beside their place and renamed.
    """
    import pyarrow as pa

    paths = sorted(Path(p) for p in row_paths)
    parts = [read_row_file(path) for path in paths]
    _check_once(parts, paths)
    table = pa.concat_tables([table_schema().empty_table(), *parts])
    order = table.select(KEY).to_pandas().sort_values(list(KEY), kind="stable").index
    table = table.take(pa.array(order.to_numpy())).combine_chunks()
    _write_parquet(table, Path(parquet_path))
    light = table.drop_columns(["matrix", "terms"]).to_pandas()
    for column in ("score", "chance"):
        light[column] = light[column].map("{:.8f}".format, na_action="ignore")
    for column in ("tied_x", "tied_y"):
        light[column] = light[column].map("{:.4f}".format, na_action="ignore")
    write_bytes(csv_path, light.to_csv(index=False, lineterminator="\n").encode())


def _check_once(parts: list[pa.Table], paths: list[Path]) -> None:
    """Refuse a pair, metric and k that occurs twice."""
    seen: dict[tuple[object, ...], Path] = {}
    for part, path in zip(parts, paths, strict=True):
        for key in zip(*(part[name].to_pylist() for name in KEY), strict=True):
            if key in seen:
                raise StoreError(
                    f"{path}: {', '.join(str(value) for value in key)} is already in {seen[key]}. "
                    "Delete both files and run the sweep again."
                )
            seen[key] = path


def _write_parquet(table: pa.Table, path: Path) -> None:
    import pyarrow.parquet as pq

    with replacing(path) as staged:
        # Small groups, so that a reader after one pair's matrix need not load them all.
        pq.write_table(table, staged, compression="zstd", row_group_size=4096)
