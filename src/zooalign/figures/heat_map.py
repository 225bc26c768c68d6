"""Heat map of the whole matrix of one dataset: every model against every model."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from zooalign.closed import Closed
from zooalign.figures import _drawing
from zooalign.metrics import quantity
from zooalign.results.frames import CONTROL_MARK, IMPORTED_NOTE, INTERVENTION_MARK, model_rows, n_samples
from zooalign.results.markdown import short
from zooalign.results.matrix import CONTROLS, INTERVENTIONS, MODALITIES, Block, ordered, square
from zooalign.results.means import scores, select
from zooalign.results.read import check_models

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from zooalign.results.findings import Findings

VERSION = 4

# Inches of a cell: the upper limit keeps a small matrix on a page, the lower one a name at 6 points.
_LARGEST_CELL, _SMALLEST_CELL = 0.42, 0.115
_SMALLEST_CELL_WITH_VALUE = 0.33


class Options(Closed):
    """What the heat map shows; :func:`draw` takes all of it from the configuration."""

    dataset: str = Field(description="Dataset of the matrix.")
    metric: str = Field(description="Metric of the cells.")
    k: int = Field(ge=0, description="Its number of neighbours; 0 for metrics without k.")
    symmetric: bool = Field(description="Whether the metric is symmetric; a directed one is not mirrored.")


def draw(findings: Findings, dataset: str, path: Path) -> None:
    """Draw `path`.svg and `path`.png for one dataset from what a sweep found."""
    options = Options(dataset=dataset, metric=findings.metric, k=findings.k, symmetric=findings.symmetric)
    make(findings.alignment, findings.capability, findings.models, options, path)


def make(
    alignment: pd.DataFrame,
    capability: pd.DataFrame,
    models: pd.DataFrame,
    options: Options,
    path_without_suffix: Path | str,
) -> list[Path]:
    """Draw the model x model matrix as SVG and PNG.

    Parameters
    ----------
    alignment : DataFrame
        Columns of alignment.csv.
    capability : DataFrame
        Not used; every figure takes the same tables.
    models : DataFrame
        id, modality, family, objective, causal, control, intervention.
    options : Options
        Dataset, metric and k.
    path_without_suffix : path
        ".svg" and ".png" are added.

    Returns
    -------
    list of Path
        The two files.

    Raises
    ------
    StoreError
        If the alignment table has no such dataset, metric or k.

    Notes
    -----
    Models stand by modality and family, families and models that are alike side by side, interventions and
    random controls last (`results.matrix.ordered`). A cell without a score is hatched, never coloured as a
    low one. Colours follow the square root of the score where none is negative: within a modality scores are
    several times higher, and a linear scale would hide the differences between modalities.
    """
    check_models(models)
    rows = select(alignment, options.dataset, options.metric, options.k)
    pair_scores = scores(rows, options.symmetric)
    blocks = ordered(models, pair_scores)
    names = [model for block in blocks for model in block.models]
    grid = square(names, pair_scores)
    with _drawing.style():
        figure, axes, bar_axes = _layout(names, blocks)
        _cells(axes, bar_axes, grid, rows, options)
        _labels(axes, names, models)
        _families(axes, blocks)
        _titles(figure, axes, grid, rows, options, names, models)
        return _drawing.save(figure, path_without_suffix)


def _cell_in(n: int) -> float:
    return max(_SMALLEST_CELL, min(_LARGEST_CELL, 14 / max(n, 1)))


def _slanted(n: int) -> bool:
    return n <= 24


def _scale(n: int) -> float:
    """Factor on the size of titles, so that they stand out on a large sheet."""
    return min(2.0, max(1.0, _cell_in(n) * n / 8))


def _label_size(n: int) -> float:
    return min(9.0, max(6.0, _cell_in(n) * 72 * 0.72))


def _family_size(n: int, rows: int) -> float:
    """Font size of a family's name: larger than those of models where it has room beside its rows."""
    return max(_label_size(n), min(9.0, _cell_in(n) * rows * 72 * 0.6))


