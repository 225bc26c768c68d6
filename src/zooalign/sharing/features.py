"""Features of a model for xarray, as Parquet, or as a folder for Hugging Face; and imported ones as a store."""

# These libraries have no types, or do not say all that they take.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zooalign.config.identity import imported_digest
from zooalign.errors import ConfigError
from zooalign.features.chunks import write_features
from zooalign.features.store import FeatureStore, finished_attributes
from zooalign.progress import Report
from zooalign.provenance import package_versions, stamp
from zooalign.sharing.checks import imported_of, open_imported
from zooalign.sharing.reading import ABOUT
from zooalign.sharing.shared_file import row_of
from zooalign.storage.atomic import replacing

if TYPE_CHECKING:
    from zooalign.config.manifest import ModelSpec
    from zooalign.storage.lease import Lease

# What `zooalign export features --as` takes.
FORMS = ("zarr", "parquet", "huggingface")


def export_features(
    store: FeatureStore, spec: ModelSpec, path: Path, form: str, provenance: dict[str, Any] | None = None
) -> None:
    """Write the features of a store for other tools, with sample ids, layer names and where they come from.

    Parameters
    ----------
    store : FeatureStore
        Of one model on one dataset.
    spec : ModelSpec
        The model's row.
    path : Path
        File or folder to write.
    form : {"zarr", "parquet", "huggingface"}
        A Zarr v3 group for `xarray.open_zarr`, with dimensions layer, sample and feature; one Parquet file, a row per
        sample and a column per layer; or a folder with such a file and a card, for `datasets.load_dataset`.
    provenance : dict, optional
        Of the weights.

    Raises
    ------
    StoreError
        If a chunk is damaged, or the disk is full.
    ConfigError
        For another form.
    """
    if form not in FORMS:
        raise ConfigError(f"--as {form}: features are written as {', '.join(FORMS)}.")
    about = {
        "model": row_of(spec),
        "dataset": {key: store.attributes["dataset"][key] for key in ("name", "digest")},
        "layer_names": store.layer_names,
        "provenance": {
            "time": stamp()["time"], "versions": store.attributes.get("versions", {}), **(provenance or {}),
        },
    }  # fmt: skip
    with replacing(path) as staged:
        if form == "zarr":
            _write_zarr(store, staged, about)
        elif form == "parquet":
            _write_parquet(store, staged, about)
        else:
            (staged / "data").mkdir(parents=True)
            _write_parquet(store, staged / "data" / "train-00000-of-00001.parquet", about)
            (staged / "README.md").write_text(_card(store, spec, about), encoding="utf-8")


def _write_zarr(store: FeatureStore, folder: Path, about: dict[str, Any]) -> None:
    """A group that xarray reads: arrays with named dimensions, and coordinates of the same names."""
    import zarr
    from zarr.errors import ZarrUserWarning

    shape = (len(store.widths), store.n, max(store.widths))
    group = zarr.create_group(folder, zarr_format=3, attributes={ABOUT: json.dumps(about), "coordinates": "width"})
    # A layer narrower than the widest has no features at the end: NaN, which is in no feature.
    array = group.create_array(
        "features", shape=shape, chunks=(1, *shape[1:]), dtype=store.attributes["dtype"],
        dimension_names=("layer", "sample", "feature"), fill_value=float("nan"),
    )  # fmt: skip
    for i, layer in enumerate(store.layers()):
        array[i, :, : layer.shape[1]] = layer
    for name, values in (("sample", store.sample_ids), ("layer", store.layer_names)):
        text = np.array(values, np.dtypes.StringDType())
        group.create_array(name, shape=text.shape, dtype="string", dimension_names=(name,))[...] = text
    widths = np.array(store.widths, np.int64)
    group.create_array("width", shape=widths.shape, dtype="int64", dimension_names=("layer",))[...] = widths
    with warnings.catch_warnings():
        # xarray looks for it, and warns where it is not there; zarr warns where it is.
        warnings.simplefilter("ignore", ZarrUserWarning)
        zarr.consolidate_metadata(folder)


