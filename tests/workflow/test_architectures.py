"""Families of the large zoo, untrained, from the hub's cache through Snakemake: features are what hooks see."""

import os

import numpy as np
import pytest
import torch
import yaml

from zooalign.data.samples import open_samples
from zooalign.features.store import FeatureStore
from zooalign.sources._torchvision import import_timm, import_transformers

from ..unit.test_sources_folders import save_tokenizer
from .conftest import Checkout

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
IDS = {"vocab_size": 300, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64,
         "max_position_embeddings": 128}  # fmt: skip
GROUPED = {**SIZES, "num_key_value_heads": 2}
LANGUAGE = {
    "bloom": {"hidden_size": 32, "n_layer": 3, "n_head": 4},
    "llama": GROUPED,
    "openllama": {**SIZES, "model_type": "llama"},
    "olmo": GROUPED,
    "olmo2": GROUPED,
    "gemma": {**GROUPED, "head_dim": 8},
    "gemma2": {**GROUPED, "head_dim": 8, "sliding_window": 16},
    "gemma3_text": {**GROUPED, "head_dim": 8, "sliding_window": 16},
    "mistral": {**GROUPED, "sliding_window": 16},
    "mixtral": {**GROUPED, "num_local_experts": 4},
    "qwen2": GROUPED,
    "qwen3": {**GROUPED, "head_dim": 8},
    "phi": SIZES,
    "phi3": GROUPED,
    "falcon": {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4},
    "smollm3": GROUPED,
    "granite": GROUPED,
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128},
    "gpt_neox": SIZES,
    "bert": SIZES,
}
VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 4}
VISION = {
    "vit": ("vit_base_patch16_224", VIT),
    "vit_registers": ("vit_base_patch14_reg4_dinov2", VIT),
    "siglip": ("vit_base_patch16_siglip_224", VIT),
    "beit": ("beit_base_patch16_224", VIT),
    "eva": ("eva02_base_patch14_224", VIT),
    "swin": ("swin_tiny_patch4_window7_224",
             {"img_size": 64, "patch_size": 4, "window_size": 4, "embed_dim": 16, "depths": [1, 1, 1, 1],
              "num_heads": [1, 2, 4, 8]}),
    "resnet": ("resnet18", {"layers": [1, 1, 1, 1], "channels": [8, 16, 16, 32]}),
    "convnext": ("convnext_tiny", {"depths": [1, 1, 1, 1], "dims": [8, 16, 16, 32]}),
    "efficientnet": ("efficientnet_b0", {}),
}  # fmt: skip


def commit(cache, repository):
    """Folder of a commit in the hub's cache, as the client lays it out."""
    place = cache / f"models--{repository.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs/main").write_text(COMMIT)
    (place / "snapshots" / COMMIT).mkdir(parents=True)
    return place / "snapshots" / COMMIT


def language(cache, name):
    transformers = import_transformers()
    values = {"model_type": name, **LANGUAGE[name]}
    config = transformers.AutoConfig.for_model(values.pop("model_type"), **values, **IDS)
    causal = name != "bert"
    torch.manual_seed(len(name))
    model = (transformers.AutoModelForCausalLM if causal else transformers.AutoModel).from_config(config)
    folder = commit(cache, f"tiny/{name}")
    save_tokenizer(folder)
    model.save_pretrained(folder)
    return {
        "id": name, "modality": "language", "source": "transformers", "family": name,
        "options": {"hub_id": f"tiny/{name}"}, "objective": "causal" if causal else "masked", "causal": causal,
        "pooling": "mean", "storage_dtype": "float32", "parameters": 100_000, "licence": "none",
    }  # fmt: skip


def vision(cache, name):
    timm = import_timm()
    architecture, options = VISION[name]
    torch.manual_seed(len(name))
    model = timm.create_model(architecture, num_classes=10, **options)
    edge = options.get("img_size", 64)
    published = {"input_size": [3, edge, edge], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 1.0,
                 "interpolation": "bicubic", "num_classes": 10, "tag": "tiny"}  # fmt: skip
    timm.models.save_for_hf(model, commit(cache, f"tiny/{name}"), model_config=published, model_args=options,
                            safe_serialization=True)  # fmt: skip
    return {
        "id": name, "modality": "vision", "source": "timm", "family": name,
        "options": {"name": architecture, "hub_id": f"tiny/{name}", "revision": COMMIT}, "objective": "supervised",
        "pooling": "cls" if getattr(model, "cls_token", None) is not None else "mean", "storage_dtype": "float32",
        "parameters": 100_000, "licence": "none",
    }  # fmt: skip


