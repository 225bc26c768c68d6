"""Keras applications in HDF5 files of packages (`.weights.h5`, or inside `.keras`), as timm networks.

Arrays are read by name; neither the configuration nor the layers that a `.keras` archive describes are built. They
are converted once to safetensors under timm's names.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from zooalign.closed import Closed
from zooalign.errors import WeightsError
from zooalign.sources._packages import PackagedFile, packaged_weight_file
from zooalign.sources._preprocessing import Preprocessing
from zooalign.sources._torchvision import import_timm
from zooalign.sources._vision import TimmVisionModel, create, load_state
from zooalign.sources.packaged._keras import vgg16, xception

if TYPE_CHECKING:
    import numpy as np

    from zooalign.models.model import VisionModel

VERSION = 1
_INSIDE_ARCHIVE = "model.weights.h5"


class Options(Closed):
    """Where the weights lie and which application they are of."""

    weights: PackagedFile = Field(description="A .weights.h5 file or .keras archive inside an installed package.")
    architecture: Literal["vgg16", "xception"] = Field(description="Keras application, without its classifier.")
    preprocessing: Preprocessing = Field(description="What the weights were trained on.")


weight_file = packaged_weight_file


def prepare(options: Options, weight_file: Path, folder: Path) -> None:
    """Write `folder`/model.safetensors with timm's parameters; whatever else the file has is left out.

    Raises
    ------
    WeightsError
        If the file is damaged or does not fit the architecture.
    """
    import numpy as np
    from safetensors.numpy import save_file

    convert = vgg16 if options.architecture == "vgg16" else xception
    state = convert(read_arrays(weight_file), _module(options))
    save_file({k: np.ascontiguousarray(v) for k, v in state.items()}, folder / "model.safetensors")


def load(options: Options, weight_file: Path, folder: Path) -> VisionModel:
    """Load the timm network.

    Raises
    ------
    WeightsError
        If the converted weights do not fit.
    """
    from safetensors.torch import load_file

    module = _module(options)
    load_state(module, load_file(folder / "model.safetensors"), options.architecture)
    # Without the layers of its classifier, the pooled feature of a VGG is the mean of its last stage.
    pooled = False if options.architecture == "vgg16" else None
    return TimmVisionModel(module, options.preprocessing, pooled=pooled)


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """Arrays of a Keras file by their HDF5 path.

    Parameters
    ----------
    file : Path
        A .weights.h5 file, or a .keras archive, which has one inside.

    Returns
    -------
    dict
        "block1/layers/conv2d/vars/0" to array.

    Raises
    ------
    WeightsError
        If the file is damaged or something else.
    """
    import h5py

    arrays: dict[str, np.ndarray] = {}

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    try:
        place = file
        if file.suffix == ".keras":
            with zipfile.ZipFile(file) as archive:
                place = io.BytesIO(archive.read(_INSIDE_ARCHIVE))
        with h5py.File(place) as opened:
            opened.visititems(take)
    except (OSError, KeyError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(
            f"{file.name} holds no Keras weights that can be read: {error}. Install its package again"
        ) from error
    return arrays


def _module(options: Options) -> Any:
    import torch

    if options.architecture == "vgg16":
        module: Any = create("vgg16", {"num_classes": 0})
        module.prune_intermediate_layers([4])  # the last convolution; what follows it is not in the file
        module.feature_info, module.feature_ends = module.feature_info[:5], module.feature_ends[:5]
        return module
    module = create("legacy_xception", {"num_classes": 0})
    for name, part in list(module.named_modules()):
        if isinstance(part, torch.nn.BatchNorm2d):
            part.eps = 1e-3
        if isinstance(part, torch.nn.MaxPool2d):  # Keras pads "same", on one side where the edge is even
            module.set_submodule(name, import_timm().layers.create_pool2d("max", 3, 2, padding="same"))
    return module
