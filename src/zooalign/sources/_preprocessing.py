"""From a PIL image to the pixels a vision model was trained on, as data and without torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from zooalign.closed import Closed
from zooalign.errors import WeightsError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

VERSION = 1  # part of the digest of what this module determines


class Preprocessing(Closed):
    """Resize, centre crop, scale and normalise; every number is stated, none is assumed.

    Instances are callable, compare by value and pickle, so that worker processes can use them.

    Notes
    -----
    "center" resizes the shorter edge to floor(size / crop_pct) and crops; "squash" resizes both edges
    to it, giving up the aspect ratio, and crops. Both are bit-equal to timm's evaluation transform.
    """

    input_size: tuple[int, int, int] = Field(description="Channels (3), height and width in pixels.")
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"] = Field(
        description="Pillow's resampling filter."
    )
    mean: tuple[float, float, float] = Field(description="Subtracted per channel, in units of `scale`.")
    std: tuple[float, float, float] = Field(description="Divided by per channel, in units of `scale`.")
    crop_pct: float = Field(default=1.0, gt=0, le=1, description="Input size over resized size, 0 to 1.")
    crop_mode: Literal["center", "squash"] = Field(default="center", description="Keep the aspect ratio or not.")
    scale: Literal["unit", "byte"] = Field(default="unit", description="Pixels in 0..1 or in 0..255.")
    channels: Literal["RGB", "BGR"] = Field(default="RGB", description="Channel order the model was trained on.")

    @model_validator(mode="after")
    def _check_size(self) -> Preprocessing:
        channels, height, width = self.input_size
        if channels != 3 or min(height, width) < 1:
            raise ValueError(f"input_size must be (3, height, width), got {self.input_size}")
        if self.crop_mode == "center" and height != width:
            raise ValueError(f"crop_mode 'center' needs a square input_size, got {height} x {width}: use 'squash'")
        return self

    def __call__(self, image: Image.Image) -> np.ndarray:
        """Preprocess one image.

        Parameters
        ----------
        image : PIL.Image.Image
            Any mode; converted to RGB.

        Returns
        -------
        numpy.ndarray
            float32, shape (3, H, W).
        """
        import numpy as np

        _, height, width = self.input_size
        pixels = np.asarray(self._crop(image.convert("RGB"), height, width), dtype=np.float32)  # (H, W, 3)
        if self.channels == "BGR":
            pixels = pixels[..., ::-1]
        if self.scale == "unit":
            pixels = pixels / np.float32(255)
        pixels = (pixels - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))  # (3, H, W)

    def describe(self) -> dict[str, Any]:
        """JSON-able description for provenance."""
        return self.model_dump(mode="json")

    def _crop(self, image: Image.Image, height: int, width: int) -> Image.Image:
        from PIL import Image

        resized_height, resized_width = math.floor(height / self.crop_pct), math.floor(width / self.crop_pct)
        if self.crop_mode == "center":
            short, long = sorted(image.size)
            other = int(resized_width * long / short)
            portrait = image.size[0] <= image.size[1]
            resized_width, resized_height = (resized_width, other) if portrait else (other, resized_height)
        if image.size != (resized_width, resized_height):
            image = image.resize((resized_width, resized_height), Image.Resampling[self.interpolation.upper()])
        left, top = round((resized_width - width) / 2), round((resized_height - height) / 2)
        return image.crop((left, top, left + width, top + height))


def from_timm_config(config: dict[str, Any], image_size: int | None = None) -> Preprocessing:
    """Preprocessing that a timm configuration states.

    Parameters
    ----------
    config : dict
        The `pretrained_cfg` that travels with the weights.
    image_size : int or None
        Edge in pixels, where the row runs the model at another size than its own.

    Returns
    -------
    Preprocessing

    Raises
    ------
    WeightsError
        If a value is missing (timm would fall back to ImageNet's) or the crop mode is not supported.
    """
    missing = [key for key in ("input_size", "interpolation", "mean", "std", "crop_pct") if config.get(key) is None]
    if missing:
        message = f"its configuration gives no {', '.join(missing)}: state `preprocessing` in the row's options"
        raise WeightsError(message)
    crop_mode = config.get("crop_mode") or "center"
    if crop_mode not in ("center", "squash"):
        message = f"its configuration asks for crop_mode {crop_mode!r}, which is not supported (center, squash)"
        raise WeightsError(message)
    size = (3, image_size, image_size) if image_size else tuple(config["input_size"])
    return Preprocessing(
        input_size=size,
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        crop_pct=config["crop_pct"],
        crop_mode=crop_mode,
    )
