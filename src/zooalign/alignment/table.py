"""The table of a row: one line per (pair, metric, k), and in its metadata the pairs that the row holds."""

# pyarrow has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.storage.atomic import replacing

if TYPE_CHECKING:
    import pyarrow as pa

    from zooalign.storage.lease import Lease

PAIRS_KEY = b"zooalign.pairs"
CONTENT_KEY = b"zooalign.content"


def table_schema() -> pa.Schema:
    """Columns of a row and of alignment.parquet.

    `tied_x` and `tied_y` are the shares of samples whose k neighbours depend on the order of ties at the best
    layers, empty for metrics without k; `matrix` is row-major (n_layers_x, n_layers_y), `terms` (n,).
    """
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
            ("tied_x", pa.float64()),
            ("tied_y", pa.float64()),
            ("n_layers_x", pa.int64()),
            ("n_layers_y", pa.int64()),
            ("digest", pa.string()),
            ("matrix", pa.list_(pa.float32())),
            ("terms", pa.list_(pa.float32())),
        ]
    )


def content_sha256(table: pa.Table, names: Sequence[str]) -> str:
    """SHA-256 of what a row says, whatever the file looks like; stored with it, so that no damage goes unseen."""
    import pyarrow as pa
    import pyarrow.compute as pc

    sha = hashlib.sha256((table.schema.metadata or {}).get(PAIRS_KEY, b""))
    for name in names:
        column = table[name].combine_chunks()
        sha.update(name.encode())
        if pa.types.is_list(column.type):
            sha.update(json.dumps(pc.call_function("list_value_length", [column]).to_pylist()).encode())
            sha.update(pc.call_function("list_flatten", [column]).to_numpy(zero_copy_only=False).tobytes())
        else:
            sha.update(json.dumps(column.to_pylist()).encode())
    return sha.hexdigest()


def is_whole(table: pa.Table, schema: pa.Schema) -> bool:
    """Whether a row says what it said when it was written; one that was written without that record passes."""
    recorded = (table.schema.metadata or {}).get(CONTENT_KEY)
    try:
        return recorded is None or recorded == content_sha256(table, schema.names).encode()
    except (KeyError, TypeError, ValueError):  # a column is missing, or of another type
        return False


@contextmanager
def _reading() -> Generator[None, None, None]:
    """Make a ValueError of whatever pyarrow raises for damaged bytes: some of it is neither that nor an OSError."""
    import pyarrow as pa

    try:
        yield
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error


def held_pairs(table: Path) -> set[tuple[str, str]] | None:
    """Pairs that a row on disk holds, or None if there is no readable row."""
    import pyarrow.parquet as pq

    try:
        with _reading():
            metadata = pq.read_metadata(table).metadata or {}
        return {tuple(pair) for pair in json.loads(metadata[PAIRS_KEY])}
    except (OSError, ValueError, KeyError, TypeError):  # missing, or no row of ours: it is computed again
        return None


def read_lines(table: Path, schema: pa.Schema | None = None) -> list[dict[str, Any]]:
    """Every line of a row; none if there is no row, or a damaged one, which is only a cache.

    Parameters
    ----------
    table : Path
        The row.
    schema : Schema, optional
        Its columns; default :func:`table_schema`.
    """
    import pyarrow.parquet as pq

    try:
        # From one open file: by its name pyarrow opens it twice, and it may be replaced in between.
        with _reading(), open(table, "rb") as file:
            lines = pq.read_table(file, page_checksum_verification=True)
        return lines.to_pylist() if is_whole(lines, schema or table_schema()) else []
    except (OSError, ValueError):
        return []


def read_digests(table: Path) -> dict[str, str]:
    """Digests of the lines of a row by "x|y|metric@k"; OSError or ValueError if it cannot be read."""
    import pyarrow.parquet as pq

    columns = ["model_x", "model_y", "metric", "k", "digest"]
    with _reading(), open(table, "rb") as file:
        lines = pq.read_table(file, columns=columns).to_pydict()
    rows = zip(*(lines[name] for name in columns), strict=True)
    return {f"{x}|{y}|{metric}@{k}": digest for x, y, metric, k, digest in rows}


def partial_table(table: Path) -> Path:
    """Where an interrupted update of a row keeps what it has computed; the row itself changes in one step."""
    return table.with_name(f".{table.stem}.partial{table.suffix}")


def write_table(
    path: Path, lines: Sequence[dict[str, Any]], held: Sequence[Sequence[str]], lease: Lease, schema: pa.Schema
) -> None:
    """Write a row in one step.

    Parameters
    ----------
    path : Path
        The row.
    lines : sequence of dict
        With the columns of `schema`, in any order.
    held : sequence of (str, str)
        The (x, y) of every pair that the row holds, computed or not.
    lease : Lease
        Checked before the rename; see `lease.hold_lease`.
    schema : Schema
        Columns; model_x, model_y, metric and k are among them.

    Raises
    ------
    StoreError
        If the disk is full; the former row is untouched.
    LeaseError
        If another process took the row over.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    lines = sorted(lines, key=lambda line: (line["model_x"], line["model_y"], line["metric"], line["k"]))
    table = pa.Table.from_pylist(lines, schema=schema)
    table = table.replace_schema_metadata({PAIRS_KEY: json.dumps(held).encode()})
    table = table.replace_schema_metadata(
        {**table.schema.metadata, CONTENT_KEY: content_sha256(table, schema.names).encode()}
    )
    with replacing(path, lease) as staged:
        pq.write_table(table, staged, compression="zstd", write_page_checksum=True)
