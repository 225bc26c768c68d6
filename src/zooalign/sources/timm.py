"""Vision models of timm in the hub's layout: from the hub or a local folder, by manifest row only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from zooalign.closed import Closed
from zooalign.errors import WeightsError
from zooalign.sources._folders import Revision
from zooalign.sources._preprocessing import Preprocessing, from_timm_config
from zooalign.sources._torchvision import import_timm
from zooalign.sources._vision import TimmVisionModel

if TYPE_CHECKING:
    from zooalign.models.model import VisionModel

VERSION = 1


class Options(Closed):
    """Which model; exactly one of name and path."""

    name: str | None = Field(default=None, description="Name in timm with its tag; also that of the hub repository.")
    hub_id: str | None = Field(default=None, description="Repository on the hub where it is not timm/name.")
    revision: Revision = None
    path: str | None = Field(default=None, description="Local folder with config.json and model.safetensors.")
    image_size: int | None = Field(default=None, gt=0, description="Edge in pixels, where not the weights' own.")
    pooled: bool | None = Field(default=None, description="Add the pooled feature as a last layer.")
    preprocessing: Preprocessing | None = Field(
        default=None, description="Where the configuration gives none or another is wanted."
    )

    @model_validator(mode="after")
    def _check_place(self) -> Options:
        if (self.name is None) == (self.path is None):
            raise ValueError("give either `name` or `path`")
        if self.name is None and self.revision is not None:
            raise ValueError("`path` has no `revision`")
        return self


def weight_file(options: Options, folder: Path) -> Path:
    """Find the safetensors file; a hub repository is fetched into `folder`.

    Raises
    ------
    WeightsError
        If the place has no safetensors file, or the hub cannot be reached.
    """
    place = _place(options, folder)
    file = place / "model.safetensors"
    if not file.is_file() and options.name is not None:
        from zooalign.sources._hub import fetch_repository

        repository = options.hub_id or f"timm/{options.name}"
        fetch_repository(repository, options.revision, folder, ("config.json", "model.safetensors"))
    if not file.is_file() or not (place / "config.json").is_file():
        message = f"{options.name or place.name!r} has no config.json and model.safetensors: nothing else is read"
        raise WeightsError(message)
    return file


def local_files(options: Options) -> list[Path]:
    """Weights and configuration of a local folder."""
    files = (
        [] if options.path is None else [Path(options.path) / name for name in ("config.json", "model.safetensors")]
    )
    return [file for file in files if file.is_file()]


def load(options: Options, weight_file: Path, folder: Path) -> VisionModel:
    """Load the network with its weights and its own preprocessing, from files only.

    Raises
    ------
    WeightsError
        If the weights do not fit, or the configuration gives no preprocessing.
    """
    place = _place(options, folder)
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    preprocessing = options.preprocessing or from_timm_config(config.get("pretrained_cfg") or {}, options.image_size)
    changed = {} if options.image_size is None else {"img_size": options.image_size}
    try:
        # timm's own loader: strict, and it knows how each architecture resamples its positions.
        module = import_timm().create_model(f"local-dir:{place}", pretrained=True, **changed)
    except (RuntimeError, TypeError, ValueError) as error:
        message = f"timm cannot load {options.name or place.name!r}: {' '.join(str(error).split())[:500]}"
        raise WeightsError(message) from error
    classifier = getattr(module, "num_classes", 0) > 0
    return TimmVisionModel(module.eval(), preprocessing, pooled=options.pooled, classifier=classifier)


def _place(options: Options, folder: Path) -> Path:
    return folder if options.path is None else Path(options.path)
