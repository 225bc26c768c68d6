"""The public Python interface, a page for each room of the library, from its docstrings."""

from __future__ import annotations

from pathlib import Path

import zooalign
from site_pages.markdown import docstring, plain

# Modules whose names without a leading underscore may be used from outside; others may change at any time.
PUBLIC = {
    "alignment": ("score", "scores", "groups", "inference", "intervals", "parts"),
    "indexes": ("build", "from_features", "index", "preparation", "galleries"),
    "features": ("store", "extract", "merge", "verify"),
    "metrics": ("",),
    "models": ("model", "pooling", "loading", "interventions"),
    "data": ("samples", "build"),
    "config": ("sweep", "manifest"),
    "results": (
        "read",
        "inference",
        "publishing",
        "findings",
        "populations",
        "correlation",
        "partial",
        "fits",
        "slopes",
    ),
    "training": ("probe", "texts", "images", "transformers_callback", "lightning_callback"),
    "submit": ("submission", "tasks", "options"),
    "zoo": ("add", "check", "facts"),
    "errors": ("",),
}

_ABOUT = """# Python

`import zooalign` is light; what needs PyTorch or numba imports it when it is first used. The one call that most
people want is [`zooalign.score`](alignment.md):

```python
import zooalign

scores = zooalign.score(hidden_states, "results/features/emoji/minilm_l6.zarr", "mutual_knn,cka", k=10)
print(scores)
```

**What is public**: the names on these pages. Whatever is not here, and every name that begins with an underscore, may
change at any time. Rooms import each other in one direction only ([Architecture](../../architecture.md)).

"""


def pages() -> dict[str, str]:
    """Text of the pages by name."""
    root = Path(zooalign.__file__).parent
    texts, lines = {}, []
    for room, modules in PUBLIC.items():
        folder = root / room
        about = plain(docstring(str(folder / "__init__.py" if folder.is_dir() else root / f"{room}.py")))
        lines.append(f"- [`zooalign.{room}`]({room}.md): {about.splitlines()[0].split(': ', 1)[-1]}")
        texts[f"api/{room}.md"] = "\n".join(
            [f"# zooalign.{room}\n", f"{about}\n" if modules != ("",) else "", *(_module(room, m) for m in modules)]
        )
    texts["api/index.md"] = _ABOUT + "\n".join(lines) + "\n"
    texts["index.md"] = _INDEX
    return texts


def _module(room: str, module: str) -> str:
    name = f"zooalign.{room}.{module}".rstrip(".")
    heading = f"## {name.removeprefix('zooalign.')} {{ #module-{room}-{module or 'all'} }}\n\n" if module else ""
    return f"{heading}::: {name}\n    options:\n      show_root_heading: false\n      show_root_toc_entry: false\n"


_INDEX = """# Reference

These pages are made from the code whenever the site is built, so they describe this version.

- [Configuration, explained](../configuration.md): what the keys are for, in words
- Every key: [config.yaml](configuration.md), [rows of models](zoo-rows.md), [rows of datasets](dataset-rows.md);
  options of [sources](sources.md), [dataset families](dataset-families.md) and [capabilities](capability-kinds.md)
- [Commands](commands.md): every command of `zooalign` with its options
- [Metrics](metrics.md): every metric with what it declares
- [Tables](tables.md): every table with its columns
- [Python](api/index.md): the public interface
"""
