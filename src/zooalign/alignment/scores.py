"""What `zooalign.score` gives: every layer pair, the best, and a table of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zooalign.storage.atomic import write_text


@dataclass(frozen=True)
class Scores:
    """Scores of all layer pairs of two models under one or several metrics.

    Attributes
    ----------
    scores : dict of str to ndarray of float64, shape (Lx, Ly)
        By label: "mutual_knn@10", or the bare name for a metric without k. A row per layer of x.
    best : dict of str to dict
        By label: score, layer_x, layer_y (positions), layer_name_x, layer_name_y, chance, and tied_x, tied_y: the
        share of samples whose k neighbours depend on the order of ties (None for a metric without k).
    settings : dict
        Everything that determines the values.
    null : dict of str to dict
        By label: see :meth:`zooalign.alignment.inference.Null.settings`; empty unless asked for.
    interval : dict of str to dict
        By label: see :class:`zooalign.alignment.intervals.Interval`, or {"none": reason}; empty unless asked for.
    warnings : list of str
        What a reader of the numbers should know; printed below the table.
    """

    scores: dict[str, np.ndarray]
    best: dict[str, dict[str, Any]]
    settings: dict[str, Any]
    null: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    interval: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    warnings: list[str] = field(default_factory=list[str])

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values; an undefined score (NaN) is null.

        Returns
        -------
        dict
            Keys "scores", "best", "settings", and "null", "interval" and "warnings" where there are any.
        """
        shown: dict[str, Any] = {
            "scores": {name: _json_rows(values) for name, values in self.scores.items()},
            "best": self.best,
            "settings": self.settings,
        }
        if self.null:
            shown["null"] = self.null
        if self.interval:
            shown["interval"] = self.interval
        if self.warnings:
            shown["warnings"] = self.warnings
        return shown

    def write(self, file: Path | str) -> None:
        """Write everything as JSON, in one step; StoreError if the file cannot be written."""
        write_text(file, json.dumps(self.as_dict(), indent=1, allow_nan=False) + "\n")

    def __str__(self) -> str:
        """Table of the best layer pair under every metric, then what its interval is of, and warnings."""
        head = ["metric", "score", "layer of x", "layer of y", "chance", "tied (x, y)"]
        rows: list[list[str]] = []
        for name, best in self.best.items():
            chance = "-" if best["chance"] is None else f"{best['chance']:.4f}"
            row = [name, f"{best['score']:.4f}", best["layer_name_x"], best["layer_name_y"], chance, _tied(best)]
            if self.null:
                row += [f"{self.null[name]['p_value']:.4f}", f"{self.null[name]['calibrated']:.4f}"]
            if self.interval:
                interval = self.interval[name]
                row.append("-" if "none" in interval else f"{interval['low']:.4f} ... {interval['high']:.4f}")
            rows.append(row)
        head += ["p", "calibrated"] if self.null else []
        pairs = len(self.settings["layers_x"]) * len(self.settings["layers_y"])
        head += [_interval_title(self.settings["level"], pairs)] if self.interval else []
        table = [head, *rows]
        widths = [max(len(row[c]) for row in table) for c in range(len(head))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)).rstrip() for r in table]
        lines += [f"no interval for {name}: {i['none']}" for name, i in self.interval.items() if "none" in i]
        return "\n".join([*lines, *(f"warning: {text}" for text in self.warnings)])


def _interval_title(level: float, pairs: int) -> str:
    """Say which of the two intervals is in the column: they are of different quantities."""
    kind = "this layer pair" if pairs == 1 else f"the best of {pairs} layer pairs"
    return f"{level:.0%} interval (split-half, score of {kind})"


def _tied(best: Mapping[str, Any]) -> str:
    shares = [best["tied_x"], best["tied_y"]]
    return "-" if None in shares else ", ".join(f"{share:.1%}" for share in shares)


def _json_rows(values: np.ndarray) -> list[list[float | None]]:
    return [[None if np.isnan(v) else float(v) for v in row] for row in values]