def _layout(names: list[str], blocks: list[Block]) -> tuple[Figure, Axes, Axes]:
    """Make a square of cells with room for the longest name on two sides, fixed in inches."""
    n = len(names)
    side = max(_cell_in(n) * n, 1.5)
    # 0.62 em is a wide letter's width in DejaVu Sans; long names at 6 points need less than at 9.
    margin = max(len(name) for name in names) * _label_size(n) * 0.62 / 72 + 0.35
    families = max(len(_block_name(b)) * _family_size(n, len(b.models)) for b in blocks) * 0.62 / 72 + 0.25
    bar_side = min(max(side, 2.6), 5.0)
    # Names that stand at 45 degrees reach less far down.
    top, bottom, right = 0.9 * _scale(n), margin * (0.75 if _slanted(n) else 1.0) + 0.25, 1.8
    bottom = max(bottom, bar_side - side + 0.4)
    width = max(margin + side + families + right, 6.2)
    height = top + side + bottom
    figure = _drawing.new_figure(width, height)
    axes = figure.add_axes((margin / width, bottom / height, side / width, side / height))
    bar = figure.add_axes(
        (
            (margin + side + families + 0.62) / width,
            (bottom + side - bar_side) / height,
            0.16 / width,
            bar_side / height,
        )
    )
    return figure, axes, bar


def _cells(axes: Axes, bar_axes: Axes, grid: np.ndarray, rows: pd.DataFrame, options: Options) -> None:
    import matplotlib
    import numpy as np
    from matplotlib.colors import Normalize, PowerNorm
    from matplotlib.patches import Rectangle

    n = len(grid)
    known = grid[np.isfinite(grid)]
    low, high = min(0.0, float(known.min())), float(known.max())
    high = high if high > low else low + 1.0
    norm = Normalize(low, high) if low < 0 else PowerNorm(0.5, low, high)
    colours = matplotlib.colormaps["viridis"]
    mesh = axes.pcolormesh(
        np.ma.masked_invalid(grid),
        cmap=colours,
        norm=norm,
        edgecolors="white" if n <= 40 else "none",
        linewidth=0.8 if n <= 40 else 0,
        # Tens of thousands of squares would make an SVG that no viewer likes.
        rasterized=n > 60,
    )
    for i, j in zip(*np.nonzero(~np.isfinite(grid)), strict=True):
        itself = i == j
        axes.add_patch(
            Rectangle(
                (j, i),
                1,
                1,
                linewidth=0,
                zorder=2,
                facecolor="#DDDDDD" if itself else "white",
                hatch=None if itself else "////",
                edgecolor=None if itself else "#999999",
            )
        )
    if _cell_in(n) >= _SMALLEST_CELL_WITH_VALUE:
        size = _cell_in(n) * 72 * 0.25
        for i, j in zip(*np.nonzero(np.isfinite(grid)), strict=True):
            value = float(grid[i, j])
            ink = _drawing.ink_on(colours(float(norm(value))))
            axes.text(j + 0.5, i + 0.5, short(value), ha="center", va="center", fontsize=size, color=ink)
    axes.set(xlim=(0, n), ylim=(n, 0))
    bar = axes.figure.colorbar(mesh, cax=bar_axes)
    bar.outline.set_visible(False)
    label = f"{options.metric}: {quantity(options.metric, options.k)}"
    bar.set_label(textwrap.fill(label, 36), labelpad=6)
    _mark_chance(bar_axes, rows)


