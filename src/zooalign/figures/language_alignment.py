"""Alignment of language models with each family of vision models, over what the language models are capable of.

As figures 3, 13 and 14 of Huh et al. 2024: a panel per family, a line per vision model, a point per language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zooalign.figures import _drawing
from zooalign.metrics import quantity
from zooalign.results.populations import MIN_MODELS, Trend
from zooalign.results.vision_families import FamilyLines, LanguageAxis, family_lines, further_metrics, language_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from zooalign.results.findings import Findings

VERSION = 1

# Families beside each other; other metrics have rows of their own only where all families fit into one row.
_COLUMNS, _MOST_FURTHER = 5, 4
_PANEL_IN, _LEFT_IN, _GAP_IN = (2.35, 2.2), 0.75, 0.45
_NAME_SIZE = 6.0
# Lines that a legend names one by one; more language models than this are points more than lines.
_IN_LEGEND, _MANY = 6, 25


def draw(findings: Findings, dataset: str, path: Path) -> None:
    """Draw `path`.svg, .pdf and .png for one dataset."""
    axis = language_axis(findings)
    title = f"Language models and families of vision models on {dataset}"
    first = family_lines(findings, dataset, findings.metric, findings.k, axis)
    if len(axis.values) < MIN_MODELS or not first:
        lacks = (
            f"It needs {MIN_MODELS} released language models that have the capability "
            f"{findings.sweep.config.headline.capability} and scores with vision models; there are "
            f"{len(axis.values) if first else 0}. Add language models to the zoo files of the configuration, or name "
            "another capability in headline.capability."
        )
        _drawing.draw_lack(path, title, lacks)
        return
    rows = [(findings.metric, findings.k, first)]
    others = further_metrics(findings, dataset)
    if len(others) <= _MOST_FURTHER and len(first) <= _COLUMNS:
        rows += [(metric, k, family_lines(findings, dataset, metric, k, axis)) for metric, k in others]
    with _drawing.style():
        _draw(rows, axis, title, path)


def _draw(rows: Sequence[tuple[str, int, list[FamilyLines]]], axis: LanguageAxis, title: str, path: Path) -> None:
    width, height = _PANEL_IN
    panels = [
        (m, k, families[i : i + _COLUMNS]) for m, k, families in rows for i in range(0, len(families), _COLUMNS)
    ]
    n_columns = max(len(families) for _, _, families in panels)
    named = _named(axis)
    names = max(len(name) for name in named) * _NAME_SIZE * 0.62 / 72 + 0.08
    # Above a panel: the names of language models, the family, and its trend.
    top = names + 0.45
    deep = top + height + 0.75
    figure_width = max(_LEFT_IN + n_columns * (width + _GAP_IN), 7.2)
    figure_height = 0.75 + deep * len(panels) + 0.35
    figure = _drawing.new_figure(figure_width, figure_height)
    left_out = len(axis.values) - len(named)
    for row, (metric, k, families) in enumerate(panels):
        highest = max(score for f in families for line in f.lines.values() for score in line.values())
        lowest = min(score for f in families for line in f.lines.values() for score in line.values())
        for column, family in enumerate(families):
            x = _LEFT_IN + column * (width + _GAP_IN)
            y = figure_height - 0.75 - deep * row - top - height
            place = (x / figure_width, y / figure_height, width / figure_width, height / figure_height)
            axes = figure.add_axes(place)
            _lines(axes, family, axis)
            axes.set_ylim(min(0.0, 1.1 * lowest), 1.08 * highest if highest > 0 else 0.1)
            for model in named:
                x_of = axis.values[model]
                axes.axvline(x_of, color="#EEEEEE", lw=0.6, zorder=0)
                look = {"rotation": 90, "fontsize": _NAME_SIZE, "ha": "center", "va": "bottom", "color": "#555555"}
                axes.text(x_of, 1.02, model, transform=axes.get_xaxis_transform(), **look)
            heading = 1 + (names + 0.24) / height
            axes.text(0, heading, family.family, transform=axes.transAxes, weight="bold", va="bottom")
            axes.text(0, heading - 0.01, _said(family.trend), transform=axes.transAxes, fontsize=7, va="top")
            axes.set_xlabel(axis.label, fontsize=8)
            if column == 0:
                label = _drawing.metric_label(metric, k)
                axes.set_ylabel(f"alignment\n({label})", fontsize=8)
    figure.text(0.12 / figure_width, 1 - 0.12 / figure_height, title, fontsize=12, weight="bold", va="top")
    metric, k, _ = rows[0]
    about = f"{quantity(metric, k)}; best layer pair; a line per vision model, a point per released language model"
    figure.text(0.12 / figure_width, 1 - 0.37 / figure_height, about, va="top", fontsize=8)
    notes = (
        "Spearman: capability and the mean over the family's models, 95 % interval over families of language models"
    )
    if left_out:
        notes += f"; no room for {left_out} name{'s' * (left_out > 1)}"
    figure.text(0.12 / figure_width, 0.1 / figure_height, notes, fontsize=7, va="bottom")
    _drawing.save(figure, path)


def _lines(axes: Axes, family: FamilyLines, axis: LanguageAxis) -> None:
    import matplotlib

    shades = matplotlib.colormaps["viridis"]
    n = len(family.lines)
    for place, (vision, line) in enumerate(family.lines.items()):
        models = [model for model in axis.values if model in line]
        axes.plot(
            [axis.values[model] for model in models],
            [line[model] for model in models],
            color=shades(0.85 * (1 - place / max(n - 1, 1))),
            marker=_drawing.MARKERS[place % len(_drawing.MARKERS)],
            ms=3.5 if len(axis.values) <= _MANY else 2,
            lw=1 if len(axis.values) <= _MANY else 0.3,
            label=vision if n <= _IN_LEGEND or place in (0, n - 1) else f"... {n - 2} more" if place == 1 else "_",
        )
    low, high = _limits(axis)
    axes.set_xlim(*((low, high) if axis.higher_is_better else (high, low)))
    axes.tick_params(labelsize=7)
    axes.grid(axis="y", color="#E6E6E6", lw=0.7)
    axes.set_axisbelow(True)
    axes.legend(fontsize=6, frameon=False, loc="lower right", handlelength=1.6, labelspacing=0.25, borderaxespad=0.1)


def _limits(axis: LanguageAxis) -> tuple[float, float]:
    values = list(axis.values.values())
    room = 0.05 * (max(values) - min(values) or 1.0)
    return min(values) - room, max(values) + room


def _named(axis: LanguageAxis) -> list[str]:
    """Language models whose names find room above a panel, the ends first chosen."""
    low, high = _limits(axis)
    least = _NAME_SIZE * 1.15 / 72 / _PANEL_IN[0] * (high - low)
    chosen: list[str] = []
    for model in sorted(axis.values, key=lambda m: (-abs(axis.values[m] - (low + high) / 2), m)):
        if all(abs(axis.values[model] - axis.values[other]) >= least for other in chosen):
            chosen.append(model)
    return chosen


def _said(trend: Trend) -> str:
    if trend.n < MIN_MODELS:
        return f"n = {trend.n}: too few for a correlation"
    interval = f" [{trend.low:+.2f}, {trend.high:+.2f}]" if trend.low == trend.low else ""
    return f"Spearman {trend.spearman:+.2f}{interval}, n = {trend.n}"
