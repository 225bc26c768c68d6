"""Accuracy on each task over mean alignment with the other modality, as figure 4 of Huh et al. 2024."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign import metrics
from zooalign.figures import _drawing
from zooalign.results.frames import CONTROL_MARK, INTERVENTION_MARK
from zooalign.results.means import OTHER
from zooalign.results.populations import MIN_FAMILIES, MIN_MODELS
from zooalign.results.tasks import TaskAlignment, tasks_against_alignment

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from zooalign.results.findings import Findings

VERSION = 1

_COLUMNS, _PANEL_IN, _GAPS_IN, _LEFT_IN = 3, (2.7, 2.3), (0.75, 1.15), 0.7
# Above the first panels, and below the last ones.
_TOP_IN, _BOTTOM_IN = 0.9, 0.65
# More models than this have no names.
_NAMED = 20
_LOOKS: dict[str, dict[str, Any]] = {
    "": {"marker": "o", "mfc": _drawing.BLUE, "mec": "white", "ms": 6, "label": "released"},
    f" {INTERVENTION_MARK}": {
        "marker": "v", "mfc": "white", "mec": _drawing.BLUE, "ms": 5.5,
        "label": f"{INTERVENTION_MARK} intervention",
    },
    f" {CONTROL_MARK}": {
        "marker": "D", "mfc": "white", "mec": _drawing.VERMILION, "ms": 5, "label": f"{CONTROL_MARK} random control",
    },
}  # fmt: skip


def draw(findings: Findings, dataset: str, path: Path) -> None:
    """Draw `path`.svg, .pdf and .png for one dataset."""
    title = f"Accuracy on tasks and alignment on {dataset}"
    every = tasks_against_alignment(findings, dataset)
    shown = [task for task in every if task.trend.n >= MIN_MODELS]
    if not shown:
        most = max((task.trend.n for task in every), default=0)
        lacks = (
            f"It needs {MIN_MODELS} released models with the accuracy of a task and scores with the other modality; "
            f"there are {most}. Add models to the zoo files of the configuration, or tasks to its capabilities "
            "(linear_probe, language_task)."
        )
        _drawing.draw_lack(path, title, lacks)
        return
    label = metrics.label(findings.metric, findings.k or None)
    with _drawing.style():
        _draw(shown, [task.task for task in every if task not in shown], title, label, path)


def _draw(tasks: list[TaskAlignment], few: list[str], title: str, label: str, path: Path) -> None:
    (width, height), (gap_x, gap_y) = _PANEL_IN, _GAPS_IN
    n_columns = min(_COLUMNS, len(tasks))
    n_rows = math.ceil(len(tasks) / n_columns)
    figure_width = max(_LEFT_IN + n_columns * (width + gap_x), 6.4)
    figure_height = _TOP_IN + n_rows * (height + gap_y) - gap_y + _BOTTOM_IN + 0.45
    figure = _drawing.new_figure(figure_width, figure_height)
    unnamed = 0
    for i, task in enumerate(tasks):
        x = _LEFT_IN + i % n_columns * (width + gap_x)
        y = figure_height - _TOP_IN - height - i // n_columns * (height + gap_y)
        place = (x / figure_width, y / figure_height, width / figure_width, height / figure_height)
        unnamed += _panel(figure.add_axes(place), task, label)
    inset = 0.12 / figure_width
    figure.text(inset, 1 - 0.12 / figure_height, title, fontsize=12, weight="bold", va="top")
    about = "bars: one standard error over test samples; Spearman: released models, 95 % interval over families"
    notes = [about]
    if unnamed:
        notes.append(f"no room for {unnamed} name{'s' * (unnamed > 1)}")
    if few:
        notes.append(f"fewer than {MIN_MODELS} released models: {', '.join(few)}")
    figure.text(inset, 0.08 / figure_height, "\n".join(notes), fontsize=7, va="bottom")
    _drawing.save(figure, path)


def _panel(axes: Axes, task: TaskAlignment, label: str) -> int:
    """Draw a task; return how many names found no room."""
    for mark, look in _LOOKS.items():
        chosen = [p for p in task.points if p.mark == mark]
        if chosen:
            errors = [0.0 if math.isnan(p.standard_error) else p.standard_error for p in chosen]
            axes.errorbar(
                [p.alignment for p in chosen], [p.accuracy for p in chosen], yerr=errors, ls="none", elinewidth=0.8,
                ecolor=_drawing.GREY, **look,
            )  # fmt: skip
    xs, ys = [p.alignment for p in task.points], [p.accuracy for p in task.points]
    room = 0.12 * (max(xs) - min(xs) or 0.01)
    axes.set_xlim(min(xs) - room, max(xs) + 2 * room)
    room = 0.12 * (max(ys) - min(ys) or 0.1)
    axes.set_ylim(min(ys) - room, max(ys) + room)
    axes.set_xlabel(f"mean alignment with {task.n_partners} {OTHER[task.modality]} models\n({label})", fontsize=7.5)
    axes.set_ylabel("accuracy", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.locator_params(axis="x", nbins=5)
    axes.grid(color="#EEEEEE", lw=0.7)
    axes.set_axisbelow(True)
    said = f"n = {task.trend.n} of {task.trend.families} families"
    if math.isfinite(task.trend.spearman):
        known = math.isfinite(task.trend.low)
        interval = f" [{task.trend.low:+.2f}, {task.trend.high:+.2f}]" if known else ""
        lack = "" if known else f" (interval from {MIN_FAMILIES})"
        said = f"Spearman {task.trend.spearman:+.2f}{interval}, {said}{lack}"
    heading = f"{task.task} ({task.modality} models)"
    axes.text(0, 1.13, heading, transform=axes.transAxes, fontsize=9, weight="bold", va="bottom")
    axes.text(0, 1.11, said, transform=axes.transAxes, fontsize=7, va="top")
    if len({p.mark for p in task.points}) > 1:
        axes.legend(fontsize=6, frameon=False, loc="lower right", handletextpad=0.2, borderaxespad=0.1)
    if len(task.points) > _NAMED:
        return 0
    return _drawing.name_points(
        axes, [(p.alignment, p.accuracy, p.model + p.mark) for p in task.points], [], size=6.5
    )
