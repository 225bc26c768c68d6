"""Layers inside the blocks of a transformer: what attention and MLP of every block give, before they are added."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from zooalign.errors import WeightsError
from zooalign.models.model import VisionLayer, VisionModel

if TYPE_CHECKING:
    import torch

    from zooalign.models.model import LanguageModel

VERSION = 1  # part of the digest of features with `extraction.layers: all`

# What libraries call them. BERT and its like have no module of the whole MLP: its second matrix ends it.
_ATTENTION = re.compile(r"attn|attention|self_attention|self_attn|att")
_MLP = re.compile(r"mlp|ffn|ff|feed_forward|feedforward|block_sparse_moe|moe|output\.dense")


def add_sublayers(model: VisionModel | LanguageModel) -> None:
    """Let a model give the outputs of attention and MLP of every block, too, each before the layer that it is in.

    Parameters
    ----------
    model : VisionModel or LanguageModel
        Changed in place: :meth:`layers` and `layer_names` have more entries, named by module
        ("blocks.3.attn", "model.layers.3.mlp"). Models without such blocks (convolutions, tables) stay as they are.

    Notes
    -----
    An output is taken as the module gives it: with Bloom, which adds the residual inside, that is the sum.
    """
    found = find_sublayers(model.module)
    if not found:
        return
    outputs: dict[str, torch.Tensor] = {}
    for name, module in found.items():
        module.register_forward_hook(_keeping(outputs, name))
    places = _places(model, list(found))
    names, inside = _interleaved(model.layer_names, places)
    plain = model.layers

    def layers(*inputs: torch.Tensor) -> list[Any]:
        outputs.clear()
        given = plain(*inputs)
        missing = [name for name in found if name not in outputs]
        if missing:
            raise WeightsError(f"{missing[0]} did not run: leave extraction.layers at `blocks` for this model")
        return [given[at] if isinstance(at, int) else _layer(model, outputs.pop(at), given, inputs) for at in inside]

    changed: Any = model
    changed.layers, changed.layer_names = layers, names


def find_sublayers(module: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Attention and MLP of every block by name, in the order in which the blocks hold them.

    A block is a module that directly holds both.
    """
    found: dict[str, torch.nn.Module] = {}
    for name, block in module.named_modules():
        inner = dict(block.named_children())
        if "mlp" not in inner and "output" in inner and hasattr(inner["output"], "dense"):
            inner["output.dense"] = inner["output"].dense  # type: ignore[assignment]
        parts = {kind: [key for key in inner if kind.fullmatch(key)] for kind in (_ATTENTION, _MLP)}
        if all(parts.values()):
            keys = [key for key in inner if any(key in some for some in parts.values())]
            found |= {f"{name}.{key}".lstrip("."): inner[key] for key in keys}
    return found


def _keeping(outputs: dict[str, Any], name: str) -> Any:
    def hook(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        del module, inputs
        # Attention gives its weights besides, a mixture of experts its router's scores.
        outputs[name] = output[0] if isinstance(output, tuple) else output

    return hook


def _places(model: VisionModel | LanguageModel, names: list[str]) -> dict[str, int]:
    """Position in `layer_names` of the layer that each is part of."""
    layers = {name: i for i, name in enumerate(model.layer_names) if name not in ("embedding", "pooled")}

    def by_module(name: str) -> int | None:
        parts = name.split(".")
        heads = (".".join(parts[:n]) for n in range(1, len(parts)))
        return next((layers[head] for head in heads if head in layers), None)

    def by_number(name: str) -> int | None:
        number = next((part for part in name.split(".") if part.isdigit()), "")
        return layers.get(f"blocks.{number}")

    # timm's layers are named by module; our "blocks.3" of another library is its "model.layers.3".
    find = by_module if any(by_module(name) is not None for name in names) else by_number
    found = {name: find(name) for name in names}
    last = max(layers.values())
    return {name: last if place is None else place for name, place in found.items()}


def _interleaved(layer_names: list[str], places: dict[str, int]) -> tuple[list[str], list[int | str]]:
    """Names of all layers, and for each its position among the model's own, or its name among the others."""
    names: list[str] = []
    sources: list[int | str] = []
    for at, layer in enumerate(layer_names):
        before = [name for name, place in places.items() if place == at]
        names += [*before, layer]
        sources += [*before, at]
    return names, sources


def _layer(model: VisionModel | LanguageModel, output: Any, given: list[Any], inputs: Any) -> Any:
    """An output in the form of the model's own layers."""
    batch, output = len(inputs[0]), output.to(inputs[0].device)  # its block may be on another GPU
    if not isinstance(model, VisionModel):
        return output.reshape(*inputs[0].shape, -1)
    tokens = output.reshape(batch, -1, output.shape[-1])  # windows of one image lie side by side
    of_blocks = next((layer.prefix for layer in given if layer.prefix is not None), None)
    n = getattr(model.module, "num_prefix_tokens", 0) if output.ndim == 3 and len(output) == batch else 0
    return VisionLayer(tokens[:, :n] if of_blocks is not None and n else None, tokens[:, n:])
