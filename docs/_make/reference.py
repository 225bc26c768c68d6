"""Write every page of the site that follows from the code: mkdocs-gen-files runs this at each build."""

from __future__ import annotations

import sys
from pathlib import Path

import mkdocs_gen_files

sys.path.insert(0, str(Path(__file__).parent))

from hooks import PAGES, linked
from site_pages import api, commands, configuration, metrics, tables

ROOT = Path(__file__).parents[2]


def write(page: str, text: str) -> None:
    """Add a page to the site."""
    with mkdocs_gen_files.open(page, "w") as file:
        file.write(text)


for origin, page in PAGES.items():
    if page != "index.md":
        write(page, linked((ROOT / origin).read_text(encoding="utf-8"), origin, page))
for room in (configuration, commands, metrics, tables, api):
    for page, text in room.pages().items():
        write(f"reference/{page}", text)
