"""The order of models under other settings: rank of each model in every cell, and tau to the sweep's own order."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from zooalign.figures import _drawing
from zooalign.results.sensitivity import FEWEST, NO_CELLS, Sensitivity, sensitivities

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from zooalign.results.findings import Findings

VERSION = 1
READS_SENSITIVITY = True

_TITLE = "The order of models under other settings"
# More models are drawn thin, and only the first and last are named.
_NAMED = 24


def draw(findings: Findings, dataset: str, path: Path) -> None:
    """Draw `path`.svg, .pdf and .png for one dataset: a panel per modality, cells from left to right by tau."""
    found = [one for one in sensitivities(findings) if one.dataset == dataset and len(one.default) >= FEWEST]
    if not found:
        lacks = (
            f"Fewer than {FEWEST} released models of a modality have a mean." if findings.sweep.cells else NO_CELLS
        )
        _drawing.draw_lack(path, f"{_TITLE} on {dataset}", lacks)
        return
    most = max(len(one.default) for one in found)
    cells = max(len(one.cells) for one in found) + 1
    with _drawing.style():
        width = max(6.6, 2.6 + 0.75 * cells)
        panel = max(2.4, 0.17 * min(most, 60))
        height = 1.15 + len(found) * (panel + 1.35)
        figure = _drawing.new_figure(width, height)
        figure.text(0.02, 1 - 0.1 / height, f"{_TITLE} on {dataset}", fontsize=12, weight="bold", va="top")
        for place, one in enumerate(found):
            bottom = height - 0.95 - panel - place * (panel + 1.35)
            axes = figure.add_axes((0.09, bottom / height, 1 - 0.09 - 2.1 / width, panel / height))
            _panel(axes, one)
            words = textwrap.fill(f"{one.modality.capitalize()} models: {one.sentence}.", int(width * 15))
            figure.text(0.02, (bottom + panel + 0.3) / height, words, fontsize=8, va="bottom", linespacing=1.2)
        _drawing.save(figure, path)


def _panel(axes: Axes, one: Sensitivity) -> None:
    """Lines of ranks from the sweep's own settings at the left to the cell of the lowest tau at the right."""
    cells = sorted(one.cells, key=lambda cell: (math.isnan(cell.tau), -cell.tau))
    ranks = [{place.model: place.rank for place in one.default}]
    ranks += [{place.model: place.rank for place in cell.places} for cell in cells]
    models = [place.model for place in one.default]
    for number, model in enumerate(models):
        known = [(column, there[model]) for column, there in enumerate(ranks) if model in there]
        axes.plot(
            [column for column, _ in known], [rank for _, rank in known],
            color=_drawing.PALETTE[number % len(_drawing.PALETTE)],
            marker=_drawing.MARKERS[number // len(_drawing.PALETTE) % len(_drawing.MARKERS)],
            ms=4.5 if len(models) <= _NAMED else 2.5, lw=1.2 if len(models) <= _NAMED else 0.6, clip_on=False,
        )  # fmt: skip
    named = models if len(models) <= _NAMED else [*models[:5], *models[-5:]]
    last = ranks[-1]
    size = 7.5 if len(models) <= 14 else 6.5
    for model in named:
        if model in last:
            axes.annotate(
                model,
                (len(ranks) - 1, last[model]),
                xytext=(6, 0),
                textcoords="offset points",
                fontsize=size,
                va="center",
            )
    axes.set(xlim=(-0.2, len(ranks) - 0.8), ylim=(len(models) + 0.6, 0.4), ylabel="rank")
    titles = ["own settings", *(f"{cell.cell.title}\n{_tau(cell.tau)}" for cell in cells)]
    axes.set_xticks(range(len(ranks)), titles, rotation=30, ha="right", rotation_mode="anchor", fontsize=7)
    axes.tick_params(axis="x", length=2)
    axes.grid(axis="x", color="#E6E6E6", lw=0.7, zorder=0)


def _tau(tau: float) -> str:
    return "no tau" if math.isnan(tau) else f"τ = {tau:.2f}"
