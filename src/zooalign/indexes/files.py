"""Files of a stored index, read by memory mapping; used by zooalign.indexes.index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from zooalign.errors import StoreError
from zooalign.provenance import read_object


def read_json(file: Path, path: Path) -> dict[str, Any]:
    """Parse a header of the index at `path`; StoreError naming it if that is missing or damaged."""
    try:
        return read_object(file)
    except FileNotFoundError:
        raise StoreError(f"there is no index at {path} (no {file.name}): run the index rule first.") from None
    except (ValueError, OSError) as error:
        raise damaged(path, f"{file.name}: {error}") from error


def checksum(values: np.ndarray) -> str:
    """XXH3 of an array's bytes, type and shape: fast enough to be taken whenever an index is read."""
    import xxhash

    values = np.ascontiguousarray(values)
    sha = xxhash.xxh3_128(f"{values.dtype.str} {values.shape}".encode())
    sha.update(values.reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


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
        raise damaged(path, f"array {name!r} has another layout than zooalign writes")
    dtype = np.dtype(header["data_type"]).newbyteorder("<")
    size = int(np.prod(shape)) * dtype.itemsize
    if not chunk.is_file() or chunk.stat().st_size != size:
        raise damaged(path, f"array {name!r} is truncated")
    # Copy on write: nothing reaches the disk, and compiled kernels see the same type as arrays in memory.
    return np.asarray(np.memmap(chunk, dtype, "c", shape=shape))


def check_array(path: Path, name: str, values: np.ndarray, expected: str, n: int) -> None:
    """Compare an array with the checksum that was stored with it, and neighbours with what kernels may index.

    Raises
    ------
    StoreError
        If it changed since it was written, or a neighbour is not in [0, n); names the index and the array.
    """
    if checksum(values) != expected:
        raise damaged(path, f"array {name!r} changed since it was written")
    if name == "neighbors" and values.size and not (values.min() >= 0 and values.max() < n):
        raise damaged(path, f"array {name!r} has neighbours outside the {n} samples")


def damaged(path: Path, what: str) -> StoreError:
    """The error for an index that cannot be trusted."""
    message = f"the index {path} is damaged: {what}. Delete it and run again."
    return StoreError(message, path / "zarr.json")
