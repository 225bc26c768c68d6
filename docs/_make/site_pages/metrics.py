"""Every metric with what it declares and the docstring of its file."""

from __future__ import annotations

from types import ModuleType

from site_pages.markdown import docstring, plain, table
from zooalign.registry import plugin, plugin_names

_ABOUT = """# Metrics and what they declare

A metric is a file of `src/zooalign/metrics` ([add one](../how-to/add-a-metric.md)); its name goes under
[`metrics`](configuration.md#metrics) in `config.yaml`. [Metrics](../metrics.md) has the definitions and how ties,
nulls and intervals work. The tests check every declaration below in both directions.

- **range**: lowest and highest value; **identity**: the value of a model against itself.
- **symmetric**: whether the score of x with y is that of y with x.
- **terms**: whether the score is the mean of a value per sample, which the alignment table then keeps.
"""


def pages() -> dict[str, str]:
    """Text of the page by name."""
    modules = {name: plugin("metrics", name, "metric") for name in plugin_names("metrics")}
    heads = ("metric", "takes k", "range", "identity", "symmetric", "terms", "version")
    parts = [_ABOUT, table(heads, [_row(name, module) for name, module in modules.items()])]
    for name, module in modules.items():
        parts.append(f"## `{name}` {{ #{anchor(name)} }}\n")
        parts.append(f"{plain(docstring(module.__file__))}\n")
        parts.append(f"Its numbers are: {module.QUANTITY.format(k='k')}.\n")
        parts.append(f"It reads of an index: {', '.join(f'`{need}`' for need in sorted(module.NEEDS))}.\n")
        parts.append(_functions(module))
    return {"metrics.md": "\n".join(parts)}


def anchor(name: str) -> str:
    """Anchor of a metric on the page."""
    return name.replace("_", "-")


def _row(name: str, module: ModuleType) -> tuple[str, ...]:
    low, high = module.RANGE or (None, None)
    return (
        f"[`{name}`](#{anchor(name)})",
        "yes" if module.TAKES_K else "no",
        "no bound" if low is high is None else f"{_bound(low)} to {_bound(high)}",
        "not fixed" if module.IDENTITY is None else _bound(module.IDENTITY),
        "yes" if module.SYMMETRIC else "no",
        "yes" if module.HAS_TERMS else "no",
        str(module.VERSION),
    )


def _bound(value: float | str | None) -> str:
    if value is None:
        return "no bound"
    return value if isinstance(value, str) else f"{value:g}"


def _functions(module: ModuleType) -> str:
    """Docstrings of its functions, where it has its own; a form of another metric (`cka_rbf`) has none."""
    own = [
        f
        for f in ("matrix", "chance", "terms")
        if getattr(getattr(module, f, None), "__module__", "") == module.__name__
    ]
    if not own:
        return "Its functions are those of `zooalign.metrics._cka`.\n" if "cka" in module.__name__ else ""
    return (
        f"::: {module.__name__}\n    options:\n      show_root_heading: false\n      show_root_toc_entry: false\n"
        f"      show_docstring_description: false\n      members: [{', '.join(own)}]\n"
    )
