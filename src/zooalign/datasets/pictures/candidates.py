"""What the sources of the `pictures` dataset have in common."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Candidate:
    """A picture that a source offers, before it is rendered.

    Parameters
    ----------
    id : str
        Source and path within it.
    source, domain, licence : str
        Where it comes from, what it is about, under what licence.
    caption : str
        As written.
    data : bytes
        The picture as shipped: PNG, WebP or SVG.
    svg : bool
        Whether it is an SVG.
    style : str, optional
        "photo" or "drawing" where the source tells it.
    vector_beside : bool
        The source also ships it as SVG, so it was drawn.
    texts : dict
        Further texts by density.
    author : str
        Where the source names one.
    """

    id: str
    source: str
    domain: str
    licence: str
    caption: str
    data: bytes
    svg: bool = False
    style: str | None = None
    vector_beside: bool = False
    texts: dict[str, str] = field(default_factory=dict)
    author: str = ""
