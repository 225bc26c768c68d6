"""Joining shards: checked to be one extraction and all of it, then streamed into one store."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zooalign.errors import StoreError
from zooalign.features.shards import positions, shards_folder, stored_digest
from zooalign.features.store import FeatureStore, finished_attributes, read_attributes
from zooalign.progress import Progress, Report
from zooalign.provenance import digest, stamp

if TYPE_CHECKING:
    from zooalign.storage.lease import Lease

# Attributes that say the same in every shard of a store, in words for a message.
_COMMON = {
    "extraction_version": "versions of the extraction",
    "reading": "ways of reading samples",
    "versions": "versions of libraries",
    "layer_names": "layers",
    "widths": "widths of layers",
    "dtype": "storage dtypes",
}


def merge_shards(
    paths: Sequence[Path], whole: Path, report: Report, remove: bool = False, lease_timeout_s: float = 60.0
) -> int:
    """Join shards into the store that a single job would have written.

    Parameters
    ----------
    paths : sequence of Path
        Stores of all shards, in any order.
    whole : Path
        Store to write; one of the same digest is kept, any other is replaced.
    remove : bool
        Whether to remove the shards once the joined store was read back and found equal to them.
    lease_timeout_s : float
        As `lease.hold_lease`: no other job writes the store in the meantime.

    Returns
    -------
    int
        Chunks that this call wrote; fewer than there are if it continued an interrupted one.

    Raises
    ------
    StoreError
        If a shard is missing, damaged, foreign, or given twice, or the disk is full; names the shard.
    LeaseError
        If another process took the store over.

    Notes
    -----
    One chunk of one layer is in memory at a time. An interrupted merge continues after its last whole chunk.
    """
    from zooalign.storage.lease import hold_lease

    with hold_lease(whole, report, lease_timeout_s) as lease:
        parts = Parts(paths)
        written = 0
        if stored_digest(whole) == parts.digest:
            report(f"{whole} is merged already")
        else:
            written = _merge(parts, whole, lease, report)
        if remove:
            parts.compare(FeatureStore.open(whole))
            lease.check()
            for store in parts.stores:
                shutil.rmtree(store.path)
            folder = shards_folder(whole)
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
            report(f"{whole} read back and equal to its {len(parts.stores)} shards, which were removed")
    return written


def _merge(parts: Parts, whole: Path, lease: Lease, report: Report) -> int:
    from zooalign.features.chunks import make_grid, write_features
    from zooalign.storage.atomic import replace_folder, writing

    shape = (len(parts.widths), parts.n, max(parts.widths))
    total = len(make_grid(*shape, np.dtype(parts.dtype).itemsize).chunks())
    progress = Progress(total, "chunks", report)

    def block(layer: int, start: int, stop: int) -> np.ndarray:
        lease.check()
        progress.advance(1)
        return parts.rows(layer, start, stop)

    report(f"joining {len(parts.stores)} shards: {parts.n} samples, {len(parts.widths)} layers")
    # A fixed name, so that the next merge finds it and continues.
    staged = whole.with_name(whole.name + ".merging")
    written = 0
    with writing(whole):
        if finished_attributes(staged, parts.digest) is None:
            written = write_features(staged, shape, parts.dtype, block, parts.attributes(), source=parts.identity)
        # What a merge left that was killed while it replaced the store.
        shutil.rmtree(staged.with_name(staged.name + ".old"), ignore_errors=True)
        replace_folder(staged, whole, lease.check)
    report(f"wrote {whole} ({written} of {total} chunks by this call)")
    return written


class Parts:
    """All shards of one store, read as one array.

    Parameters
    ----------
    paths : sequence of Path
        Stores of the shards, in any order.

    Raises
    ------
    StoreError
        If one is missing, damaged, foreign or given twice; names it.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        if not paths:
            raise StoreError("no shards to join. Make them: `zooalign submit extract MODEL --dataset ID --shards N`.")
        for path in paths:
            if "shard" not in read_attributes(path):
                raise StoreError(f"{path}: a whole store, no shard. Leave it out.")
        stores = sorted((FeatureStore.open(p) for p in paths), key=lambda s: s.attributes["shard"]["index"])
        self.stores = stores
        first = stores[0]
        about = first.attributes["shard"]
        self.n: int = about["samples"]
        self.digest: str = about["whole"]
        self.widths, self.dtype = first.widths, first.attributes["dtype"]
        for other in stores[1:]:
            self._check_same(first, other)
        self._check_complete(about["of"])
        self._positions = [positions(s.attributes["shard"]["runs"]) for s in stores]
        self.sample_ids = self._joined_ids(about["ids_digest"])

    def _check_same(self, first: FeatureStore, other: FeatureStore) -> None:
        a, b = first.attributes, other.attributes
        where = f"{first.path} and {other.path} are not shards of one store"
        for key, name in (("model", "id"), ("dataset", "name")):
            if a[key][name] != b[key][name]:
                both = f"one is of {key} {a[key][name]!r}, the other of {b[key][name]!r}"
                raise StoreError(f"{where}: {both}. Leave out the wrong one.")
        for key, words in _COMMON.items():
            if a.get(key) != b.get(key):
                raise StoreError(
                    f"{where}: their {words} differ{_difference(a.get(key), b.get(key))}. {self._again(b)}"
                )
        if a["shard"]["of"] != b["shard"]["of"]:
            count = f"one is of {a['shard']['of']} shards, the other of {b['shard']['of']}"
            raise StoreError(f"{where}: {count}. Leave out those of the other number.")
        if a["shard"]["whole"] != b["shard"]["whole"]:
            raise StoreError(
                f"{where}: the model's row, the dataset or a setting changed in between. {self._again(b)}"
            )
        if a["shard"]["batches_digest"] != b["shard"]["batches_digest"]:
            raise StoreError(
                f"{where}: their batches were cut differently (extraction.max_batch, batch_mem_mb or the kind of "
                f"device changed in between). {self._again(b)}"
            )

    def _check_complete(self, of: int) -> None:
        by_index: dict[int, FeatureStore] = {}
        for store in self.stores:
            index = store.attributes["shard"]["index"]
            if index in by_index:
                raise StoreError(f"{by_index[index].path} and {store.path} are the same shard. Leave one out.")
            by_index[index] = store
        missing = [i for i in range(1, of + 1) if i not in by_index]
        if missing:
            some = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
            raise StoreError(
                f"{self.stores[0].path.parent}: {len(missing)} of {of} shards are missing: {some}. "
                f"{self._again(self.stores[0].attributes, delete=False)}"
            )

    @staticmethod
    def _again(attributes: dict[str, Any], delete: bool = True) -> str:
        """What to do about a shard of these attributes."""
        model, dataset = attributes["model"]["id"], attributes["dataset"]["name"]
        command = f"`zooalign submit extract {model} --dataset {dataset} --shards {attributes['shard']['of']}`"
        return f"{'Delete the shard that is wrong and run' if delete else 'Run'} {command}; the others are kept."

    def _joined_ids(self, expected: str) -> list[str]:
        from zooalign.data.samples import ids_digest

        folder, again = self.stores[0].path.parent, self._again(self.stores[0].attributes)
        place = np.full(self.n, -1, np.int64)
        ids = [""] * self.n
        for number, (store, places) in enumerate(zip(self.stores, self._positions, strict=True)):
            taken = place[places]
            if (taken >= 0).any():
                other = self.stores[int(taken.max())].path
                sample = store.sample_ids[int(np.argmax(taken >= 0))]
                raise StoreError(f"{other} and {store.path} both hold sample {sample!r}. {again}")
            place[places] = number
            for position, name in zip(places.tolist(), store.sample_ids, strict=True):
                ids[position] = name
        if (place < 0).any():
            raise StoreError(f"{folder}: no shard holds sample number {int(np.argmin(place))} of {self.n}. {again}")
        if ids_digest(ids) != expected:
            raise StoreError(f"{folder}: the shards' sample ids are not those of the dataset they name. {again}")
        return ids

    @property
    def identity(self) -> str:
        """Digest of exactly these shards, as they lie on disk."""
        return digest(
            "merge", self.digest, [[s.digest, s.attributes["stamp"], s.attributes["files"]] for s in self.stores]
        )

    def attributes(self) -> dict[str, Any]:
        """Attributes of the joined store: those that a single job would have written."""
        every = [s.attributes for s in self.stores]
        own = ("shard", "files", "complete", "format", "format_version")
        return {
            **{key: value for key, value in every[0].items() if key not in own},
            "digest": self.digest,
            "sample_ids": self.sample_ids,
            "batches": sum(a["batches"] for a in every),
            "device": ", ".join(sorted({a["device"] for a in every})),
            "elapsed_s": round(sum(a["elapsed_s"] for a in every), 3),
            "peak_mem_mb": max(a["peak_mem_mb"] for a in every),
            "stamp": stamp(),
        }

    def rows(self, layer: int, start: int, stop: int) -> np.ndarray:
        """Features of samples `start` to `stop` (not included) of the dataset, one layer."""
        rows = np.empty((stop - start, self.widths[layer]), self.dtype)
        for store, places in zip(self.stores, self._positions, strict=True):
            low, high = np.searchsorted(places, [start, stop])
            if low < high:
                rows[places[low:high] - start] = self._read(store, layer, int(low), int(high))
        return rows

    def _read(self, store: FeatureStore, layer: int, low: int, high: int) -> np.ndarray:
        try:
            return store.rows(layer, low, high)
        except StoreError as error:
            reason = str(error).partition(". Delete it")[0]
            raise StoreError(f"{reason}. {self._again(store.attributes)}") from error

    def compare(self, whole: FeatureStore) -> None:
        """Read a joined store back.

        Raises
        ------
        StoreError
            If a value differs from that of its shard; the shards are kept.
        """
        from zooalign.features.chunks import make_grid

        grid = make_grid(len(self.widths), self.n, max(self.widths), np.dtype(self.dtype).itemsize)
        for layer, row_chunk in grid.chunks():
            start, stop = grid.span(row_chunk)
            ours, theirs = self.rows(layer, start, stop), whole.rows(layer, start, stop)
            if ours.tobytes() != theirs.tobytes():
                raise StoreError(
                    f"{whole.path}: layer {whole.layer_names[layer]!r} differs from the shards. Delete {whole.path} "
                    "and merge again; the shards are kept."
                )


def _difference(a: Any, b: Any) -> str:
    """The first key or value in which two attributes differ, for a message."""
    if isinstance(a, dict) and isinstance(b, dict):
        key = next(k for k in [*a, *b] if a.get(k) != b.get(k))
        return f" ({key}: {a.get(key)!r} and {b.get(key)!r})"
    return ""
