"""Normalisation of captions: what a model reads, beside the caption as it was written."""

from __future__ import annotations

import html
import re
import unicodedata

_OPENING = re.compile(r"^(an?|the|some|this is (an?|the)|it'?s (an?|the)?)\s+")
_EDGES = ' .!?:;,“”"'


def mild(text: str) -> str:
    r"""Bring a caption to Unicode NFC, every run of white space to one space, none at the ends.

    Parameters
    ----------
    text : str
        Caption as written.

    Returns
    -------
    str
        May be empty if `text` was only white space.

    Examples
    --------
    >>> mild("  A cafe\u0301 \n in  Paris. ")
    'A café in Paris.'
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def plain(text: str) -> str:
    """Bring captions of several sources to one style, so that style does not tell the source.

    Beyond :func:`mild`: HTML entities resolved, underscores are spaces, lower case, no leading article or
    "this is a", no quotes or punctuation at the ends.

    Parameters
    ----------
    text : str
        Caption as written.

    Returns
    -------
    str
        May be empty.

    Examples
    --------
    >>> plain("This is a “Red Fox”!"), plain("Grater_kitchen"), plain("Tom &amp; Jerry.")
    ('red fox', 'grater kitchen', 'tom & jerry')
    """
    text = mild(html.unescape(text).replace("_", " ")).strip("“”\"'").lower()
    return _OPENING.sub("", text).strip(_EDGES)