@pytest.fixture(scope="module")
def extracted(tmp_path_factory):
    """A checkout in which Snakemake has fetched and extracted every model, offline; and the hub's cache."""
    folder = tmp_path_factory.mktemp("architectures")
    cache = folder / "hub/hub"
    checkout = Checkout(folder / "checkout")
    checkout.models = [language(cache, name) for name in LANGUAGE] + [vision(cache, name) for name in VISION]
    checkout.config |= {"capabilities": [], "dataset_files": "datasets", "datasets": ["few"],
                        "metrics": {"mutual_knn": {"k": [2, 10]}}}  # fmt: skip
    (checkout.folder / "datasets").mkdir(parents=True)
    dataset = {"datasets": [{"id": "few", "family": "synthetic", "options": {"n": 12}}]}
    (checkout.folder / "datasets/few.yaml").write_text(yaml.safe_dump(dataset))
    before = {key: os.environ.get(key) for key in ("HF_HOME", "HF_HUB_OFFLINE")}
    os.environ |= {"HF_HOME": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}
    try:
        checkout.snakemake("--until", "extract_features")
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})
    return checkout, cache


def stored(checkout, name):
    return list(FeatureStore.open(checkout.folder / f"results/features/few/{name}.zarr").layers())


def watched(module, places):
    """Outputs of modules, in the order in which they run."""
    seen = []
    for place in places:
        place.register_forward_hook(lambda _, inputs, output: seen.append(output))
    return seen


@pytest.mark.parametrize("name", LANGUAGE)
def test_language_features_are_what_hooks_see(extracted, name):
    checkout, cache = extracted
    transformers = import_transformers()
    folder = next((cache / f"models--tiny--{name}/snapshots").iterdir())
    kind = transformers.AutoModel if name == "bert" else transformers.AutoModelForCausalLM
    base = kind.from_pretrained(folder, dtype=torch.float32).eval().base_model
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    blocks = next(m for m in base.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 3)
    names = ("norm", "ln_f", "final_layer_norm", "final_layernorm")
    norms = [getattr(base, key) for key in names if hasattr(base, key)]
    # The output of the last block is shown behind the final norm, where a model has one.
    seen = watched(base, [*blocks[:-1], norms[0] if norms else blocks[-1]])
    blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    expected = []
    for text in open_samples(checkout.folder / "results/datasets/few").captions("caption"):
        seen.clear()
        ids = torch.tensor([tokenizer(text)["input_ids"]])  # one at a time: no padding at all
        with torch.inference_mode():
            base(input_ids=ids, **({} if name == "bert" else {"use_cache": False}))
        states = [one[0] if isinstance(one, tuple) else one for one in seen]
        expected.append([state.reshape(-1, state.shape[-1]).mean(0).numpy() for state in states])
    compare(stored(checkout, name), expected)


@pytest.mark.parametrize("name", VISION)
def test_vision_features_are_what_hooks_see(extracted, name):
    checkout, cache = extracted
    timm = import_timm()
    folder = next((cache / f"models--tiny--{name}/snapshots").iterdir())
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))
    seen = watched(model, [model.get_submodule(entry["module"]) for entry in model.feature_info])
    token = getattr(model, "cls_token", None) is not None
    skipped = getattr(model, "num_prefix_tokens", 0)
    expected = []
    for image in open_samples(checkout.folder / "results/datasets/few").images():
        seen.clear()
        with torch.inference_mode():
            final = model.forward_features(transform(image)[None])
            rows = []
            for output in seen:
                if output.ndim == 3:  # (1, tokens, width)
                    rows.append(output[0, 0] if token else output[0, skipped:].mean(0))
                else:
                    rows.append(output[0].mean((0, 1) if name == "swin" else (1, 2)))
            if not token:
                rows.append(model.forward_head(final, pre_logits=True)[0])
        expected.append([row.numpy() for row in rows])
    compare(stored(checkout, name), expected)


def compare(features, expected):
    """Stored layers (n, d) with rows by sample and layer."""
    assert len(features) == len(expected[0])
    for layer, rows in zip(features, zip(*expected, strict=True), strict=True):
        np.testing.assert_allclose(layer, np.stack(rows), atol=1e-5, rtol=1e-4)


def test_a_second_run_does_nothing_and_names_commits(extracted):
    checkout, _ = extracted
    assert not {"extract_features", "fetch_weights"} & set(checkout.due())
    recorded = (checkout.folder / "results/weights/qwen3.revision.json").read_text()
    assert COMMIT in recorded
