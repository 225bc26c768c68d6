"""Scatter of alignment against a capability: whether alignment grows as models get better."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import Field

from zooalign import metrics
from zooalign.closed import Closed
from zooalign.errors import StoreError, unknown
from zooalign.figures import _drawing
from zooalign.results.answer import ALL, Question, answers, sentence
from zooalign.results.frames import CONTROL_MARK, INTERVENTION_MARK, capability_rows, model_rows, n_samples, where
from zooalign.results.means import OTHER, mean_over, partners, scores, select
from zooalign.results.populations import RELEASED, WITH_INTERVENTIONS, Trend, trend
from zooalign.results.read import check_models

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import Locator

    from zooalign.results.findings import Findings

VERSION = 5
# A sweep that draws this figure must measure the capability of its headline.
NEEDS_CAPABILITY = True

# Above this many the sheet is larger, points are smaller, and names stand near their points or not at all.
_MANY = 25


class Options(Closed):
    """What the scatter shows; :func:`draw` takes all of it from the configuration."""

    dataset: str = Field(description="Dataset of the alignment.")
    capability: str = Field(description="Capability on the horizontal axis.")
    metric: str = Field(description="Metric of the alignment.")
    k: int = Field(ge=0, description="Its number of neighbours; 0 for metrics without k.")


class _Point(NamedTuple):
    name: str
    family: str
    mark: str  # of a control or an intervention
    x: float
    x_error: float | None
    mean: float
    singles: list[float]  # scores with each trained model of the other modality
    with_controls: list[float]  # scores with random controls of the other modality


def draw(findings: Findings, dataset: str, path: Path) -> None:
    """Draw `path`.svg and `path`.png for one dataset from what a sweep found."""
    capability = findings.sweep.config.headline.capability
    options = Options(dataset=dataset, capability=capability, metric=findings.metric, k=findings.k)
    asked = [(RELEASED, ALL), (WITH_INTERVENTIONS, ALL)]
    found = answers(
        findings,
        lambda q: (q.dataset, q.capability) == (dataset, capability) and (q.population, q.partners) in asked,
    )
    make(findings.alignment, findings.capability, findings.models, options, path, list(found))


def make(
    alignment: pd.DataFrame,
    capability: pd.DataFrame,
    models: pd.DataFrame,
    options: Options,
    path_without_suffix: Path | str,
    answered: Sequence[tuple[Question, Trend]] = (),
) -> list[Path]:
    """Draw mean alignment with the other modality against a capability, as SVG and PNG.

    Parameters
    ----------
    alignment : DataFrame
        Columns of alignment.csv.
    capability : DataFrame
        As `zooalign.results.read.read_capability` gives it.
    models : DataFrame
        id, modality, family, objective, causal, control, intervention.
    options : Options
        Dataset, capability, metric and k.
    path_without_suffix : path
        ".svg" and ".png" are added.
    answered : sequence of (Question, Trend)
        What the sentences say, as `results.answer.answers` gives it. Without any they say what the points do, whose
        errors of measurement are not counted.

    Returns
    -------
    list of Path
        The two files.

    Raises
    ------
    StoreError
        If the tables have no such dataset, metric, k or capability, or the capability is measured on
        models of both modalities.

    Notes
    -----
    Better is to the right, whichever way the capability counts. The mean is over the trained models of
    the other modality; a model whose mean lacks one of them is left out and named, as its mean does not
    compare. Random controls are drawn but are in no mean and in no correlation. The sentences of :func:`draw` are
    those of the header of every table: `results.populations.trend` of the released models, whose interval resamples
    families.
    Interventions are in no mean; with them there is a second correlation, which says how alignment follows
    capability when the latter is damaged, and is never the first.
    """
    check_models(models)
    known = sorted(set(capability["capability"]))
    if options.capability not in known:
        raise StoreError(f"capability table: {unknown('capability', options.capability, known)}")
    rows = select(alignment, options.dataset, options.metric, options.k)
    here = where(capability, "capability", options.capability)
    modality = _modality(here, models)
    points, left_out = _points(rows, here, models, modality, options)
    with _drawing.style():
        figure = _drawing.new_figure(*((7.6, 5.6) if len(points) <= _MANY else (11.0, 7.6)))
        panels = _panels(figure, points, _higher_is_better(here))
        if not points:
            panels[-1][0].text(0.02, 0.9, "No model has both values.", transform=panels[-1][0].transAxes)
        unnamed = 0
        for axes, chosen in panels:
            _draw(axes, chosen, len(points))
            _limits(axes, chosen, points, rows, _higher_is_better(here))
        for axes, chosen in panels:
            unnamed += _name(axes, chosen, len(points))
        _legend(figure, points, rows, modality, OTHER[modality])
        answered = answered or _trends(points, modality, options, _higher_is_better(here))
        _write(figure, len(panels) > 1, points, rows, here, modality, options, answered, left_out, unnamed)
        return _drawing.save(figure, path_without_suffix)


def _modality(here: pd.DataFrame, models: pd.DataFrame) -> str:
    measured = set(here["model"])
    modalities = sorted({model.modality for model in model_rows(models) if model.id in measured})
    if len(modalities) > 1:
        raise StoreError(
            f"capability {here['capability'].iloc[0]!r} is measured on vision and language models; "
            "a scatter needs one modality. Draw another capability."
        )
    return modalities[0] if modalities else "language"


def _points(
    rows: pd.DataFrame, here: pd.DataFrame, models: pd.DataFrame, modality: str, options: Options
) -> tuple[list[_Point], list[str]]:
    """Models that have both values, the best first, and those left out because their mean is not whole."""
    pair_scores = scores(rows)
    side = partners(models, modality, OTHER[modality], pair_scores)
    controls = models["id"][(models["modality"] == OTHER[modality]) & models["control"].astype(bool)]
    values = {r.model: r for r in capability_rows(here) if not r.reason}
    points, left_out = [], []
    for model in sorted(model_rows(models)):
        if model.id not in values or model.modality != modality:
            continue
        mean = mean_over(model.id, side, pair_scores)
        if not mean.complete or mean.value is None:
            left_out.append(model.id)
            continue
        value = values[model.id]
        points.append(
            _Point(
                name=model.id,
                family=model.family,
                mark=model.mark,
                x=float(value.value),
                x_error=None if math.isnan(value.standard_error) else float(value.standard_error),
                mean=mean.value,
                singles=[pair_scores[model.id, other] for other in side],
                with_controls=[pair_scores[model.id, c] for c in sorted(controls) if (model.id, c) in pair_scores],
            )
        )
    sign = 1 if _higher_is_better(here) else -1
    return sorted(points, key=lambda p: (-sign * p.x, p.name)), left_out


def _higher_is_better(here: pd.DataFrame) -> bool:
    return bool(here["higher_is_better"].iloc[0])


def _panels(figure: Figure, points: list[_Point], higher_is_better: bool) -> list[tuple[Axes, list[_Point]]]:
    """One panel; or two where random controls are so far off that the trained models would be squeezed.

    The last panel is the one of the trained models. The cut in the axis is marked on both sides of it.
    """
    left, bottom, width, height = 0.125, 0.135, 0.85, 0.575
    controls = [p for p in points if p.mark.endswith(CONTROL_MARK)]
    others = [p for p in points if p not in controls]
    sign = 1 if higher_is_better else -1
    if len(others) > 1 and controls:
        span = max(p.x for p in others) - min(p.x for p in others)
        gap = min(sign * p.x for p in others) - max(sign * p.x for p in controls)
        if gap > 0.6 * span:
            narrow, space = 0.22, 0.02
            first = figure.add_axes((left, bottom, narrow, height))
            second = figure.add_axes((left + narrow + space, bottom, width - narrow - space, height), sharey=first)
            second.spines["left"].set_visible(False)
            second.tick_params(axis="y", left=False, labelleft=False)
            for axes, x in ((first, 1), (second, 0)):
                look = {
                    "marker": [(-0.5, -1), (0.5, 1)],
                    "ms": 8,
                    "mec": _drawing.GREY,
                    "color": _drawing.GREY,
                }
                axes.plot([x], [0], transform=axes.transAxes, ls="none", clip_on=False, **look)
            first.xaxis.set_major_locator(_few_ticks())
            return [(first, controls), (second, others)]
    return [(figure.add_axes((left, bottom, width, height)), points)]


def _few_ticks() -> Locator:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(2)


def _draw(axes: Axes, points: list[_Point], n: int) -> None:
    """Draw the points of a panel; `n` in the whole figure sets their size."""
    small, fade = (14, 0.35) if n <= 12 else (9, 0.25) if n <= _MANY else (4, 0.12)
    for p in points:
        xs = [p.x] * len(p.singles)
        axes.scatter(xs, p.singles, s=small, color=_drawing.BLUE, alpha=fade, lw=0, zorder=2)
        xs = [p.x] * len(p.with_controls)
        axes.scatter(xs, p.with_controls, s=small, color=_drawing.GREY, alpha=2 * fade, marker="x", lw=0.9, zorder=2)
        if p.x_error:
            axes.errorbar(p.x, p.mean, xerr=p.x_error, color=_drawing.INK, lw=1, zorder=3)
    size = 60 if n <= _MANY else 24
    looks: dict[str, dict[str, Any]] = {
        "": {"marker": "o", "facecolor": _drawing.BLUE, "edgecolor": "white", "lw": 0.8, "s": size},
        f" {CONTROL_MARK}": {"marker": "D", "facecolor": "white", "edgecolor": _drawing.VERMILION, "lw": 1.8,
                             "s": 0.75 * size},
        f" {INTERVENTION_MARK}": {"marker": "v", "facecolor": "white", "edgecolor": _drawing.BLUE, "lw": 1.5,
                                  "s": 0.85 * size},
    }  # fmt: skip
    for mark, look in looks.items():
        chosen = [p for p in points if p.mark == mark]
        axes.scatter([p.x for p in chosen], [p.mean for p in chosen], zorder=4, **look)


def _limits(
    axes: Axes, points: list[_Point], everywhere: list[_Point], rows: pd.DataFrame, higher_is_better: bool
) -> None:
    """Room for names at the sides, zero at the bottom where no score is negative, better to the right."""
    if points:
        xs = [p.x for p in points]
        span = max(xs) - min(xs) or max(abs(max(xs)), 1.0) * 0.25
        low, high = min(xs) - 0.16 * span, max(xs) + 0.16 * span
        axes.set_xlim(*((low, high) if higher_is_better else (high, low)))
        heights = [y for p in everywhere for y in [*p.singles, *p.with_controls, p.mean]]
        axes.set_ylim(min(0.0, 1.15 * min(heights)), 1.06 * max(heights) or 1.0)
    chance = rows["chance"].dropna()
    if not chance.empty:
        axes.axhline(float(chance.iloc[0]), color=_drawing.VERMILION, lw=1, ls=(0, (5, 3)), zorder=1)
    axes.grid(axis="y", color="#E6E6E6", lw=0.7, zorder=0)
    axes.set_axisbelow(True)


def _legend(figure: Figure, points: list[_Point], rows: pd.DataFrame, modality: str, other: str) -> None:
    from matplotlib.lines import Line2D

    def mark(label: str, **look: object) -> Line2D:
        return Line2D([], [], ls="none", label=label, **look)  # type: ignore[arg-type]

    if not points:
        return
    n_partners = len(points[0].singles)
    entries = [
        mark(
            f"mean over the {n_partners} trained {other} models",
            marker="o",
            ms=8,
            color=_drawing.BLUE,
            mec="white",
        ),
        mark(f"one trained {other} model", marker="o", ms=4, color=_drawing.BLUE, alpha=0.45, mew=0),
    ]
    if any(p.mark.endswith(INTERVENTION_MARK) for p in points):
        look = {"marker": "v", "ms": 7, "mfc": "white", "mec": _drawing.BLUE, "mew": 1.5}
        entries.insert(1, mark("the same for an intervention", **look))
    if any(p.mark.endswith(CONTROL_MARK) for p in points):
        look = {"marker": "D", "ms": 6.5, "mfc": "white", "mec": _drawing.VERMILION, "mew": 1.8}
        entries.insert(1, mark(f"the same for a random {modality} model", **look))
    if any(p.with_controls for p in points):
        entries.append(mark(f"one random {other} model", marker="x", ms=4, color=_drawing.GREY))
    chance = rows["chance"].dropna()
    if not chance.empty:
        label = f"chance, {float(chance.iloc[0]):.4f}"
        entries.append(Line2D([], [], color=_drawing.VERMILION, lw=1, ls=(0, (5, 3)), label=label))
    figure.legend(
        handles=entries,
        loc="lower left",
        bbox_to_anchor=(0.012, 0.72),
        ncols=3,
        frameon=False,
        fontsize=8,
        handletextpad=0.4,
        columnspacing=1.4,
        borderaxespad=0.2,
    )


def _name(axes: Axes, points: list[_Point], n: int) -> int:
    """Write the names; the controls and the ends of the axis first, as they are what a reader looks for."""
    first = sorted(range(len(points)), key=lambda i: (not points[i].mark, min(i, len(points) - 1 - i), i))
    named = [(points[i].x, points[i].mean, points[i].name + points[i].mark) for i in first]
    obstacles = [(p.x, y) for p in points for y in [*p.singles, *p.with_controls]]
    bars = [(p.x + f / 6 * (p.x_error or 0.0), p.mean) for p in points for f in range(-6, 7) if f]
    # With many models the small points fill the plot; names then keep off the large ones only.
    crowded = n > _MANY
    return _drawing.name_points(
        axes,
        named,
        bars if crowded else [*obstacles, *bars],
        size=7 if crowded else 8.5,
        farthest_pt=12.0 if crowded else 42.0,
    )


def _write(
    figure: Figure,
    cut: bool,
    points: list[_Point],
    rows: pd.DataFrame,
    here: pd.DataFrame,
    modality: str,
    options: Options,
    answered: Sequence[tuple[Question, Trend]],
    left_out: list[str],
    unnamed: int,
) -> None:
    other = OTHER[modality]
    up = _higher_is_better(here)
    quantity = options.capability.replace("_", " ")
    unit = str(here["unit"].iloc[0])
    middle = {"x": 0.55, "ha": "center"}
    axis = f"{quantity} ({unit}; {'higher' if up else 'lower'} is better)   better →"
    figure.text(y=0.062, s=axis, va="center", **middle)
    axis = f"alignment with {other} models\n({metrics.quantity(options.metric, options.k)})"
    figure.text(0.018, 0.45, axis, rotation=90, ha="left", va="center", multialignment="center")
    title = f"Alignment and {quantity} of {modality} models on {options.dataset}"
    figure.text(0.02, 0.985, title, fontsize=12, weight="bold", va="top")
    width = round(17 * figure.get_figwidth())
    label = metrics.label(options.metric, options.k or None)
    said = [textwrap.fill(f"{options.dataset}, {label}: {sentence(*one)}", width) for one in answered]
    about = "\n".join([f"best layer pair; {n_samples(rows):,} samples", *said])
    figure.text(0.02, 0.945, about, va="top", linespacing=1.25, fontsize=7.5)
    notes = ["the horizontal axis is cut, each side has its own scale"] if cut else []
    if left_out:
        notes.append(f"left out, some scores missing: {', '.join(left_out)}")
    if unnamed:
        notes.append(f"no room for {unnamed} name{'s' * (unnamed > 1)} (all are in the table)")
    if any(p.x_error for p in points):
        notes.append("bars: one standard error")
    figure.text(0.02, 0.012, ";  ".join(notes), fontsize=7.5, va="bottom")


def _trends(points: list[_Point], modality: str, options: Options, up: bool) -> list[tuple[Question, Trend]]:
    """Trend of the released models, then of those and interventions where there are any."""
    released = [p for p in points if not p.mark]
    changed = [p for p in points if p.mark.endswith(INTERVENTION_MARK)]
    found: list[tuple[Question, Trend]] = []
    for population, chosen in ((RELEASED, released), (WITH_INTERVENTIONS, released + changed if changed else [])):
        if chosen or population == RELEASED:
            better, aligned = np.array([p.x if up else -p.x for p in chosen]), np.array([p.mean for p in chosen])
            question = Question(options.dataset, options.capability, modality, population, ALL)
            found.append((question, trend(better, aligned, [p.family for p in chosen])))
    return found
