"""Open Clip Art: public-domain drawings whose titles need hard cleaning before they are captions."""

from __future__ import annotations

import hashlib
import html
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from zooalign.datasets.pictures.candidates import Candidate

_DOMAINS = {
    "animals": "animals",
    "food": "food",
    "plants": "plants",
    "transportation": "vehicles",
    "people": "people",
    "tools": "household",
    "buildings": "places",
    "recreation": "leisure",
    "office": "household",
    "electronics": "household",
    "education": "household",
    "containers": "household",
    "science": "household",
}
_SUBDOMAINS = {
    "people/clothing": "clothes",
    "recreation/holiday": "seasonal",
    "recreation/religion": "symbols",
    "transportation/roadsigns": "symbols",
}
LARGEST_BYTES = 1_500_000  # larger drawings take the renderer seconds each
_BROKEN = re.compile(r"(?i)hash\(0x")  # a Perl script once wrote its variables' addresses into the titles
_UNWANTED = re.compile(
    r"(?i)stripper|pimp|nude|naked|sexy|hide girl|cigar|@|http|inkscape|contact|collection|created|copyright"
    r"|theme|part of|clip ?art|submission|converted"
)
_FILLER = re.compile(
    r"(?i)clipart by nicu buculei\s*-\s*|\(?\b(b and w|bw|svg|clip ?art|icon|inkscape|vector(ized)?"
    r"|copyright.*|stylized|generic|simple)\b\)?"
)


class _Drawing(NamedTuple):
    path: str
    title: str
    description: str
    keywords: list[str]
    author: str
    data: bytes


def openclipart(folder: Path, vocabulary: set[str]) -> list[Candidate]:
    """Drawings with a usable title, by SHA-256 of their id.

    Parameters
    ----------
    folder : pathlib.Path
        The package's usr/share/openclipart/svg.
    vocabulary : set of str
        English words; a title must consist of them, but for a quarter.

    Returns
    -------
    list of Candidate
        With the texts `long` and `keywords` where the drawing has them.
    """
    drawings = list(_drawings(folder))
    titles = Counter(_clean(d.title) for d in drawings)
    candidates = []
    for d in drawings:
        caption = _clean(d.title)
        # A title that many drawings share ("untitled", a series) tells nothing about one of them.
        if not _usable(caption, vocabulary) or titles[caption] > 3 or _UNWANTED.search(f"{d.title} {caption}"):
            continue
        texts = {}
        if (
            len(d.description.split()) >= 3
            and not _UNWANTED.search(d.description)
            and _clean(d.description) != caption
        ):
            texts["long"] = d.description
        if d.keywords:
            texts["keywords"] = ", ".join(d.keywords)
        candidates.append(
            Candidate(
                id="openclipart/" + d.path.removesuffix(".svg"),
                source="openclipart",
                domain=next(
                    (v for k, v in _SUBDOMAINS.items() if d.path.startswith(k)),
                    _DOMAINS[d.path.split("/")[0]],
                ),
                licence="public domain",
                caption=caption,
                data=d.data,
                svg=True,
                style="drawing",
                texts=texts,
                author=d.author,
            )
        )
    return sorted(candidates, key=lambda c: hashlib.sha256(c.id.encode()).digest())


def _drawings(folder: Path) -> Iterator[_Drawing]:
    for path in sorted(folder.rglob("*.svg"), key=lambda p: p.relative_to(folder).as_posix()):
        relative = path.relative_to(folder).as_posix()
        if relative.split("/")[0] not in _DOMAINS or re.search(r"/icons/|aiga|playing_card", relative):
            continue
        data = path.read_bytes()
        if len(data) > LARGEST_BYTES:
            continue
        work = re.search(r"<(?:cc:)?Work\b.*?</(?:cc:)?Work>", data.decode("utf-8", "replace"), re.DOTALL)
        about = work[0] if work else ""
        author = _tag(about, "creator")
        about = re.sub(r"<dc:(publisher|creator|rights)>.*?</dc:\1>", "", about, flags=re.DOTALL)
        keywords = [k.strip().lower() for k in re.findall(r"<rdf:li>(.*?)</rdf:li>", about, re.DOTALL)]
        keywords = [k for k in keywords if k and not _BROKEN.search(k)]
        yield _Drawing(relative, _tag(about, "title"), _tag(about, "description"), keywords, author, data)


def _tag(xml: str, name: str) -> str:
    match = re.search(rf"<dc:{name}[^>]*>(.*?)</dc:{name}>", xml, re.DOTALL)
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", "", match[1])).split()) if match else ""
    return "" if _BROKEN.search(text) else text


def _clean(title: str) -> str:
    """Title in plain lower-case words."""
    title = re.sub(r"[_\-/\\]+", " ", _FILLER.sub("", title))
    title = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", title)
    return " ".join(re.sub(r"[()\[\]#,.:;!\"?*\d]+", " ", title).split()).lower()


def _usable(caption: str, vocabulary: set[str]) -> bool:
    words = caption.split()
    known = [w for w in words if len(w) > 2 and (w in vocabulary or w.rstrip("s") in vocabulary)]
    return 0 < len(words) <= 8 and len(known) >= max(1, 0.75 * len(words))
