"""One pair of very deep models scored in parts: ranges of the layers of x, in jobs of their own, merged exactly."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zooalign import metrics
from zooalign.alignment.inference import calibrate, highest
from zooalign.alignment.scores import Scores
from zooalign.errors import ConfigError, StoreError
from zooalign.indexes.index import Index
from zooalign.indexes.permuted import some_layers


def layers_of_part(index: Index, part: str) -> Index:
    """The index of one of several ranges of layers.

    Parameters
    ----------
    index : Index
        Of all layers, which were prepared together.
    part : str
        "2/8": the second of eight ranges of equal length, as far as the number of layers allows.

    Raises
    ------
    ConfigError
        If `part` is something else, or there are fewer layers than parts.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", part)
    number, of = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= of <= index.n_layers:
        raise ConfigError(
            f"part is {part!r}: write 2/8 for the second of eight ranges; {index.name} has {index.n_layers} layers."
        )
    ends = [index.n_layers * i // of for i in range(of + 1)]
    return some_layers(index, ends[number - 1], ends[number])


def merge_parts(files: Sequence[Path]) -> Scores:
    """Scores of a pair from those of its parts; the null's maxima are over all of them.

    Parameters
    ----------
    files : sequence of Path
        JSON files of :func:`zooalign.alignment.score.score_command`, one per part, in any order.

    Returns
    -------
    Scores
        To the last bit what scoring the pair at once gives.

    Raises
    ------
    StoreError
        If a file is no such file, a part is missing or there twice, or parts are not of one pair with one setting.
    """
    parts = _ordered([_read(file) for file in files], files)
    settings = {key: value for key, value in parts[0]["settings"].items() if key != "part"}
    settings["layers_x"] = [name for part in parts for name in part["settings"]["layers_x"]]
    merged = Scores({}, {}, settings)
    starts = np.cumsum([0, *(len(part["settings"]["layers_x"]) for part in parts)])
    for label in parts[0]["scores"]:
        rows = [row for part in parts for row in part["scores"][label]]
        merged.scores[label] = np.array(rows, dtype=np.float64)
        top, row, _ = metrics.best(merged.scores[label])
        at = int(np.searchsorted(starts, row, side="right")) - 1
        merged.best[label] = {**parts[at]["best"][label], "layer_x": row}
        if "null" in parts[0]:
            merged.null[label] = _null([part["null"][label] for part in parts], top, row, label, merged)
        merged.warnings.extend(w for w in parts[at].get("warnings", []) if w.startswith(f"{label}:"))
    general = [w for w in parts[0].get("warnings", []) if not any(w.startswith(f"{name}:") for name in merged.best)]
    merged.warnings[:0] = general
    return merged


def _null(parts: list[dict[str, Any]], observed: float, row: int, label: str, merged: Scores) -> dict[str, Any]:
    """The null of the best of all parts: every permutation is the same in each."""
    name, _, k = label.partition("@")
    maxima = np.max([part["maxima"] for part in parts], axis=0)
    threshold, p_value = calibrate(observed, maxima, parts[0]["alpha"])
    top = highest(name, int(k) if k else None)
    return {
        **parts[0],
        "observed": observed,
        "layers": [row, merged.best[label]["layer_y"]],
        "null_mean": float(maxima.mean()),
        "threshold": threshold,
        "p_value": p_value,
        "calibrated": float(np.clip((observed - threshold) / max(top - threshold, 1e-12), 0.0, 1.0)),
        "maxima": maxima.tolist(),
    }


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
        number, of = map(int, content["settings"]["part"].split("/"))
        return {**content, "number": number, "of": of}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{file}: no scores of a part (zooalign score --part 1/8 --json FILE): {error}") from error


def _ordered(parts: list[dict[str, Any]], files: Sequence[Path]) -> list[dict[str, Any]]:
    numbers = sorted(part["number"] for part in parts)
    of = parts[0]["of"] if parts else 0
    if numbers != list(range(1, of + 1)):
        missing = sorted(set(range(1, of + 1)) - set(numbers))
        what = f"part {missing[0]} of {of} is missing" if missing else "a part is there twice"
        raise StoreError(f"{what}: give the file of every part once ({len(files)} were given)")
    first = _common(parts[0])
    for part, file in zip(parts, files, strict=True):
        if different := [key for key, value in _common(part).items() if first.get(key) != value]:
            raise StoreError(f"{file}: {different[0]} is another than in {files[0]}: parts of one pair have one")
    return sorted(parts, key=lambda part: part["number"])


def _common(part: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part["settings"].items() if key not in ("part", "layers_x")}
