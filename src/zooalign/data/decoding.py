"""Pictures: encoded bytes of any common format to RGB, as every model sees them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


def decode(data: bytes, pixels: int | None = None) -> Image.Image:
    """Decode an encoded picture to RGB; transparency is composed onto white, EXIF orientation applied.

    Parameters
    ----------
    data : bytes
        A PNG, JPEG, WebP or other file that Pillow reads.
    pixels : int, optional
        Pixels above which Pillow warns, and refuses above twice as many; default its own (89 million).

    Returns
    -------
    PIL.Image.Image
        Mode RGB, fully loaded.

    Raises
    ------
    OSError, ValueError, SyntaxError
        As Pillow raises them for corrupt data; `write_samples` turns them into DatasetError.
    """
    from PIL import Image, ImageOps

    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = pixels or limit
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    # A 16-bit greyscale PNG is read as 32-bit integers by some versions of Pillow.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        image = _from_16_bits(image)
    elif image.mode in ("I", "F"):
        raise ValueError(f"32-bit values (mode {image.mode}) have no stated range; save it with 8 or 16 bits")
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        image.alpha_composite(rgba)
    return image.convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Greyscale of 8 bits: 65,535 is white, where Pillow's own conversion makes everything above 255 white."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
