"""Names and layouts of Keras applications as timm's networks have them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from zooalign.errors import WeightsError

if TYPE_CHECKING:
    import numpy as np


def mobilenet_v2(tensors: dict[str, np.ndarray], module: Any) -> dict[str, np.ndarray]:
    """Parameters of Keras's MobileNetV2 under timm's names.

    Parameters
    ----------
    tensors : dict
        Keras names to arrays.
    module : torch.nn.Module
        timm's network, for the numbers of its blocks.

    Returns
    -------
    dict

    Raises
    ------
    WeightsError
        If a parameter is missing.
    """
    try:
        state = {
            "conv_stem.weight": _kernel(tensors["Conv1/kernel"]),
            "conv_head.weight": _kernel(tensors["Conv_1/kernel"]),
            **_normalisation(tensors, "bn_Conv1", "bn1"),
            **_normalisation(tensors, "Conv_1_bn", "bn2"),
        }
        places = [f"blocks.{i}.{j}" for i, stage in enumerate(module.blocks) for j in range(len(stage))]
        for number, place in enumerate(places):
            start = "expanded_conv" if number == 0 else f"block_{number}"
            convolutions = ["depthwise", "project"] if number == 0 else ["expand", "depthwise", "project"]
            names = ["conv_dw", "conv_pw"] if number == 0 else ["conv_pw", "conv_dw", "conv_pwl"]
            for i, (keras, own) in enumerate(zip(convolutions, names, strict=True)):
                depthwise = keras == "depthwise"
                kernel = tensors[f"{start}_{keras}/{'depthwise_' if depthwise else ''}kernel"]
                state[f"{place}.{own}.weight"] = _kernel(kernel, depthwise=depthwise)
                state |= _normalisation(tensors, f"{start}_{keras}_BN", f"{place}.bn{i + 1}")
    except KeyError as error:
        raise WeightsError(f"the weights have no parameter {error} of MobileNetV2") from error
    return state


def inception_v3(tensors: dict[str, np.ndarray], module: Any) -> dict[str, np.ndarray]:
    """Parameters of Keras's InceptionV3 under timm's names.

    Parameters
    ----------
    tensors : dict
        Keras names to arrays; convolutions and normalisations are numbered in the order of creation.
    module : torch.nn.Module
        timm's network, whose units have that order too.

    Returns
    -------
    dict

    Raises
    ------
    WeightsError
        If the numbers of units differ.
    """
    kernels = sorted((n for n in tensors if re.match(r"conv2d_\d+/kernel", n)), key=_number)
    starts = {n.split("/")[0] for n in tensors if n.startswith("batch_normalization")}
    normalisations = sorted(starts, key=_number)
    units = [n for n, m in module.named_modules() if hasattr(m, "conv") and hasattr(m, "bn")]
    if not len(kernels) == len(normalisations) == len(units):
        message = f"{len(kernels)} convolutions and {len(normalisations)} normalisations for {len(units)} units"
        raise WeightsError(message)
    state = {}
    for kernel, start, unit in zip(kernels, normalisations, units, strict=True):
        state[f"{unit}.conv.weight"] = _kernel(tensors[kernel])
        state |= _normalisation(tensors, start, f"{unit}.bn")
    return state


def vgg16(tensors: dict[str, np.ndarray], module: Any) -> dict[str, np.ndarray]:
    """Parameters of a VGG16 that is kept block by block (`block1/layers/conv2d_1/vars/0`), under timm's names.

    Parameters
    ----------
    tensors : dict
        HDF5 paths to arrays; what is not inside a block is left out.
    module : torch.nn.Module
        timm's network, whose convolutions are in the same order.

    Returns
    -------
    dict

    Raises
    ------
    WeightsError
        If the numbers of convolutions differ.
    """
    import torch

    paths = [path for i in range(1, 6) for path in _layers(tensors, f"block{i}/layers/", "conv2d")]
    names = [name for name, part in module.named_modules() if isinstance(part, torch.nn.Conv2d)]
    if len(paths) != len(names):
        raise WeightsError(f"the weights have {len(paths)} convolutions, VGG16 has {len(names)}")
    state = {}
    for path, name in zip(paths, names, strict=True):
        state[f"{name}.weight"] = _kernel(_variable(tensors, path, 0))
        state[f"{name}.bias"] = _variable(tensors, path, 1)
    return state


def xception(tensors: dict[str, np.ndarray], module: Any) -> dict[str, np.ndarray]:
    """Parameters of Keras's Xception, as the first layer of a model of its own, under timm's names.

    Parameters
    ----------
    tensors : dict
        HDF5 paths to arrays; layers of a kind are numbered in the order of execution, a block's shortcut last.
    module : torch.nn.Module
        timm's network.

    Returns
    -------
    dict

    Raises
    ------
    WeightsError
        If the numbers of layers differ.
    """
    base = "layers/functional/layers/"
    kinds = ("conv2d", "separable_conv2d", "batch_normalization")
    paths = {kind: _layers(tensors, base, kind) for kind in kinds}
    names: dict[str, list[str]] = {kind: [] for kind in kinds}
    for name in _execution_order(module):
        part = module.get_submodule(name)
        kind = "separable_conv2d" if hasattr(part, "pointwise") else "conv2d"
        names["batch_normalization" if hasattr(part, "running_mean") else kind].append(name)
    if {k: len(v) for k, v in paths.items()} != {k: len(v) for k, v in names.items()}:
        found = ", ".join(f"{len(paths[k])} {k} for {len(names[k])}" for k in kinds)
        raise WeightsError(f"the weights are no Xception: {found}")
    state = {}
    for path, name in zip(paths["conv2d"], names["conv2d"], strict=True):
        state[f"{name}.weight"] = _kernel(_variable(tensors, path, 0))
    for path, name in zip(paths["separable_conv2d"], names["separable_conv2d"], strict=True):
        state[f"{name}.conv1.weight"] = _kernel(_variable(tensors, path, 0), depthwise=True)
        state[f"{name}.pointwise.weight"] = _kernel(_variable(tensors, path, 1))
    for path, name in zip(paths["batch_normalization"], names["batch_normalization"], strict=True):
        for i, ending in enumerate(("weight", "bias", "running_mean", "running_var")):
            state[f"{name}.{ending}"] = _variable(tensors, path, i)
    return state


def _execution_order(module: Any) -> list[str]:
    """Names of timm's Xception layers that have weights, a block's shortcut after its other layers."""
    names = []
    for name, child in module.named_children():
        inside = [name]
        if hasattr(child, "rep"):
            shortcut = [] if child.skip is None else [f"{name}.skip", f"{name}.skipbn"]
            inside = [f"{name}.rep.{i}" for i in range(len(child.rep))] + shortcut
        names += [n for n in inside if next(module.get_submodule(n).parameters(), None) is not None]
    return names


def _layers(tensors: dict[str, np.ndarray], base: str, kind: str) -> list[str]:
    """Paths of the layers of a kind directly below `base`, by number: conv2d, conv2d_1, conv2d_2."""
    matches = [re.fullmatch(rf"({re.escape(base)}{kind}(?:_(\d+))?)/vars/0", path) for path in tensors]
    found = {match[1]: int(match[2] or 0) for match in matches if match}
    return sorted(found, key=found.__getitem__)


def _variable(tensors: dict[str, np.ndarray], path: str, number: int) -> np.ndarray:
    if f"{path}/vars/{number}" not in tensors:
        raise WeightsError(f"the weights have no array '{path}/vars/{number}'")
    return tensors[f"{path}/vars/{number}"]


def _kernel(kernel: np.ndarray, *, depthwise: bool = False) -> np.ndarray:
    # Keras: (H, W, in, out), depthwise (H, W, channels, 1); PyTorch: (out, in, H, W)
    return kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(3, 2, 0, 1)


def _normalisation(tensors: dict[str, np.ndarray], source: str, target: str) -> dict[str, np.ndarray]:
    import numpy as np

    shift = tensors[f"{source}/beta"]
    return {
        f"{target}.weight": tensors.get(f"{source}/gamma", np.ones_like(shift)),  # InceptionV3 has no scale
        f"{target}.bias": shift,
        f"{target}.running_mean": tensors[f"{source}/moving_mean"],
        f"{target}.running_var": tensors[f"{source}/moving_variance"],
    }


def _number(name: str) -> int:
    return int(re.findall(r"_(\d+)(?:/|$)", name)[0])
