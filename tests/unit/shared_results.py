"""A small dataset, and models of it that correspond, for tests of what is exported and imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.unit.sweeps import spec
from zooalign.config.manifest import DatasetSpec, ModelSpec
from zooalign.data.build import build_dataset
from zooalign.data.samples import Samples
from zooalign.features.store import FeatureStore, write_store
from zooalign.indexes.build import build_index
from zooalign.indexes.index import Index
from zooalign.indexes.preparation import Preparation
from zooalign.sharing.importing import Target

N = 64
PREPARATION = Preparation().settings()


def quiet(line: str) -> None:
    """Swallow a line of progress."""


def dataset(folder: Path, name: str = "shapes", n: int = N) -> Samples:
    """A real dataset."""
    return build_dataset(DatasetSpec(id=name, family="synthetic", options={"n": n}), folder / name, quiet)


def model(name: str = "lab", **more: Any) -> ModelSpec:
    """A model's row in the exporter's sweep."""
    return spec(name, "vision", "labs", "self-supervised", options={"path": "/home/exporter/secret"}, **more)


def features(seed: int, n: int = N, dtype: Any = np.float16) -> list[np.ndarray]:
    """Three layers of several widths; those of every seed have something in common."""
    common = np.random.default_rng(0).standard_normal((n, 6))
    own = np.random.default_rng(seed)
    return [np.hstack([common, own.standard_normal((n, 4 + 3 * i))]).astype(dtype) for i in range(3)]


def index(samples: Samples, seed: int, needs: Any = ("neighbors",), layers: Any = None, **settings: Any) -> Index:
    """Index of such a model as the sweep stores it."""
    about = {"dataset": {"name": samples.name, "digest": samples.digest}, "digest": str(seed)}
    return build_index(layers or features(seed), Preparation(**settings), 20, needs, sample_ids=samples.ids,
                       layer_names=["in", "middle", "out"], name=f"model {seed}", attributes=about)  # fmt: skip


def store(folder: Path, samples: Samples, seed: int, dtype: Any = np.float16) -> FeatureStore:
    """Features of such a model as the sweep stores them."""
    layers = features(seed, dtype=dtype)
    widths = [layer.shape[1] for layer in layers]
    padded = np.zeros((3, len(samples), max(widths)), dtype)
    for i, layer in enumerate(layers):
        padded[i, :, : widths[i]] = layer
    write_store(folder, padded, {
        "digest": "d", "model": model().model_dump(mode="json"), "sample_ids": samples.ids, "widths": widths,
        "dataset": {"name": samples.name, "digest": samples.digest}, "layer_names": ["in", "middle", "out"],
        "dtype": str(np.dtype(dtype)), "versions": {"torch": "2"},
    })  # fmt: skip
    return FeatureStore.open(folder)


def target(folder: Path, samples: Samples, stored: Any = (), models: tuple[str, ...] = ()) -> Target:
    """A sweep that results are imported into."""
    return Target(samples, PREPARATION, folder / "zoo" / "imported.yaml", models, {i.name: i for i in stored})
