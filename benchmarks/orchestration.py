"""What orchestration costs: a sweep of 78 x 75 tiny stores, and the share of time outside our own jobs' useful work.

    python benchmarks/orchestration.py [--vision 78] [--language 75] [--cores 2] [--cluster] [--json FILE]

The stores are synthetic (1,024 samples, few narrow layers), so that next to nothing is computed per pair and what
surrounds it shows. Measured are: planning of the whole sweep with nothing done (time and memory of `snakemake -n` and
of `zooalign plan`); the alignment stage (indexes and rows) on this machine; and, with --cluster, the same on a test
SLURM of several nodes on this machine, started and stopped here (needs root and SLURM's packages).

Useful is the time inside items: reading features and indexes, computing, writing. Everything else is put down to a
cause. On this machine shares are of cores x wall time; on the cluster, whose nodes share this machine's cores, of
wall time during which no item was at work.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import yaml

from zooalign.config.sweep import load_sweep, read_config
from zooalign.features.store import write_store
from zooalign.layout import Layout
from zooalign.planning.usage import read_records
from zooalign.registry import plugin
from zooalign.storage.atomic import write_json
from zooalign.workflow.work import Item, Work

ROOT = Path(__file__).parents[1]
SAMPLES, LAYERS, WIDTH = 1024, 4, 64


def make_sweep(folder: Path, n_vision: int, n_language: int) -> Work:
    """Configuration and manifest of a synthetic zoo; nothing is done yet."""
    rows = {row["id"]: row for row in read_config(ROOT / "config/zoo/packaged.yaml")["models"]}
    models = [{**rows["random_vit_s16"], "id": f"vision_{i:03}"} for i in range(n_vision)]
    models += [{**rows["wordllama"], "id": f"language_{i:03}"} for i in range(n_language)]
    config = {
        "zoo": ["zoo.yaml"],
        "dataset_files": str(ROOT / "config/datasets"),
        "datasets": ["synthetic"],
        "comparisons": {"synthetic": ["vision-language"]},
        "metrics": {"mutual_knn": {"k": [1, 5, 10, 20]}, "cka": {}, "unbiased_cka": {}},
        "figures": ["heat_map"],
    }
    folder.mkdir(parents=True)
    (folder / "zoo.yaml").write_text(yaml.safe_dump({"models": models}))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return Work(load_sweep(config, folder), Layout(folder / "results"))


def make_stores(work: Work) -> None:
    """Stores of random features with something in common, the dataset, and records of weights that nobody reads."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal((SAMPLES, 16), np.float32)
    ids = [f"sample-{i}" for i in range(SAMPLES)]
    for item in work.items("build_dataset"):
        work.do(item, print)
    for item in work.items("fetch_weights"):
        spec = work.sweep.model(*item.parts)
        options = plugin("sources", spec.source, "source").Options(**spec.options).model_dump(mode="json")
        record = {"model": spec.id, "source": spec.source, "version": work.source_version(spec.source)}
        record |= {"options": options, "sha256": spec.weights_sha256, "files": {}, "sizes": {}}
        write_json(work.file(*item), record)
    for item in work.items("extract_features"):
        path = work.file(*item).parent
        path.parent.mkdir(parents=True, exist_ok=True)
        _store(path, item, work.features_digest(*item.parts), common, ids, rng)


def _store(
    path: Path, item: Item, digest: str | None, common: np.ndarray, ids: list[str], rng: np.random.Generator
) -> None:
    noise = rng.standard_normal((LAYERS, SAMPLES, WIDTH), np.float32)
    features = common @ rng.standard_normal((LAYERS, 16, WIDTH), np.float32) + noise
    attributes = {
        "model": {"id": item.parts[1]},
        "dataset": {"name": item.parts[0], "digest": ""},
        "digest": digest,
        "sample_ids": ids,
        "layer_names": [f"layer{i}" for i in range(LAYERS)],
        "widths": [WIDTH] * LAYERS,
        "dtype": "float16",
    }
    write_store(path, features.astype(np.float16), attributes)


def run(folder: Path, *command: str | Path, environment: dict[str, str] | None = None) -> dict[str, float]:
    """Wall seconds and peak memory of a program; its output is shown if it fails."""
    begin = time.time()
    environment = {**os.environ, **(environment or {})}
    done = subprocess.run([str(c) for c in command], cwd=folder, env=environment, text=True, capture_output=True)
    if done.returncode:
        sys.exit(done.stdout[-3000:] + done.stderr[-6000:])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # of the largest so far
    return {"begin": begin, "wall_s": time.time() - begin, "peak_mem_mb": peak / 1024}


