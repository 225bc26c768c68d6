"""How alignment with the other modality grows through the layers of models, a panel per family."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zooalign.figures import _drawing
from zooalign.results.frames import n_samples
from zooalign.results.layers import Profile, profiles
from zooalign.results.means import OTHER, select

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from zooalign.results.findings import Findings

VERSION = 1

_COLUMNS, _PANEL_IN = 4, (2.35, 1.95)
_MODALITIES = ("vision", "language")
_LINES = ("-", "--", ":", "-.")
# Names in a panel; further models of a family are drawn, and named in the table.
_NAMED = 8


def draw(findings: Findings, dataset: str, path: Path) -> None:
    """Draw `path`.svg, .pdf and .png: scores over relative depth, other families of the modality in grey."""
    title = f"Layers that align with the other modality on {dataset}"
    found = [one for one in profiles(findings, dataset) if len(one.depths) > 1]
    if not found:
        lacks = (
            "It takes scores of a model of two or more layers with a released model of the other modality. Add "
            "models of both modalities, and vision-language to the `comparisons` of the dataset."
        )
        _drawing.draw_lack(path, title, lacks)
        return
    panels = _panels(found)
    counts = {kind: sum(modality == kind for modality, _ in panels) for kind in _MODALITIES}
    rows = sum(math.ceil(count / _COLUMNS) for count in counts.values())
    width, height = max(_PANEL_IN[0] * min(_COLUMNS, max(counts.values())) + 0.75, 6.2), _PANEL_IN[1] * rows + 1.2
    with _drawing.style():
        figure = _drawing.new_figure(width, height)
        row = 0
        for kind, count in counts.items():
            here = [one for one in found if one.model.modality == kind]
            for place, key in enumerate(key for key in panels if key[0] == kind):
                axes = _panel(figure, row + place // _COLUMNS, place % _COLUMNS)
                _draw(axes, panels[key], here)
                axes.set_title(f"{key[1]} ({kind})", fontsize=8.5, pad=3)
            row += math.ceil(count / _COLUMNS)
        rows_shown = select(findings.alignment, dataset, findings.metric, findings.k)
        label = _drawing.metric_label(findings.metric, findings.k)
        _titles(figure, found, title, label, n_samples(rows_shown))
        _drawing.save(figure, path)


def _panel(figure: Figure, row: int, column: int) -> Axes:
    """A panel of fixed size, at a place counted from the upper left."""
    width, height = figure.get_size_inches()
    left, bottom = 0.68 + _PANEL_IN[0] * column, height - 0.48 - _PANEL_IN[1] * (row + 1)
    size = (_PANEL_IN[0] - 0.3) / width, (_PANEL_IN[1] - 0.62) / height
    axes = figure.add_axes((left / width, bottom / height, *size))
    axes.tick_params(labelsize=7, labelleft=column == 0)
    return axes


def _titles(figure: Figure, found: list[Profile], title: str, label: str, samples: int) -> None:
    height = figure.get_figheight()
    figure.text(0.02, 1 - 0.1 / height, title, fontsize=12, weight="bold", va="top")
    most = {kind: max((len(o.best) for o in found if o.model.modality == kind), default=0) for kind in _MODALITIES}
    partners = " and ".join(f"{n} {OTHER[kind]}" for kind, n in most.items() if n)
    about = (
        f"{label}; {samples:,} samples; per layer the mean over up to {partners} released models\nof the highest "
        "score with any of their layers; the marker is the highest; grey: other models of the modality"
    )
    figure.text(0.02, 1 - 0.36 / height, about, fontsize=8, va="top", linespacing=1.25)
    figure.text(0.5, 0.06 / height, "relative depth of the layer (0 first, 1 last)", ha="center", va="bottom")
    figure.text(0.012, 0.5, "score", rotation=90, va="center", ha="left")


def _panels(found: list[Profile]) -> dict[tuple[str, str], list[Profile]]:
    """Profiles by modality and family, vision first, families with controls last."""
    keys = {(one.model.modality, one.model.family): one.model.control for one in found}
    ordered = sorted(keys, key=lambda key: (key[0] != "vision", keys[key], key[1]))
    return {key: [one for one in found if (one.model.modality, one.model.family) == key] for key in ordered}


def _draw(axes: Axes, own: list[Profile], others: list[Profile]) -> None:
    """Draw the models of a family before all of the modality, on the scale of the modality."""
    for one in others:
        axes.plot(one.depths, one.scores, color="#D9D9D9", lw=0.7, zorder=1)
    for place, one in enumerate(own):
        colour = _drawing.PALETTE[place % len(_drawing.PALETTE)]
        line = _LINES[place // len(_drawing.PALETTE) % len(_LINES)]
        axes.plot(one.depths, one.scores, color=colour, lw=1.3, ls=line, zorder=3)
        peak = int(np.nanargmax(one.scores))
        marker = _drawing.MARKERS[place % len(_drawing.MARKERS)]
        axes.plot(
            one.depths[peak], one.scores[peak], ls="none", marker=marker, ms=5, color=colour, mec="white", mew=0.5,
            zorder=4, label=one.model.id + one.model.mark if place < _NAMED else None,
        )  # fmt: skip
    heights = np.concatenate([one.scores[np.isfinite(one.scores)] for one in others])
    axes.set(xlim=(-0.03, 1.03), xticks=(0, 0.5, 1))
    # Room for the names of the largest family, so that all panels of a modality have one scale.
    most = max(Counter(one.model.family for one in others).values())
    room = 1.06 + 0.09 * max(0, min(most, _NAMED) - 3)
    axes.set_ylim(1.06 * min(0.0, float(heights.min())), room * float(heights.max()))
    axes.legend(
        fontsize=5.8,
        frameon=False,
        loc="upper right" if most > 3 else "lower right",
        handletextpad=0.1,
        borderpad=0.1,
        labelspacing=0.15,
        borderaxespad=0.1,
    )
