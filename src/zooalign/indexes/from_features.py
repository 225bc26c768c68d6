"""From a model's FeatureStore to its Index on disk, with the digest that pairs are checked against."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.config.identity import index_digest
from zooalign.errors import StoreError, ZooalignError
from zooalign.indexes.files import damaged
from zooalign.progress import Report
from zooalign.provenance import is_sealed, object_in, package_versions, read_object, sealed, stamp
from zooalign.storage.visibility import wait_until_visible

if TYPE_CHECKING:
    from zooalign.features.store import FeatureStore
    from zooalign.indexes.index import Index
    from zooalign.storage.lease import Lease

INDEX_PACKAGES = ("zooalign", "numpy", "numba", "zarr")


def index_features(
    store_path: Path,
    path: Path,
    preparation: dict[str, Any],
    k_max: int,
    needs: Sequence[str],
    report: Report,
    *,
    lease_timeout_s: float = 60.0,
    anew: bool = False,
) -> None:
    """Build and store the index of one model on one dataset, unless one that covers it is there.

    Parameters
    ----------
    store_path : Path
        FeatureStore to read, one layer in memory at a time.
    path : Path
        Where the index goes; replaced in one step.
    preparation : dict
        Settings of `preparation.Preparation`.
    k_max : int
        Length of the neighbour lists, cut to n - 1.
    needs : sequence of str
        What the metrics to come need.
    lease_timeout_s : float
        As in `lease.hold_lease`: no other job writes the index in the meantime.
    anew : bool
        Make it although one of the same digest is stored.

    Raises
    ------
    StoreError
        If the features are missing, unfinished or damaged, or the disk is full.
    FeatureError
        If a prepared row is zero or not finite; names layer and sample.
    LeaseError
        If another process took the index over.
    """
    from zooalign.features.store import read_attributes
    from zooalign.storage.lease import make_once

    wait_until_visible([store_path / "zarr.json"], report)
    wanted = index_digest(read_attributes(store_path)["digest"], preparation)
    make_once(
        path,
        lambda: covers(path, wanted, k_max, needs) or None,
        lambda lease: _build(store_path, path, preparation, k_max, needs, report, lease),
        report,
        lease_timeout_s,
        anew=anew,
    )


def covers(path: Path, identity: str, k_max: int, needs: Sequence[str]) -> bool:
    """Whether a whole index is there that was made from the same and holds what is asked for."""
    from zooalign.indexes.index import Index, is_set, set_name, stored_sets

    try:
        index = Index.open(path)
        return (
            index.attributes["digest"] == identity
            and is_sealed(index.attributes)
            and index.holds >= {need for need in needs if not is_set(need)}
            and ("neighbors" not in index.holds or _list_length(index) >= min(k_max, index.n - 1))
            and index.holds >= {set_name(k) for k in stored_sets(needs, _list_length(index), index.n)}
        )
    except (StoreError, KeyError, TypeError, ValueError, AttributeError):  # it is made again
        return False


def _list_length(index: Index) -> int:
    return index.k_max if "neighbors" in index.holds else 0


def _build(
    store_path: Path,
    path: Path,
    preparation: dict[str, Any],
    k_max: int,
    needs: Sequence[str],
    report: Report,
    lease: Lease,
) -> bool:
    from zooalign.features.store import FeatureStore
    from zooalign.indexes.build import build_index
    from zooalign.indexes.preparation import Preparation

    store = FeatureStore.open(store_path)
    attributes = {
        "digest": index_digest(store.digest, preparation),
        "features_digest": store.digest,
        "model": store.attributes["model"]["id"],
        "dataset": store.attributes["dataset"],
        "k_max": k_max,
        "versions": package_versions(INDEX_PACKAGES),
        "stamp": stamp(),
    }
    try:
        index = build_index(
            _Layers(store),
            Preparation(**preparation),
            k_max,
            needs,
            sample_ids=store.sample_ids,
            layer_names=store.layer_names,
            name=store_path.stem,
        )
    except StoreError:
        raise
    except ZooalignError as error:
        raise error.within(str(store_path)) from error
    index.save(path, sealed(attributes), lease)
    report(f"{len(index.layer_names)} layers of {index.n} samples, {', '.join(sorted(index.holds))}; wrote {path}")
    return True


class _Layers(Sequence[Any]):
    """The layers of a store, read one by one when they are asked for."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store

    def __len__(self) -> int:
        return len(self._store.widths)

    def __getitem__(self, i: Any) -> Any:
        return self._store.layer(i)


def read_index_attributes(path: Path) -> dict[str, Any]:
    """What was stored with an index, without opening its arrays.

    Raises
    ------
    StoreError
        If there is no finished index.
    """
    try:
        header = read_object(path / "zarr.json", "attributes")
    except FileNotFoundError:
        raise StoreError(f"{path}: no index. Run the sweep to make it.") from None
    except ValueError as error:
        raise damaged(path, f"zarr.json: {error}") from error
    if header.get("complete") is not True:
        raise StoreError(f"{path}: unfinished index. Delete it and run again.")
    attributes = object_in(header, "attributes")
    if "digest" not in attributes or not is_sealed(attributes):
        raise damaged(path, "zarr.json was edited or cut off")
    return attributes
