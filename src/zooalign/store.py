"""FeatureStore: the features of one model on one dataset, written so that a kill loses one batch at most.

While a model runs, finished batches are appended to a staging folder beside the store (`{store}.partial`);
when all are there, they are put into the dataset's order, written as Zarr v3 and renamed into place. So a store
that exists is complete, and what is in staging survives the workflow's removal of failed outputs.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zooalign.errors import FeatureError, StoreError
from zooalign.provenance import write_json

VERSION = 1
# A chunk holds one layer; galleries of very many samples are cut so that one chunk stays readable in memory.
MAX_CHUNK_BYTES = 256 * 2**20
MAX_SHARD_BYTES = 4 * 2**30


class FeatureStore:
    """Complete, verified features of one model on one dataset.

    Attributes
    ----------
    path : Path
        The Zarr group.
    attributes : dict
        Provenance: model, dataset, digests, versions, preprocessing, command, time.
    sample_ids : list of str
        n ids, in the dataset's order.
    layer_names : list of str
        L names, from input to output.
    widths : list of int
        L numbers of features.
    digest : str
        Digest of what determines the features (model, weights, pooling, precision, dataset content).
    """

    def __init__(self, path: Path, attributes: dict[str, Any], array: Any) -> None:
        self.path, self.attributes, self._array = path, attributes, array
        self.layer_names: list[str] = attributes["layer_names"]
        self.widths: list[int] = attributes["widths"]
        self.digest: str = attributes["digest"]
        self.sample_ids: list[str] = attributes["sample_ids"]

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.sample_ids)

    @classmethod
    def open(cls, path: Path | str) -> FeatureStore:
        """Open a store for reading.

        Raises
        ------
        StoreError
            If there is no store, if it is unfinished, or if a file is missing or has another size than written.
        """
        path = Path(path)
        attributes = read_attributes(path)
        for name, size in attributes["files"].items():
            file = path / name
            actual = file.stat().st_size if file.exists() else None
            if actual != size:
                found = "is missing" if actual is None else f"has {actual:,} bytes instead of {size:,}"
                raise StoreError(f"{path}: truncated store: {name} {found}. {_REMEDY}")
        import zarr

        return cls(path, attributes, zarr.open_group(path, mode="r")["features"])

    def layer(self, i: int) -> np.ndarray:
        """Features of one layer.

        Parameters
        ----------
        i : int
            Layer, 0 <= i < L (negative counts from the end).

        Returns
        -------
        ndarray, shape (n, widths[i]), float16 or float32
            In the order of `sample_ids`, as stored.

        Raises
        ------
        StoreError
            If the chunk's checksum is wrong.
        """
        i = range(len(self.widths))[i]
        try:
            return np.ascontiguousarray(self._array[i, :, : self.widths[i]])
        except Exception as error:
            where = f"{self.path}: layer {self.layer_names[i]!r}"
            raise StoreError(f"{where} cannot be read ({error}). {_REMEDY}") from error

    def layers(self) -> Iterator[np.ndarray]:
        """Every layer in order, one in memory at a time."""
        return (self.layer(i) for i in range(len(self.widths)))


_REMEDY = "Delete it and run the sweep again; only this model's features are recomputed."


def read_attributes(path: Path) -> dict[str, Any]:
    """Attributes of a complete store without opening its arrays.

    Raises
    ------
    StoreError
        If the folder is no finished feature store; says whether a partial one lies beside it.
    """
    try:
        attributes = json.loads((path / "zarr.json").read_text())["attributes"]
    except FileNotFoundError:
        staged = staging_folder(path).exists()
        partial = " A partial one lies beside it: the next run continues there." if staged else ""
        raise StoreError(f"{path}: no feature store.{partial} Run the sweep to make it.") from None
    except (json.JSONDecodeError, KeyError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}/zarr.json is damaged ({error}). {_REMEDY}") from error
    if attributes.get("format") != "zooalign-features":
        raise StoreError(f"{path}: a Zarr group, but no feature store of zooalign.")
    if attributes.get("complete") is not True:
        raise StoreError(f"{path}: unfinished store. {_REMEDY}")
    if attributes["format_version"] != VERSION:
        raise StoreError(f"{path}: format {attributes['format_version']}, this program reads {VERSION}. {_REMEDY}")
    return attributes


def staging_folder(path: Path) -> Path:
    """Folder beside a store that holds finished batches until all are there."""
    return path.with_name(path.name + ".partial")


class FeatureWriter:
    """Appends batches to staging and turns them into a store at the end.

    Batches are rows of all layers side by side, in the order in which the model reads samples (`order`), cut at
    `bounds`. A batch counts only when its line in the journal is complete and its checksum is right.

    Parameters
    ----------
    path : Path
        Store to write.
    plan : dict
        "digest" (str), "sample_ids" (n str), "order" (n int: position in the dataset of the i-th row written),
        "bounds" (increasing ints, the last is n: ends of batches), "layer_names", "widths" (L), "dtype"
        ("float16" or "float32").
    """

    def __init__(self, path: Path, plan: dict[str, Any]) -> None:
        self.path, self.plan = path, plan
        self.folder = staging_folder(path)
        self._rows = self.folder / "rows.bin"
        self._journal = self.folder / "journal.jsonl"
        self._row_bytes = sum(plan["widths"]) * np.dtype(plan["dtype"]).itemsize
        self.done = 0

    @classmethod
    def resume(cls, path: Path, digest: str) -> FeatureWriter | None:
        """Writer that continues an interrupted run, or None if there is nothing of that digest to continue.

        Rows after the last whole batch are cut off. Staging of another digest (the model or dataset changed in
        between) is removed.
        """
        folder = staging_folder(path)
        try:
            plan = json.loads((folder / "plan.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            plan = None
        if plan is None or plan["digest"] != digest:
            shutil.rmtree(folder, ignore_errors=True)
            return None
        writer = cls(path, plan)
        writer._recover()
        return writer

    @classmethod
    def begin(cls, path: Path, plan: dict[str, Any]) -> FeatureWriter:
        """Writer that starts from nothing."""
        writer = cls(path, plan)
        shutil.rmtree(writer.folder, ignore_errors=True)
        with _Disk(writer.path):
            writer.folder.mkdir(parents=True)
            writer._rows.touch()
            writer._journal.touch()
        write_json(writer.folder / "plan.json", plan)
        return writer

    def _recover(self) -> None:
        whole, rows = [], 0
        with open(self._rows, "rb") as file:
            for line in self._journal.read_text().splitlines():
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:
                    break
                data = file.read((entry["end"] - rows) * self._row_bytes)
                if zlib.crc32(data) != entry["crc32"]:
                    break
                whole.append(line)
                rows = entry["end"]
        self.done = rows
        os.truncate(self._rows, rows * self._row_bytes)
        self._journal.write_text("".join(f"{line}\n" for line in whole))

    def remaining(self) -> list[tuple[int, int]]:
        """Batches still to compute, as (start, stop) positions in `order`."""
        ends = [b for b in self.plan["bounds"] if b > self.done]
        return list(zip([self.done, *ends[:-1]], ends, strict=True)) if ends else []

    def halve(self) -> None:
        """Cut every remaining batch in two, because one did not fit into memory.

        Raises
        ------
        FeatureError
            If the next batch is a single sample already.
        """
        start, stop = self.remaining()[0]
        if stop - start == 1:
            sample = self.plan["sample_ids"][self.plan["order"][start]]
            raise FeatureError(
                f"out of memory with a batch of one (sample {sample!r}, {self.path.name}). Give the job more memory, "
                "a larger GPU, or a lower precision in the model's row; finished batches are kept."
            )
        size = max(1, (stop - start) // 2)
        done = [b for b in self.plan["bounds"] if b <= self.done]
        cut = [c for a, b in self.remaining() for c in [*range(a + size, b, size), b]]
        self.plan = {**self.plan, "bounds": done + cut}
        write_json(self.folder / "plan.json", self.plan)

    def append(self, layers: Sequence[np.ndarray]) -> None:
        """Store the next batch.

        Parameters
        ----------
        layers : L arrays of shape (batch, widths[l]), float32
            In the order of `plan["order"]`.

        Raises
        ------
        FeatureError
            If a value is NaN or infinite, or too large for the storage dtype; names layer and sample.
        StoreError
            If the disk is full.
        """
        start, stop = self.remaining()[0]
        blocks = [self._checked(block, i, start) for i, block in enumerate(layers)]
        data = np.ascontiguousarray(np.concatenate(blocks, axis=1))
        if data.shape != (stop - start, sum(self.plan["widths"])):
            raise FeatureError(f"{self.path.name}: batch of shape {data.shape}, expected {stop - start} rows.")
        raw = data.tobytes()
        entry = json.dumps({"end": stop, "crc32": zlib.crc32(raw)})
        with _Disk(self.path):
            _append(self._rows, raw)
            _append(self._journal, (entry + "\n").encode())
        self.done = stop

    def _checked(self, block: np.ndarray, layer: int, start: int) -> np.ndarray:
        stored = block.astype(self.plan["dtype"])
        if np.isfinite(stored).all():
            return stored
        bad = int(np.flatnonzero(~np.isfinite(stored).all(axis=1))[0])
        sample = self.plan["sample_ids"][self.plan["order"][start + bad]]
        where = f"{self.path.stem}, layer {self.plan['layer_names'][layer]!r}, sample {sample!r}"
        if np.isfinite(block[bad]).all():
            raise FeatureError(
                f"{where}: value {np.abs(block[bad]).max():.6g} does not fit into {self.plan['dtype']}. "
                "Set storage_dtype: float32 in the model's row."
            )
        raise FeatureError(
            f"{where}: NaN or infinite feature. Check the weights and the sample, or try precision: float32."
        )

    def finish(self, attributes: dict[str, Any]) -> None:
        """Write the store in the dataset's order and rename it into place; staging is removed.

        Parameters
        ----------
        attributes : dict
            Provenance, JSON-able; format, ids, layers and digest are added.
        """
        widths, dtype = self.plan["widths"], np.dtype(self.plan["dtype"])
        n, order = len(self.plan["order"]), np.asarray(self.plan["order"])
        rows = np.memmap(self._rows, dtype=dtype, mode="r", shape=(n, sum(widths)))
        features = np.zeros((len(widths), n, max(widths)), dtype)
        for i, (end, width) in enumerate(zip(np.cumsum(widths), widths, strict=True)):
            features[i, order, :width] = rows[:, end - width : end]
        staged = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        shutil.rmtree(staged, ignore_errors=True)
        try:
            with _Disk(self.path):
                write_store(staged, features, self._attributes(attributes))
                shutil.rmtree(self.path, ignore_errors=True)
                os.replace(staged, self.path)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        del rows
        shutil.rmtree(self.folder)

    def _attributes(self, attributes: dict[str, Any]) -> dict[str, Any]:
        kept = {key: self.plan[key] for key in ("digest", "sample_ids", "layer_names", "widths", "dtype")}
        return {**attributes, **kept, "batches": len(self.plan["bounds"])}


def write_store(path: Path, features: np.ndarray, attributes: dict[str, Any]) -> None:
    """Write a complete store to a fresh folder.

    Parameters
    ----------
    path : Path
        Folder that does not exist yet.
    features : ndarray, shape (L, n, d_max), float16 or float32
        Layers narrower than d_max are padded with zeros, which compress to nothing.
    attributes : dict
        As `FeatureStore.attributes`.
    """
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec

    n_layers, n, width = features.shape
    rows = max(1, min(n, MAX_CHUNK_BYTES // max(1, width * features.itemsize)))
    per_shard = max(1, min(n_layers, MAX_SHARD_BYTES // max(1, n * width * features.itemsize)))
    group = zarr.open_group(path, mode="w-")
    array = group.create_array(
        "features",
        shape=features.shape,
        chunks=(1, rows, width),
        # Shards hold whole chunks; the last row chunk may be ragged, so round up.
        shards=(per_shard, -(-n // rows) * rows, width),
        dtype=features.dtype,
        compressors=[ZstdCodec(level=1), Crc32cCodec()],
    )
    for first in range(0, n_layers, per_shard):
        array[first : first + per_shard] = features[first : first + per_shard]
    files = {str(f.relative_to(path)): f.stat().st_size for f in sorted(path.rglob("c/**/*")) if f.is_file()}
    # Last, so that a folder without `complete` is never read as a store.
    group.attrs.put(
        {"format": "zooalign-features", "format_version": VERSION, **attributes, "files": files, "complete": True}
    )


def _append(path: Path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


class _Disk:
    """Turns errors of a full or read-only disk into one message."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, OSError):
            raise StoreError(
                f"cannot write {self.path}: {error.strerror or error}. Free disk space or choose another results "
                "folder and run again; finished batches are kept."
            ) from error
