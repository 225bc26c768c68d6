"""`zooalign store verify`: read every byte of a feature store and say what is wrong with it, and where."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from zooalign.config.identity import features_digest
from zooalign.errors import StoreError, ZooalignError
from zooalign.features.chunks import make_grid
from zooalign.features.store import FeatureStore
from zooalign.provenance import read_object

if TYPE_CHECKING:
    from zooalign.config.sweep import Sweep
    from zooalign.layout import Layout


class Verified(NamedTuple):
    """What a check of a store says.

    Attributes
    ----------
    path : Path
        The store.
    model, dataset : str
        Ids, as far as the store could be opened.
    samples, layers : int
        How many there are.
    dtype : str
        How values are stored.
    mib : float
        Size of its files, MiB.
    manifest : str
        "fresh" if its digest is that of the manifest, "not in the configuration" or "no configuration".
    problem : str or None
        What is wrong, where, and what to do; None if nothing is.
    """

    path: Path
    model: str = "?"
    dataset: str = "?"
    samples: int = 0
    layers: int = 0
    dtype: str = "?"
    mib: float = 0.0
    manifest: str = "?"
    problem: str | None = None


def verify_store(path: Path, sweep: Sweep | None = None, layout: Layout | None = None) -> Verified:
    """Read a whole store, or shard: sizes, checksums of all chunks, finite values, ids, and its digest.

    Parameters
    ----------
    path : Path
        The store.
    sweep : Sweep, optional
        Manifest that its digest is compared with.
    layout : Layout, optional
        Where the sweep's datasets lie; ids are compared with those of a dataset that is built.

    Returns
    -------
    Verified
        With the first problem, if there is one. One chunk is in memory at a time.
    """
    verified = Verified(path)
    try:
        store = FeatureStore.open(path)
        about = store.attributes
        verified = verified._replace(
            model=about["model"]["id"],
            dataset=about["dataset"]["name"],
            samples=store.n,
            layers=len(store.widths),
            dtype=about["dtype"],
            mib=sum(about["files"].values()) / 2**20,
        )
        _check_shape(store)
        _check_ids(store)
        _check_values(store)
        manifest = "no configuration" if sweep is None or layout is None else _check_manifest(store, sweep, layout)
        return verified._replace(manifest=manifest)
    except (KeyError, TypeError, ValueError) as error:
        return verified._replace(problem=f"{path}/zarr.json is damaged ({error!r}). {_REMEDY}")
    except ZooalignError as error:
        return verified._replace(problem=str(error))


_REMEDY = "Delete the store and run the sweep again; only this model's features are recomputed."


def _check_shape(store: FeatureStore) -> None:
    header = read_object(store.path / "features" / "zarr.json")
    expected = [len(store.widths), store.n, max(store.widths)]
    if header.get("shape") != expected or len(store.layer_names) != len(store.widths):
        raise StoreError(f"{store.path}: an array of shape {header.get('shape')} instead of {expected}. {_REMEDY}")
    if header.get("data_type") != store.attributes["dtype"]:
        both = f"{header.get('data_type')} instead of {store.attributes['dtype']}"
        raise StoreError(f"{store.path}: values are {both}. {_REMEDY}")


def _check_ids(store: FeatureStore) -> None:
    name, times = Counter(store.sample_ids).most_common(1)[0]
    if times > 1:
        raise StoreError(f"{store.path}: sample {name!r} occurs {times} times. {_REMEDY}")


def _check_values(store: FeatureStore) -> None:
    """Read every chunk: zarr compares its checksum."""
    grid = make_grid(len(store.widths), store.n, max(store.widths), np.dtype(store.attributes["dtype"]).itemsize)
    for layer, row_chunk in grid.chunks():
        start, stop = grid.span(row_chunk)
        name = store.layer_names[layer]
        ids = store.sample_ids
        try:
            values = store.rows(layer, start, stop)
        except StoreError as error:
            file = f"features/c/{layer // grid.per_file}/0/0"
            cause = error.__cause__ or error
            raise StoreError(
                f"{store.path}: {file}: layer {name!r}, samples {ids[start]!r} to {ids[stop - 1]!r}: damaged "
                f"({cause}). {_REMEDY}"
            ) from error
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            sample = ids[start + int(np.argmin(finite))]
            raise StoreError(f"{store.path}: layer {name!r}, sample {sample!r}: NaN or infinite feature. {_REMEDY}")


def _check_manifest(store: FeatureStore, sweep: Sweep, layout: Layout) -> str:
    """Whether the store is what the manifest asks for; StoreError if it is something else."""
    about = store.attributes
    model, dataset = about["model"]["id"], about["dataset"]
    if model not in {m.id for m in sweep.models}:
        return "not in the configuration"
    folder = layout.dataset(dataset["name"])
    if (folder / "dataset.json").exists():
        _check_dataset(store, folder)
    expected = features_digest(sweep.model(model), dataset["digest"], sweep.config.extraction.reading())
    if _shard(about) is not None:
        expected = _shard(about).digest(expected)
    if store.digest != expected:
        raise StoreError(
            f"{store.path}: made for another row of {model!r}, other weights or other settings (digest "
            f"{store.digest}, the manifest asks for {expected}). Run the sweep again: it recomputes these features."
        )
    return "fresh"


def _shard(about: dict[str, Any]) -> Any:
    from zooalign.features.shards import Shard

    part = about.get("shard")
    return None if part is None else Shard(part["index"], part["of"])


def _check_dataset(store: FeatureStore, folder: Path) -> None:
    from zooalign.data.samples import open_samples
    from zooalign.features.shards import positions

    samples = open_samples(folder)
    about = store.attributes
    if samples.digest != about["dataset"]["digest"]:
        raise StoreError(
            f"{store.path}: made from another content of dataset {samples.name!r}. Run the sweep again: it "
            "recomputes these features."
        )
    part = about.get("shard")
    expected = samples.ids if part is None else [samples.ids[i] for i in positions(part["runs"])]
    if store.sample_ids != expected:
        raise StoreError(f"{store.path}: its sample ids are not those of dataset {samples.name!r}. {_REMEDY}")
