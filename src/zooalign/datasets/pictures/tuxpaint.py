"""Tux Paint's stamps: photographs and drawings with a sentence in up to 77 languages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from zooalign.datasets.pictures.candidates import Candidate

# Folders whose domain has another name here; other folders are their own domain.
_DOMAINS = {
    "town": "places",
    "sports": "leisure",
    "hobbies": "leisure",
    "naturalforces": "nature",
    "military": "vehicles",
    "medical": "household",
}
# Letters, digits and shapes are signs: what is pictured is the caption itself.
_SIGNS = ("symbols/alphabets", "symbols/math", "symbols/shapes")
_SIGN_CAPTION = re.compile(r"(?i)(the )?(letter|number|digit|sign for)\b")
_MIRRORED = re.compile(r"_(mirror|flip|mirror_flip)$")
_TRANSLATION = re.compile(r"([A-Za-z_@]+)\.utf8=(.+)")
# Where one caption ends and a second sentence begins.
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


def tuxpaint(stamps: Path) -> Iterator[Candidate]:
    """Every captioned stamp, by path.

    Parameters
    ----------
    stamps : pathlib.Path
        The package's usr/share/tuxpaint/stamps.

    Yields
    ------
    Candidate
        The first sentence is the caption; where there are more, all of them are the text `long`.
    """
    for text_path in sorted(stamps.rglob("*.txt"), key=lambda p: p.relative_to(stamps).as_posix()):
        relative = text_path.relative_to(stamps).with_suffix("").as_posix()
        png, svg = text_path.with_suffix(".png"), text_path.with_suffix(".svg")
        picture = png if png.is_file() else svg
        lines = text_path.read_text(encoding="utf-8", errors="replace").split("\n")
        description = lines[0].strip()
        if not picture.is_file() or not description or _MIRRORED.search(relative):
            continue
        if relative.startswith(_SIGNS) or _SIGN_CAPTION.match(description):
            continue
        caption = _SENTENCE_END.split(description)[0]
        texts = {f"name_{m[1]}": m[2].strip() for line in lines[1:] if (m := _TRANSLATION.match(line))}
        if description != caption:
            texts["long"] = description
        top = relative.split("/")[0]
        yield Candidate(
            id=f"tuxpaint/{relative}",
            source="tuxpaint",
            domain=_DOMAINS.get(top, top),
            licence="GPL-2.0",
            caption=caption,
            data=picture.read_bytes(),
            svg=picture == svg,
            vector_beside=svg.is_file(),
            texts={name: text for name, text in texts.items() if text},
        )
