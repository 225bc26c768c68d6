"""Vision models in transformers' own layout, and the vision tower of models of pictures and text.

One download serves both towers: the language row of CLIP or SigLIP names the same repository, source transformers.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from zooalign.errors import WeightsError
from zooalign.models.model import VisionLayer, VisionModel
from zooalign.sources import _folders
from zooalign.sources._preprocessing import Preprocessing
from zooalign.sources._torchvision import import_transformers

if TYPE_CHECKING:
    import torch

VERSION = 1
LOADS_PRECISION = True  # weights come from the file in the row's own precision

# Models of pictures and text, and the class of their vision tower.
_TOWERS = {"clip": "CLIPVisionModel", "siglip": "SiglipVisionModel", "metaclip_2": "MetaClip2VisionModel"}
# Pillow's filters by number, as preprocessor_config.json has them.
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
# Edge from which ConvNeXt's processor resizes both edges and crops nothing.
_WARPED_FROM = 384


class Options(_folders.FolderOptions):
    """Where the model lies and how it is fed."""

    preprocessing: Preprocessing | None = Field(
        default=None, description="Where preprocessor_config.json gives none or another is wanted."
    )


class TransformersVisionModel(VisionModel):
    """Hidden states of a vision network: every block before the final norm, or the stages of a convolutional one.

    Parameters
    ----------
    module : transformers.PreTrainedModel
        In evaluation mode.
    preprocessing : Preprocessing
        What the weights were trained on.

    Raises
    ------
    WeightsError
        If it gives no hidden states.
    """

    def __init__(self, module: Any, preprocessing: Preprocessing) -> None:
        import torch

        self._network = module
        with torch.no_grad():
            states = self._states(torch.zeros(1, *preprocessing.input_size, dtype=next(module.parameters()).dtype))
        if not states:
            raise WeightsError(
                f"{type(module).__name__} of transformers gives no hidden states: its layers are hidden"
            )
        tokens = states[-1].ndim == 3
        config = module.config
        patch = getattr(config, "patch_size", None)
        # What is before the patches: a class token, and registers.
        self._prefix = 0
        if tokens and isinstance(patch, int):
            _, height, width = preprocessing.input_size
            self._prefix = states[-1].shape[1] - (height // patch) * (width // patch)
        names = [f"{'blocks' if tokens else 'stages'}.{i}" for i in range(len(states))]
        super().__init__(module, names, preprocessing, preprocessing.describe(), preprocessing.input_size)

    def layers(self, pixels: torch.Tensor) -> list[VisionLayer]:
        """See :meth:`VisionModel.layers`."""
        return [self._layer(state) for state in self._states(self._like_module(pixels))]

    def _states(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Blocks without the embedding, which is what a block reads; of a convolutional network the stem, too."""
        states = self._network(pixel_values=pixels, output_hidden_states=True).hidden_states or ()
        return list(states[1:] if states and states[0].ndim == 3 else states)

    def _layer(self, state: torch.Tensor) -> VisionLayer:
        if state.ndim == 4:  # (B, D, H, W)
            return VisionLayer(None, state.flatten(2).transpose(1, 2))
        if self._prefix < 1:
            return VisionLayer(None, state)
        return VisionLayer(state[:, : self._prefix], state[:, self._prefix :])


weight_file = _folders.weight_file
local_files = _folders.local_files


def load(options: Options, weight_file: Path, folder: Path, precision: str = "float32") -> VisionModel:
    """Load the network, or the vision tower, from files only.

    Raises
    ------
    WeightsError
        If weights are missing, which transformers would fill at random, or the preprocessing is not stated.
    """
    import torch

    transformers = import_transformers()
    place = _folders.place(options, folder)
    shared = {"trust_remote_code": options.trust_remote_code, "local_files_only": True}
    try:
        kind = transformers.AutoConfig.from_pretrained(place, **shared).model_type
        network = getattr(transformers, _TOWERS[kind]) if kind in _TOWERS else transformers.AutoModel
        module, info = network.from_pretrained(
            place,
            dtype=getattr(torch, precision),
            use_safetensors=not options.pickle,
            output_loading_info=True,
            **shared,
        )
    except (OSError, ValueError, KeyError) as error:
        message = f"transformers cannot load the folder {place.name!r}: {str(error).splitlines()[0]}"
        raise WeightsError(message) from error
    missing = [key for key in sorted(info["missing_keys"]) if "pooler" not in key]
    wrong = missing + [str(key) for key in info["mismatched_keys"]]
    if wrong:
        raise WeightsError(f"the weight files lack or contradict {len(wrong)} parameters, the first {wrong[0]!r}")
    return TransformersVisionModel(module.eval(), options.preprocessing or read_preprocessing(place))


def read_preprocessing(place: Path) -> Preprocessing:
    """What preprocessor_config.json says.

    Raises
    ------
    WeightsError
        If it is missing or asks for something that is not supported.
    """
    file = place / "preprocessor_config.json"
    advice = "state `preprocessing` in the row's options"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file.name} cannot be read ({error}): {advice}") from error
    try:
        if not config.get("do_resize", True) or not config.get("do_rescale", True):
            raise ValueError("it does not resize, or does not divide by 255")
        if abs(config.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-9:
            raise ValueError(f"it multiplies by {config['rescale_factor']}, not by 1/255")
        size, share = _edges(config["size"]), config.get("crop_pct")
        if share is not None and size[0] < _WARPED_FROM:  # ConvNeXt's: the size is that of the crop
            size, crop, cropped = (math.floor(size[0] / share),) * 2, size, True
        else:
            cropped = config.get("do_center_crop", "crop_size" in config)
            crop = _edges(config.get("crop_size") or config["size"]) if cropped else size
        whole = cropped or ("shortest_edge" in config["size"] and share is None)
        return Preprocessing(
            input_size=(3, *crop),
            interpolation=_FILTERS[int(config["resample"])],  # type: ignore[arg-type]
            mean=tuple(config["image_mean"]) if config.get("do_normalize", True) else (0.0, 0.0, 0.0),
            std=tuple(config["image_std"]) if config.get("do_normalize", True) else (1.0, 1.0, 1.0),
            crop_pct=_share(crop[0], size[0]),
            crop_mode="center" if whole else "squash",
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{file.name} gives no preprocessing that is supported ({error}): {advice}") from error


def _share(crop: int, edge: int) -> float:
    """Crop over edge, so that dividing by it gives the edge again.

    Examples
    --------
    >>> math.floor(256 / _share(256, 372)), math.floor(256 / (256 / 372))
    (372, 371)
    """
    share = crop / edge
    return share if math.floor(crop / share) == edge else math.nextafter(share, 0.0)


def _edges(size: Any) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if "shortest_edge" in size:
        return int(size["shortest_edge"]), int(size["shortest_edge"])
    return int(size["height"]), int(size["width"])
