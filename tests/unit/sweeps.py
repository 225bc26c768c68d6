"""Sweeps that were never run: rows, receipts and records on disk, with scores that a test chooses."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from zooalign.alignment.table import table_schema
from zooalign.config.manifest import ModelSpec
from zooalign.config.schema import Config
from zooalign.config.sweep import Sweep
from zooalign.registry import plugin
from zooalign.results.findings import Findings

METRICS = {"mutual_knn": (5, 10), "cka": (0,)}
UNITS = {"accuracy": True, "bits/byte": False}


def spec(name: str, modality: str, family: str, objective: str = "supervised", **more: Any) -> ModelSpec:
    """A row of the zoo; whatever is not named is anything."""
    pooling = "mean"
    given = {
        "source": "random",
        "parameters": 10**6,
        "licence": "MIT",
        "weights_sha256": "0" * 64,
        "pooling": pooling,
    }
    return ModelSpec(id=name, modality=modality, family=family, objective=objective, **given | more)


def few() -> list[ModelSpec]:
    """Two families of either modality, a control of each and an intervention."""
    return [
        spec("cnn_a", "vision", "cnn"), spec("cnn_b", "vision", "cnn"), spec("vit_a", "vision", "vit"),
        spec("noise_v", "vision", "random", "random"),
        *(spec(f"gpt_{size}", "language", "gpt", "causal", causal=True) for size in "abcd"),
        spec("bert", "language", "bert", "sentence-encoder"),
        spec("noise_l", "language", "random", "random", causal=True),
        spec("gpt_a_hurt", "language", "gpt", "causal", causal=True, variant_of="gpt_a",
             intervention={"weight_noise": 0.1}),
    ]  # fmt: skip


def usual_score(x: ModelSpec, y: ModelSpec, metric: str, k: int) -> float:
    """Higher within a family and a modality, a function of the names alone, exact in float32."""
    del metric, k
    near = 0.5 if x.family == y.family else 0.25 if x.modality == y.modality else 0.125
    return near + (sum((x.id + y.id).encode()) % 32) / 1024


def found(
    folder: Path,
    models: Sequence[ModelSpec],
    *,
    score: Callable[[ModelSpec, ModelSpec, str, int], float | None] = usual_score,
    metrics: Mapping[str, Sequence[int]] = METRICS,
    datasets: Sequence[str] = ("pictures",),
    capability: Mapping[str, tuple[str, Mapping[str, float]]] | None = None,
    headline: Mapping[str, Any] | None = None,
    terms: Callable[[ModelSpec, ModelSpec, float], Sequence[float]] | None = None,
) -> Findings:
    """What such a sweep found.

    Parameters
    ----------
    folder : Path
        Results are written to it.
    models : sequence of ModelSpec
        A model's row holds its pairs with those before it.
    score : callable
        Score by models, metric and k; None leaves the pair out. Also asked for the turned pair of a directed metric.
    capability : mapping
        By name, unit and values by model.
    terms : callable, optional
        Terms of a pair with that score, where the metric has any.
    """
    config = Config.model_validate(
        {"zoo": [], "datasets": list(datasets), "results": str(folder), "headline": headline or {},
         "metrics": {name: {"k": [k for k in ks if k]} for name, ks in metrics.items()}}
    )  # fmt: skip
    rows = []
    for dataset in datasets:
        for i, model in enumerate(models):
            lines = [line for other in models[:i] for line in _lines(dataset, other, model, metrics, score, terms)]
            rows.append(_write_row(folder / "alignment" / dataset / f"{model.id}.parquet", dataset, lines))
    records = [
        _write_record(folder, name, model, unit, value)
        for name, (unit, values) in (capability or {}).items()
        for model, value in values.items()
    ]
    return Findings(Sweep(config, tuple(models), {}, {}), tuple(rows), tuple(records))


def _lines(
    dataset: str, one: ModelSpec, other: ModelSpec, metrics: Mapping[str, Sequence[int]], score: Any, terms: Any
) -> list[dict[str, Any]]:
    lines = []
    # Vision comes first where a pair has both modalities.
    x, y = (other, one) if (one.modality, other.modality) == ("language", "vision") else (one, other)
    for metric, k in ((metric, k) for metric, ks in metrics.items() for k in ks):
        module = plugin("metrics", metric, "metric")
        value = score(x, y, metric, k)
        if value is None:
            continue
        own = terms(x, y, value) if terms and module.HAS_TERMS else [value] * 4 if module.HAS_TERMS else None
        lines.append(
            {
                "dataset": dataset, "comparison": f"{x.modality}-{y.modality}", "metric": metric, "k": k,
                "model_x": x.id, "model_y": y.id, "modality_x": x.modality, "modality_y": y.modality,
                "score": value, "chance": k / 63 if k else None, "n": 64, "layer_x": 0, "layer_y": 1,
                "layer_name_x": "a", "layer_name_y": "b", "tied_x": 0.0 if k else None, "tied_y": 0.0 if k else None,
                "n_layers_x": 1, "n_layers_y": 2, "digest": f"{x.id}{y.id}{metric}{k}",
                "matrix": [0.0, value], "terms": own,
            }
        )  # fmt: skip
    return lines


def _write_row(path: Path, dataset: str, lines: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(lines, schema=table_schema()), path)
    digests = {f"{e['model_x']}|{e['model_y']}|{e['metric']}@{e['k']}": e["digest"] for e in lines}
    receipt = {"dataset": dataset, "model": path.stem, "digests": digests}
    path.with_name(f"{path.stem}.receipt.json").write_text(json.dumps(receipt))
    return path


def _write_record(folder: Path, name: str, model: str, unit: str, value: float) -> Path:
    path = folder / "capability" / name / f"{model}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"capability": name, "model": model, "value": value, "standard_error": 0.02, "unit": unit,
              "higher_is_better": UNITS[unit], "n": 50, "details": {}, "settings": {}, "versions": {},
              "digest": f"{name}{model}{value}"}  # fmt: skip
    path.write_text(json.dumps(record))
    return path
