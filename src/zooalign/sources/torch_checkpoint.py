"""Published PyTorch checkpoints of a timm architecture: inside a package, on a web server, or a local file.

The file is read with `weights_only=True` (or as safetensors): nothing in it is executed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from zooalign.errors import WeightsError
from zooalign.sources import _checkpoints
from zooalign.sources._checkpoints import CheckpointOptions
from zooalign.sources._preprocessing import Preprocessing
from zooalign.sources._vision import TimmVisionModel, create, load_state
from zooalign.storage.tensors import read_safetensors, read_torch

if TYPE_CHECKING:
    import torch

    from zooalign.models.model import VisionModel

VERSION = 1


class Options(CheckpointOptions):
    """Where the checkpoint lies, what it is and how its keys map."""

    architecture: str = Field(description="Name in timm.")
    architecture_options: dict[str, Any] = Field(default={}, description="Arguments of timm.create_model.")
    state_key: str | None = Field(default=None, description="Entry of the checkpoint that holds the weights.")
    prefix: str = Field(default="", description="Start of the keys to use; it is cut off.")
    ignore: tuple[str, ...] = Field(
        default=(), description="Starts of further keys, behind the prefix, to leave out: a projection head."
    )
    keys: Literal["name", "position"] = Field(
        default="name",
        description="Match by name, or by position where both list the same tensors in execution order.",
    )
    classifier: bool = Field(default=True, description="Whether the weights include the classifier.")
    pooled: bool | None = Field(default=None, description="Add the pooled feature as a last layer.")
    preprocessing: Preprocessing = Field(description="What the weights were trained on.")


weight_file = _checkpoints.weight_file
local_files = _checkpoints.local_files


def load(options: Options, weight_file: Path, folder: Path) -> VisionModel:
    """Load the architecture with the checkpoint's weights.

    Raises
    ------
    WeightsError
        If the checkpoint is no plain table of tensors or does not fit the architecture.
    """
    module = create(options.architecture, options.architecture_options)
    state = _select(read_checkpoint(weight_file), options)
    if options.keys == "position":
        state = match_by_position(state, module.state_dict())
    load_state(module, state, options.architecture)
    return TimmVisionModel(module, options.preprocessing, pooled=options.pooled, classifier=options.classifier)


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Read a checkpoint without executing anything in it.

    Parameters
    ----------
    file : Path
        A .safetensors file or anything `torch.save` writes.

    Returns
    -------
    dict

    Raises
    ------
    WeightsError
        If it is damaged, or holds anything but tensors and plain values by name.
    """
    try:
        checkpoint = read_safetensors(file) if file.suffix == ".safetensors" else read_torch(file)
    except ValueError as error:
        remedy = "Fetch it again, or save its state_dict alone, best as .safetensors"
        raise WeightsError(f"{file.name} cannot be read: {error}. {remedy}") from error
    if not isinstance(checkpoint, dict):
        raise WeightsError(f"{file.name} holds a {type(checkpoint).__name__}, not a table of tensors by name")
    return checkpoint


def match_by_position(source: dict[str, torch.Tensor], target: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename the tensors of one implementation to another's, pairing them in order.

    Parameters
    ----------
    source, target : dict
        State dictionaries that list the same tensors in execution order.

    Returns
    -------
    dict
        Target names to source tensors.

    Raises
    ------
    WeightsError
        If the numbers differ, or a pair differs in shape or in the last part of its name.
    """
    if len(source) != len(target):
        message = f"the checkpoint has {len(source)} tensors, the architecture {len(target)}: they cannot be paired"
        raise WeightsError(message)
    renamed = {}
    for (key, tensor), (name, own) in zip(source.items(), target.items(), strict=True):
        if tensor.shape != own.shape or key.rpartition(".")[2] != name.rpartition(".")[2]:
            raise WeightsError(
                f"tensor {key!r} {tuple(tensor.shape)} of the checkpoint is where the architecture "
                f"has {name!r} {tuple(own.shape)}: the order of the two differs"
            )
        renamed[name] = tensor
    return renamed


def _select(checkpoint: dict[str, Any], options: Options) -> dict[str, torch.Tensor]:
    if options.state_key is not None:
        if options.state_key not in checkpoint:
            known = ", ".join(map(repr, checkpoint))
            raise WeightsError(f"the checkpoint has no entry {options.state_key!r}; it has {known}")
        checkpoint = checkpoint[options.state_key]
        if not isinstance(checkpoint, dict):
            raise WeightsError(f"entry {options.state_key!r} of the checkpoint is no table of tensors by name")
    named = {str(k): v for k, v in checkpoint.items()}
    chosen = {k.removeprefix(options.prefix): v for k, v in named.items() if k.startswith(options.prefix)}
    if not chosen:
        first = next(iter(checkpoint), "")
        raise WeightsError(f"no key of the checkpoint starts with {options.prefix!r}; the first is {first!r}")
    return {k: v for k, v in chosen.items() if not k.startswith(options.ignore)}
