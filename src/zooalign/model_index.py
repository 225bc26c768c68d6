"""From a model's FeatureStore to its Index on disk, with the digest that pairs are checked against."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.errors import StoreError, ZooalignError
from zooalign.folders import wait_until_visible
from zooalign.progress import Report
from zooalign.provenance import digest, package_versions, stamp

if TYPE_CHECKING:
    from zooalign.ownership import Owner
    from zooalign.store import FeatureStore

INDEX_PACKAGES = ("zooalign", "numpy", "numba", "zarr")


def index_identity(features: str, preparation: dict[str, Any]) -> str:
    """Digest of what determines the numbers in an index.

    Parameters
    ----------
    features : str
        Digest of the features.
    preparation : dict
        Settings of `preparation.Preparation`.

    Returns
    -------
    str
        Not a function of k_max or of what else the index holds: a longer index gives the same scores.
    """
    from zooalign import indexing, neighbors
    from zooalign.preparation import Preparation

    versions = [indexing.VERSION, neighbors.VERSION]
    return digest("index", features, Preparation(**preparation).digest(), versions)


def index_features(
    store_path: Path,
    path: Path,
    preparation: dict[str, Any],
    k_max: int,
    needs: Sequence[str],
    report: Report,
    *,
    owner_timeout_s: float = 60.0,
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
    report : callable
        Takes lines for the log.
    owner_timeout_s : float
        As in `ownership.own`: no other job writes the index in the meantime.

    Raises
    ------
    StoreError
        If the features are missing, unfinished or damaged, or the disk is full.
    FeatureError
        If a prepared row is zero or not finite; names layer and sample.
    OwnershipError
        If another process took the index over.
    """
    from zooalign.ownership import own
    from zooalign.store import read_attributes

    wait_until_visible([store_path / "zarr.json"], report)
    wanted = index_identity(read_attributes(store_path)["digest"], preparation)
    if not _covers(path, wanted, k_max, needs):
        with own(path, report, owner_timeout_s) as owner:
            if not _covers(path, wanted, k_max, needs):
                _build(store_path, path, preparation, k_max, needs, report, owner)
                return
    report(f"already there: {path}")


def _covers(path: Path, identity: str, k_max: int, needs: Sequence[str]) -> bool:
    """Whether a whole index is there that was made from the same and holds what is asked for."""
    from zooalign.indexing import Index

    try:
        index = Index.open(path)
        return (
            index.attributes["digest"] == identity
            and index.holds >= set(needs)
            and ("neighbors" not in index.holds or index.k_max >= min(k_max, index.n - 1))
        )
    except (StoreError, KeyError, TypeError, ValueError, AttributeError):  # it is made anew
        return False


def _build(
    store_path: Path,
    path: Path,
    preparation: dict[str, Any],
    k_max: int,
    needs: Sequence[str],
    report: Report,
    owner: Owner,
) -> None:
    from zooalign.indexing import build_index
    from zooalign.preparation import Preparation
    from zooalign.store import FeatureStore

    store = FeatureStore.open(store_path)
    attributes = {
        "digest": index_identity(store.digest, preparation),
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
        raise type(error)(f"{store_path}: {error}") from error
    index.save(path, attributes, owner)
    report(f"{len(index.layer_names)} layers of {index.n} samples, {', '.join(sorted(index.holds))}; wrote {path}")


class _Layers(Sequence):
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
        header = json.loads((path / "zarr.json").read_text())["attributes"]
    except FileNotFoundError:
        raise StoreError(f"{path}: no index. Run the sweep to make it.") from None
    except (ValueError, KeyError) as error:
        raise StoreError(f"{path}/zarr.json is damaged ({error}). Delete the index and run again.") from error
    if header.get("complete") is not True:
        raise StoreError(f"{path}: unfinished index. Delete it and run again.")
    return header["attributes"]
