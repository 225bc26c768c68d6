"""Pictures of one size on white, and how to tell blank and nearly equal ones."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from zooalign.errors import DatasetError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

# Side of the thumbnail by which pictures are compared, in px.
THUMBNAIL = 24
DOTS_PER_INCH = 96  # of CSS


def render_svg(svg: bytes, size: int) -> Image.Image:
    """Render an SVG at a width of `size` px, with transparency.

    Parameters
    ----------
    svg : bytes
        UTF-8 SVG document.
    size : int
        px.

    Returns
    -------
    PIL.Image.Image
        Mode RGBA.

    Raises
    ------
    DatasetError
        If the renderer refuses the document.
    """
    import resvg_py
    from PIL import Image

    try:
        # No system fonts: a text would look different on every machine. Without a resolution a drawing whose
        # size is in mm, in or pt has size 0.
        data = resvg_py.svg_to_bytes(
            svg_string=svg.decode("utf-8"), width=size, dpi=DOTS_PER_INCH, skip_system_fonts=True
        )
        image = Image.open(io.BytesIO(bytes(data)))
        image.load()
    except Exception as error:  # resvg_py raises plain ValueError, and UTF-8 or memory may fail as well
        raise DatasetError(f"the SVG cannot be rendered ({str(error)[:200]})") from error
    return image.convert("RGBA")


def on_white(image: Image.Image, size: int) -> Image.Image:
    """Centre a picture on a white square.

    Parameters
    ----------
    image : PIL.Image.Image
        Any mode; scaled down (Lanczos) if larger than the square, never up.
    size : int
        Side of the square in px.

    Returns
    -------
    PIL.Image.Image
        Mode RGB, size x size.
    """
    from PIL import Image

    image = image.convert("RGBA")
    if max(image.size) > size:
        scale = size / max(image.size)
        image = image.resize(
            (max(1, round(image.width * scale)), max(1, round(image.height * scale))),
            Image.Resampling.LANCZOS,
        )
    square = Image.new("RGBA", (size, size), (255, 255, 255, 255))
    square.alpha_composite(image, ((size - image.width) // 2, (size - image.height) // 2))
    return square.convert("RGB")


def png(image: Image.Image) -> bytes:
    """Encode losslessly; without metadata, so equal pixels give equal bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def grey_png(pixels: np.ndarray) -> bytes:
    """Encode a picture of grey levels, (height, width) uint8, as RGB, which is what models read."""
    from PIL import Image

    return png(Image.fromarray(pixels).convert("RGB"))


def is_blank(image: Image.Image) -> bool:
    """Whether less than 1 % of the pixels are darker than a near-white (245 of 255)."""
    histogram = image.convert("L").histogram()
    return sum(histogram[:245]) < 0.01 * sum(histogram)


def thumbnail(image: Image.Image) -> np.ndarray:
    """Small picture by which near-duplicates are found.

    Returns
    -------
    numpy.ndarray
        (24 * 24 * 3,) int16, 0 to 255.
    """
    import numpy as np
    from PIL import Image

    small = image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR)
    return np.asarray(small, dtype=np.int16).ravel()


def difference_hash(image: Image.Image) -> int:
    """64 bits: whether each of 8 x 8 grey cells is brighter than its right neighbour."""
    from PIL import Image

    grey = image.convert("L").resize((9, 8), Image.Resampling.BILINEAR).tobytes()
    bits = 0
    for row in range(8):
        for column in range(8):
            left = row * 9 + column
            bits |= int(grey[left] > grey[left + 1]) << (row * 8 + column)
    return bits


class NearDuplicates:
    """Remembers pictures and recognises one that nearly equals an earlier one.

    Parameters
    ----------
    difference : float
        Mean absolute difference of the thumbnails (0 to 255) under which two pictures may be the same.
    bits : int
        Bits of the difference hash that may differ as well.
    """

    def __init__(self, difference: float, bits: int = 12) -> None:
        self.difference = difference
        self.bits = bits
        self._thumbnails: list[np.ndarray] = []
        self._hashes: list[int] = []

    def match(self, image: Image.Image) -> int | None:
        """Return the number of the first earlier picture that `image` nearly equals, or None."""
        import numpy as np

        if not self._hashes:
            return None
        here = difference_hash(image)
        near = [i for i, other in enumerate(self._hashes) if (here ^ other).bit_count() <= self.bits]
        if not near:
            return None
        gallery = np.stack([self._thumbnails[i] for i in near])  # (n, 1728)
        distance = np.abs(gallery - thumbnail(image)).mean(axis=1)  # (n,)
        near_enough = np.flatnonzero(distance < self.difference)
        return near[int(near_enough[0])] if near_enough.size else None

    def add(self, image: Image.Image) -> None:
        """Remember a picture."""
        self._hashes.append(difference_hash(image))
        self._thumbnails.append(thumbnail(image))
