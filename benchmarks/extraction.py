"""Extraction against the model's own bare forward pass, at the same batches, precision and threads, in one run.

    python benchmarks/extraction.py [model ...]         needs a finished sweep (datasets and weights in results/)

Extraction reads samples, decodes and resizes images in a worker process, keeps every layer, pools, checks for NaN
and appends to the store with fsync; the bare pass gets ready batches and keeps only the last output. The two take
turns; the ratio of the medians is printed (1 means that all of that is free).
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from zooalign.config.schema import ExtractionConfig
from zooalign.config.sweep import load_sweep, read_config
from zooalign.data.samples import open_samples
from zooalign.features import extract
from zooalign.features.batches import make_reader
from zooalign.features.poolings import PooledWriters
from zooalign.features.store import FeatureWriter
from zooalign.layout import Layout
from zooalign.progress import Progress

# A pass over as many samples as the bare model does in this time, so that the start of the workers weighs little.
PASS_S = 10.0
TURNS = 3


def quiet(message: str) -> None:
    """Say nothing."""
    del message


def bare_forward(model: Any, batches: list[Any]) -> float:
    """Seconds of the plain forward pass over ready batches."""
    import torch

    begin = time.perf_counter()
    with torch.inference_mode():
        for batch in batches:
            if len(batch) == 1:
                model.logits(batch[0]) if not hasattr(model.module, "forward_features") else model.module(batch[0])
            elif hasattr(model.module, "base_model"):
                model.module.base_model(input_ids=batch[0], attention_mask=batch[1].long())
            else:
                model.layers(*batch)
    return time.perf_counter() - begin


def measure(name: str) -> tuple[float, float, int, int]:
    """Median seconds of extraction and of the bare pass, the number of samples, and the largest batch."""
    sweep = load_sweep(read_config("config.yaml"))
    layout, settings = Layout(Path(sweep.config.results)), ExtractionConfig()
    spec = sweep.model(name)
    samples = open_samples(layout.dataset(sweep.config.datasets[0]))
    model = extract.place_model(spec, layout.weights(name), settings)
    device = next(model.module.parameters()).device
    reader = make_reader(spec, model, samples, settings)
    plan = {"digest": "benchmark", **extract._plan(spec, model, samples, reader, settings, device)}
    warm = list(reader.batches([(0, 8)], plan["order"]))
    bare_forward(model, warm)
    n = int(max(64, min(len(samples), 8 * PASS_S / bare_forward(model, warm))))
    plan["bounds"] = [b for b in plan["bounds"] if b < n] + [n]
    plan["order"] = plan["order"][:n]
    bounds = list(zip([0, *plan["bounds"]], plan["bounds"], strict=False))
    batches = list(reader.batches(bounds, plan["order"]))
    ours, bare = [], []
    for _ in range(TURNS):
        bare.append(bare_forward(model, batches))
        with tempfile.TemporaryDirectory() as folder:
            writer = PooledWriters([FeatureWriter.begin(Path(folder) / "m.zarr", plan)])
            begin = time.perf_counter()
            extract._run(model, reader, writer, [spec.pooling], device, Progress(n, "", quiet), quiet)
            ours.append(time.perf_counter() - begin)
    return statistics.median(ours), statistics.median(bare), n, max(b - a for a, b in bounds)


def main() -> None:
    """Print a line per model."""
    sweep = load_sweep(read_config("config.yaml"))
    names = sys.argv[1:] or [m.id for m in sweep.models]
    print(f"{'model':22} {'samples':>7} {'batch':>5} {'bare/s':>9} {'extracted/s':>11} {'ratio':>6}")
    for name in names:
        ours, bare, n, batch = measure(name)
        print(f"{name:22} {n:7d} {batch:5d} {n / bare:9.1f} {n / ours:11.1f} {bare / ours:6.3f}", flush=True)


if __name__ == "__main__":
    main()
