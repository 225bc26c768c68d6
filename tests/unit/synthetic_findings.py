"""Findings of made-up sweeps: models, scores and capabilities as a test gives them, stored as the workflow does."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from zooalign import metrics
from zooalign.alignment.pairs import VERSION
from zooalign.alignment.table import table_schema, write_table
from zooalign.config.manifest import ModelSpec
from zooalign.config.schema import CapabilityConfig, Config, HeadlineConfig
from zooalign.config.sweep import Sweep
from zooalign.provenance import file_sha256
from zooalign.registry import plugin
from zooalign.results.findings import Findings
from zooalign.results.publishing import SUFFIXES, Table, publish
from zooalign.storage.atomic import write_json
from zooalign.storage.lease import hold_lease

# Unit, direction and number of samples of a capability, by the beginning of its name.
BITS, ACCURACY = ("bits/byte", False, 50), ("accuracy", True, 360)


def model(name: str, modality: str, family: str = "f", **keys: Any) -> ModelSpec:
    """A row of the manifest, with everything that a test does not care about filled in."""
    own: dict[str, Any] = {"pooling": "cls", "objective": "supervised"}
    if modality == "language":
        objective = keys.get("objective", "causal")
        own = {"pooling": "mean", "objective": objective, "causal": objective in ("causal", "random")}
    random = keys.get("objective") == "random"
    weights = None if random else "0" * 64
    about = {"id": name, "modality": modality, "family": family, "source": "random", "weights_sha256": weights,
             "parameters": 1, "licence": "none"}  # fmt: skip
    return ModelSpec.model_validate({**about, **own, **keys})


MODELS = (
    model("cnn", "vision", "f1"),
    model("vit", "vision", "f2", objective="self-supervised"),
    model("noise_v", "vision", "random", objective="random"),
    model("gpt", "language", "f3"),
    model("bert", "language", "f4", objective="sentence-encoder"),
    model("noise_l", "language", "random", objective="random"),
)
SCORES = {
    ("cnn", "gpt"): 0.10,
    ("cnn", "bert"): 0.20,
    ("vit", "gpt"): 0.30,
    ("vit", "bert"): 0.50,
    ("cnn", "noise_l"): 0.04,
    ("vit", "noise_l"): 0.06,
    ("noise_v", "gpt"): 0.03,
    ("noise_v", "bert"): 0.05,
    ("noise_v", "noise_l"): 0.01,
    ("cnn", "vit"): 0.60,
    ("cnn", "noise_v"): 0.08,
    ("vit", "noise_v"): 0.09,
    ("bert", "gpt"): 0.70,
    ("bert", "noise_l"): 0.12,
    ("gpt", "noise_l"): 0.14,
}
Scores = Mapping[tuple[str, str], float]


def frame_of(models: Iterable[ModelSpec]) -> pd.DataFrame:
    """Models as `Findings.models` gives them."""
    return Findings(Sweep(config(), tuple(models), {}, {}), (), ()).models


def line(
    x: str,
    y: str,
    score: float,
    dataset: str = "pictures",
    k: int = 10,
    metric: str = "mutual_knn",
    models: Iterable[ModelSpec] = MODELS,
    shape: tuple[int, int] = (1, 2),
    n: int = 1024,
    **changed: Any,
) -> dict[str, Any]:
    """A line of a row of the alignment matrix; the best layers are the last ones."""
    modality = {spec.id: spec.modality for spec in models}
    chance = plugin("metrics", metric, "metric").chance(n, k or None)
    return {
        "dataset": dataset,
        "comparison": f"{modality[x]}-{modality[y]}",
        "metric": metric,
        "k": k,
        "model_x": x,
        "model_y": y,
        "modality_x": modality[x],
        "modality_y": modality[y],
        "score": score,
        "chance": chance,
        "n": n,
        "layer_x": shape[0] - 1,
        "layer_y": shape[1] - 1,
        "layer_name_x": f"block_{shape[0] - 1}",
        "layer_name_y": f"block_{shape[1] - 1}",
        "tied_x": 0.25 if k else None,
        "tied_y": 0.0 if k else None,
        "n_layers_x": shape[0],
        "n_layers_y": shape[1],
        "digest": f"{x}|{y}|{metric}@{k}|{dataset}|{score!r}",
        "matrix": [0.0] * (shape[0] * shape[1] - 1) + [score],
        "terms": [score] * 3 if metrics.get(metric).HAS_TERMS else None,
        **changed,
    }


def lines_of(
    scores: Scores = SCORES,
    *,
    settings: Sequence[tuple[str, int]] = (("mutual_knn", 10),),
    datasets: Sequence[str] = ("pictures",),
    models: Iterable[ModelSpec] = MODELS,
    **changed: Any,
) -> list[dict[str, Any]]:
    """A line per pair, (metric, k) and dataset, all with the same score."""
    models = tuple(models)
    return [
        line(x, y, score, dataset, k, metric, models, **changed)
        for dataset in datasets
        for metric, k in settings
        for (x, y), score in scores.items()
    ]


def write_rows(folder: Path, lines: Sequence[Mapping[str, Any]]) -> tuple[Path, ...]:
    """Rows of the alignment matrix with their receipts, {folder}/{dataset}/{model}.parquet."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in lines:
        rows.setdefault((entry["dataset"], entry["model_x"]), []).append(dict(entry))
    return tuple(write_row(folder / d / f"{name}.parquet", own) for (d, name), own in sorted(rows.items()))


