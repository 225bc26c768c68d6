"""Models in TensorFlow.js bundles: the reader on bundles made here, the real ones where npm is."""

from __future__ import annotations

import base64
import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zooalign.errors import WeightsError
from zooalign.models.model import VisionModel
from zooalign.sources.packaged import tfjs

INTEGERS = (np.arange(1600) % 251).astype(np.uint8)
BIAS = np.array([1.0, -2.0, 0.25], "<f4")


def bundles(folder: Path, data: bytes) -> Path:
    """An archive with one quantised (2, 800) and one float (3,) tensor, their bytes in two shards."""
    manifest = (
        'weightsManifest:[{paths:["x"],weights:[{name:"dense/kernel",shape:[2,800],dtype:"float32",'
        'quantization:{dtype:"uint8",min:-1.5,scale:5e-1,original_dtype:"float32"}},'
        '{name:"dense/bias",shape:[3],dtype:"float32"}]}]'
    )
    files = {"package/m/model.min.js": f"var a={{{manifest}}}"}
    middle = len(data) // 2
    for i, part in enumerate((data[:middle], data[middle:])):
        files[f"package/m/group1-shard{i + 1}of2.min.js"] = f'var s="x",b="{base64.b64encode(part).decode()}";'
    archive = folder / "model.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return archive


def test_bundles_are_read_and_dequantised(tmp_path: Path) -> None:
    tensors = tfjs.read_bundles(bundles(tmp_path, INTEGERS.tobytes() + BIAS.tobytes()), "package/m")
    np.testing.assert_array_equal(tensors["dense/kernel"], INTEGERS.reshape(2, 800) * np.float32(0.5) - 1.5)
    np.testing.assert_array_equal(tensors["dense/bias"], BIAS)


@pytest.mark.parametrize("surplus", [-12, 5])
def test_every_byte_must_be_accounted_for(tmp_path: Path, surplus: int) -> None:
    data = INTEGERS.tobytes() + BIAS.tobytes() + bytes(5)
    with pytest.raises(WeightsError, match=rf"model\.tgz: the manifest describes .* hold {1612 + surplus}"):
        tfjs.read_bundles(bundles(tmp_path, data[: 1612 + surplus]), "package/m")


def test_model_that_is_not_in_the_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"model\.tgz has no readable model in 'package/other'"):
        tfjs.read_bundles(bundles(tmp_path, b""), "package/other")


def test_missing_npm_is_named_with_the_remedy(
    zoo: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zooalign.models.loading import fetch_weights

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WeightsError, match=r"nsfwjs@4\.4\.0 is fetched with npm.*install Node\.js"):
        fetch_weights(zoo["nsfwjs_mobilenet_v2"], tmp_path / "weights")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.network
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm fetches these weights")
@pytest.mark.parametrize(
    ("model", "widths"),
    [
        ("nsfwjs_mobilenet_v2", [16, 24, 32, 96, 320, 1280]),
        ("nsfwjs_inception_v3", [64, 192, 288, 768, 2048]),
    ],
)
def test_real_bundles_call_everyday_pictures_neutral_or_drawn(
    model: str,
    widths: list[int],
    zoo: dict[str, Any],
    loaded: Callable[[str], VisionModel],
    photo: Callable[[str], Any],
) -> None:
    network = loaded(model)
    names = ("chelsea.png", "coffee.png", "astronaut.png", "motorcycle_left.png")
    pixels = torch.from_numpy(np.stack([network.preprocess(photo(n)) for n in names]))
    with torch.inference_mode():
        scores = network.logits(pixels)
        layers = network.layers(pixels)
    assert scores is not None
    assert scores.shape == (4, 5)  # drawing, hentai, neutral, porn, sexy
    assert scores.argmax(dim=1).tolist() == [2, 2, 2, 2]
    assert [layer.patches.shape[2] for layer in layers] == widths
    assert sum(p.numel() for p in network.module.parameters()) == zoo[model].parameters