def snakemake(*arguments: str | Path) -> list[str | Path]:
    """The command, with our profile of triggers."""
    profile = ("--workflow-profile", ROOT / "profiles/default")
    return [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", *profile, *arguments]


def local_shares(layout: Layout, timing: dict[str, float], cores: int) -> dict[str, float]:
    """Share of cores x wall time by cause."""
    jobs = [r for r in read_records(layout) if r["started"] >= timing["begin"]]
    first = min(r["process_started"] for r in jobs)
    last = max(r["started"] + r["seconds"] for r in jobs)
    end = timing["begin"] + timing["wall_s"]
    useful = sum(item["seconds"] for r in jobs for item in r["items"])
    starts = sum(r["started"] - r["process_started"] for r in jobs)
    inside = sum(r["seconds"] for r in jobs) - useful
    whole = cores * timing["wall_s"]
    around = cores * ((first - timing["begin"]) + (end - last))
    return {
        "useful work": useful / whole,
        "Snakemake: start, DAG, end": around / whole,
        "start of job processes, imports": starts / whole,
        "inside jobs, around their work": inside / whole,
        "idle: scheduling, uneven ends": (cores * (last - first) - starts - inside - useful) / whole,
        "jobs": len(jobs),
    }


def cluster_shares(layout: Layout, timing: dict[str, float]) -> dict[str, float]:
    """Share of wall time during which no item was at work, by cause."""
    jobs = sorted((r for r in read_records(layout) if r["started"] >= timing["begin"]), key=lambda r: r["started"])
    end = timing["begin"] + timing["wall_s"]
    first, last = min(r["process_started"] for r in jobs), max(r["started"] + r["seconds"] for r in jobs)
    useful = _covered([(r["started"], r["started"] + r["seconds"]) for r in jobs])
    running = _covered([(r["process_started"], r["started"] + r["seconds"]) for r in jobs])
    wall = timing["wall_s"]
    return {
        "useful work": useful / wall,
        "Snakemake start, submission and queue": (first - timing["begin"]) / wall,
        "start of job processes, imports": (running - useful) / wall,
        "between layers: status checks, submission, queue": (last - first - running) / wall,
        "last status check and end": (end - last) / wall,
        "jobs": len(jobs),
    }


def _covered(spans: list[tuple[float, float]]) -> float:
    """Length of the union of intervals."""
    total, reached = 0.0, -np.inf
    for start, stop in sorted(spans):
        total += max(0.0, stop - max(start, reached))
        reached = max(reached, stop)
    return total


def show(title: str, found: dict[str, Any]) -> None:
    """Print one block of results."""
    print(f"\n{title}")
    for name, value in found.items():
        print(f"  {name:50} {value:8,.0f}" if name == "jobs" else f"  {name:50} {value:8.1%}")


def on_cluster(folder: Path) -> dict[str, float]:
    """The alignment stage on a test SLURM, as a user runs it."""
    sys.path.insert(0, str(ROOT))
    from tests.cluster.slurm import STATE, Slurm, only_one

    # The profile as shipped: the cluster's default partition has CPUs, and no job here needs a GPU.
    (folder / "slurm").symlink_to(ROOT / "profiles/slurm")
    with only_one():
        slurm = Slurm()
        slurm.start()
        try:
            command = snakemake("--profile", "slurm", "--until", "align_row")
            return run(folder, *command, environment={"SLURM_CONF": str(STATE / "slurm.conf")})
        finally:
            slurm.stop()


def main() -> None:
    """Run what is asked for and print shares by cause."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vision", type=int, default=78)
    parser.add_argument("--language", type=int, default=75)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--cluster", action="store_true", help="also on a test SLURM")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        base.chmod(0o755)  # SLURM's daemons read it
        make_sweep(base / "planned", asked.vision, asked.language)
        for label, command in (
            ("snakemake -n", snakemake("-n", "--quiet", "--cores", str(asked.cores))),
            ("zooalign plan", [sys.executable, "-m", "zooalign.cli", "plan"]),
        ):
            timing = run(base / "planned", *command)
            found[label] = timing
            print(f"{label}: {timing['wall_s']:.1f} s, {timing['peak_mem_mb']:,.0f} MB, nothing done yet")
        places = [("local", base / "local"), *([("cluster", base / "cluster")] if asked.cluster else [])]
        for label, folder in places:
            dag = make_sweep(folder, asked.vision, asked.language)
            make_stores(dag)
            if label == "local":
                timing = run(folder, *snakemake("--cores", str(asked.cores), "--until", "align_row"))
                found[label] = {**timing, "shares": local_shares(dag.layout, timing, asked.cores)}
            else:
                timing = on_cluster(folder)
                found[label] = {**timing, "shares": cluster_shares(dag.layout, timing)}
            pairs = asked.vision * asked.language
            show(f"alignment stage, {label}: {timing['wall_s']:.1f} s for {pairs:,} pairs", found[label]["shares"])
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
