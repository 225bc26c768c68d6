"""FeatureStore: the features of one model on one dataset, written so that a kill loses one batch at most.

While a model runs, finished batches are appended to a staging folder beside the store (`{store}.partial`);
when all are done, they are put into the dataset's order, written as Zarr v3 and renamed into place. So a store
that exists is complete, and what is in staging survives the workflow's removal of failed outputs.
"""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zooalign.errors import FeatureError, StoreError
from zooalign.features.chunks import ARRAY_HEADER, VERSION, write_features
from zooalign.provenance import file_sha256, is_sealed, read_object
from zooalign.storage.atomic import replacing, write_json, writing
from zooalign.storage.journal import Journal, last_part

if TYPE_CHECKING:
    from zooalign.storage.lease import Lease

_JOURNAL = "journal.jsonl"  # of finished batches, in the staging folder


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
        _check_files(path, attributes)
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
        return self.rows(i, 0, self.n)

    def rows(self, i: int, start: int, stop: int) -> np.ndarray:
        """Features of samples `start` to `stop` (not included) of one layer; otherwise as :meth:`layer`."""
        i = range(len(self.widths))[i]
        try:
            return np.ascontiguousarray(self._array[i, start:stop, : self.widths[i]])
        except MemoryError:
            raise
        except Exception as error:  # of whatever layer of zarr: a checksum, a decoder, a missing file
            where = f"{self.path}: layer {self.layer_names[i]!r}"
            # An error of the file system may pass; anything else is in the bytes.
            record = None if isinstance(error, OSError) else self.path / "zarr.json"
            raise StoreError(f"{where} cannot be read ({error}). {_REMEDY}", record) from error

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
        attributes = read_object(path / "zarr.json", "attributes")
    except FileNotFoundError:
        staged = staging_folder(path).exists()
        partial = " A partial one is beside it: the next run continues it." if staged else ""
        raise StoreError(f"{path}: no feature store.{partial} Run the sweep to make it.") from None
    except ValueError as error:
        raise StoreError(f"{path}/zarr.json is damaged ({error}). {_REMEDY}", path / "zarr.json") from error
    if attributes.get("format") != "zooalign-features":
        raise StoreError(f"{path}: a Zarr group, but no feature store of zooalign.")
    if attributes.get("complete") is not True:
        raise StoreError(f"{path}: unfinished store. {_REMEDY}")
    if attributes.get("format_version") != VERSION:
        raise StoreError(
            f"{path}: format {attributes.get('format_version')}, this program reads {VERSION}. {_REMEDY}"
        )
    if "digest" not in attributes or not is_sealed(attributes):
        raise StoreError(f"{path}/zarr.json is damaged (it was edited or cut off). {_REMEDY}", path / "zarr.json")
    return attributes


def _check_files(path: Path, attributes: dict[str, Any]) -> None:
    for name, size in attributes["files"].items():
        actual = file.stat().st_size if (file := path / name).exists() else None
        if actual != size:
            problem = "is missing" if actual is None else f"has {actual:,} bytes instead of {size:,}"
            raise StoreError(f"{path}: truncated store: {name} {problem}. {_REMEDY}", path / "zarr.json")
    # Chunks carry checksums; what says how to read them has its own.
    expected = attributes.get("layout_sha256")
    if expected is not None and file_sha256(path / ARRAY_HEADER) != expected:
        raise StoreError(f"{path}/{ARRAY_HEADER} is damaged. {_REMEDY}", path / "zarr.json")


def finished_attributes(path: Path, digest: str) -> dict[str, Any] | None:
    """Attributes of a whole store of that digest, without importing zarr; None where there is none."""
    try:
        attributes = read_attributes(path)
        if attributes["digest"] != digest:
            return None
        _check_files(path, attributes)
    except (StoreError, KeyError, TypeError, AttributeError):  # missing, or not to be trusted: it is written again
        return None
    return attributes


def staging_folder(path: Path) -> Path:
    """Folder beside a store that holds finished batches until all are done."""
    return path.with_name(path.name + ".partial")


