"""An ONNX classifier run as a PyTorch module, with the residual stream as its layers.

Layers are the sums that close the residual blocks (additions of two computed maps) and the feature
that the classifier's matrix product reads.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from zooalign.closed import Closed
from zooalign.errors import WeightsError
from zooalign.models.model import VisionLayer, VisionModel
from zooalign.sources._packages import PackagedFile, packaged_weight_file
from zooalign.sources._preprocessing import Preprocessing
from zooalign.sources._torchvision import ensure_torchvision

if TYPE_CHECKING:
    import torch

VERSION = 1


class Options(Closed):
    """Where the graph lies and how its tensors are laid out."""

    weights: PackagedFile = Field(description="ONNX file inside an installed package.")
    input_layout: Literal["NCHW", "NHWC"] = Field(description="Layout of the graph's input.")
    map_layout: Literal["NCHW", "NHWC"] = Field(description="Layout of the residual blocks' outputs.")
    preprocessing: Preprocessing = Field(description="What the weights were trained on.")


class OnnxVisionModel(VisionModel):
    """A converted graph whose outputs are the layers, the pooled feature and the scores."""

    def __init__(self, module: torch.nn.Module, names: list[str], options: Options) -> None:
        preprocessing = options.preprocessing
        super().__init__(module, names, preprocessing, preprocessing.describe(), preprocessing.input_size)
        self._input_layout = options.input_layout
        self._map_layout = options.map_layout

    def layers(self, pixels: torch.Tensor) -> list[VisionLayer]:
        """See :meth:`VisionModel.layers`."""
        *maps, pooled, _ = self._outputs(pixels)
        if self._map_layout == "NCHW":
            maps = [x.permute(0, 2, 3, 1) for x in maps]
        # (B, H, W, D) -> (B, HW, D)
        return [VisionLayer(None, x.flatten(1, 2)) for x in maps] + [VisionLayer(None, pooled.unsqueeze(1))]

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """Class scores before the graph's own softmax, shape (B, classes)."""
        return self._outputs(pixels)[-1]

    def _outputs(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        pixels = self._like_module(pixels)
        if self._input_layout == "NHWC":
            pixels = pixels.permute(0, 2, 3, 1).contiguous()
        with warnings.catch_warnings():
            # onnx2torch indexes with a list where torch wants a tuple; the values agree with onnxruntime's.
            warnings.filterwarnings("ignore", message="Using a non-tuple sequence", category=UserWarning)
            return self.module(pixels)


weight_file = packaged_weight_file


def load(options: Options, weight_file: Path, folder: Path) -> VisionModel:
    """Load the graph as a PyTorch module with its layers as outputs.

    Raises
    ------
    WeightsError
        If no residual block or no classifier is found.
    """
    import onnx

    ensure_torchvision()
    from onnx2torch import convert

    model = onnx.load(weight_file)
    sums, feature, scores = find_layers(model, weight_file.name)
    expose(model, [*(s.output[0] for s in sums), feature, scores])
    names = [f"blocks.{i}" for i in range(len(sums))]
    return OnnxVisionModel(convert(model).eval(), [*names, "pooled"], options)


def find_layers(model: Any, name: str) -> tuple[list[Any], str, str]:
    """Residual sums, pooled feature and scores of a classifier's graph.

    Parameters
    ----------
    model : onnx.ModelProto
        A classifier that ends in matrix product, addition and softmax.
    name : str
        File name, for the message.

    Returns
    -------
    sums : list of onnx.NodeProto
        Additions of two computed feature maps, in the order of the graph.
    feature, scores : str
        Names of the tensors that the classifier reads and that its softmax reads.

    Raises
    ------
    WeightsError
        If the graph has no such parts.
    """
    maps = _computed_maps(model)
    sums = [n for n in model.graph.node if n.op_type == "Add" and all(i in maps for i in n.input)]
    products = [n for n in model.graph.node if n.op_type in ("MatMul", "Gemm")]
    softmax = [n for n in model.graph.node if n.op_type == "Softmax"]
    if not sums or not products or not softmax:
        raise WeightsError(
            f"{name} is no residual classifier: {len(sums)} residual sums, {len(products)} matrix products, "
            f"{len(softmax)} softmax"
        )
    return sums, products[-1].input[0], softmax[-1].input[0]


def expose(model: Any, tensors: list[str]) -> None:
    """Make the named tensors the graph's outputs, in that order (in place)."""
    import onnx

    del model.graph.output[:]
    for tensor in tensors:
        model.graph.output.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))


def _computed_maps(model: Any) -> set[str]:
    """Tensors that descend from a convolution, not through anything that reduces them."""
    computed: set[str] = set()
    keeps = {
        "Add",
        "Sub",
        "Mul",
        "Relu",
        "Cast",
        "Transpose",
        "BatchNormalization",
        "Identity",
        "MaxPool",
        "Pad",
    }
    for node in model.graph.node:
        if node.op_type == "Conv" or (node.op_type in keeps and node.input[0] in computed):
            computed.update(node.output)
    return computed
