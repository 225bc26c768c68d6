"""Matrix of rank correlations between metrics, those that agree side by side (Huh et al. 2024, Figure 12)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zooalign.figures import _drawing
from zooalign.results.agreement import Agreement, agreements, clustered
from zooalign.results.populations import MIN_MODELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from zooalign.results.findings import Findings

VERSION = 1

_CELL_IN, _LABEL_PT = 0.36, 8.0


def draw(findings: Findings, dataset: str, path: Path) -> None:
    """Draw `path`.svg, .pdf and .png for the comparison across modalities, or the first that has a correlation.

    Other comparisons are in the table `metric_agreement`.
    """
    title = f"Agreement of metrics on {dataset}"
    found = [one for one in agreements(findings, (dataset,)) if _drawable(one)]
    if not found:
        lacks = (
            f"It takes two metrics, or one at two k, and scores of at least {MIN_MODELS} released models. Add a "
            "metric or a k to `metrics`, or models to the sweep."
        )
        _drawing.draw_lack(path, title, lacks)
        return
    one = found[0]
    kept = [i for i in range(len(one.labels)) if np.isfinite(one.spearman[i, i])]
    order = [kept[i] for i in clustered(one.spearman[np.ix_(kept, kept)])]
    with _drawing.style():
        figure, axes, bar = _layout([one.labels[i] for i in order])
        _cells(axes, bar, one.spearman[np.ix_(order, order)])
        _titles(figure, one, title, len(one.labels) - len(kept))
        _drawing.save(figure, path)


def _drawable(one: Agreement) -> bool:
    return int(np.isfinite(np.diagonal(one.spearman)).sum()) > 1


def _layout(labels: list[str]) -> tuple[Figure, Axes, Axes]:
    """A square of cells of fixed size, with room for the longest label on two sides."""
    side = _CELL_IN * len(labels)
    margin = max(map(len, labels)) * _LABEL_PT * 0.62 / 72 + 0.25
    top, bottom, right = 0.85, 0.75 * margin + 0.15, 0.95
    width, height = max(margin + side + right, 5.4), top + side + bottom
    figure = _drawing.new_figure(width, height)
    axes = figure.add_axes((margin / width, bottom / height, side / width, side / height))
    bar = figure.add_axes(((margin + side + 0.2) / width, bottom / height, 0.14 / width, side / height))
    places = [i + 0.5 for i in range(len(labels))]
    axes.set_yticks(places, labels, fontsize=_LABEL_PT)
    axes.set_xticks(places, labels, fontsize=_LABEL_PT, rotation=45, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0, pad=3)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure, axes, bar


def _cells(axes: Axes, bar_axes: Axes, correlations: np.ndarray) -> None:
    import matplotlib
    from matplotlib.colors import Normalize

    m = len(correlations)
    norm, colours = Normalize(min(0.0, float(correlations.min())), 1.0), matplotlib.colormaps["viridis"]
    mesh = axes.pcolormesh(correlations, cmap=colours, norm=norm, edgecolors="white", linewidth=0.8)
    axes.set(xlim=(0, m), ylim=(m, 0))
    for i in range(m):
        for j in range(m):
            value = float(correlations[i, j])
            ink = _drawing.ink_on(colours(float(norm(value))))
            axes.text(j + 0.5, i + 0.5, _short(value), ha="center", va="center", fontsize=7, color=ink)
    bar = axes.figure.colorbar(mesh, cax=bar_axes)
    bar.outline.set_visible(False)
    bar.set_label("Spearman correlation over pairs of models")


def _short(value: float) -> str:
    """Two decimals without the leading zero.

    Examples
    --------
    >>> _short(0.937), _short(-0.2), _short(0.999)
    ('.94', '-.20', '1.0')
    """
    return f"{value:.1f}" if abs(value) >= 0.995 else f"{value:.2f}".replace("0.", ".", 1)


def _titles(figure: Figure, one: Agreement, title: str, constant: int) -> None:
    height = figure.get_figheight()
    figure.text(0.02, 1 - 0.1 / height, title, fontsize=12, weight="bold", va="top")
    about = (
        f"{one.comparison.replace('-', '–')}: {one.pairs:,} pairs of {one.models} released models "
        f"of {one.families} families;\neach metric at its own best layers"
    )
    if constant:
        about += f"; left out: {constant} whose scores are all the same"
    figure.text(0.02, 1 - 0.34 / height, about, fontsize=8.5, va="top", linespacing=1.25)