def staged_samples(path: Path) -> int:
    """Samples whose features an interrupted extraction has finished beside a store; 0 where nothing can be read."""
    part = last_part(staging_folder(path) / _JOURNAL)
    return part[0] if isinstance(part, list) and part and isinstance(part[0], int) else 0


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
    lease : Lease, optional
        Checked before anything is written; see `lease.hold_lease`.
    """

    def __init__(self, path: Path, plan: dict[str, Any], lease: Lease | None = None) -> None:
        self.path, self.plan, self._lease = path, plan, lease
        self.folder = staging_folder(path)
        self._rows = self.folder / "rows.bin"
        self._journal = Journal(path, plan["digest"], lease, self.folder / _JOURNAL)
        self._row_bytes = sum(plan["widths"]) * np.dtype(plan["dtype"]).itemsize
        self.done = 0

    @classmethod
    def resume(cls, path: Path, digest: str, lease: Lease | None = None) -> FeatureWriter | None:
        """Writer that continues an interrupted run, or None if there is nothing of that digest to continue.

        Rows after the last whole batch are cut off. Staging of another digest (the model or dataset changed in
        between) is removed.
        """
        folder = staging_folder(path)
        try:
            plan = read_object(folder / "plan.json")
        except (FileNotFoundError, ValueError):
            plan = None
        if plan is None or plan.get("digest") != digest:
            shutil.rmtree(folder, ignore_errors=True)
            return None
        writer = cls(path, plan, lease)
        writer._recover()
        return writer

    @classmethod
    def begin(cls, path: Path, plan: dict[str, Any], lease: Lease | None = None) -> FeatureWriter:
        """Writer that starts from nothing."""
        writer = cls(path, plan, lease)
        writer._check()
        shutil.rmtree(writer.folder, ignore_errors=True)
        with writing(writer.path):
            writer.folder.mkdir(parents=True)
            writer._rows.touch()
        writer._journal.resume()
        write_json(writer.folder / "plan.json", plan)
        return writer

    def _check(self) -> None:
        if self._lease is not None:
            self._lease.check()

    def _recover(self) -> None:
        """Find the whole batches in staging, and cut off what is behind them."""
        self._check()
        self.done = 0
        size = self._rows.stat().st_size
        with open(self._rows, "rb") as file:

            def is_whole(batch: Any) -> bool:
                end, crc32 = batch
                if not self.done < end <= size // max(1, self._row_bytes):
                    return False
                file.seek(self.done * self._row_bytes)
                if zlib.crc32(file.read((end - self.done) * self._row_bytes)) != crc32:
                    return False
                self.done = end
                return True

            self._journal.resume(accept=is_whole)
        os.truncate(self._rows, self.done * self._row_bytes)

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
        cut = [c for a, b in self.remaining() for c in [*range(a + size, b, size), b]]
        self.recut([*(b for b in self.plan["bounds"] if b <= self.done), *cut])

    def recut(self, bounds: list[int]) -> None:
        """Take batches that end at other `bounds`; what is done must end at one of them."""
        self.plan = {**self.plan, "bounds": bounds}
        self._check()
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
        LeaseError
            If another process took the store over; nothing is written then.
        """
        start, stop = self.remaining()[0]
        blocks = [self._checked(block, i, start) for i, block in enumerate(layers)]
        data = np.ascontiguousarray(np.concatenate(blocks, axis=1))
        if data.shape != (stop - start, sum(self.plan["widths"])):
            raise FeatureError(f"{self.path.name}: batch of shape {data.shape}, expected {stop - start} rows.")
        raw = data.tobytes()
        self._check()
        with writing(self.path), open(self._rows, "r+b") as file:
            # At its place, not at the end: whatever else writes this batch writes the same.
            file.seek(start * self._row_bytes)
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        self._journal.append([stop, zlib.crc32(raw)])
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
            f"{where}: NaN or infinite feature. Check the weights and the sample; where precision is float16, "
            "try bfloat16 or float32."
        )

    def finish(self, attributes: dict[str, Any]) -> None:
        """Write the store in the dataset's order and rename it into place; staging is removed.

        Parameters
        ----------
        attributes : dict
            Provenance, JSON-able; format, ids, layers and digest are added.

        Raises
        ------
        StoreError
            If the disk is full, or a batch is not what was written any more; the others are kept.
        LeaseError
            If another process took the store over; the store that exists then stays as it is.
        """
        self._recover()
        if self.remaining():
            raise StoreError(
                f"{self.folder}: a finished batch has changed on the disk since it was written (samples "
                f"{self.done} and on). Run again: it continues from there."
            )
        with replacing(self.path, self._lease) as staged:
            self._write(staged, self._attributes(attributes))
        shutil.rmtree(self.folder)

    def _write(self, folder: Path, attributes: dict[str, Any]) -> None:
        """The rows in staging as Zarr, in the dataset's order."""
        widths, dtype = self.plan["widths"], np.dtype(self.plan["dtype"])
        ends, n = np.cumsum(widths), len(self.plan["order"])
        read = np.argsort(np.asarray(self.plan["order"]), kind="stable")  # (n,): row of the i-th sample
        rows = np.memmap(self._rows, dtype=dtype, mode="r", shape=(n, sum(widths)))

        def block(layer: int, start: int, stop: int) -> np.ndarray:
            return rows[read[start:stop], ends[layer] - widths[layer] : ends[layer]]

        write_features(folder, (len(widths), n, max(widths)), dtype, block, attributes)

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
    write_features(path, features.shape, features.dtype, lambda i, a, b: features[i, a:b], attributes)
