"""What the site does to pages: links that leave docs/, folders in the nav, roles of docstrings."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from mkdocs.plugins import event_priority

# Files of the checkout that are pages of the site: one text, read on GitHub and here.
PAGES = {
    "config/README.md": "configuration.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
}
_LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
_ROLE = re.compile(r":(?:func|class|meth|data|mod|attr|exc):<code>~?([\w.]+)</code>")


def linked(markdown: str, origin: str, page: str) -> str:
    """Markdown whose relative links lead to pages of the site.

    Parameters
    ----------
    markdown : str
        Text of a file.
    origin : str
        The file in the checkout, "config/README.md".
    page : str
        Its page in the site, "configuration.md".
    """

    def moved(match: re.Match[str]) -> str:
        target = match[2]
        if "://" in target or target.startswith(("/", "mailto:")):
            return match[0]
        file = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
        inside = PAGES.get(file, file.removeprefix("docs/") if file.startswith("docs/") else None)
        if inside is None:
            return match[0]
        return f"{match[1]}{posixpath.relpath(inside, posixpath.dirname(page) or '.')}{match[3]}"

    return _LINK.sub(moved, markdown)


def expanded(nav: Any, pages: list[str]) -> Any:
    """Nav in which a folder ("how-to/") is replaced by its pages, the index first."""
    if isinstance(nav, dict):
        return {title: expanded(inner, pages) for title, inner in nav.items()}
    if not isinstance(nav, list):
        return nav
    items: list[Any] = []
    for item in nav:
        if isinstance(item, str) and item.endswith("/"):
            inside = [page for page in pages if posixpath.dirname(page) == item.rstrip("/")]
            items += sorted(inside, key=lambda page: (not page.endswith("/index.md"), page))
        else:
            items.append(expanded(item, pages))
    return items


@event_priority(-100)  # after the pages that are generated
def on_files(files: Any, config: Any) -> Any:
    """Put the pages of folders into the nav."""
    config.nav = expanded(config.nav, [file.src_uri for file in files.documentation_pages()])
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links that leave docs/ to the pages of those files."""
    return linked(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)


def on_page_content(html: str, **_: Any) -> str:
    """Turn what docstrings have of reStructuredText into HTML: roles (linked where a page has the name), `::`."""

    def code(match: re.Match[str]) -> str:
        name = match[1]
        shown = f"<code>{name}</code>"
        return f'<autoref identifier="{name}" optional>{shown}</autoref>' if "." in name else shown

    return _ROLE.sub(code, html.replace("::</p>", ":</p>"))
