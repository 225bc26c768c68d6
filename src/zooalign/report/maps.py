"""Layer maps of every pair under the headline metric, as whole numbers of two bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zooalign.report.packing import packed

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 1  # part of the digest of what this module determines

_LARGEST = 32_000
_ABSENT = -32_768


def layer_maps(findings: Findings, dataset: str) -> dict[str, Any]:
    """Scores of all layer pairs of every pair of models of a dataset.

    Returns
    -------
    dict
        "pairs": [x, y, layers of x, layers of y] per pair, by position in the sweep's models; "scale": what a whole
        number is multiplied with; "values": int16, little-endian, pair after pair, row-major, packed. -32768 stands
        for no score. Rounding is at most half of `scale`, 1.6e-5 for scores up to 1.
    """
    place = {spec.id: i for i, spec in enumerate(findings.sweep.models)}
    wanted = (findings.metric, findings.k)
    shapes = _shapes(findings, dataset)
    pairs: list[tuple[int, ...]] = []
    values: list[np.ndarray] = []
    for of_file in findings.arrays_of(dataset, "matrix", {findings.metric}):
        for (_, x, y), by_metric in of_file.items():
            if wanted in by_metric:
                pairs.append((place[x], place[y], *shapes[x, y]))
                values.append(by_metric[wanted])
    order = sorted(range(len(pairs)), key=pairs.__getitem__)
    flat = np.concatenate([values[i] for i in order]) if order else np.empty(0)
    known = np.isfinite(flat)
    scale = float(np.abs(flat[known]).max()) / _LARGEST if known.any() else 1.0
    whole = np.full(flat.shape, _ABSENT, "<i2")
    whole[known] = np.rint(flat[known] / (scale or 1.0))
    return {"pairs": [pairs[i] for i in order], "scale": scale or 1.0, "values": packed(whole.tobytes())}


def _shapes(findings: Findings, dataset: str) -> dict[tuple[str, str], tuple[int, int]]:
    rows = findings.alignment
    rows = rows[(rows["dataset"] == dataset) & (rows["metric"] == findings.metric) & (rows["k"] == findings.k)]
    columns = (rows[name] for name in ("model_x", "model_y", "n_layers_x", "n_layers_y"))
    return {(x, y): (int(a), int(b)) for x, y, a, b in zip(*columns, strict=True)}


def layer_names(findings: Findings, dataset: str) -> dict[str, list[str]]:
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
