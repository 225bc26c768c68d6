"""Weights in 8 and 4 bits: really quantised, near the model, recorded; refused where it cannot be."""

import json
import os
import subprocess
import sys

import pytest
import torch

from zooalign.config.manifest import ModelSpec
from zooalign.errors import WeightsError
from zooalign.models.loading import fetch_weights, load_model
from zooalign.planning.costs import gpu_weights_mb
from zooalign.sources._torchvision import import_transformers

from .test_sources_folders import row, save_tokenizer

COMPARE = """\
import json, sys
from pathlib import Path
import torch
from zooalign.features.device import place_model
from zooalign.config.manifest import ModelSpec
from zooalign.config.schema import ExtractionConfig
from zooalign.models.loading import fetch_weights, load_model

found = {}
for name in ("none", "straight", "8bit", "4bit"):
    options = {"path": sys.argv[1], **({"quantisation": name} if "bit" in name else {})}
    spec = ModelSpec.model_validate({**json.loads(sys.argv[2]), "options": options})
    fetch_weights(spec, Path(sys.argv[3]) / name, print)
    if name == "straight":  # by the way that leads to a GPU
        model = load_model(spec, Path(sys.argv[3]) / name, "cpu:0")
    else:
        model = place_model(spec, Path(sys.argv[3]) / name, ExtractionConfig(device="cpu"))
    ids = torch.randint(3, 299, (4, 9), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        states = model.layers(ids, torch.ones_like(ids, dtype=torch.bool))
    found[name] = (states, type(model.module.model.layers[0].mlp.up_proj).__name__)
for name, (states, kind) in found.items():
    errors = [float((a - b).norm() / b.norm()) for a, b in zip(states, found["none"][0])]
    print(json.dumps([name, kind, errors]))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model of transformers wide enough to be quantised."""
    folder = tmp_path_factory.mktemp("saved")
    save_tokenizer(folder)
    transformers = import_transformers()
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=128, num_hidden_layers=3, num_attention_heads=4, intermediate_size=256, num_key_value_heads=2,
        vocab_size=300, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Folder with the packages of the extra, which the test environment does without."""
    folder = tmp_path_factory.mktemp("packages")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder,
               "bitsandbytes==0.50.2"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the packages of the extra `quantised` cannot be had here: {done.stderr.strip()[-200:]}")
    return folder


@pytest.mark.slow
def test_features_are_near_those_of_the_model(saved, packages, tmp_path):
    spec = row({"path": str(saved)}).model_dump(mode="json")
    done = subprocess.run(
        [sys.executable, "-c", COMPARE, str(saved), json.dumps(spec), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(packages)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "MatMul8bitLt" not in done.stderr
    found = {name: (kind, errors) for name, kind, errors in map(json.loads, done.stdout.splitlines()[-4:])}
    assert {name: kind for name, (kind, _) in found.items()} == {
        "none": "Linear", "straight": "Linear", "8bit": "Linear8bitLt", "4bit": "Linear4bit"
    }  # fmt: skip
    assert found["none"][1] == found["straight"][1] == [0.0] * 4
    assert all(0 < error < 0.05 for error in found["8bit"][1][1:])
    assert all(0.02 < error < 0.4 for error in found["4bit"][1][1:])


def test_missing_packages_are_named(saved, tmp_path, monkeypatch):
    monkeypatch.setattr("zooalign.sources._quantised.find_spec", lambda name: None)
    spec = row({"path": str(saved), "quantisation": "8bit"})
    fetch_weights(spec, tmp_path / "weights", print)
    with pytest.raises(WeightsError, match=r"quantisation: 8bit needs bitsandbytes: .*quantised"):
        load_model(spec, tmp_path / "weights")


def test_quantised_weights_are_not_changed_on_purpose(saved):
    values = row({"path": str(saved), "quantisation": "4bit"}).model_dump(mode="json")
    values |= {"id": "noisy", "variant_of": "tiny", "intervention": {"weight_noise": 0.1}}
    with pytest.raises(ValueError, match="those of the row are quantised"):
        ModelSpec.model_validate(values)


def test_a_card_has_to_hold_fewer_bytes():
    sizes = []
    for options in ({}, {"quantisation": "8bit"}, {"quantisation": "4bit"}):
        spec = row({"path": "none", **options}).model_copy(
            update={"parameters": 70_000_000_000, "precision": "bfloat16"}
        )
        sizes.append(gpu_weights_mb(spec))
    assert sizes[0] > 1.6 * sizes[1] > 2.5 * sizes[2]


@pytest.mark.parametrize(("device", "wanted"), [("cuda:0", {"": "cuda:0"}), ("cpu", None)])
def test_shards_go_straight_to_a_gpu(saved, tmp_path, monkeypatch, device, wanted):
    asked = {}

    def from_pretrained(*arguments, **options):
        asked.update(options)
        raise OSError("no further")

    spec = row({"path": str(saved)})
    fetch_weights(spec, tmp_path / "weights", print)
    monkeypatch.setattr(import_transformers().AutoModelForCausalLM, "from_pretrained", from_pretrained)
    with pytest.raises(WeightsError, match="no further"):
        load_model(spec, tmp_path / "weights", device)
    assert asked.get("device_map") == wanted
