"""Cells and lines of Markdown tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

# A bar would start a new cell. Inside a word, _ is a letter like others.
_SPECIAL = re.compile(r"[\\|*`<]|(?<![^\W_])_|_(?![^\W_])")


def line(cells: Sequence[str]) -> str:
    """A line of a table.

    Examples
    --------
    >>> line(["a", "b|c", "two  words"])
    '| a | b\\\\|c | two words |'
    """
    return f"| {' | '.join(map(escape, cells))} |"


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line.

    Examples
    --------
    >>> escape("bits_per_byte of _x_"), escape("a|b <c>")
    ('bits_per_byte of \\\\_x\\\\_', 'a\\\\|b \\\\<c>')
    """
    return _SPECIAL.sub(r"\\\g<0>", one_line(text))


def one_line(text: str) -> str:
    """Text with single blanks for all white space."""
    return " ".join(text.split())


def head(names: Sequence[str]) -> list[str]:
    """The two lines that a table begins with."""
    return [line(names), line(["---"] * len(names))]


def is_absent(value: Any) -> bool:
    """Whether there is no value: None or NaN."""
    import pandas as pd

    return bool(pd.isna(value))


def number(value: Any) -> str:
    """Four decimals; an empty cell where there is no value."""
    return "" if is_absent(value) else f"{value:.4f}"


def short(value: Any) -> str:
    """Three decimals without the leading zero; an empty cell where there is no value.

    Examples
    --------
    >>> short(0.1234), short(-0.02), short(1.0), short(None)
    ('.123', '-.020', '1.00', '')
    """
    if is_absent(value):
        return ""
    return f"{value:.2f}" if abs(value) >= 0.9995 else f"{value:.3f}".replace("0.", ".", 1)


def with_error(value: Any, error: Any) -> str:
    """A value with its standard error, where there is one.

    Examples
    --------
    >>> with_error(0.5, 0.01), with_error(0.5, None), with_error(None, None)
    ('0.5000 ± 0.0100', '0.5000', '')
    """
    return number(value) + ("" if is_absent(error) else f" ± {number(error)}")
