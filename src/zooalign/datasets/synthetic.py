"""Synthetic: coloured shapes with true captions, drawn from a seed; for tests and quick starts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from zooalign.closed import Closed
from zooalign.data.attribution import Attribution
from zooalign.data.records import Pair
from zooalign.data.rendering import png
from zooalign.data.writing import write_samples
from zooalign.progress import Report

if TYPE_CHECKING:
    from PIL import Image

VERSION = 1
KIND = "pairs"

COLOURS = {
    "red": (214, 40, 40),
    "orange": (247, 127, 0),
    "yellow": (250, 214, 40),
    "green": (42, 157, 70),
    "blue": (29, 78, 216),
    "purple": (126, 58, 180),
    "pink": (245, 140, 190),
    "brown": (121, 72, 35),
    "grey": (130, 130, 130),
    "black": (20, 20, 20),
}
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "bar")
SIZES = {"small": 0.12, "medium": 0.2, "large": 0.3}  # half the width as a share of the picture's side
PLACES = {
    "at the top left": (0.32, 0.32),
    "at the top right": (0.68, 0.32),
    "in the middle": (0.5, 0.5),
    "at the bottom left": (0.32, 0.68),
    "at the bottom right": (0.68, 0.68),
}
LARGEST = len(COLOURS) * len(SHAPES) * len(SIZES) * len(PLACES)


class Options(Closed):
    """Options of the `synthetic` family."""

    n: int = Field(default=64, ge=2, le=LARGEST, description="Number of pictures.")
    size: int = Field(default=64, ge=16, le=1024, description="Side of the square pictures in px.")
    seed: int = Field(default=0, ge=0, description="Seed of the choice and order.")


class _Scene(NamedTuple):
    colour: str
    shape: str
    extent: str
    place: str


def build(options: Options, folder: Path, report: Report) -> None:
    """Write the dataset.

    Raises
    ------
    DatasetError
        As `write_samples`.
    """
    write_samples(
        folder,
        KIND,
        _pairs(options),
        name=folder.name,
        description=f"{options.n} drawings of one coloured shape each, with true captions.",
        attribution=_ATTRIBUTION,
        options=options.model_dump(),
        family="synthetic",
        version=VERSION,
    )
    report(f"{folder.name}: {options.n} pictures")


def _pairs(options: Options) -> Iterator[Pair]:
    scenes = [_Scene(*parts) for parts in product(COLOURS, SHAPES, SIZES, PLACES)]
    scenes.sort(key=lambda s: hashlib.sha256(f"{options.seed}:{s}".encode()).digest())
    for scene in scenes[: options.n]:
        caption = f"a {scene.extent} {scene.colour} {scene.shape} {scene.place}"
        yield Pair(
            id="-".join([scene.colour, scene.shape, scene.extent, *scene.place.split()[-2:]]),
            image=png(_draw(scene, options.size)),
            caption=f"{caption[0].upper()}{caption[1:]}.",
            caption_normalised=caption,
            texts={
                "short": f"{scene.colour} {scene.shape}",
                "long": f"a drawing of {caption} on a white ground",
            },
            group=scene.shape,
            source="synthetic",
            licence="CC0-1.0",
        )


def _draw(scene: _Scene, size: int) -> Image.Image:
    from PIL import Image, ImageDraw

    fine = 4 * size  # drawn four times as large and shrunk: soft edges
    picture = Image.new("RGB", (fine, fine), (255, 255, 255))
    pen, fill = ImageDraw.Draw(picture), COLOURS[scene.colour]
    x, y = (share * fine for share in PLACES[scene.place])
    r = SIZES[scene.extent] * fine
    if scene.shape == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)
    elif scene.shape == "square":
        pen.rectangle((x - r, y - r, x + r, y + r), fill=fill)
    elif scene.shape == "triangle":
        pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=fill)
    elif scene.shape == "diamond":
        pen.polygon([(x, y - r), (x + r, y), (x, y + r), (x - r, y)], fill=fill)
    else:
        pen.rectangle((x - r, y - r / 3, x + r, y + r / 3), fill=fill)
        if scene.shape == "cross":
            pen.rectangle((x - r / 3, y - r, x + r / 3, y + r), fill=fill)
    return picture.resize((size, size), Image.Resampling.BOX)


_ATTRIBUTION = (
    Attribution(
        source="synthetic",
        title="Coloured shapes",
        authors="The zooalign developers",
        licence="CC0-1.0",
        link="drawn by zooalign",
    ),
)
