"""The table of a row: one line per (pair, metric, k), and in its metadata the pairs that the row holds."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.errors import StoreError

if TYPE_CHECKING:
    import pyarrow as pa

    from zooalign.ownership import Owner

PAIRS_KEY = b"zooalign.pairs"


def table_schema() -> pa.Schema:
    """Columns of a row and of alignment.parquet; `matrix` is row-major (n_layers_x, n_layers_y), `terms` (n,)."""
    import pyarrow as pa

    return pa.schema(
        [
            ("dataset", pa.string()),
            ("comparison", pa.string()),
            ("metric", pa.string()),
            ("k", pa.int64()),
            ("model_x", pa.string()),
            ("model_y", pa.string()),
            ("modality_x", pa.string()),
            ("modality_y", pa.string()),
            ("score", pa.float64()),
            ("chance", pa.float64()),
            ("n", pa.int64()),
            ("layer_x", pa.int64()),
            ("layer_y", pa.int64()),
            ("layer_name_x", pa.string()),
            ("layer_name_y", pa.string()),
            ("n_layers_x", pa.int64()),
            ("n_layers_y", pa.int64()),
            ("digest", pa.string()),
            ("matrix", pa.list_(pa.float32())),
            ("terms", pa.list_(pa.float32())),
        ]
    )


def held_pairs(table: Path) -> set[tuple[str, str]] | None:
    """Pairs that a row on disk holds, or None if there is no readable row."""
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(table).metadata
    except (OSError, ValueError):  # missing, or not a parquet file: the row is made anew
        return None
    if not metadata or PAIRS_KEY not in metadata:
        return None
    return {tuple(pair) for pair in json.loads(metadata[PAIRS_KEY])}


def read_lines(table: Path) -> list[dict[str, Any]]:
    """Every line of a row; none if there is no row, or a damaged one, which is only a cache and made anew."""
    import pyarrow.parquet as pq

    try:
        # From one open file: by its name pyarrow opens it twice, and it may be replaced in between.
        with open(table, "rb") as file:
            return pq.read_table(file).to_pylist()
    except (OSError, ValueError):
        return []


def read_digests(table: Path) -> list[str]:
    """Digests of the lines of a row, sorted; OSError or ValueError if it cannot be read."""
    import pyarrow.parquet as pq

    with open(table, "rb") as file:
        return sorted(pq.read_table(file, columns=["digest"])["digest"].to_pylist())


def write_table(path: Path, lines: Sequence[dict[str, Any]], held: Sequence[Sequence[str]], owner: Owner) -> None:
    """Write a row in one step.

    Parameters
    ----------
    path : Path
        The row.
    lines : sequence of dict
        As in :func:`table_schema`, in any order.
    held : sequence of (str, str)
        The (x, y) of every pair that the row holds, computed or not.
    owner : Owner
        Checked before the rename; see `ownership.own`.

    Raises
    ------
    StoreError
        If the disk is full; the former row is untouched.
    OwnershipError
        If another process took the row over.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    lines = sorted(lines, key=lambda line: (line["model_x"], line["model_y"], line["metric"], line["k"]))
    table = pa.Table.from_pylist(lines, schema=table_schema())
    table = table.replace_schema_metadata({PAIRS_KEY: json.dumps(held).encode()})
    try:
        with open(owner.staged, "wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        owner.check()
        os.replace(owner.staged, path)
    except OSError as error:
        owner.staged.unlink(missing_ok=True)
        raise StoreError(
            f"cannot write {path}: {error}. Free disk space and run again; the former row is untouched."
        ) from error
