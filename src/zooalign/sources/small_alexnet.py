"""The small AlexNet of contrastive learning by alignment and uniformity (Wang and Isola 2020), 64 x 64 pixels.

Baradad et al. (2021) trained it on procedural images: their encoders are plain tables of tensors, read with
`weights_only=True`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from zooalign.models.model import VisionLayer, VisionModel
from zooalign.sources import _checkpoints
from zooalign.sources._checkpoints import CheckpointOptions
from zooalign.sources._preprocessing import Preprocessing
from zooalign.sources._vision import load_state
from zooalign.sources.torch_checkpoint import read_checkpoint

if TYPE_CHECKING:
    import torch

VERSION = 1

# Channels of the five convolutions, and which of them end with pooling.
_CHANNELS, _POOLED = (96, 192, 384, 384, 192), (True, True, False, False, True)
_FC_WIDTH, _LAYERS = 4096, ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")

# Shorter edge to 70, centre crop of 64; statistics of the authors' evaluation.
_PREPROCESSING = Preprocessing(
    input_size=(3, 64, 64),
    interpolation="bilinear",
    crop_pct=0.914,
    mean=(0.44088, 0.42791, 0.38679),
    std=(0.26827, 0.26105, 0.26867),
)


class Options(CheckpointOptions):
    """Where the encoder lies, and how pictures are resized."""

    preprocessing: Preprocessing = Field(default=_PREPROCESSING, description="What the weights were trained on.")


weight_file = _checkpoints.weight_file
local_files = _checkpoints.local_files


def load(options: Options, weight_file: Path, folder: Path) -> VisionModel:
    """Load the network without its projection (fc8), which the loss alone reads.

    Raises
    ------
    WeightsError
        If the file is no plain table of tensors or does not fit the network.
    """
    del folder
    state = {key.removeprefix("module."): value for key, value in read_checkpoint(weight_file).items()}
    projection = f"blocks.{len(_LAYERS)}."
    network = build()
    load_state(network, {k: v for k, v in state.items() if not k.startswith(projection)}, "the small AlexNet")
    return SmallAlexNet(network.eval(), options.preprocessing)


def build() -> Any:
    """The network up to fc7, with the published names of its parameters."""
    from torch import nn

    blocks: list[nn.Module] = []
    before = 3
    for channels, pooled in zip(_CHANNELS, _POOLED, strict=True):
        convolution = nn.Conv2d(before, channels, kernel_size=3, padding=1, bias=False)
        parts = [convolution, nn.BatchNorm2d(channels), nn.ReLU(), *([nn.MaxPool2d(3, 2)] if pooled else [])]
        blocks.append(nn.Sequential(*parts))
        before = channels
    fc6 = nn.Linear(before * 7 * 7, _FC_WIDTH, bias=False)
    blocks.append(nn.Sequential(nn.Flatten(), fc6, nn.BatchNorm1d(_FC_WIDTH), nn.ReLU()))
    fc7 = nn.Linear(_FC_WIDTH, _FC_WIDTH, bias=False)
    blocks.append(nn.Sequential(fc7, nn.BatchNorm1d(_FC_WIDTH), nn.ReLU()))
    network = nn.Module()
    network.blocks = nn.ModuleList(blocks)
    return network


class SmallAlexNet(VisionModel):
    """Every block of the network: five feature maps, fc6 (which the authors evaluate) and fc7."""

    def __init__(self, module: Any, preprocessing: Preprocessing) -> None:
        super().__init__(module, _LAYERS, preprocessing, preprocessing.describe(), preprocessing.input_size)
        self._network = module

    def layers(self, pixels: torch.Tensor) -> list[VisionLayer]:
        """See :meth:`VisionModel.layers`."""
        given, x = [], self._like_module(pixels)
        for block in self._network.blocks:
            x = block(x)
            given.append(VisionLayer(None, x.flatten(2).transpose(1, 2) if x.ndim == 4 else x.unsqueeze(1)))
        return given
