"""Layer maps of every pair under the headline metric, a byte per cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zooalign.report.packing import packed
from zooalign.results.means import ACROSS

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 1  # part of the digest of what this module determines

# Cells of a report; pairs across modalities come first, and those without room have no map.
CELLS = 4_600_000
_ABSENT = 255
_STEPS = 254


def layer_maps(findings: Findings, dataset: str, cells: int = CELLS) -> dict[str, Any]:
    """Scores of all layer pairs of every pair of models of a dataset.

    Parameters
    ----------
    findings : Findings
        What the sweep found.
    dataset : str
        Its id.
    cells : int
        Most cells of all maps together.

    Returns
    -------
    dict
        "pairs": [x, y, layers of x, layers of y, lowest, highest score] per pair, by position in the sweep's models;
        "values": uint8, pair after pair, row-major, packed: 0 is the lowest and 254 the highest score of the pair,
        255 stands for none. So the highest is exact, others are within a 508th of the range. "left_out": pairs
        without a map, for lack of room.
    """
    place = {spec.id: i for i, spec in enumerate(findings.sweep.models)}
    wanted = (findings.metric, findings.k)
    shapes = _shapes(findings, dataset)
    found: list[tuple[bool, list[Any], np.ndarray]] = []
    for of_file in findings.arrays_of(dataset, "matrix", {findings.metric}):
        for (comparison, x, y), by_metric in of_file.items():
            if wanted in by_metric:
                low, high, whole = _in_bytes(by_metric[wanted])
                found.append((comparison != ACROSS, [place[x], place[y], *shapes[x, y], low, high], whole))
    found.sort(key=lambda one: (one[0], one[1][:2]))
    ends = np.cumsum([len(whole) for _, _, whole in found])
    kept = found[: int(np.searchsorted(ends, cells, "right"))]
    values = b"".join(whole.tobytes() for _, _, whole in kept)
    return {"pairs": [pair for _, pair, _ in kept], "values": packed(values), "left_out": len(found) - len(kept)}


def _in_bytes(scores: np.ndarray) -> tuple[float, float, np.ndarray]:
    known = np.isfinite(scores)
    whole = np.full(scores.shape, _ABSENT, np.uint8)
    if not known.any():
        return 0.0, 0.0, whole
    low, high = float(scores[known].min()), float(scores[known].max())
    whole[known] = np.rint((scores[known] - low) / ((high - low) or 1.0) * _STEPS)
    return low, high, whole


def _shapes(findings: Findings, dataset: str) -> dict[tuple[str, str], tuple[int, int]]:
    rows = findings.alignment
    rows = rows[(rows["dataset"] == dataset) & (rows["metric"] == findings.metric) & (rows["k"] == findings.k)]
    columns = (rows[name] for name in ("model_x", "model_y", "n_layers_x", "n_layers_y"))
    return {(x, y): (int(a), int(b)) for x, y, a, b in zip(*columns, strict=True)}


def all_layer_names(findings: Findings, dataset: str) -> dict[str, list[str]]:
    """Names of the layers of every model whose index is in the results folder, by id."""
    from zooalign.errors import StoreError
    from zooalign.indexes.index import Index

    names: dict[str, list[str]] = {}
    for model in sorted({*findings.alignment["model_x"], *findings.alignment["model_y"]}):
        try:
            names[model] = Index.open(findings.layout.index(dataset, model)).layer_names
        except StoreError:  # rows may come without the indexes that they were made from
            continue
    return names
