"""Sprites: white shapes on black of which shape, scale, orientation and position are known, drawn from a seed.

They follow dSprites (Matthey et al., 2017) in their factors and sizes. Its square and ellipse look the same after a
quarter and a half turn, so that their orientation cannot be told; the shapes here have no symmetry under rotation,
and every label can be read from the picture.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field

from zooalign.data.attribution import Attribution
from zooalign.data.records import Label
from zooalign.data.rendering import png
from zooalign.data.subsets import Split, write_parts
from zooalign.progress import Report

if TYPE_CHECKING:
    from PIL import Image

VERSION = 1
KIND = "labels"

SHAPES = ("heart", "triangle", "ell")
SCALES, ORIENTATIONS, PLACES = 6, 40, 32
N = len(SHAPES) * SCALES * ORIENTATIONS * PLACES * PLACES
# Classes of a factor with many values: so many neighbouring values share one, as in VTAB.
BINS = 16
# Radius of the largest sprite as a share of the picture's side.
RADIUS = 0.2
FINE = 8  # drawn so many times as large and shrunk: soft edges


class Options(Split):
    """Options of the `sprites` family."""

    task: Literal["shape", "scale", "orientation", "x_position", "y_position"] = Field(
        description="Factor that is the label; orientation and positions have 16 classes, shape 3, scale 6."
    )
    size: int = Field(default=64, ge=16, le=1024, description="Side of the square pictures in px.")


class Sprite(NamedTuple):
    """What is in a picture.

    Parameters
    ----------
    shape : str
        One of SHAPES.
    scale : int
        0 to 5: half of the largest size to all of it.
    orientation : int
        0 to 39: steps of 9 degrees, clockwise.
    x, y : int
        0 to 31: the place of the middle, from the left and from the top; the largest sprite still fits.
    """

    shape: str
    scale: int
    orientation: int
    x: int
    y: int

    @classmethod
    def numbered(cls, number: int) -> Sprite:
        """The combination of a number, 0 to N - 1."""
        rest, y = divmod(number, PLACES)
        rest, x = divmod(rest, PLACES)
        rest, orientation = divmod(rest, ORIENTATIONS)
        shape, scale = divmod(rest, SCALES)
        return cls(SHAPES[shape], scale, orientation, x, y)

    def label(self, task: str) -> str:
        """Class of a task, named so that the names sort as the values do."""
        if task == "shape":
            return self.shape
        if task == "scale":
            return f"{0.5 + 0.1 * self.scale:.1f}"
        if task == "orientation":
            first = self.orientation * BINS // ORIENTATIONS
            return f"{360 / BINS * first:05.1f} to {360 / BINS * (first + 1):05.1f} degrees"
        place = self.x if task == "x_position" else self.y
        return f"{place * BINS // PLACES + 1:02d} of {BINS}"


def build(options: Options, folder: Path, report: Report) -> None:
    """Write the dataset.

    Raises
    ------
    DatasetError
        If more pictures are asked for than the 737,280 combinations there are, or too few for all classes.

    Notes
    -----
    The pictures are different combinations; every value of every other factor occurs as often as chance has it.
    """
    labels = [Sprite.numbered(i).label(options.task) for i in range(N)]
    parts = options.parts(labels, folder.name)

    def record(split: str, i: int) -> Label:
        sprite = Sprite.numbered(i)
        picture = png(draw(sprite, options.size).convert("RGB"))
        return Label(f"sprite-{i:06d}", picture, sprite.label(options.task), split, "sprites", "CC0-1.0")

    write_parts(
        folder, f"Sprites, {options.task}", parts, record, attribution=_ATTRIBUTION, options=options,
        family="sprites", version=VERSION, packages={}, report=report,
    )  # fmt: skip


def draw(sprite: Sprite, size: int) -> Image.Image:
    """Picture of a sprite.

    Parameters
    ----------
    sprite : Sprite
        What to draw.
    size : int
        Side in px.

    Returns
    -------
    PIL.Image.Image
        Mode L, 0 outside the shape and 255 inside; on its edge the covered share, to 1/64.
    """
    from PIL import Image, ImageDraw

    radius = RADIUS * size * (0.5 + 0.1 * sprite.scale)
    turn = 2 * math.pi * sprite.orientation / ORIENTATIONS
    x, y = (RADIUS * size + (1 - 2 * RADIUS) * size * place / (PLACES - 1) for place in (sprite.x, sprite.y))
    corners = [
        (
            x + radius * (a * math.cos(turn) - b * math.sin(turn)),
            y + radius * (a * math.sin(turn) + b * math.cos(turn)),
        )
        for a, b in _OUTLINES[sprite.shape]
    ]
    picture = Image.new("L", (FINE * size, FINE * size), 0)
    # Pillow's whole numbers are the middles of pixels.
    ImageDraw.Draw(picture).polygon([(FINE * a - 0.5, FINE * b - 0.5) for a, b in corners], fill=255)
    return picture.reduce(FINE)


def _heart(n: int = 120) -> list[tuple[float, float]]:
    """Outline of a heart, its tip down, within a radius of 1."""
    turns = [2 * math.pi * i / n for i in range(n)]
    return [
        (
            16 * math.sin(t) ** 3 / 17,
            -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 17,
        )
        for t in turns
    ]


# Corners within a radius of 1 of the middle, x to the right and y down.
_OUTLINES = {
    "heart": _heart(),
    "triangle": [(0.0, -1.0), (0.45, 0.85), (-0.45, 0.85)],
    "ell": [(-0.5, -0.85), (-0.05, -0.85), (-0.05, 0.4), (0.5, 0.4), (0.5, 0.85), (-0.5, 0.85)],
}

_ATTRIBUTION = (
    Attribution(
        source="sprites",
        title="Sprites",
        authors="The zooalign developers, after dSprites by Loic Matthey et al. (2017)",
        licence="CC0-1.0",
        link="drawn by zooalign",
    ),
)
