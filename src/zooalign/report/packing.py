"""Data inside an HTML file: JSON or arrays, compressed, as text that no browser takes for markup."""

from __future__ import annotations

import base64
import gzip
import json
import math
from typing import Any

import numpy as np

VERSION = 1  # part of the digest of what this module determines

DIGITS = 6


def packed(content: bytes) -> str:
    """Gzip and base64; the same bytes always give the same text."""
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode("ascii")


def packed_json(value: Any) -> str:
    """A value of lists, dicts, text and numbers, without NaN (see :func:`number`)."""
    return packed(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode())


def number(value: Any) -> float | int | None:
    """A number with `DIGITS` decimals; None for NaN, infinity and what is missing.

    Examples
    --------
    >>> number(0.12345678), number(float("nan")), number(None)
    (0.123457, None, None)
    """
    if value is None or not isinstance(value, (int, float, np.integer, np.floating)):
        return None
    if isinstance(value, (int, np.integer)):
        return int(value)
    return round(float(value), DIGITS) if math.isfinite(value) else None


def numbers(values: Any) -> list[float | int | None]:
    """Numbers of a column or array, as :func:`number`."""
    return [number(value) for value in values]
