"""What damage does to capability and to alignment: a column per kind of intervention, a line per released model."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from zooalign import metrics
from zooalign.figures import _drawing
from zooalign.results.dose_response import DOSES, Curve, curves, lacks
from zooalign.results.means import select

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from zooalign.results.findings import Findings

VERSION = 1

_TITLE = "What damage does to capability and alignment"
_SMALL = 7.0


def draw(findings: Findings, dataset: str, path: Path) -> None:
    """Draw `path`.svg, .pdf and .png for one dataset: above the headline capability, better up; below alignment."""
    headline = findings.sweep.config.headline.capability
    own = [curve for curve in curves(findings) if curve.dataset == dataset]
    # A model without the headline's capability is in the lower row only, once.
    found = list({(c.base, c.kind): c for c in sorted(own, key=lambda c: c.capability == headline)}.values())
    found.sort(key=lambda curve: (curve.base, curve.kind))
    if not found:
        lack = "No model of the sweep is changed on purpose. Add rows with `intervention`, "
        _drawing.draw_lack(path, _TITLE, lack + "such as those of config/zoo/ladder.yaml.")
        return
    kinds = [kind for kind in DOSES if any(curve.kind == kind for curve in found)]
    bases = sorted({curve.base for curve in found})
    looks = {
        base: (_drawing.PALETTE[i % len(_drawing.PALETTE)], _drawing.MARKERS[i % len(_drawing.MARKERS)])
        for i, base in enumerate(bases)
    }
    rows = -(-len(bases) // 4)
    head, foot = 0.6 + 0.17 * rows, 0.62
    height = head + 2 * 1.75 + foot
    with _drawing.style():
        figure = _drawing.new_figure(7.0, height)
        figure.text(0.015, 1 - 0.09 / height, _TITLE, fontsize=11, weight="bold", va="top")
        label = _drawing.metric_label(findings.metric, findings.k)
        about = (
            f"{dataset}, {label}, mean over the released models of the other modality; dose 0 is the released model"
        )
        figure.text(0.015, 1 - 0.32 / height, about, va="top", fontsize=8)
        grid = figure.subplots(2, len(kinds), sharex="col", sharey="row", squeeze=False)
        figure.subplots_adjust(0.115, (foot + 0.1) / height, 0.985, 1 - (head + 0.2) / height, 0.12, 0.12)
        for column, kind in enumerate(kinds):
            here = [curve for curve in found if curve.kind == kind]
            measured = [curve for curve in here if curve.capability == headline]
            _lines(grid[0][column], measured, "capability", looks)
            _lines(grid[1][column], here, "alignment", looks)
            grid[0][column].set_title(kind, fontsize=8)
            grid[1][column].set_xlabel(textwrap.fill(DOSES[kind], 96 // len(kinds)), fontsize=_SMALL)
        measured = [curve for curve in found if curve.capability == headline]
        if any(not curve.higher_is_better for curve in measured):
            grid[0][0].invert_yaxis()  # shared by the row
        unit = f" ({measured[0].unit})" if measured else ""
        grid[0][0].set_ylabel(f"{headline}{unit}\nbetter →", fontsize=_SMALL)
        quantity = textwrap.fill(f"alignment ({metrics.quantity(findings.metric, findings.k)})", 34)
        grid[1][0].set_ylabel(quantity, fontsize=_SMALL)
        figure.align_ylabels([row[0] for row in grid])
        _chance(findings, dataset, grid[1])
        handles = _legend(looks)
        place = {"loc": "upper left", "bbox_to_anchor": (0.0, 1 - 0.44 / height), "ncols": 4}
        figure.legend(handles=handles, frameon=False, fontsize=_SMALL, **place)
        notes = textwrap.fill(" ".join(["Dashed: chance. Correlations are in the table.", *lacks(findings)]), 150)
        figure.text(0.015, 0.05 / height, notes, fontsize=6.5, va="bottom")
        _drawing.save(figure, path)


def _lines(axes: Axes, found: list[Curve], value: str, looks: dict[str, tuple[str, str]]) -> None:
    for curve in found:
        colour, marker = looks[curve.base]
        xs, ys = zip(*((point.dose, getattr(point, value)) for point in curve.points), strict=True)
        axes.plot(xs, ys, color=colour, marker=marker, ms=4.5, lw=1.2, zorder=3)
    axes.tick_params(labelsize=_SMALL)
    axes.grid(axis="y", color="#E6E6E6", lw=0.7, zorder=0)
    axes.set_axisbelow(True)


def _chance(findings: Findings, dataset: str, row: list[Axes]) -> None:
    chance = select(findings.alignment, dataset, findings.metric, findings.k)["chance"].dropna()
    for axes in row:
        if len(chance):
            axes.axhline(float(chance.iloc[0]), color=_drawing.GREY, lw=0.8, ls=(0, (5, 3)), zorder=1)
        axes.set_ylim(bottom=min(0.0, *axes.get_ylim()))


def _legend(looks: dict[str, tuple[str, str]]) -> list[object]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=colour, marker=marker, ms=4.5, lw=1.2, label=base)
        for base, (colour, marker) in looks.items()
    ]
