"""Local and global alignment (Huh et al. 2024, Figure 10): scores and their trend by the number of neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zooalign.figures import _drawing
from zooalign.results.by_k import ALL_MODELS, METRICS, TERCILES, AtK, by_k
from zooalign.results.frames import n_samples, where
from zooalign.results.means import OTHER
from zooalign.results.populations import LEVEL, MIN_FAMILIES, MIN_MODELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from zooalign.results.findings import Findings

VERSION = 1

_TITLE = "At which numbers of neighbours does alignment grow with capability?"
_SMALL = 7.0
_LOOKS = {
    ALL_MODELS: (_drawing.INK, "o"),
    TERCILES[0]: ("#56B4E9", "o"),
    TERCILES[1]: (_drawing.BLUE, "s"),
    TERCILES[2]: (_drawing.VERMILION, "^"),
}


def draw(findings: Findings, dataset: str, path: Path) -> None:
    """Draw `path`.svg, .pdf and .png for one dataset: a row per metric that the sweep has at two k or more.

    Left: mean score of the pairs of released models against k, by third of capability, with quartiles. Right:
    Spearman of capability and mean alignment at every k, with its interval.
    """
    modality, found = by_k(findings, dataset)
    if not found:
        lack = f"No metric of {', '.join(METRICS)} has released vision-language pairs on {dataset} at two k. "
        _drawing.draw_lack(path, _TITLE, lack + "Add one under `metrics`, such as cknna: {k: [5, 10, 20, 48]}.")
        return
    metrics = list(dict.fromkeys(one.metric for one in found))
    head, row, axes_height, foot = 0.78, 2.15, 1.55, 0.32
    height = head + row * len(metrics) + foot
    capability = findings.sweep.config.headline.capability
    with _drawing.style():
        figure = _drawing.new_figure(7.0, height)
        figure.text(0.015, 1 - 0.09 / height, _TITLE, fontsize=11, weight="bold", va="top")
        rows = where(findings.alignment, "dataset", dataset)
        about = f"Released {modality} models with released {OTHER[modality]} models on {dataset}, best layer pair; "
        about += f"{n_samples(rows):,} samples"
        figure.text(0.015, 1 - 0.32 / height, about, va="top", fontsize=8)
        for i, metric in enumerate(metrics):
            base = (height - head - row * i - 0.2 - axes_height) / height
            left, right = (
                figure.add_axes((x, base, width, axes_height / height)) for x, width in ((0.09, 0.4), (0.59, 0.39))
            )
            own = [one for one in found if one.metric == metric]
            _draw_scores(left, own)
            _draw_trends(right, own, capability)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        place = {"loc": "upper left", "bbox_to_anchor": (0.0, 1 - 0.46 / height), "ncols": 3}
        figure.legend(handles, labels, frameon=False, fontsize=_SMALL, **place)
        note = (
            f"Band: quartiles of the pairs. Bars: {LEVEL:.0%} interval, whole families resampled; "
            f"none below {MIN_FAMILIES} families."
        )
        figure.text(0.015, 0.06 / height, note, fontsize=6.5, va="bottom")
        _drawing.save(figure, path)


def _draw_scores(axes: Axes, found: list[AtK]) -> None:
    ks = [one.k for one in found]
    for i, spread in enumerate(found[0].spreads):
        colour, marker = _LOOKS[spread.group]
        own = [one.spreads[i] for one in found]
        label = f"{spread.group}: {spread.models} models, {spread.pairs} pairs"
        axes.plot(ks, [one.mean for one in own], color=colour, marker=marker, ms=4, lw=1.3, label=label, zorder=3)
        axes.fill_between(ks, [one.low for one in own], [one.high for one in own], color=colour, alpha=0.15, lw=0)
    axes.set_ylim(bottom=min(0.0, *axes.get_ylim()))
    axes.set_title(found[0].metric, fontsize=8)
    axes.set_ylabel("score", fontsize=8)
    _k_axis(axes, ks)


def _draw_trends(axes: Axes, found: list[AtK], capability: str) -> None:
    ks = [one.k for one in found]
    axes.set_title(f"{found[0].metric}: Spearman with {capability}", fontsize=8)
    n, families = found[0].trend.n, found[0].trend.families
    if n < MIN_MODELS:
        lacks = f"{n} released models have {capability}\nand every score; {MIN_MODELS} are needed."
        axes.text(0.04, 0.94, lacks, transform=axes.transAxes, va="top", fontsize=_SMALL)
        axes.set_axis_off()
        return
    rho = np.array([one.trend.spearman for one in found])
    # matplotlib draws no bar where there is no interval (NaN); rounding must not turn an end over.
    ends = np.array([[one.trend.spearman - one.trend.low, one.trend.high - one.trend.spearman] for one in found]).T
    axes.errorbar(ks, rho, yerr=np.where(np.isnan(ends), np.nan, np.maximum(ends, 0)), color=_drawing.INK, marker="o",
                  ms=4, lw=1.0, capsize=3, zorder=3)  # fmt: skip
    axes.axhline(0, color=_drawing.GREY, lw=0.8, ls=(0, (5, 3)), zorder=1)
    axes.set_ylim(-1.08, 1.08)
    axes.set_ylabel("better, more aligned →", fontsize=8)
    _k_axis(axes, ks)
    said = f"n = {n} models of {families} {'family' if families == 1 else 'families'}"
    axes.set_xlabel(f"neighbours k  ({said})", fontsize=8)


def _k_axis(axes: Axes, ks: list[int]) -> None:
    from matplotlib.ticker import NullFormatter, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(ks, [f"{k:,}" for k in ks])
    axes.set_xlim(ks[0] / 1.2, ks[-1] * 1.2)
    axes.tick_params(labelsize=_SMALL)
    axes.grid(axis="y", color="#E6E6E6", lw=0.7, zorder=0)
    axes.set_axisbelow(True)
    axes.set_xlabel("neighbours k", fontsize=8)
