"""A ViT with layer scale inside an ONNX graph, lifted into timm's DINOv2 architecture.

Made for graphs that were exported from the transformers library: parameters that PyTorch's exporter
folded into anonymous constants are found by the operations that use them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from zooalign.closed import Closed
from zooalign.errors import WeightsError
from zooalign.sources._packages import PackagedFile, packaged_weight_file
from zooalign.sources._preprocessing import Preprocessing
from zooalign.sources._vision import TimmVisionModel, create, load_state
from zooalign.sources.packaged._onnx import named_weights

if TYPE_CHECKING:
    import torch

    from zooalign.models.model import VisionModel

VERSION = 1


class Options(Closed):
    """Where the graph lies and which architecture it holds."""

    weights: PackagedFile = Field(description="ONNX file inside an installed package.")
    architecture: str = Field(description="Name in timm, of the DINOv2 family.")
    backbone: str = Field(default="backbone.", description="Start of the parameter names in the graph.")
    preprocessing: Preprocessing = Field(description="What the weights were trained on, and the size to run at.")


weight_file = packaged_weight_file


def prepare(options: Options, weight_file: Path, folder: Path) -> None:
    """Lift the parameters out of the graph into `folder`/model.safetensors, positions resampled.

    Raises
    ------
    WeightsError
        If the graph has another layout.
    """
    from safetensors.torch import save_file

    module = _module(options)
    state = lift(weight_file, options.backbone, len(module.blocks))
    height, width = module.patch_embed.grid_size
    state["pos_embed"] = resample_positions(state["pos_embed"], height, width)
    load_state(module, state, options.architecture)
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "model.safetensors")


def load(options: Options, weight_file: Path, folder: Path) -> VisionModel:
    """Load the timm network with the lifted weights; layers are the blocks before the final norm.

    Raises
    ------
    WeightsError
        If the converted weights do not fit.
    """
    from safetensors.torch import load_file

    module = _module(options)
    load_state(module, load_file(folder / "model.safetensors"), options.architecture)
    return TimmVisionModel(module, options.preprocessing)


def lift(file: Path, backbone: str, blocks: int) -> dict[str, torch.Tensor]:
    """Parameters of the backbone of an ONNX graph under timm's names.

    Parameters
    ----------
    file : Path
        The ONNX file.
    backbone : str
        Start of the parameter names.
    blocks : int
        Number of transformer blocks.

    Returns
    -------
    dict
        Position embeddings keep the grid they were trained on.

    Raises
    ------
    WeightsError
        If a parameter of the expected layout is missing.
    """
    import torch

    weights = named_weights(file)
    try:
        positions = [next(v for k, v in weights.items() if k.startswith(f"onnx::{o}")) for o in ("Concat", "Reshape")]
        state = {
            "cls_token": weights[backbone + "embeddings.cls_token"],
            "pos_embed": torch.cat(positions, dim=1),  # class token's position, then the grid's
        }
        for ending in ("weight", "bias"):
            projection = f"{backbone}embeddings.patch_embeddings.projection.{ending}"
            state[f"patch_embed.proj.{ending}"] = weights[projection]
            state[f"norm.{ending}"] = weights[f"{backbone}layernorm.{ending}"]
        for i in range(blocks):
            state |= _block(weights, f"{backbone}encoder.layer.{i}.", f"blocks.{i}.")
    except (KeyError, StopIteration) as error:
        message = f"{file.name} has no parameter {error}: it is no ViT with layer scale out of transformers"
        raise WeightsError(message) from error
    return state


def resample_positions(positions: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Position embeddings for another grid, as the graph itself does it: bicubic, not antialiased.

    Parameters
    ----------
    positions : torch.Tensor
        Shape (1, 1 + side², D), the class token's first.
    height, width : int
        The new grid in patches.

    Returns
    -------
    torch.Tensor
        Shape (1, 1 + height · width, D).
    """
    import torch

    side = round((positions.shape[1] - 1) ** 0.5)
    grid = positions[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)  # (1, D, side, side)
    grid = torch.nn.functional.interpolate(grid, size=(height, width), mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def _module(options: Options) -> Any:
    return create(options.architecture, {"img_size": options.preprocessing.input_size[1:], "num_classes": 0})


def _block(weights: dict[str, torch.Tensor], source: str, target: str) -> dict[str, torch.Tensor]:
    import torch

    state = {}
    for ending in ("weight", "bias"):
        parts = [weights[f"{source}attention.attention.{part}.{ending}"] for part in ("query", "key", "value")]
        state[f"{target}attn.qkv.{ending}"] = torch.cat(parts)
        state[f"{target}attn.proj.{ending}"] = weights[f"{source}attention.output.dense.{ending}"]
        for part in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
            state[f"{target}{part}.{ending}"] = weights[f"{source}{part}.{ending}"]
    for i in (1, 2):
        state[f"{target}ls{i}.gamma"] = weights[f"{source}layer_scale{i}.lambda1"]
    return state
