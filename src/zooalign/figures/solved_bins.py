"""Are models that solve more tasks more alike (Huh et al. 2024, Figure 2): bins at the left, models at the right."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.figures import _drawing
from zooalign.results.embedding import MIN_MODELS, Distances, distances, embed
from zooalign.results.frames import n_samples
from zooalign.results.means import scores, select
from zooalign.results.solved import BINS, Bin, Compared, bins, by_modality

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

    from zooalign.results.findings import Findings

VERSION = 1

_TITLE = "How alike are models that solve as many tasks?"
_SMALL = 7.0
# More names than this would cover the points.
_MOST_NAMED = 15
_UNTRAINED, _NO_SHARE = "never trained †", "lacks a task"


def draw(findings: Findings, dataset: str, path: Path) -> None:
    """Draw `path`.svg, .pdf and .png for one dataset: a row per modality that has tasks.

    Left: mean alignment of the pairs of released models within each bin, with its standard error. Right: UMAP of the
    released and untrained models, from -log alignment.
    """
    found = [one for one in bins(findings) if one.dataset == dataset]
    modalities = list(dict.fromkeys(one.modality for one in found))
    if not modalities:
        _drawing.draw_lack(path, _TITLE, _what_lacks(findings, dataset))
        return
    rows = select(findings.alignment, dataset, findings.metric, findings.k)
    pair_scores, compared = scores(rows), by_modality(findings)
    # Inches: title, then per row its title, axes, and what stands below them; last the note.
    head, row, axes_height, foot = 0.55, 3.0, 2.05, 0.2
    height = head + row * len(modalities) + foot
    with _drawing.style():
        figure = _drawing.new_figure(7.0, height)
        figure.text(0.015, 1 - 0.09 / height, _TITLE, fontsize=11, weight="bold", va="top")
        label = _drawing.metric_label(findings.metric, findings.k)
        about = f"{dataset}, {label}, best layer pair; {n_samples(rows):,} samples"
        figure.text(0.015, 1 - 0.32 / height, about, va="top", fontsize=8)
        for i, modality in enumerate(modalities):
            base = (height - head - row * i - 0.25 - axes_height) / height
            left, right = (
                figure.add_axes((x, base, width, axes_height / height)) for x, width in ((0.09, 0.4), (0.56, 0.42))
            )
            _draw_bins(left, [one for one in found if one.modality == modality], len(compared[modality].tasks.best))
            models = [row.id for row in compared[modality].models if not row.intervention]
            placed = distances(models, pair_scores, findings.metric, findings.k)
            _draw_plane(right, placed, compared[modality], modality)
        note = "Bars: one standard error, leaving out a model at a time; none for a bin of fewer than three models."
        figure.text(0.015, 0.06 / height, note, fontsize=6.5, va="bottom")
        _drawing.save(figure, path)


def _what_lacks(findings: Findings, dataset: str) -> str:
    if not by_modality(findings):
        return (
            "No capability of this sweep is an accuracy, so there is no task to solve. Add linear probes or language "
            "tasks under `capabilities`."
        )
    return (
        f"Models of one modality are not compared with each other on {dataset}. Add vision-vision or "
        f"language-language to its `comparisons`."
    )


def _colours() -> list[str]:
    """One colour per bin, light to dark."""
    import matplotlib
    from matplotlib.colors import to_hex

    ramp = matplotlib.colormaps["viridis_r"]
    return [to_hex(ramp(0.08 + 0.9 * i / (len(BINS) - 1))) for i in range(len(BINS))]


def _draw_bins(axes: Axes, found: list[Bin], n_tasks: int) -> None:
    for i, (one, colour) in enumerate(zip(found, _colours(), strict=True)):
        # matplotlib draws no bar for an error of NaN, and nothing for a mean of NaN.
        axes.errorbar(i, one.alignment, yerr=one.standard_error, color=_drawing.INK, lw=1.2, capsize=3, zorder=2)
        axes.scatter(i, one.alignment, s=55, color=colour, edgecolor=_drawing.INK, lw=0.7, zorder=3)
    known = [one for one in found if one.pairs]
    # A bin whose scores are all of one model has no error: without that model nothing is left.
    reach = [
        one.alignment + (one.standard_error if one.models > 2 and math.isfinite(one.standard_error) else 0.0)
        for one in known
    ]
    axes.set_ylim(min([0.0, *(one.alignment for one in known)]), 1.12 * max(reach, default=1.0))
    ticks = [f"{one.bin}\nmodels: {one.models}\npairs: {one.pairs}" for one in found]
    axes.set_xticks(range(len(found)), ticks, fontsize=_SMALL)
    axes.tick_params(axis="y", labelsize=_SMALL)
    axes.set_xlim(-0.5, len(found) - 0.5)
    axes.grid(axis="y", color="#E6E6E6", lw=0.7, zorder=0)
    axes.set_axisbelow(True)
    modality = found[0].modality
    axes.set_title(f"Released {modality} models by share of {n_tasks} tasks solved", fontsize=8)
    axes.set_ylabel("mean alignment of pairs in the bin", fontsize=8)


def _draw_plane(axes: Axes, placed: Distances, compared: Compared, modality: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(True)
    axes.set_title(f"UMAP of {modality} models, distance -log alignment", fontsize=8)
    if len(placed.models) < MIN_MODELS:
        lacks = f"{len(placed.models)} models have a score with each other;\n{MIN_MODELS} are needed. "
        lacks += f"Add {modality} models."
        axes.text(0.04, 0.94, lacks, transform=axes.transAxes, va="top", fontsize=_SMALL)
        return
    plane = embed(placed.values)
    kinds = _kinds(placed, compared)
    looks = _looks(kinds)
    for (kind, colour), marker in looks.items():
        chosen = [i for i, own in enumerate(kinds) if own == (kind, colour)]
        hollow = kind == _UNTRAINED
        look: dict[str, Any] = {
            "facecolor": "white" if hollow else colour,
            "edgecolor": colour if hollow else _drawing.INK,
        }
        axes.scatter(plane[chosen, 0], plane[chosen, 1], s=34, marker=marker, lw=1.4 if hollow else 0.6, **look)
    axes.margins(0.14)
    _legend(axes, looks)
    note = [f"left out, scores missing: {len(placed.left_out)}"] * bool(placed.left_out)
    if len(placed.models) <= _MOST_NAMED:
        _name(axes, plane, placed, compared)
    axes.set_xlabel("; ".join([f"{len(placed.models)} models, coloured as the bins", *note]), fontsize=_SMALL)


def _kinds(placed: Distances, compared: Compared) -> list[tuple[str, str]]:
    """What sets the marker of each model (its objective, or that it was never trained), and its colour."""
    by_id = {row.id: row for row in compared.models}
    colours: dict[str, str] = dict(zip(BINS, _colours(), strict=True))
    found = []
    for name in placed.models:
        own, row = compared.solved[name], by_id[name]
        kind = _UNTRAINED if row.control else row.objective
        found.append((kind, _drawing.GREY if own is None else colours[own.bin]))
    return found


def _looks(kinds: list[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Marker by objective and colour."""
    markers = dict(zip(sorted({kind for kind, _ in kinds}), _drawing.MARKERS, strict=False))
    return {own: markers[own[0]] for own in sorted(set(kinds))}


def _legend(axes: Axes, looks: dict[tuple[str, str], str]) -> None:
    from matplotlib.lines import Line2D

    markers = {kind: marker for (kind, _), marker in looks.items()}
    entries = [
        Line2D([], [], ls="none", marker=marker, ms=5, mfc="white", mec=_drawing.INK, label=kind)
        for kind, marker in markers.items()
    ]
    if any(colour == _drawing.GREY for _, colour in looks):
        entries.append(Line2D([], [], ls="none", marker="o", ms=5, color=_drawing.GREY, label=_NO_SHARE))
    axes.legend(handles=entries, loc="upper left", bbox_to_anchor=(-0.02, -0.1), ncols=3, frameon=False, fontsize=6.5,
                handletextpad=0.2, columnspacing=1.0, borderaxespad=0.0)  # fmt: skip


def _name(axes: Axes, plane: np.ndarray, placed: Distances, compared: Compared) -> None:
    marks = {row.id: row.mark for row in compared.models}
    points = [(float(x), float(y), name + marks[name]) for (x, y), name in zip(plane, placed.models, strict=True)]
    _drawing.name_points(axes, points, [], size=6.5, clearance_pt=5.0)
