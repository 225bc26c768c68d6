"""Time every table, figure and the report of a synthetic sweep of the paper's size, a process each, with its memory.

    python benchmarks/result_rules.py [--folder DIR] [--vision 78] [--language 75] [--only NAME ...] [--json FILE]

Models of 25 families with tags, 12 layers of x or 24 by 32, 1,024 samples; five metrics at four k, every pair within
and between modalities; bits per byte with their documents, and 19 accuracies. Rows, receipts, records and samples are
written by the library's own writers. The folder (2 GB) is kept if it is named, and then used again.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from zooalign.alignment.pairs import VERSION
from zooalign.alignment.table import table_schema, write_table
from zooalign.config.manifest import ModelSpec
from zooalign.config.schema import Config
from zooalign.config.sweep import Sweep
from zooalign.data.attribution import Attribution
from zooalign.data.records import Pair
from zooalign.data.rendering import grey_png
from zooalign.data.writing import write_samples
from zooalign.layout import Layout
from zooalign.provenance import file_sha256
from zooalign.registry import plugin, plugin_names
from zooalign.report.build import make_report
from zooalign.results.findings import make_result
from zooalign.results.publishing import SUFFIXES
from zooalign.storage.atomic import write_json
from zooalign.storage.lease import hold_lease
from zooalign.workflow.rules.results import FIGURE_SUFFIXES

DATASET, N, TASKS, FAMILIES = "synthetic_1024", 1024, 19, 25
LAYERS = {"vision": 24, "language": 32}
K = (5, 10, 20, 48)
METRICS = ("mutual_knn", "cycle_knn", "cknna", "lcs_knn", "edit_distance_knn")
CORPORA = ("ImageNet-1k", "ImageNet-22k", "LAION-2B", "Pile", "C4")


def models(n_vision: int, n_language: int) -> tuple[ModelSpec, ...]:
    """Rows of a zoo: three random controls a side, three interventions on language models, the rest released."""
    return tuple(_row("vision", i) for i in range(n_vision)) + tuple(_row("language", i) for i in range(n_language))


def _row(modality: str, i: int) -> ModelSpec:
    vision, name = modality == "vision", f"{modality}_model_{i:02d}"
    row: dict[str, Any] = {
        "id": name, "modality": modality, "source": "random", "family": f"{modality[0]}{i % FAMILIES}",
        "parameters": 10**7 * (i + 1), "licence": "none", "pooling": "cls" if vision else "mean",
        "objective": ("supervised", "self-supervised", "contrastive")[i % 3] if vision else "causal",
        "causal": not vision, "weights_sha256": "0" * 64, "layers": LAYERS[modality], "width": 768,
        "released": f"{2018 + i % 8}-0{1 + i % 9}", "tuned": None if vision else ("base", "instruct")[i % 2],
        "training": {"corpora": [CORPORA[i % 5]], "cross_modal": vision and i % 3 == 2},
    }  # fmt: skip
    if i < 3:
        row |= {"objective": "random", "weights_sha256": None, "training": None, "tuned": None}
    elif i < 6 and not vision:
        row |= {"variant_of": f"{modality}_model_{i + 10:02d}", "intervention": {"weight_noise": 0.1 * i}}
    return ModelSpec.model_validate(row)


def sweep(folder: Path, n_vision: int, n_language: int) -> Sweep:
    """The sweep whose results lie in a folder."""
    settings = {"zoo": (), "datasets": [DATASET], "results": str(folder), "metrics": {m: {"k": K} for m in METRICS}}
    rows = models(n_vision, n_language)
    return Sweep(Config.model_validate(settings), rows, {}, {}, zoo=tuple(m.id for m in rows))


def skill(spec: ModelSpec) -> float:
    """What alignment and capability of a model share, in [0, 1]."""
    if spec.control:
        return 0.0
    return 0.3 + 0.7 * (spec.parameters / 10**9) ** 0.5 - (0.1 if spec.intervention else 0.0)


def write_rows(of: Sweep) -> list[Path]:
    """Rows with receipts, a pair in the row of its first model."""
    layout, rng = Layout(Path(of.config.results)), np.random.default_rng(0)
    for spec in of.models:
        path = layout.row(DATASET, spec.id)
        lines = [line for pair in combinations(of.models, 2) if pair[0] is spec for line in _lines(*pair, rng)]
        held = sorted({(line["model_x"], line["model_y"]) for line in lines})
        with hold_lease(path, _quiet) as lease:
            write_table(path, lines, held, lease, table_schema())
        digests = {f"{e['model_x']}|{e['model_y']}|{e['metric']}@{e['k']}": e["digest"] for e in lines}
        receipt = {"model": spec.id, "dataset": DATASET, "version": VERSION, "digests": digests,
                   "bytes": path.stat().st_size, "sha256": file_sha256(path)}  # fmt: skip
        write_json(layout.receipt(DATASET, spec.id), receipt)
    return [layout.row(DATASET, spec.id) for spec in of.models]


def _quiet(line: str) -> None:
    del line


def _lines(x: ModelSpec, y: ModelSpec, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    layers = LAYERS[x.modality], LAYERS[y.modality]
    base = (0.4 if x.modality == y.modality else 0.2) * (0.05 + skill(x) * skill(y))
    for metric in METRICS:
        module = plugin("metrics", metric, "metric")
        for k in K:
            matrix = (base * rng.uniform(0.6, 1.0, layers)).astype(np.float32)
            best = np.unravel_index(int(matrix.argmax()), layers)
            score = float(matrix[best])
            # As of a metric that counts neighbours: few distinct values, which compress.
            terms = (rng.binomial(k, min(score, 1.0), N) / k).astype(np.float32) if module.HAS_TERMS else None
            yield {
                "dataset": DATASET, "comparison": f"{x.modality}-{y.modality}", "metric": metric, "k": k,
                "model_x": x.id, "model_y": y.id, "modality_x": x.modality, "modality_y": y.modality,
                "score": score, "chance": module.chance(N, k), "n": N,
                "layer_x": int(best[0]), "layer_y": int(best[1]),
                "layer_name_x": f"block_{best[0]}", "layer_name_y": f"block_{best[1]}",
                "tied_x": 0.0, "tied_y": 0.0, "n_layers_x": layers[0], "n_layers_y": layers[1],
                "digest": f"{rng.integers(2**62):032x}", "matrix": matrix.ravel(), "terms": terms,
            }  # fmt: skip


def write_records(of: Sweep) -> list[Path]:
    """Bits per byte of language models with 200 documents, accuracies of vision models on 19 tasks."""
    layout, rng, paths = Layout(Path(of.config.results)), np.random.default_rng(1), list[Path]()
    for spec in of.models:
        wanted = ["bits_per_byte"] if spec.modality == "language" else [f"task_{i:02d}" for i in range(TASKS)]
        for name in wanted:
            fields: dict[str, Any] = {"unit": "accuracy", "higher_is_better": True, "n": 1000, "details": {}}
            value = float(np.clip(0.2 + 0.6 * skill(spec) + rng.normal(0, 0.05), 0.01, 0.99))
            if spec.modality == "language":
                sizes = rng.integers(200, 3000, 200)
                bits = sizes * (2.0 - skill(spec) + rng.normal(0, 0.2, 200))
                value = float(bits.sum() / sizes.sum())
                listed = {"id": [str(i) for i in range(200)], "bits": bits.tolist(), "bytes": sizes.tolist()}
                fields = {"unit": "bits/byte", "higher_is_better": False, "n": 200, "details": {"documents": listed}}
            paths.append(layout.capability(name, spec.id))
            about = {"capability": name, "model": spec.id, "value": value, "standard_error": 0.01, "settings": {}}
            write_json(paths[-1], {**about, "versions": {}, "digest": f"{name}|{spec.id}", **fields})
    return paths


def write_dataset(of: Sweep) -> None:
    """1,024 pictures of noise with captions, in eight groups."""
    rng = np.random.default_rng(2)
    records = (
        Pair(f"s{i:04d}", grey_png(rng.integers(0, 256, (16, 16), dtype=np.uint8)), f"Noise number {i}", "noise",
             "CC0-1.0", group=f"group {i % 8}")
        for i in range(N)
    )  # fmt: skip
    source = Attribution("noise", "Noise", "nobody", "CC0-1.0", "")
    write_samples(Layout(Path(of.config.results)).dataset(DATASET), "pairs", records, name=DATASET,
                  description="noise", attribution=[source], options={}, family="synthetic", version=1)  # fmt: skip


def make(of: Sweep, kind: str, name: str, folder: Path) -> None:
    """Make one table, figure or the report as its job does, then print its seconds and peak memory as JSON."""
    layout = Layout(Path(of.config.results))
    rows = sorted(layout.row(DATASET, "x").parent.glob("[!.]*.parquet"))
    records = sorted((layout.results / "capability").glob("*/*.json"))
    suffixes = SUFFIXES if kind == "tables" else FIGURE_SUFFIXES
    begin = time.perf_counter()
    if kind == "report":
        tables = sorted((layout.results / "tables").glob("*.*"))
        make_report(of, rows, records, (), (), tables, [layout.report()], _quiet)
    else:
        make_result(of, kind, name, rows, records, [folder / f"{name}{s}" for s in suffixes], _quiet, DATASET)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": time.perf_counter() - begin, "gib": peak}))


def main() -> None:
    """Write the sweep unless it is there, make every result in a process of its own, and print a line each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--vision", type=int, default=78)
    parser.add_argument("--language", type=int, default=75)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--one", nargs=2, metavar=("KIND", "NAME"), help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        of = sweep(folder, options.vision, options.language)
        if options.one:
            kind, name = options.one
            make(of, kind, name, folder / kind)
            return
        if not (folder / "written").exists():
            begin = time.perf_counter()
            write_dataset(of)
            lines, records = write_rows(of), write_records(of)
            (folder / "written").touch()
            seconds = time.perf_counter() - begin
            print(f"{len(lines)} rows and {len(records)} records written in {seconds:.0f} s", file=sys.stderr)
        found: dict[str, dict[str, float]] = {}
        print(f"{'':28}{'s':>8}{'GiB':>8}")
        # The report holds the tables that were made before it.
        for kind in ("tables", "figures", "report"):
            for name in ["report"] if kind == "report" else plugin_names(kind):
                if options.only and name not in options.only:
                    continue
                command = [sys.executable, __file__, "--folder", str(folder), "--vision", str(options.vision),
                           "--language", str(options.language), "--one", kind, name]  # fmt: skip
                said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                found[f"{kind}/{name}"] = one = json.loads(said)
                print(f"{kind}/{name:<{27 - len(kind)}}{one['seconds']:8.1f}{one['gib']:8.2f}", flush=True)
        total, most = sum(one["seconds"] for one in found.values()), max(one["gib"] for one in found.values())
        print(f"{'together, and the largest':28}{total:8.1f}{most:8.2f}")
        if options.json:
            options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
