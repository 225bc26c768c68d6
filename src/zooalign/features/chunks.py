"""Features are written as Zarr chunk by chunk, so that memory is that of a chunk and an interrupted writer goes on.

zarr-python writes a shard as a whole: with a million samples that is gigabytes in memory. A shard is a simple file,
though: encoded chunks one after the other, then an index of their places. Here chunks are appended as they come and
the index is written last; what any Zarr v3 reader then sees is the same array.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zooalign.provenance import digest, file_sha256, sealed
from zooalign.storage.journal import Journal

VERSION = 1
# A chunk holds one layer; galleries of very many samples are cut so that one chunk stays readable in memory.
MAX_CHUNK_BYTES = 256 * 2**20
MAX_SHARD_BYTES = 4 * 2**30
# What a shard's index says of a chunk that is all zeros and was not written.
_EMPTY = 2**64 - 1
_JOURNAL = "chunks.jsonl"
# Says how the chunks are laid out and encoded.
ARRAY_HEADER = "features/zarr.json"

# Features of one layer, rows start to stop in the dataset's order; narrower than the widest layer is allowed.
Block = Callable[[int, int, int], np.ndarray]


class Grid(NamedTuple):
    """How an array of features is cut into chunks, and chunks into files.

    Attributes
    ----------
    layers, samples, width : int
        Shape of the array.
    rows : int
        Samples of one chunk; a chunk holds one layer.
    per_file : int
        Layers of one file.
    """

    layers: int
    samples: int
    width: int
    rows: int
    per_file: int

    @property
    def row_chunks(self) -> int:
        """Chunks of one layer."""
        return -(-self.samples // self.rows)

    @property
    def chunks_per_file(self) -> int:
        """Chunks of one file."""
        return self.per_file * self.row_chunks

    def chunks(self) -> list[tuple[int, int]]:
        """Every chunk as (layer, row chunk), in the order in which they are written."""
        return [(layer, c) for layer in range(self.layers) for c in range(self.row_chunks)]

    def span(self, row_chunk: int) -> tuple[int, int]:
        """First sample of a row chunk and the one after its last."""
        return row_chunk * self.rows, min(self.samples, (row_chunk + 1) * self.rows)


def make_grid(layers: int, samples: int, width: int, itemsize: int) -> Grid:
    """Cut an array so that neither a chunk nor a file grows over its limit.

    Parameters
    ----------
    layers, samples, width : int
        Shape of the array.
    itemsize : int
        Bytes of a value.
    """
    rows = max(1, min(samples, MAX_CHUNK_BYTES // max(1, width * itemsize)))
    per_file = max(1, min(layers, MAX_SHARD_BYTES // max(1, samples * width * itemsize)))
    return Grid(layers, samples, width, rows, per_file)


def write_features(
    folder: Path,
    shape: tuple[int, int, int],
    dtype: np.dtype[Any] | str,
    block: Block,
    attributes: dict[str, Any],
    source: str | None = None,
) -> int:
    """Write a complete store to a folder, one chunk in memory at a time.

    Parameters
    ----------
    folder : Path
        Must not exist yet; with `source` it may hold what an interrupted call of the same source left.
    shape : tuple of int
        Layers, samples, width of the widest layer.
    dtype : dtype
        float16 or float32.
    block : callable
        `block(layer, start, stop)` gives the rows, (stop - start, width of the layer).
    attributes : dict
        As `FeatureStore.attributes`; format, version and file sizes are added.
    source : str, optional
        Digest of where the values come from. With it every written chunk is journalled, and a later call with the
        same source does only the rest.

    Returns
    -------
    int
        Chunks that this call wrote.
    """
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec

    dtype = np.dtype(dtype)
    grid = make_grid(*shape, dtype.itemsize)
    placed = _Placed(folder, grid, source)
    if not placed.resume():
        shutil.rmtree(folder, ignore_errors=True)
        group = zarr.open_group(folder, mode="w-")
        group.create_array(
            "features",
            shape=shape,
            chunks=(1, grid.rows, grid.width),
            # A file holds whole chunks; the last row chunk may be ragged, so round up.
            shards=(grid.per_file, grid.row_chunks * grid.rows, grid.width),
            dtype=dtype,
            compressors=[ZstdCodec(level=1), Crc32cCodec()],
        )
    encode = _Encoder((1, grid.rows, grid.width), dtype, [ZstdCodec(level=1), Crc32cCodec()])
    written = 0
    for layer, row_chunk in grid.chunks()[len(placed.entries) :]:
        start, stop = grid.span(row_chunk)
        values = block(layer, start, stop)
        padded = np.zeros((1, grid.rows, grid.width), dtype)
        padded[0, : stop - start, : values.shape[1]] = values
        placed.append(encode(padded))
        written += 1
    placed.finish()
    names = [ARRAY_HEADER, *(f"features/c/{i}/0/0" for i in range(-(-grid.layers // grid.per_file)))]
    files = {name: (folder / name).stat().st_size for name in names if (folder / name).exists()}
    about = {**attributes, "files": files, "layout_sha256": file_sha256(folder / ARRAY_HEADER)}
    group = zarr.open_group(folder, mode="r+")
    # Last, so that a folder without `complete` is never read as a store.
    group.attrs.put(sealed({"format": "zooalign-features", "format_version": VERSION, **about, "complete": True}))
    (folder / _JOURNAL).unlink(missing_ok=True)
    return written


class _Encoder:
    """Encodes one chunk as zarr does: a one-chunk array in memory, written and taken out again."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, compressors: list[Any]) -> None:
        import zarr
        from zarr.storage import MemoryStore

        self._chunks: dict[str, Any] = {}
        self._array = zarr.create_array(
            MemoryStore(self._chunks), shape=shape, chunks=shape, dtype=dtype, compressors=compressors
        )
        self._key = "c/" + "/".join("0" for _ in shape)

    def __call__(self, values: np.ndarray) -> bytes | None:
        """Bytes of the chunk, None where all values are the fill value."""
        self._chunks.pop(self._key, None)
        self._array[...] = values
        encoded = self._chunks.get(self._key)
        return None if encoded is None else encoded.to_bytes()