def _mark_chance(bar_axes: Axes, rows: pd.DataFrame) -> None:
    chance = rows["chance"].dropna()
    if chance.empty:
        return
    level = float(chance.iloc[0])
    bar_axes.axhline(level, color=_drawing.VERMILION, lw=2)
    bar_axes.annotate(
        f"chance\n{short(level)}",
        (0, level),
        xycoords=("axes fraction", "data"),
        xytext=(-4, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=7.5,
        linespacing=1.0,
        color=_drawing.VERMILION,
    )


def _labels(axes: Axes, names: list[str], models: pd.DataFrame) -> None:
    n = len(names)
    shown = {model.id: model.shown for model in model_rows(models)}
    modality = dict(zip(models["id"], models["modality"], strict=True))
    height_in = _drawing.whole_figure(axes).get_figheight()
    texts = [shown[name] for name in names]
    places = [i + 0.5 for i in range(n)]
    slanted = _slanted(n)
    axes.set_yticks(places, texts, fontsize=_label_size(n))
    axes.set_xticks(
        places,
        texts,
        fontsize=_label_size(n),
        rotation=45 if slanted else 90,
        ha="right" if slanted else "center",
        rotation_mode="anchor" if slanted else "default",
    )
    for label in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
        if label.get_text().endswith((CONTROL_MARK, INTERVENTION_MARK)):
            label.set(style="italic", color="#555555")
    axes.tick_params(length=0, pad=3)
    for spine in axes.spines.values():
        spine.set_visible(False)
    start = 0
    for kind in MODALITIES:
        count = sum(modality[name] == kind for name in names)
        if count:
            line = {"color": _drawing.INK, "lw": 1.2, "clip_on": False}
            above = axes.get_xaxis_transform()
            gap = 0.06 / (axes.get_position().height * height_in)
            axes.plot([start + 0.08, start + count - 0.08], [1 + gap] * 2, transform=above, **line)
            # A block narrower than its name lets the name run outwards, away from its neighbour's.
            wide = count * _cell_in(n) > 1.2 * _scale(n)
            outwards = (start + count - 0.1, "right") if start == 0 else (start + 0.1, "left")
            place, align = (start + count / 2, "center") if wide else outwards
            axes.text(
                place,
                1 + 1.6 * gap,
                f"{kind} models" if wide else kind,
                ha=align,
                va="bottom",
                transform=above,
                fontsize=9.5 * _scale(n),
            )
        start += count
        if 0 < start < n:
            axes.axhline(start, color="white", lw=4, zorder=3)
            axes.axvline(start, color="white", lw=4, zorder=3)


def _block_name(block: Block) -> str:
    marks = {INTERVENTIONS: f" {INTERVENTION_MARK}", CONTROLS: f" {CONTROL_MARK}"}
    return block.name + marks.get(block.name, "")


def _families(axes: Axes, blocks: list[Block]) -> None:
    """A bracket with its name beside the rows of every family, and thin gaps between the families in the matrix."""
    n = sum(len(block.models) for block in blocks)
    width_in = axes.get_position().width * _drawing.whole_figure(axes).get_figwidth()
    gap = 0.07 / width_in * n  # in cells
    start = 0
    for block in blocks:
        end = start + len(block.models)
        look = {"color": _drawing.GREY if block.name in (INTERVENTIONS, CONTROLS) else _drawing.INK, "clip_on": False}
        x, tip, inset = n + gap, n + 0.4 * gap, min(0.12, 0.01 * n)
        axes.plot([tip, x, x, tip], [start + inset] * 2 + [end - inset] * 2, lw=1.0, **look)
        style = "italic" if block.name in (INTERVENTIONS, CONTROLS) else "normal"
        axes.text(
            n + 1.8 * gap,
            (start + end) / 2,
            _block_name(block),
            va="center",
            fontsize=_family_size(n, len(block.models)),
            style=style,
        )
        if start > 0:
            gap_pt = 1.6 if n <= 60 else 0.8
            axes.axhline(start, color="white", lw=gap_pt, zorder=3)
            axes.axvline(start, color="white", lw=gap_pt, zorder=3)
        start = end
    axes.set(xlim=(0, n), ylim=(n, 0))


def _titles(
    figure: Figure,
    axes: Axes,
    grid: np.ndarray,
    rows: pd.DataFrame,
    options: Options,
    names: list[str],
    models: pd.DataFrame,
) -> None:
    import numpy as np

    height, left = figure.get_figheight(), axes.get_position().x0
    # Set over the cells, and from the left edge of the figure where the cells are too narrow for it.
    left = left if figure.get_figwidth() * (1 - left) > 5.6 else 0.02
    scale = _scale(len(names))
    title = f"Alignment of models on {options.dataset}"
    figure.text(left, 1 - 0.12 * scale / height, title, fontsize=12 * scale, weight="bold", va="top")
    figure.text(
        left,
        1 - 0.35 * scale / height,
        f"{_drawing.metric_label(options.metric, options.k)}; best layer pair; {n_samples(rows):,} samples; "
        f"{len(names)} models",
        fontsize=9 * scale,
        va="top",
    )
    notes = ["grey: a model with itself"]
    if any(model.intervention for model in model_rows(models)):
        notes.insert(0, f"{INTERVENTION_MARK} intervention, changed on purpose")
    if any(model.control for model in model_rows(models)):
        notes.insert(0, f"{CONTROL_MARK} random control, never trained")
    if any(model.imported for model in model_rows(models)):
        notes.insert(0, IMPORTED_NOTE.partition(":")[0])
    if (~np.isfinite(grid)).sum() > len(grid):
        notes.append("hatched: no score")
    if not options.symmetric:
        notes.append("row to column")
    figure.text(0.02, 0.08 / height, ";  ".join(notes), fontsize=8 * scale, va="bottom")
