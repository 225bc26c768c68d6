"""Findings of a small sweep whose scores are computed by the metrics themselves, from made-up features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from zooalign import metrics
from zooalign.alignment.pairs import all_pairs
from zooalign.alignment.table import table_schema
from zooalign.config.schema import ExtractionConfig, HeadlineConfig, PreparationConfig
from zooalign.indexes.build import build_index
from zooalign.indexes.index import NEEDS, Index
from zooalign.indexes.preparation import Preparation
from zooalign.results.findings import Findings

N = 40
# Signal of each layer; more signal, more alike. Two families of either modality, a control, an intervention.
MODELS: Mapping[str, tuple[str, str, Sequence[float]]] = {
    "cnn_a": ("vision", "cnn", (0.2, 0.6, 1.0)),
    "cnn_b": ("vision", "cnn", (0.3, 0.8, 0.5)),
    "vit": ("vision", "vit", (0.1, 0.4, 1.4, 2.0, 0.8)),
    "noise_v": ("vision", "random", (0.0, 0.0)),
    "bert": ("language", "bert", (0.3, 1.2, 0.9, 0.6)),
    "gpt_a": ("language", "gpt", (0.5, 1.0)),
    "gpt_b": ("language", "gpt", (0.4, 1.6, 1.1)),
    "gpt_hurt": ("language", "gpt", (0.4, 0.9, 0.3)),
    "table": ("language", "static", (0.9,)),
    "noise_l": ("language", "random", (0.0, 0.1)),
}
CHANGED = {"gpt_hurt": "weight noise 0.2"}
METRICS: Mapping[str, Sequence[int]] = {
    "mutual_knn": (5, 10), "lcs_knn": (5, 10), "edit_distance_knn": (5, 10), "jaccard_knn": (10,), "cka": (0,),
    "unbiased_cka": (0,), "unbiased_cka_published": (0,), "cknna": (10, N - 1), "cknna_exact": (N - 1,),
    "cycle_knn": (5,), "cycle_knn_reverse": (5,),
}  # fmt: skip


@cache
def index(name: str) -> Index:
    """Index of a model: its layers see the same hidden causes through noise."""
    cause = np.random.default_rng(1).standard_normal((N, 5))
    rng = np.random.default_rng(sum(name.encode()))
    layers = [
        (signal * cause @ rng.standard_normal((5, 9)) + rng.standard_normal((N, 9))).astype(np.float32)
        for signal in MODELS[name][2]
    ]
    names = [f"block_{i}" for i in range(len(layers))]
    return build_index(layers, Preparation(clamp_scope="none"), N - 1, NEEDS, layer_names=names, name=name)


@cache
def line(x: str, y: str, comparison: str, metric: str, k: int) -> dict[str, Any]:
    """A line of a row file, as the sweep computes it."""
    module, a, b = metrics.get(metric), index(x), index(y)
    matrix = module.matrix(a, b, k or None)
    score, i, j = metrics.best(matrix)
    return {
        "dataset": "pictures", "comparison": comparison, "metric": metric, "k": k, "model_x": x, "model_y": y,
        "modality_x": MODELS[x][0], "modality_y": MODELS[y][0], "score": score, "chance": module.chance(N, k or 1),
        "n": N, "layer_x": i, "layer_y": j, "layer_name_x": a.layer_names[i], "layer_name_y": b.layer_names[j],
        "tied_x": None, "tied_y": None, "n_layers_x": a.n_layers, "n_layers_y": b.n_layers,
        "digest": f"{x}{y}{metric}{k}", "matrix": matrix.astype(np.float32).ravel().tolist(),
        "terms": module.terms(a, b, i, j, k or None).tolist() if module.HAS_TERMS else None,
    }  # fmt: skip


def lines(
    chosen: Mapping[str, Sequence[int]] = METRICS, models: Sequence[str] = tuple(MODELS)
) -> list[dict[str, Any]]:
    """Every pair of some models under some metrics."""
    pairs = all_pairs(
        {name: MODELS[name][0] for name in models}, ("vision-language", "vision-vision", "language-language")
    )
    return [line(p.x, p.y, p.comparison, metric, k) for p in pairs for metric, ks in chosen.items() for k in ks]


def findings(
    folder: Path,
    entries: Sequence[dict[str, Any]] | None = None,
    models: Sequence[str] = tuple(MODELS),
    headline: Mapping[str, Any] | None = None,
    include_concat: bool = False,
) -> Findings:
    """What tables and figures take, of rows on disk: a file per second model of a pair."""
    entries = lines(models=models) if entries is None else entries
    paths = []
    for name in sorted({entry["model_y"] for entry in entries}):
        path = folder / "alignment" / "pictures" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(
            pa.Table.from_pylist([e for e in entries if e["model_y"] == name], schema=table_schema()), path
        )
        paths.append(path)
    specs = [
        SimpleNamespace(id=name, modality=modality, family=family, causal=family == "gpt", imported=False,
                        objective="random" if family == "random" else "supervised", control=family == "random",
                        intervention=CHANGED.get(name))
        for name, (modality, family, _) in MODELS.items() if name in models
    ]  # fmt: skip
    config = SimpleNamespace(
        headline=HeadlineConfig(**headline or {}), preparation=PreparationConfig(include_concat=include_concat),
        extraction=ExtractionConfig(), capability_sources=(), capabilities=(), results=str(folder),
    )  # fmt: skip
    return Findings(
        SimpleNamespace(config=config, models=specs, external=(), datasets=lambda: ("pictures",)), tuple(paths), ()
    )
