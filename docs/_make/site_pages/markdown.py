"""Pieces of Markdown that several kinds of pages have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

_ROLE = re.compile(r":(?:func|class|meth|data|mod|attr|exc):`~?([\w.]+)`")


def cell(text: str) -> str:
    """Text as a cell of a table."""
    return " ".join(plain(text).split()).replace("|", "\\|")


def plain(text: str) -> str:
    """Text of a docstring without the roles of Sphinx."""
    return _ROLE.sub(r"`\1`", text)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows as a Markdown table."""
    lines = [heads, ["---"] * len(heads), *([cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def docstring(module_file: str | None) -> str:
    """Docstring of a module by its file, without importing it."""
    if module_file is None:
        return ""
    return ast.get_docstring(ast.parse(Path(module_file).read_text(encoding="utf-8"))) or ""