def write_row(path: Path, lines: Sequence[Mapping[str, Any]]) -> Path:
    """One row with its receipt, as :func:`zooalign.alignment.row.align_row` writes them."""
    held = sorted({(entry["model_x"], entry["model_y"]) for entry in lines})
    with hold_lease(path, print) as lease:
        write_table(path, [dict(entry) for entry in lines], held, lease, table_schema())
    digests = {f"{e['model_x']}|{e['model_y']}|{e['metric']}@{e['k']}": e["digest"] for e in lines}
    receipt = {"model": path.stem, "dataset": path.parent.name, "version": VERSION, "digests": digests,
               "bytes": path.stat().st_size, "sha256": file_sha256(path)}  # fmt: skip
    write_json(path.with_name(f"{path.stem}.receipt.json"), receipt)
    return path


def record(folder: Path, capability: str, name: str, value: float | None, **changed: Any) -> Path:
    """A capability record, {folder}/{capability}/{model}.json; `1.2`, or None with `details={"reason": why}`."""
    unit, up, n = BITS if "bits" in capability else ACCURACY
    error = None if value is None else 0.02
    fields = {"capability": capability, "model": name, "value": value, "standard_error": error, "unit": unit,
              "higher_is_better": up, "n": n, "details": {}, "settings": {}, "versions": {},
              "digest": f"{capability}|{name}|{value!r}", **changed}  # fmt: skip
    path = folder / capability / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(fields))
    return path


def config(**keys: Any) -> Config:
    """A configuration with what must be in it."""
    metrics_asked = {"mutual_knn": {"k": [5, 10]}, "cka": {}}
    return Config.model_validate({"zoo": (), "datasets": ("pictures",), "metrics": metrics_asked, **keys})


def findings(
    folder: Path,
    *,
    models: Iterable[ModelSpec] = MODELS,
    scores: Scores = SCORES,
    lines: Sequence[Mapping[str, Any]] | None = None,
    capabilities: Mapping[str, Mapping[str, float | str | None]] | None = None,
    headline: HeadlineConfig | None = None,
    datasets: Sequence[str] = ("pictures",),
    asked: Sequence[CapabilityConfig] = (),
    failures: Mapping[str, Mapping[str, str]] | None = None,
    left_out: Mapping[str, str] | None = None,
    external: Sequence[Any] = (),
    **settings: Any,
) -> Findings:
    """What a small sweep found, on disk, as the workflow hands it over.

    Parameters
    ----------
    folder : Path
        Results folder.
    models : iterable of ModelSpec
        Rows of the manifest; see :func:`model`.
    scores : mapping of (str, str) to float
        Score of each pair under mutual_knn at 10, on every dataset.
    lines : sequence of mapping, optional
        All lines instead, of any metric, k and dataset; see :func:`line`.
    capabilities : mapping, optional
        By capability and model a value, or in words why there is none; {} for a sweep that measures nothing.
        A name with "bits" in it is in bits per byte, others are accuracies.
    headline, datasets, settings
        Of the configuration.
    asked, failures, left_out, external
        As in `Config.capabilities` and `Sweep`.
    """
    models = tuple(models)
    if lines is None:
        lines = lines_of(scores, datasets=datasets, models=models)
    if capabilities is None:
        capabilities = {"bits_per_byte": {"gpt": 1.0, "noise_l": 3.0}}
    paths = []
    for capability, values in capabilities.items():
        for name, value in values.items():
            if isinstance(value, str):
                paths.append(record(folder / "capability", capability, name, None, details={"reason": value}))
            else:
                paths.append(record(folder / "capability", capability, name, value))
    chosen = config(
        results=str(folder), headline=headline or HeadlineConfig(), datasets=tuple(datasets), capabilities=asked,
        **settings,
    )  # fmt: skip
    sweep = Sweep(chosen, models, {}, dict(left_out or {}), {k: dict(v) for k, v in (failures or {}).items()},
                  tuple(m.id for m in models), tuple(external))  # fmt: skip
    return Findings(sweep, write_rows(folder / "alignment", lines), tuple(paths))


def many(n: int, modality: str = "language", families: int = 6, prefix: str = "m", **keys: Any) -> list[ModelSpec]:
    """`n` released models that share families."""
    return [model(f"{prefix}{i:02d}", modality, f"{prefix}f{i % families}", **keys) for i in range(n)]


def rising(
    language: Sequence[ModelSpec], vision: Sequence[ModelSpec], slope: float = 0.01, start: float = 0.1
) -> dict[tuple[str, str], float]:
    """Scores of every vision with every language model, the later the more alike if `slope` is positive."""
    return {
        (v.id, m.id): start + slope * i + 0.001 * math.sin(7 * i + j)
        for j, v in enumerate(vision)
        for i, m in enumerate(language)
    }


class Published(NamedTuple):
    """A table, and the text of the files that it was published as."""

    table: Table
    csv: str
    markdown: str
    latex: str
    path: Path

    @property
    def frame(self) -> pd.DataFrame:
        """What programs get."""
        return self.table.frame

    def read(self, **options: Any) -> pd.DataFrame:
        """The CSV as a user reads it."""
        return pd.read_csv(f"{self.path}.csv", comment="#", **options)

    def bytes(self) -> dict[str, bytes]:
        """Every file's content by suffix."""
        return {suffix: Path(f"{self.path}{suffix}").read_bytes() for suffix in SUFFIXES}


def published(name: str, found: Findings, folder: Path) -> Published:
    """Make a table and publish it as folder/name.*."""
    folder.mkdir(parents=True, exist_ok=True)
    table = plugin("tables", name, "table").table(found)
    files = publish(table, found.header, folder / name)
    assert [file.suffix for file in files] == list(SUFFIXES)
    return Published(table, *(file.read_text(encoding="utf-8") for file in files[1:]), folder / name)
