"""`extraction.layers: all`: attention and MLP of every block, as forward hooks see them, beside unchanged blocks."""

import numpy as np
import pytest
import torch

from zooalign.config.identity import features_digest
from zooalign.config.schema import ExtractionConfig
from zooalign.models.pooling import pool_language, pool_vision
from zooalign.models.sublayers import add_sublayers, find_sublayers
from zooalign.sources._language import TransformersLanguageModel
from zooalign.sources._preprocessing import Preprocessing
from zooalign.sources._torchvision import import_timm, import_transformers
from zooalign.sources._vision import TimmVisionModel

from ..workflow.test_architectures import IDS, LANGUAGE, VISION
from .test_sources_folders import save_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def language(name, tokenizer):
    transformers = import_transformers()
    values = {"model_type": name, **LANGUAGE[name]}
    config = transformers.AutoConfig.for_model(values.pop("model_type"), **values, **IDS)
    torch.manual_seed(1)
    causal = name != "bert"
    kind = transformers.AutoModelForCausalLM if causal else transformers.AutoModel
    return TransformersLanguageModel(kind.from_config(config).eval(), tokenizer, causal=causal)


def vision(name):
    architecture, options = VISION[name]
    torch.manual_seed(1)
    network = import_timm().create_model(architecture, num_classes=0, **options).eval()
    edge = options.get("img_size", 64)
    row = {"input_size": (3, edge, edge), "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 1.0,
           "interpolation": "bicubic"}  # fmt: skip
    return TimmVisionModel(network, Preprocessing.model_validate(row))


def hooked(module, names):
    """What the named modules give, by hooks of this test."""
    seen = {}
    modules = dict(module.named_modules())

    def keep(name):
        return lambda _, inputs, output: seen.__setitem__(name, output[0] if isinstance(output, tuple) else output)

    for name in names:
        modules[name].register_forward_hook(keep(name))
    return seen


@pytest.mark.parametrize("name", LANGUAGE)
def test_language_models_give_attention_and_mlp_of_every_block(name, tokenizer):
    model = language(name, tokenizer)
    ids = torch.randint(3, 299, (3, 7))
    mask = torch.tensor([[True] * 7, [True] * 5 + [False] * 2, [True] * 3 + [False] * 4])
    with torch.inference_mode():
        plain, names = model.layers(ids, mask), list(model.layer_names)
        add_sublayers(model)
        inner = [n for n in model.layer_names if n not in names]
        seen = hooked(model.module, inner)
        found = dict(zip(model.layer_names, model.layers(ids, mask), strict=True))
    assert len(inner) == 2 * (len(names) - 1)
    # Every block comes right after its own two.
    assert [n for n in model.layer_names if n in names] == names
    for i in range(3):
        at = model.layer_names.index(f"blocks.{i}")
        assert all(f".{i}." in n for n in model.layer_names[at - 2 : at])
    for n, states in zip(names, plain, strict=True):
        assert torch.equal(found[n], states)
    for n in inner:
        assert found[n].shape == (3, 7, 32)
        np.testing.assert_array_equal(found[n], seen[n].reshape(3, 7, -1))
    # Pooled over real tokens: a caption alone gives what it gives in a padded batch.
    with torch.inference_mode():
        alone = dict(zip(model.layer_names, model.layers(ids[2:, :3], mask[2:, :3]), strict=True))
    for n in inner:
        together = pool_language(found[n], mask, "mean")[2]
        np.testing.assert_allclose(pool_language(alone[n], mask[2:, :3], "mean")[0], together, atol=1e-5)


@pytest.mark.parametrize("name", ["vit", "vit_registers", "siglip", "beit", "eva", "swin"])
def test_vision_models_give_attention_and_mlp_of_every_block(name):
    model = vision(name)
    pixels = torch.randn(2, *model.input_size)
    with torch.inference_mode():
        plain, names = model.layers(pixels), list(model.layer_names)
        add_sublayers(model)
        inner = [n for n in model.layer_names if n not in names]
        seen = hooked(model.module, inner)
        found = dict(zip(model.layer_names, model.layers(pixels), strict=True))
    assert inner == [n for n in model.layer_names if n.endswith((".attn", ".mlp"))]
    assert len(inner) == (8 if name == "swin" else 6)
    for n, layer in zip(names, plain, strict=True):
        assert torch.equal(found[n].patches, layer.patches)
    pooling = "cls" if plain[0].prefix is not None else "mean"
    n_prefix = getattr(model.module, "num_prefix_tokens", 0)
    for n in inner:
        pooled = pool_vision(found[n], pooling)
        raw = seen[n].reshape(2, -1, seen[n].shape[-1])
        expected = raw[:, 0] if pooling == "cls" else raw[:, 0 if name == "swin" else n_prefix :].mean(1)
        np.testing.assert_allclose(pooled, expected, atol=1e-6)
        at = model.layer_names.index(n)
        block = n.rsplit(".", 1)[0] if name != "swin" else ".".join(n.split(".")[:2])
        assert block in model.layer_names[at + 1 :]


@pytest.mark.parametrize("name", ["resnet", "convnext", "efficientnet"])
def test_networks_without_such_blocks_stay_as_they_are(name):
    model = vision(name)
    before = list(model.layer_names)
    add_sublayers(model)
    assert model.layer_names == before
    assert find_sublayers(model.module) == {}


def test_layers_count_in_the_digest_only_where_they_are_not_the_blocks(zoo):
    settings = ExtractionConfig()
    both = [settings.reading(), settings.model_copy(update={"layers": "all"}).reading()]
    assert "layers" not in both[0]
    for model in ("minilm_l6", "efficientnet_lite0"):
        assert len({features_digest(zoo[model], "content", reading) for reading in both}) == 2
