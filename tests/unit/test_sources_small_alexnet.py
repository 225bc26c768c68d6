"""The small AlexNet: published names of parameters, layers as hooks see them, its own resizing, bad files."""

import numpy as np
import pytest
import torch
from PIL import Image

from zooalign.config.manifest import ModelSpec
from zooalign.errors import WeightsError
from zooalign.models.loading import fetch_weights, load_model
from zooalign.sources.small_alexnet import Options, build


def row(path):
    values = {
        "id": "noise", "modality": "vision", "source": "small_alexnet", "options": {"path": str(path)},
        "family": "noise", "objective": "random", "pooling": "mean", "parameters": 58_153_952, "layers": 7,
        "licence": "not stated",
    }  # fmt: skip
    return ModelSpec.model_validate(values)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """An untrained encoder as the authors save theirs: from several GPUs, with its projection."""
    torch.manual_seed(0)
    network = build()
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    state |= {"module.blocks.7.0.weight": torch.zeros(128, 4096), "module.blocks.7.0.bias": torch.zeros(128)}
    path = tmp_path_factory.mktemp("alexnet") / "encoder.pth"
    torch.save(state, path)
    return path, network.eval()


def test_layers_are_those_of_the_network(published, tmp_path):
    path, network = published
    fetch_weights(row(path), tmp_path / "weights")
    model = load_model(row(path), tmp_path / "weights")
    pixels = torch.randn(2, 3, 64, 64)
    seen = []
    for block in network.blocks:
        block.register_forward_hook(lambda _, inputs, output: seen.append(output))
    with torch.inference_mode():
        layers = model.layers(pixels)
        x = pixels
        for block in network.blocks:
            x = block(x)
    assert [layer.patches.shape for layer in layers] == [
        (2, 31 * 31, 96), (2, 15 * 15, 192), (2, 15 * 15, 384), (2, 15 * 15, 384), (2, 7 * 7, 192), (2, 1, 4096),
        (2, 1, 4096),
    ]  # fmt: skip
    for layer, output in zip(layers, seen, strict=True):
        expected = output.mean((2, 3)) if output.ndim == 4 else output
        np.testing.assert_allclose(layer.patches.mean(1), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(70, 70), (64, 64), (200, 100), (333, 500)])
def test_pictures_are_resized_to_70_and_cropped_to_64(size):
    """As torchvision's Resize(70), CenterCrop(64) and Normalize do."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))
    short = min(size)
    resized = picture.resize(
        tuple(70 if edge == short else int(70 * edge / short) for edge in size), Image.Resampling.BILINEAR
    )
    left, top = round((resized.width - 64) / 2), round((resized.height - 64) / 2)
    pixels = np.asarray(resized.crop((left, top, left + 64, top + 64)), np.float32) / 255
    expected = (pixels - (0.44088, 0.42791, 0.38679)) / (0.26827, 0.26105, 0.26867)
    np.testing.assert_allclose(Options(path="none").preprocessing(picture), expected.transpose(2, 0, 1), atol=1e-5)


def test_other_files_are_refused(published, tmp_path):
    path, _ = published
    state = torch.load(path, weights_only=True)
    del state["module.blocks.3.0.weight"]
    torch.save(state, tmp_path / "lacking.pth")
    fetch_weights(row(tmp_path / "lacking.pth"), tmp_path / "lacking")
    with pytest.raises(WeightsError, match=r"the weights do not fit the small AlexNet.*blocks\.3\.0\.weight"):
        load_model(row(tmp_path / "lacking.pth"), tmp_path / "lacking")
    with pytest.raises(WeightsError, match="there is no checkpoint"):
        fetch_weights(row(tmp_path / "none.pth"), tmp_path / "none")
