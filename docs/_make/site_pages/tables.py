"""Columns of every table with meaning and unit, as the files themselves carry them."""

from __future__ import annotations

from site_pages.markdown import table
from zooalign.registry import plugin, plugin_names
from zooalign.results.publishing import Column

_ABOUT = """# Tables

`results/tables` has every table as `.parquet`, `.csv`, `.md` and `.tex`; [Results](../results.md) says how to read
them. The Parquet and CSV files carry these meanings and units too. Columns that depend on the sweep (one per
capability, dataset or model) are shown with a name in capitals.
"""


def pages() -> dict[str, str]:
    """Text of the page by name."""
    parts = [_ABOUT]
    for name in plugin_names("tables"):
        module = plugin("tables", name, "table")
        parts.append(f"## `{name}` {{ #{name.replace('_', '-')} }}\n")
        parts.append(f"{(module.__doc__ or '').strip()}\n")
        parts.append(
            table(("column", "meaning", "unit"), [(f"`{c.name}`", c.meaning, c.unit) for c in columns_of(name)])
        )
    return {"tables.md": "\n".join(parts)}


def columns_of(name: str) -> list[Column]:
    """Columns of a table, names of capabilities, datasets and models in capitals."""
    module = plugin("tables", name, "table")
    if hasattr(module, "_COLUMNS"):
        return list(module._COLUMNS)
    if name == "capability_alignment":
        return list(module._columns({"CAPABILITY": ("its unit", True)}, ["DATASET"]))
    if name == "matrix":
        return [*module._ABOUT, Column("MODEL", "score with MODEL", "unit of the metric")]
    return list(module._columns())
