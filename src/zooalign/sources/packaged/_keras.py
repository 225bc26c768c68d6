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