class _Placed:
    """Files of a store while chunks are appended; `entries` says where each chunk lies: (offset, bytes)."""

    def __init__(self, folder: Path, grid: Grid, source: str | None) -> None:
        self.folder, self.grid = folder, grid
        self.entries: list[tuple[int, int]] = []
        key = digest(source, list(grid))
        self._journal = None if source is None else Journal(folder, key, path=folder / _JOURNAL)

    def resume(self) -> bool:
        """Go on with what an interrupted writer of the same source left, cut to whole chunks, if anything."""
        if self._journal is None or not (self.folder / "features" / "zarr.json").exists():
            return False
        self._journal.resume(accept=self._is_whole)
        return bool(self.entries)

    def _is_whole(self, entry: Any) -> bool:
        offset, size = entry
        file = self._file(len(self.entries))
        if offset != _EMPTY and (file.stat().st_size if file.exists() else 0) < offset + size:
            return False
        self.entries.append((offset, size))
        return True

    def _file(self, chunk: int) -> Path:
        """File that holds the chunk of that number."""
        return self.folder / "features" / "c" / str(chunk // self.grid.chunks_per_file) / "0" / "0"

    def _end(self, first: int) -> int:
        """Bytes of the chunks that are placed in the file that begins with chunk `first`."""
        placed = self.entries[first : first + self.grid.chunks_per_file]
        return max((offset + size for offset, size in placed if offset != _EMPTY), default=0)

    def append(self, data: bytes | None) -> None:
        """Write the next chunk behind the others of its file; None is a chunk of zeros, which takes no space."""
        chunk = len(self.entries)
        file = self._file(chunk)
        entry = (_EMPTY, _EMPTY)
        if data is not None:
            offset = self._end(chunk - chunk % self.grid.chunks_per_file)
            file.parent.mkdir(parents=True, exist_ok=True)
            _write_at(file, offset, data)
            entry = (offset, len(data))
        self.entries.append(entry)
        if self._journal is not None:
            self._journal.append(entry)

    def finish(self) -> None:
        """Write the index of every file; a file that would hold nothing but zeros is left out, as zarr does."""
        from zarr.codecs import Crc32cCodec

        grid = self.grid
        shape = (grid.per_file, grid.row_chunks, 1, 2)
        encode = _Encoder(shape, np.dtype(np.uint64), [Crc32cCodec()])
        for first in range(0, len(self.entries), grid.chunks_per_file):
            end = self._end(first)
            if end == 0:
                continue
            index = np.full((grid.chunks_per_file, 2), _EMPTY, np.uint64)
            placed = self.entries[first : first + grid.chunks_per_file]
            index[: len(placed)] = placed
            encoded = encode(index.reshape(shape))
            assert encoded is not None  # it is not all zeros: a chunk has bytes
            _write_at(self._file(first), end, encoded)


def _write_at(file: Path, offset: int, data: bytes) -> None:
    """Write at a place of a file and cut off what was behind it: an interrupted writer's unfinished chunk."""
    with open(file, "r+b" if file.exists() else "w+b") as target:
        target.truncate(offset)
        target.seek(offset)
        target.write(data)
        target.flush()
        os.fsync(target.fileno())
