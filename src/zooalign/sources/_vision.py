"""timm networks as vision models: every block or stage of one pass."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from zooalign.errors import WeightsError
from zooalign.models.model import VisionLayer, VisionModel
from zooalign.sources._torchvision import import_timm

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from zooalign.sources._preprocessing import Preprocessing

VERSION = 1  # part of the digest of what this module determines


class TimmVisionModel(VisionModel):
    """Layers of a timm network by `forward_intermediates`.

    Transformers give every block before the final norm, class token first; networks with feature
    maps give their stem and stages, and after them the feature the classifier reads.

    Parameters
    ----------
    module : torch.nn.Module
        A timm model in evaluation mode.
    preprocessing : Preprocessing
        What the weights were trained on.
    pooled : bool or None
        Add the pooled pre-logits feature as a last layer; None: where there is no class token.
    classifier : bool
        Whether the weights include `module`'s classifier.
    head : torch.nn.Module or None
        A classifier that is not part of the timm architecture; it reads the pooled feature.

    Raises
    ------
    WeightsError
        If timm cannot give the intermediate features of this architecture.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        preprocessing: Preprocessing,
        *,
        pooled: bool | None = None,
        classifier: bool = False,
        head: torch.nn.Module | None = None,
    ) -> None:
        forward = getattr(module, "forward_intermediates", None)
        if forward is None:
            message = f"timm's {type(module).__name__} has no forward_intermediates: its layers cannot be read"
            raise WeightsError(message)
        self._forward: Any = forward
        self._tokens = "return_prefix_tokens" in inspect.signature(forward).parameters
        self._class_token = getattr(module, "cls_token", None) is not None
        self._pooled = (not self._class_token) if pooled is None else pooled
        self._classifier = classifier
        self._network: Any = module  # timm's methods are not those of every Module
        names = [entry["module"] for entry in self._network.feature_info]
        if self._pooled:
            names.append("pooled")
        if head is not None:
            module.add_module("zooalign_head", head)  # so that it moves with the network
        self._head = head
        super().__init__(module, names, preprocessing, preprocessing.describe(), preprocessing.input_size)

    def layers(self, pixels: torch.Tensor) -> list[VisionLayer]:
        """See :meth:`VisionModel.layers`."""
        options: dict[str, Any] = {"norm": False, "intermediates_only": not self._pooled}
        if self._tokens:
            options |= {"return_prefix_tokens": True, "output_fmt": "NLC"}
        result = self._forward(self._like_module(pixels), **options)
        final, blocks = result if self._pooled else (None, result)
        layers = [self._layer(x) for x in blocks]
        if self._pooled:
            layers.append(VisionLayer(None, self._network.forward_head(final, pre_logits=True).unsqueeze(1)))
        described = len(self._network.feature_info) + self._pooled
        if len(layers) != described:
            message = f"timm gave {len(layers)} layers where its own description names {described}"
            raise WeightsError(message)
        return layers

    def logits(self, pixels: torch.Tensor) -> torch.Tensor | None:
        """See :meth:`VisionModel.logits`."""
        pixels = self._like_module(pixels)
        if self._head is not None:
            return self._head(self._network.forward_head(self._network.forward_features(pixels), pre_logits=True))
        return self.module(pixels) if self._classifier else None

    def blocks(self) -> Sequence[torch.nn.Module]:
        """See :meth:`VisionModel.blocks`; timm's transformers have `blocks`, one per layer."""
        blocks = getattr(self._network, "blocks", None)
        if blocks is None or len(blocks) != len(self._network.feature_info):
            return super().blocks()
        return list(blocks)

    def keep_blocks(self, n: int) -> None:
        """See :meth:`VisionModel.keep_blocks`."""
        whole = len(self.blocks())
        self._network.blocks = self._network.blocks[:n]
        self._network.feature_info = self._network.feature_info[:n]
        self.layer_names = self.layer_names[:n] + self.layer_names[whole:]

    def _layer(self, output: Any) -> VisionLayer:
        if isinstance(output, tuple):  # patches (B, N, D) and prefix (B, P, D)
            patches, prefix = output
            # Registers alone are not a class token: such a model is pooled over its patches.
            return VisionLayer(prefix if self._class_token else None, patches)
        if output.ndim == 4:  # (B, D, H, W)
            return VisionLayer(None, output.flatten(2).transpose(1, 2))  # (B, HW, D)
        return VisionLayer(None, output)


def create(architecture: str, options: dict[str, Any]) -> torch.nn.Module:
    """Make an architecture of timm by name, without its pretrained weights.

    Parameters
    ----------
    architecture : str
        Name in timm, with or without tag.
    options : dict
        Further arguments of `timm.create_model`.

    Returns
    -------
    torch.nn.Module
        In evaluation mode, randomly initialised.

    Raises
    ------
    WeightsError
        If timm does not know the name or refuses the options.
    """
    timm = import_timm()
    try:
        return timm.create_model(architecture, pretrained=False, **options).eval()
    except (RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(f"timm cannot make {architecture!r} with options {options}: {error}") from error


def load_state(module: torch.nn.Module, state: dict[str, torch.Tensor], name: str) -> None:
    """Fill a network strictly: every parameter must come from `state` and everything in it be used.

    Parameters
    ----------
    module : torch.nn.Module
        Filled in place.
    state : dict
        Parameter name to tensor.
    name : str
        The architecture, for the message.

    Raises
    ------
    WeightsError
        If names or shapes differ; batch counters of normalisation layers may be missing.
    """
    own = module.state_dict()
    state = {k: own[k] for k in own if k.endswith("num_batches_tracked")} | state
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsError(f"the weights do not fit {name}: {' '.join(str(error).split())[:500]}") from error
