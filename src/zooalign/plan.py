"""What a sweep will need before it runs: jobs, hours, memory, bytes and files, per rule.

Estimates follow from the manifest (parameters, operations, widths) and from records of earlier runs where there
are any; they are for planning, and say which of the two they come from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zooalign.config import Sweep
from zooalign.estimates import (
    BASE_MEM_MB,
    BYTES_PER_TEXT,
    CPU_GFLOPS,
    GPU_GFLOPS,
    N_SAMPLES,
    STARTUP_S,
    extraction_seconds,
    feature_bytes,
    model_mem_mb,
)
from zooalign.layout import Layout
from zooalign.status import State, Status
from zooalign.zoo import ModelSpec


@dataclass
class RulePlan:
    """Needs of one rule.

    Attributes
    ----------
    rule : str
        Name of the rule.
    due, total : int
        Jobs that will run, and jobs of the whole sweep.
    hours : float
        Hours of one core, or of one GPU where the rule uses one, of the jobs that are due.
    on_gpu : bool
        Whether these are GPU hours.
    mem_mb : int
        Largest memory of a job, MB.
    gib : float
        GiB that the jobs that are due will write.
    files : int
        Files that they will write.
    pairs : int
        Pairs of models to compare (align_row only).
    """

    rule: str
    due: int = 0
    total: int = 0
    hours: float = 0.0
    on_gpu: bool = False
    mem_mb: int = 0
    gib: float = 0.0
    files: int = 0
    pairs: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, due: bool, seconds: float, mem_mb: float, size_bytes: float, files: int) -> None:
        """Count one job."""
        self.total += 1
        self.mem_mb = max(self.mem_mb, round(mem_mb))
        if due:
            self.due += 1
            self.hours += seconds / 3600
            self.gib += size_bytes / 2**30
            self.files += files


def make_plan(sweep: Sweep, layout: Layout) -> list[RulePlan]:
    """Needs of every rule, in the order of the workflow.

    Parameters
    ----------
    sweep : Sweep
        The checked configuration.
    layout : Layout
        Where artefacts lie; what is done already is not counted as due.

    Returns
    -------
    list of RulePlan
    """
    gpu = sweep.config.extraction.device == "cuda"
    status = Status(sweep, layout)
    states = status.artefacts()
    done = {(s.kind, s.name) for s in states if s.state == "done"}
    batch = sweep.config.extraction.batch_mem_mb
    size = {name: _samples(layout, name) for name in sweep.catalogue}
    features, indexes = RulePlan("extract_features", on_gpu=gpu), RulePlan("index_features")
    weights, datasets = RulePlan("fetch_weights"), RulePlan("build_dataset")
    probed = {c.dataset for c in sweep.config.capabilities if _needs_features(sweep, c.id)}
    for name in dict.fromkeys([*sweep.config.datasets, *(c.dataset for c in sweep.config.capabilities)]):
        datasets.add(("dataset", name) not in done, 30, BASE_MEM_MB, 60e3 * size[name], 5)
    for spec in sweep.models:
        weights.add(("weights", spec.id) not in done, 10, 2 * BASE_MEM_MB, 4 * spec.parameters, 6)
        for name in dict.fromkeys([*sweep.config.datasets, *sorted(probed)]):
            compared = name in sweep.config.datasets and spec in sweep.compared(name)
            if not compared and not _is_probed(sweep, spec, name):
                continue
            due = ("features", f"{spec.id} on {name}") not in done
            seconds = _measured_seconds(layout, name, spec.id) or extraction_seconds(spec, size[name], gpu)
            features.add(due, seconds, model_mem_mb(spec, batch), feature_bytes(spec, size[name]), 3)
            if compared:
                layers = max(1, (spec.features_per_sample or 5000) // 400)
                index_bytes = layers * (4 * size[name] ** 2 / 2 + size[name] * 48 * 6)
                indexes.add(("index", f"{spec.id} on {name}") not in done, 2 + 0.05 * layers, 600, index_bytes, 6)
    return [
        datasets,
        weights,
        features,
        indexes,
        _rows(status),
        _capabilities(sweep, done, batch, gpu),
        _results("make_tables", len(sweep.config.tables), states),
        _results("make_figures", len(sweep.config.figures) * len(sweep.config.datasets), states),
    ]


def _rows(status: Status) -> RulePlan:
    sweep, rule = status.sweep, RulePlan("align_row")
    waiting = {s.name.split(",")[0] for s in status.pairs() if s.state != "done"}
    for dataset in sweep.config.datasets:
        for model, pairs in status.dag.rows(dataset).items():
            due = sum(f"{p.x} x {p.y} on {dataset}" in waiting for p in pairs)
            rule.pairs += due
            seconds = 1.0 + 0.05 * due * len(sweep.config.metrics)
            rule.add(
                due > 0 or not status.layout.receipt(dataset, model).exists(),
                seconds,
                700,
                due * len(sweep.metric_settings()) * 8e3,
                2,
            )
    return rule


def _capabilities(sweep: Sweep, done: set[tuple[str, str]], batch: int, gpu: bool) -> RulePlan:
    rule = RulePlan("measure_capability", on_gpu=gpu)
    for row in sweep.config.capabilities:
        probe = _needs_features(sweep, row.id)
        for spec in sweep.measured(row):
            # About four bytes a token; a probe fits its regression in seconds.
            tokens = 50 * BYTES_PER_TEXT / 4
            per_token = spec.gflops or 2 * spec.parameters / 1e9
            seconds = 10 if probe else STARTUP_S + tokens * per_token / (GPU_GFLOPS if gpu else CPU_GFLOPS)
            mem_mb = BASE_MEM_MB if probe else model_mem_mb(spec, batch)
            rule.add(("capability", f"{row.id} of {spec.id}") not in done, seconds, mem_mb, 20e3, 1)
    return rule


def _results(rule: str, files: int, states: Iterable[State]) -> RulePlan:
    due = any(s.state != "done" for s in states)
    return RulePlan(rule, int(due), 1, 5 / 3600 if due else 0.0, False, 600, 0.0, 2 * files if due else 0)


def _needs_features(sweep: Sweep, capability: str) -> bool:
    from zooalign.discovery import room

    return room("capability", sweep.capability(capability).kind, "capability").NEEDS == "features"


def _is_probed(sweep: Sweep, spec: ModelSpec, dataset: str) -> bool:
    rows = [c for c in sweep.config.capabilities if c.dataset == dataset and _needs_features(sweep, c.id)]
    return any(spec in sweep.measured(c) for c in rows)


def _samples(layout: Layout, dataset: str) -> int:
    record = _record(layout.dataset(dataset) / "dataset.json")
    return record["n"] if record else N_SAMPLES


def _measured_seconds(layout: Layout, dataset: str, model: str) -> float | None:
    record = _record(layout.features(dataset, model) / "zarr.json")
    return record["attributes"].get("elapsed_s") if record else None


def _record(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):
        return None
