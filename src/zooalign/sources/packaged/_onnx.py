"""Parameters in ONNX graphs that PyTorch's exporter wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def named_weights(file: Path) -> dict[str, torch.Tensor]:
    """Initializers by name; transposed weights of matrix products, which have none, get the name of their bias.

    Parameters
    ----------
    file : Path
        The ONNX file.

    Returns
    -------
    dict
        "encoder.layer.0.output.dense.weight" to tensor, as PyTorch has them; what no bias names keeps its own name.
    """
    import onnx
    import torch
    from onnx import numpy_helper

    graph = onnx.load(file).graph
    weights = {i.name: torch.from_numpy(numpy_helper.to_array(i).copy()) for i in graph.initializer}
    users: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    for name in [k for k in weights if k.startswith("onnx::MatMul")]:
        product = users[name][0]
        biases = [b for u in users[product.output[0]] if u.op_type == "Add" for b in u.input if b in weights]
        if len(biases) == 1:  # the product of an attention map has none
            weights[biases[0].removesuffix("bias") + "weight"] = weights.pop(name).T.contiguous()
    return weights
