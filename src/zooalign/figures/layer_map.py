"""Every layer of one model with every layer of another: the highest pair across modalities, and the median."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zooalign.figures import _drawing
from zooalign.metrics import quantity
from zooalign.results.layers import LayerMap, layer_maps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

    from zooalign.results.findings import Findings

VERSION = 1


def draw(findings: Findings, dataset: str, path: Path) -> None:
    """Draw `path`.svg, .pdf and .png: two maps on one scale, vision layers upwards, language layers to the right."""
    title = f"Layer maps of two pairs of models on {dataset}"
    maps = layer_maps(findings, dataset)
    if not maps:
        lacks = (
            "It takes a score of a released vision and a released language model. Add models of both modalities, and "
            "vision-language to the `comparisons` of the dataset."
        )
        _drawing.draw_lack(path, title, lacks)
        return
    known = np.concatenate([one.matrix[np.isfinite(one.matrix)] for one in maps])
    limits = min(0.0, float(known.min())), float(known.max())
    with _drawing.style():
        figure = _drawing.new_figure(7.6, 4.3)
        panels = [figure.add_axes((0.075 + 0.435 * place, 0.13, 0.345, 0.6)) for place in range(len(maps))]
        meshes = [_draw(axes, one, limits) for axes, one in zip(panels, maps, strict=True)]
        for axes, one, which in zip(panels, maps, ("highest pair", "median pair"), strict=False):
            best = f"{which}: {one.score:.4f}\nbest: {one.name_x} and {one.name_y}"
            axes.set_title(best, fontsize=8, pad=6, linespacing=1.3)
        bar = figure.colorbar(meshes[0], cax=figure.add_axes((0.885, 0.13, 0.016, 0.6)))
        bar.outline.set_visible(False)
        label = f"{findings.metric}: {quantity(findings.metric, findings.k)}"
        bar.set_label(textwrap.fill(label, 36), fontsize=7.5)
        bar.ax.tick_params(labelsize=7)
        figure.text(0.02, 0.975, title, fontsize=12, weight="bold", va="top")
        about = (
            f"{_drawing.metric_label(findings.metric, findings.k)}; released models; the frame marks the best layers"
        )
        figure.text(0.02, 0.915, about, fontsize=8.5, va="top")
        _drawing.save(figure, path)


def _draw(axes: Axes, one: LayerMap, limits: tuple[float, float]) -> AxesImage:
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import MaxNLocator

    n_x, n_y = one.matrix.shape
    mesh = axes.imshow(
        one.matrix, origin="lower", aspect="auto", cmap="viridis", vmin=limits[0], vmax=limits[1],
        interpolation="nearest",
    )  # fmt: skip
    row, column = np.unravel_index(int(np.nanargmax(one.matrix)), one.matrix.shape)
    for colour, width in (("white", 3.0), (_drawing.VERMILION, 1.6)):
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec=colour, lw=width, clip_on=False))
    axes.set(xlabel=f"layer of {one.y}", ylabel=f"layer of {one.x}")
    axes.set(xlim=(-0.5, n_y - 0.5), ylim=(-0.5, n_x - 0.5))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(8, integer=True))
    axes.tick_params(labelsize=7)
    return mesh