def _write_parquet(store: FeatureStore, file: Path, about: dict[str, Any]) -> None:
    """A row per sample: its id, and a list of features per layer; read layer by layer, since columns come so."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {"sample_id": pa.array(store.sample_ids, pa.string())}
    for name, layer in zip(store.layer_names, store.layers(), strict=True):
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(layer.ravel()), layer.shape[1])
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata({ABOUT: json.dumps(about)}), file, compression="zstd")


_CARD = """---
license: other
license_name: {quoted}
pretty_name: {model} on {dataset}
tags:
- representations
- zooalign
configs:
- config_name: default
  data_files: data/*.parquet
---

# Features of {model} on {dataset}

A row per sample: `sample_id`, and the pooled features of every layer ({dtype}), from input to output. They are
unprocessed: nothing was clipped, centred or scaled.

| | |
|---|---|
| model | {model} ({modality}, {objective}, family {family}) |
| licence of the weights | {licence} |
| weights | {homepage}, SHA-256 {weights} |
| dataset | {dataset}, {n} samples, content {digest} |
| layers | {layers} |
| pooling | {pooling} |
| made | {time}, with {versions} |

The licence is that of the weights; whether it extends to features is for its text to say. The samples are not part of
this dataset.

    import datasets
    features = datasets.load_dataset("FOLDER", split="train")

`zooalign import data/train-00000-of-00001.parquet` takes the model into a sweep on the same dataset.
"""


def _card(store: FeatureStore, spec: ModelSpec, about: dict[str, Any]) -> str:
    provenance = about["provenance"]
    versions = ", ".join(f"{name} {number}" for name, number in sorted(provenance["versions"].items()))
    return _CARD.format(
        model=spec.id, modality=spec.modality, objective=spec.objective, family=spec.family, pooling=spec.pooling,
        licence=spec.licence, quoted=json.dumps(spec.licence, ensure_ascii=False),
        homepage=spec.homepage or "no homepage known",
        weights=provenance.get("weights_sha256") or "unknown", dataset=about["dataset"]["name"],
        digest=about["dataset"]["digest"], n=store.n, dtype=store.attributes["dtype"],
        layers=", ".join(f"{name} ({width})" for name, width in zip(store.layer_names, store.widths, strict=True)),
        time=provenance["time"], versions=versions or "unknown versions",
    )  # fmt: skip


def store_features(
    spec: ModelSpec,
    dataset_folder: Path,
    path: Path,
    report: Report,
    *,
    lease_timeout_s: float = 60.0,
    anew: bool = False,
) -> None:
    """Write the FeatureStore of an imported model from its file, unless it is there.

    Parameters
    ----------
    spec : ModelSpec
        An imported row.
    dataset_folder : Path
        The dataset that the features must be of.
    path : Path
        FeatureStore to write; replaced in one step.
    lease_timeout_s, anew
        As in `features.extract.extract_features`.

    Raises
    ------
    ShareError
        If the file is missing, damaged, or of other samples.
    """
    from zooalign.storage.lease import make_once

    samples, file = imported_of(spec, dataset_folder, report)
    wanted = imported_digest(file.sha256, samples.digest)

    def write(lease: Lease) -> dict[str, Any]:
        shared = open_imported(file, samples)
        layers = shared.layers
        attributes = {
            "digest": wanted,
            "model": spec.model_dump(mode="json"),
            "dataset": {"name": samples.name, "digest": samples.digest},
            "imported": {"sha256": file.sha256, **shared.header.provenance},
            "sample_ids": samples.ids,
            "layer_names": list(shared.header.layer_names),
            "widths": [layer.shape[1] for layer in layers],
            "dtype": str(layers[0].dtype),
            "versions": package_versions(),
            "stamp": stamp(),
        }
        shape = (len(layers), len(samples), max(attributes["widths"]))
        with replacing(path, lease) as staged:
            write_features(staged, shape, layers[0].dtype, lambda i, a, b: layers[i][a:b], attributes)
        report(f"imported features: {len(layers)} layers of {len(samples)} samples; wrote {os.fspath(path)}")
        return attributes

    make_once(path, lambda: finished_attributes(path, wanted), write, report, lease_timeout_s, anew=anew)
