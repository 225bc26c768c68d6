"""Pictures: 1,024 captioned photographs and drawings from data packages of Debian."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from zooalign.data.attribution import Attribution
from zooalign.data.captions import mild, plain
from zooalign.data.debian import unpacked
from zooalign.data.downloads import Cached
from zooalign.data.records import Pair
from zooalign.data.rendering import NearDuplicates, is_blank, on_white, png, render_svg
from zooalign.data.samples import Alternative
from zooalign.data.writing import write_samples
from zooalign.datasets.pictures.candidates import Candidate
from zooalign.datasets.pictures.gcompris import gcompris
from zooalign.datasets.pictures.openclipart import openclipart
from zooalign.datasets.pictures.tuxpaint import tuxpaint
from zooalign.datasets.pictures.wordnet import WordNet
from zooalign.errors import DatasetError
from zooalign.progress import Report

if TYPE_CHECKING:
    from PIL import Image

VERSION = 1
KIND = "pairs"

# Folder of each package that is read, and the version (Debian 12) that the selection was looked at with.
PACKAGES = {
    "tuxpaint-stamps-default": ("usr/share/tuxpaint/stamps", "2022.06.04-1"),
    "gcompris-qt-data": ("usr/share/gcompris-qt/rcc", "3.1-2"),
    "openclipart-svg": ("usr/share/openclipart/svg", "1:0.18+dfsg-19"),
    "wordnet-base": ("usr/share/wordnet", "1:3.0-37"),
}
# Mean absolute difference of two thumbnails (0 to 255) under which the later picture is left out.
NEAR = 6.0
SMALLEST_PX = 40
THINNEST = 6  # longer side by shorter side


class Options(Cached):
    """Options of the `pictures` family."""

    n: int = Field(default=1024, ge=2, description="Number of pairs.")
    size: int = Field(default=224, ge=32, le=1024, description="Side of the square pictures in px.")


@dataclass
class _Chosen:
    candidate: Candidate
    caption: str
    style: str
    image: bytes
    alternatives: list[Alternative] = field(default_factory=list)


def build(options: Options, folder: Path, report: Report) -> None:
    """Write the dataset.

    Raises
    ------
    DatasetError
        If a package cannot be had or there are fewer than `options.n` distinct pairs.

    Notes
    -----
    All stamps of Tux Paint and pictures of GCompris that pass the filters are taken, then drawings of Open
    Clip Art in the order of SHA-256 of their id until there are n. A second picture of the same caption
    becomes an alternative view of the first. The order of the pairs is SHA-256 of the id. The source is a
    confound (style differs); it is stored, and so is whether a picture is a photograph or a drawing.
    236 MB are downloaded once.
    """
    cache = options.cache_beside(folder)
    folders, versions = {}, {}
    for package, (subtree, tested) in PACKAGES.items():
        folders[package], versions[package] = unpacked(package, subtree, cache, report)
        if versions[package] != tested:
            report(f"{folder.name}: {package} is {versions[package]}, not {tested}: the pairs may be others")
    wordnet = WordNet(folders["wordnet-base"])
    candidates = [
        *tuxpaint(folders["tuxpaint-stamps-default"]),
        *sorted(gcompris(folders["gcompris-qt-data"]), key=lambda c: c.id),
        *openclipart(folders["openclipart-svg"], wordnet.vocabulary),
    ]
    chosen = _choose(candidates, options, folder.name, report)
    write_samples(
        folder,
        KIND,
        _pairs(chosen, wordnet),
        name=folder.name,
        description=f"{options.n} captioned photographs and drawings from three data packages of Debian.",
        attribution=_ATTRIBUTION,
        options=options.model_dump(exclude={"cache"}),
        family="pictures",
        version=VERSION,
        packages=versions,
    )


def _choose(candidates: Iterable[Candidate], options: Options, name: str, report: Report) -> list[_Chosen]:
    by_caption: dict[str, _Chosen] = {}
    pictures = NearDuplicates(NEAR)
    dropped: Counter[str] = Counter()
    for candidate in candidates:
        # The smaller sources are taken whole, for their captions are better; the last one fills up.
        if len(by_caption) >= options.n and candidate.source == "openclipart":
            break
        caption = plain(candidate.caption)
        caption = re.sub(r"\s*\(.*?\)", "", caption).strip() or caption
        if len(caption) < 2:
            dropped["without caption"] += 1
            continue
        try:
            raw = _load(candidate, options.size)
            image = _framed(raw, options.size)
        except (DatasetError, OSError, ValueError, SyntaxError) as error:
            dropped["unusable picture"] += 1
            report(f"{name}: {candidate.id} left out: {error}")
            continue
        if is_blank(image) or pictures.match(image) is not None:
            dropped["blank or near-duplicate"] += 1
            continue
        if caption in by_caption:
            view = Alternative(candidate.id, candidate.caption, png(image))
            by_caption[caption].alternatives.append(view)
            continue
        pictures.add(image)
        by_caption[caption] = _Chosen(candidate, caption, candidate.style or _style(raw, candidate), png(image))
        if len(by_caption) % 256 == 0:
            report(f"{name}: {len(by_caption)} of {options.n} pairs")
    if len(by_caption) < options.n:
        raise DatasetError(f"{name}: n is {options.n}, there are {len(by_caption)} distinct pairs; lower options.n.")
    report(f"{name}: left out {', '.join(f'{v} {k}' for k, v in sorted(dropped.items()))}")
    ordered = sorted(by_caption.values(), key=lambda c: hashlib.sha256(c.candidate.id.encode()).digest())
    return ordered[: options.n]


def _load(candidate: Candidate, size: int) -> Image.Image:
    """Picture of a candidate with its transparency."""
    from PIL import Image

    data = gzip.decompress(candidate.data) if candidate.data[:2] == b"\x1f\x8b" else candidate.data
    if candidate.svg:  # twice the size: what is left after cropping the margin is still sharp
        return render_svg(data, 2 * size)
    image = Image.open(io.BytesIO(data))
    image.load()
    return image.convert("RGBA")


def _framed(image: Image.Image, size: int) -> Image.Image:
    """Crop the transparent margin, scale the rest to 94 % of a white square."""
    from PIL import Image

    box = image.getchannel("A").point([0] * 9 + [255] * 247).getbbox()
    if box is None:
        raise ValueError("the picture is empty")
    image = image.crop(box)
    if max(image.size) < SMALLEST_PX or max(image.size) > THINNEST * min(image.size):
        raise ValueError(f"the picture is too small or too thin ({image.width} x {image.height} px)")
    scale = int(size * 0.94) / max(image.size)
    scaled = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return on_white(image.resize(scaled, Image.Resampling.LANCZOS), size)


def _style(image: Image.Image, candidate: Candidate) -> str:
    """Guess "photo" or "drawing": a photograph has nearly as many colours as pixels."""
    import numpy as np

    if candidate.svg or candidate.vector_beside:
        return "drawing"
    pixels = np.asarray(image).reshape(-1, 4)  # (height * width, RGBA)
    opaque = pixels[pixels[:, 3] > 200, :3].astype(np.uint32)
    n_colours = np.unique(opaque @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)).size
    many = n_colours >= 1200 and n_colours >= 0.45 * len(opaque)
    return "photo" if many or n_colours > 60_000 else "drawing"


def _pairs(chosen: list[_Chosen], wordnet: WordNet) -> Iterator[Pair]:
    for pair in chosen:
        candidate = pair.candidate
        texts = {name: mild(text) for name, text in candidate.texts.items()}
        gloss = wordnet.gloss(pair.caption, candidate.domain)
        if gloss:
            texts |= {"gloss": gloss, "caption_gloss": f"{pair.caption}: {gloss}"}
        attributes = {"style": pair.style} | ({"author": candidate.author} if candidate.author else {})
        yield Pair(
            id=candidate.id,
            image=pair.image,
            caption=candidate.caption,
            caption_normalised=pair.caption,
            texts={name: text for name, text in texts.items() if text},
            group=candidate.domain,
            source=candidate.source,
            licence=candidate.licence,
            alternatives=pair.alternatives,
            attributes=attributes,
        )


_CHANGES = "cropped, scaled, composed onto a white square, PNG"
_ATTRIBUTION = (
    Attribution(
        source="tuxpaint",
        title="Tux Paint Stamps Collection",
        authors="The contributors of the Tux Paint stamps (its AUTHORS.txt) and its translators",
        licence="GPL-2.0, some stamps public domain",
        link="tuxpaint.org, by way of the Debian package tuxpaint-stamps-default",
        changes=_CHANGES,
    ),
    Attribution(
        source="gcompris",
        title="GCompris",
        authors="The GCompris developers and the photographers its data names",
        licence="GPL-3.0-or-later; pictures also public domain and CC BY-SA, as its data names them",
        link="gcompris.net, by way of the Debian package gcompris-qt-data",
        changes=_CHANGES,
    ),
    Attribution(
        source="openclipart",
        title="Open Clip Art Library",
        authors="The contributors of Open Clip Art (attribute `author` of a sample)",
        licence="public domain",
        link="openclipart.org, by way of the Debian package openclipart-svg",
        changes=_CHANGES + "; titles cleaned",
    ),
    Attribution(
        source="wordnet",
        title="WordNet 3.0",
        authors="Princeton University",
        licence="WordNet 3.0 licence",
        link="wordnet.princeton.edu, by way of the Debian package wordnet-base",
        changes="glosses (texts `gloss` and `caption_gloss`) and the vocabulary of the filter",
    ),
)
