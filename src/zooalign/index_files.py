"""Files of a stored index, read by memory mapping; used by zooalign.indexing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from zooalign.errors import StoreError


def read_json(file: Path, path: Path) -> dict[str, Any]:
    """Parse a header of the index at `path`; StoreError naming it if that is missing or damaged."""
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        raise StoreError(f"there is no index at {path} (no {file.name}): run the index rule first.") from None
    except (ValueError, OSError) as error:
        raise StoreError(f"the index {path} is damaged ({file.name}: {error}). Delete it and run again.") from error


def map_array(path: Path, name: str) -> np.ndarray:
    """Memory-map one array.

    We wrote it as one uncompressed chunk, so its bytes are the array; importing zarr (0.2 s) to read them
    would cost every alignment job more than the alignment. Any other layout is refused by name.
    """
    header = read_json(path / name / "zarr.json", path)
    shape = tuple(header.get("shape", ()))
    codecs = [c.get("name") for c in header.get("codecs", [])]
    chunk = path / name / ".".join(["c", *("0" for _ in shape)])
    grid = header.get("chunk_grid", {}).get("configuration", {}).get("chunk_shape", ())
    if not shape or codecs != ["bytes"] or tuple(grid) != shape:
        raise StoreError(f"array {name!r} of the index {path} was not written by zooalign. Build it again.")
    dtype = np.dtype(header["data_type"]).newbyteorder("<")
    size = int(np.prod(shape)) * dtype.itemsize
    if not chunk.is_file() or chunk.stat().st_size != size:
        raise StoreError(f"array {name!r} of the index {path} is truncated. Delete the index and run again.")
    # Copy on write: nothing reaches the disk, and compiled kernels see the same type as arrays in memory.
    return np.asarray(np.memmap(chunk, dtype, "c", shape=shape))
