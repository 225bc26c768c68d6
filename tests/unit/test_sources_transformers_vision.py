"""Vision models of transformers: layers as hooks see them, both towers of one download, published preprocessing."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from zooalign.config.manifest import ModelSpec
from zooalign.errors import WeightsError
from zooalign.models.loading import fetch_weights, load_model
from zooalign.models.pooling import pool_vision
from zooalign.sources._torchvision import import_transformers
from zooalign.sources.transformers_vision import read_preprocessing

from .test_sources_folders import save_tokenizer

SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64,
         "image_size": 32, "patch_size": 8}  # fmt: skip
PUBLISHED = {
    "size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True, "resample": 3,
    "image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28], "image_processor_type": "CLIPImageProcessor",
}  # fmt: skip


def row(place, modality="vision", pooling="cls", **options):
    source = "transformers_vision" if modality == "vision" else "transformers"
    return ModelSpec.model_validate(
        {"id": "tiny", "modality": modality, "source": source, "options": {"path": str(place), **options},
         "family": "tiny", "objective": "random", "pooling": pooling, "parameters": 1, "licence": "none"}
    )  # fmt: skip


def save(folder, kind):
    transformers = import_transformers()
    torch.manual_seed(0)
    if kind == "clip":
        text = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
                "vocab_size": 300, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}  # fmt: skip
        model = transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=SIZES))
        save_tokenizer(folder)
    elif kind == "resnet":
        model = transformers.ResNetModel(
            transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1])
        )
    else:
        config = transformers.AutoConfig.for_model(kind, **SIZES)
        model = transformers.AutoModel.from_config(config)
    model.eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PUBLISHED))
    return model


def load(spec, folder):
    fetch_weights(spec, folder)
    return load_model(spec, folder)


@pytest.fixture
def pixels():
    return torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32))


@pytest.mark.parametrize("kind", ["vit", "dinov2", "dinov2_with_registers", "siglip_vision_model", "clip"])
def test_layers_are_the_blocks_before_the_final_norm(kind, tmp_path, pixels):
    bare = save(tmp_path / "hub", kind)
    tower = bare.vision_model if kind == "clip" else bare
    model = load(row(tmp_path / "hub"), tmp_path / "weights")
    assert model.layer_names == ["blocks.0", "blocks.1", "blocks.2"]
    blocks = next(m for m in tower.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 3)
    seen = []
    for block in blocks:
        block.register_forward_hook(lambda _, inputs, output: seen.append(output))
    with torch.inference_mode():
        tower(pixel_values=pixels)
        layers = model.layers(pixels)
    prefix = {"siglip_vision_model": 0, "dinov2_with_registers": 5}.get(kind, 1)
    for layer, output in zip(layers, seen, strict=True):
        state = output[0] if isinstance(output, tuple) else output
        assert (0 if layer.prefix is None else layer.prefix.shape[1]) == prefix
        assert layer.patches.shape == (2, 16, 32)
        torch.testing.assert_close(layer.patches, state[:, prefix:], atol=1e-5, rtol=1e-5)
        if prefix:
            torch.testing.assert_close(pool_vision(layer, "cls"), state[:, 0], atol=1e-5, rtol=1e-5)


def test_stages_of_a_convolutional_network(tmp_path, pixels):
    bare = save(tmp_path / "hub", "resnet")
    model = load(row(tmp_path / "hub", pooling="mean"), tmp_path / "weights")
    with torch.inference_mode():
        expected = bare(pixel_values=pixels, output_hidden_states=True).hidden_states
        for layer, state in zip(model.layers(pixels), expected, strict=True):
            torch.testing.assert_close(pool_vision(layer, "mean"), state.mean((2, 3)), atol=1e-5, rtol=1e-5)


def test_both_towers_of_one_folder(tmp_path):
    save(tmp_path / "hub", "clip")
    vision = load(row(tmp_path / "hub"), tmp_path / "vision")
    language = load(row(tmp_path / "hub", "language", "mean"), tmp_path / "language")
    assert (len(vision.layer_names), len(language.layer_names)) == (3, 3)  # three blocks; embedding and two
    assert not language.causal


def test_the_row_says_which_precision_is_loaded(tmp_path, pixels):
    save(tmp_path / "hub", "vit")
    spec = row(tmp_path / "hub").model_copy(update={"precision": "bfloat16"})
    model = load(spec, tmp_path / "weights")
    assert {p.dtype for p in model.module.parameters()} == {torch.bfloat16}
    with torch.inference_mode():
        assert model.layers(pixels)[0].patches.dtype == torch.bfloat16


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"do_center_crop": False, "size": {"height": 32, "width": 32}, "resample": 2},
        {"do_normalize": False},
        {"size": {"shortest_edge": 49}, "crop_size": {"height": 32, "width": 32}},
        {"size": {"shortest_edge": 32}, "crop_pct": 0.875, "image_processor_type": "ConvNextImageProcessor"},
    ],
)
def test_pixels_are_those_of_the_published_processor(tmp_path, changes):
    published = {**PUBLISHED, **changes}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(published))
    processor = import_transformers().AutoImageProcessor.from_pretrained(tmp_path, use_fast=False)
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    expected = processor(image, return_tensors="np")["pixel_values"][0]
    actual = read_preprocessing(tmp_path)(image)
    assert actual.shape == expected.shape == (3, 32, 32)
    # Their resizing may run on tensors; Pillow's rounds to whole grey values.
    assert np.abs(actual - expected).mean() < 0.02


def test_what_is_missing_is_named(tmp_path):
    save(tmp_path / "hub", "vit")
    (tmp_path / "hub/preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match=r"preprocessor_config\.json cannot be read .* state `preprocessing`"):
        load(row(tmp_path / "hub"), tmp_path / "weights")
    (tmp_path / "hub/preprocessor_config.json").write_text(json.dumps({**PUBLISHED, "resample": 9}))
    with pytest.raises(WeightsError, match="no preprocessing that is supported"):
        read_preprocessing(tmp_path / "hub")
    (tmp_path / "hub/preprocessor_config.json").write_text(json.dumps({**PUBLISHED, "rescale_factor": 1 / 127.5}))
    with pytest.raises(WeightsError, match="not by 1/255"):
        read_preprocessing(tmp_path / "hub")
