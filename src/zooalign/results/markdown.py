"""Cells and lines of Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def line(cells: Sequence[str]) -> str:
    """A line of a table.

    Examples
    --------
    >>> line(["a", "b|c", "two  words"])
    '| a | b\\\\|c | two words |'
    """
    # A bar inside a cell would start a new one.
    return "| " + " | ".join(" ".join(c.split()).replace("|", "\\|") for c in cells) + " |"


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


def with_error(value: Any, error: Any) -> str:
    """A value with its standard error, where there is one.

    Examples
    --------
    >>> with_error(0.5, 0.01), with_error(0.5, None), with_error(None, None)
    ('0.5000 ± 0.0100', '0.5000', '')
    """
    return number(value) + ("" if is_absent(error) else f" ± {number(error)}")
