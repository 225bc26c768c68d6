"""The page: data, Plotly and our own script and style in one HTML file that allows no other script and no request."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from zooalign.report.packing import packed

VERSION = 1  # part of the digest of what this module determines

FOLDER = Path(__file__).parent / "web"
# Put together in this order; a file may use what stands in one before it.
SCRIPTS = (
    "data.js", "elements.js", "charts.js", "overview.js", "matrix.js", "explorer.js", "models.js", "pair.js",
    "sensitivity.js", "methods.js", "main.js",
)  # fmt: skip


def page(title: str, answers: Sequence[str], blocks: Mapping[str, str]) -> str:
    """The whole file.

    Parameters
    ----------
    title : str
        Of the window.
    answers : sequence of str
        Shown before any script runs.
    blocks : mapping of str to str
        Packed data by the id of its element: only letters, digits, +, / and =.

    Returns
    -------
    str
        HTML. Its content security policy names our script and Plotly, which that unpacks, by their hashes: nothing
        else runs, whatever text a dataset brings, and nothing is fetched.
    """
    plotly, app = _plotly(), _app()
    data = "\n".join(
        f'<script type="text/plain" id="{html.escape(name)}">{text}</script>' for name, text in blocks.items()
    )
    said = "".join(f"<p>{html.escape(answer)}</p>" for answer in answers)
    parts = {
        "policy": _policy(plotly, app),
        "title": html.escape(title),
        "style": (FOLDER / "style.css").read_text(encoding="utf-8"),
        "answers": said,
        "data": data,
        "plotly": f'<script type="text/plain" id="plotly">{packed(plotly.encode())}</script>',
        "app": f"<script>{app}</script>",
    }
    text = (FOLDER / "report.html").read_text(encoding="utf-8")
    for name in parts:
        assert f"{{{{{name}}}}}" in text, name
    head, *rest = text.split("{{")
    # Each part is put in once: what is in it is never looked at again.
    return head + "".join(parts[piece.partition("}}")[0]] + piece.partition("}}")[2] for piece in rest)


def _policy(*scripts: str) -> str:
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    # Plotly styles its own elements; pictures are in the file; a download is made on the page.
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def _app() -> str:
    text = "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS)
    # Where a browser lacks what the page needs, the answer stays and the reason stands below it.
    failed = "(error) => { document.getElementById('footer').textContent = `The charts cannot be shown: ${error}`; }"
    return f'"use strict";\n(async () => {{\n{text}\n}})().catch({failed});'
