"""Time exact neighbours in a large gallery against faiss in one run, and check them against float64.

    python benchmarks/neighbors.py [--rows 1000000] [--queries 4096] [--faiss-rows 100000] [--json FILE]

The gallery is written once as float16 Zarr (1.5 GB for a million rows) under --folder and removed at the end.
faiss needs the gallery in memory as float32 (3 GB for a million rows) and minutes as installed, so it is timed
on --faiss-rows of it and scaled, its cost being linear in the rows; ours is timed on all of them and on the
same part. "As installed" is IndexFlatIP with the BLAS kernels that its library picks for this processor; the
best exact setting tells OpenBLAS the processor and tries block sizes. Each runs in its own process.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WIDTH = 768
K = 10
CHUNK = 16_384


def write_gallery(folder: Path, rows: int) -> None:
    """Rows of unit length with a power-law spectrum of 256 directions and a common mean, float16."""
    import numpy as np
    import zarr

    rng = np.random.default_rng(0)
    mixing = (rng.standard_normal((256, WIDTH)) * (np.arange(1, 257) ** -0.5)[:, None]).astype(np.float32)
    mean = rng.standard_normal(WIDTH).astype(np.float32)
    array = zarr.create_array(
        folder / "gallery", shape=(rows, WIDTH), chunks=(CHUNK, WIDTH), dtype="float16", compressors=None
    )
    for first in range(0, rows, CHUNK):
        x = rng.standard_normal((min(CHUNK, rows - first), 256), dtype=np.float32) @ mixing + mean
        array[first : first + len(x)] = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16)


def ours(folder: Path, rows: int, queries: int, threads: int) -> dict[str, Any]:
    """Search the stored gallery; seconds, memory above the start, and recall against float64 on a sample."""
    import resource

    import numpy as np
    import torch
    import zarr

    from zooalign.indexes.galleries import nearest_in_gallery

    torch.set_num_threads(threads)
    array = zarr.open_array(folder / "gallery", mode="r")
    part = _Head(array, rows)
    names = range(rows)
    x = array[:queries]
    nearest_in_gallery(x[:8], x, K)  # compile
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    found, _ = nearest_in_gallery(x, part, K, query_ids=names[:queries], gallery_ids=names)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sample = np.random.default_rng(1).choice(queries, 64, replace=False)
    exact = _float64(part, x[sample], sample)
    return {
        "seconds": seconds,
        "gflops": 2 * rows * queries * WIDTH / seconds / 1e9,
        "peak_gb": peak * 1024 / 1e9,
        "above_start_gb": (peak - before) * 1024 / 1e9,
        "recall": float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found[sample], exact, strict=True)])),
        "same_order": float((found[sample] == exact).all(axis=1).mean()),
    }


class _Head:
    """The first rows of a stored array."""

    def __init__(self, array: Any, rows: int) -> None:
        self._array, self.shape = array, (rows, array.shape[1])

    def __getitem__(self, rows: slice) -> Any:
        return self._array[rows.start : min(rows.stop, self.shape[0])]


def _float64(gallery: Any, queries: Any, own: Any) -> Any:
    """Positions by full float64 scores of normalised rows, ties by lower position, (q, K)."""
    import numpy as np

    q = queries.astype(np.float64)
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    best, where = np.full((len(q), 0), -np.inf), np.zeros((len(q), 0), np.int64)
    for first in range(0, gallery.shape[0], CHUNK):
        x = gallery[first : first + CHUNK].astype(np.float64)
        scores = q @ (x / np.linalg.norm(x, axis=1, keepdims=True)).T
        for i, position in enumerate(own):
            if first <= position < first + len(x):
                scores[i, position - first] = -np.inf
        best = np.concatenate([best, scores], axis=1)
        where = np.concatenate([where, np.broadcast_to(np.arange(first, first + len(x)), scores.shape)], axis=1)
        order = np.argsort(-best, axis=1, kind="stable")[:, :K]
        best, where = np.take_along_axis(best, order, axis=1), np.take_along_axis(where, order, axis=1)
    return where


def faiss_flat(folder: Path, rows: int, queries: int, threads: int, block: int) -> dict[str, Any]:
    """Search part of the gallery with IndexFlatIP, self included and dropped; reading is not counted."""
    import faiss
    import numpy as np
    import zarr

    faiss.omp_set_num_threads(threads)
    if block:
        faiss.cvar.distance_compute_blas_query_bs = block
        faiss.cvar.distance_compute_blas_database_bs = block
    array = zarr.open_array(folder / "gallery", mode="r")
    index = faiss.IndexFlatIP(WIDTH)
    for first in range(0, rows, CHUNK):
        index.add(array[first : min(first + CHUNK, rows)].astype(np.float32))
    x = array[:queries].astype(np.float32)
    start = time.perf_counter()
    index.search(x, K + 1)
    return {"seconds": time.perf_counter() - start}


def run(kind: str, environment: dict[str, str], **options: Any) -> dict[str, Any]:
    """One measurement in a process of its own."""
    call = [sys.executable, __file__, "--run", json.dumps({"kind": kind, **options})]
    done = subprocess.run(call, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Write the gallery, measure each side alone, print ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=4096)
    parser.add_argument("--faiss-rows", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the gallery is written; default a temporary folder")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        options = json.loads(asked.run)
        kind, folder = options.pop("kind"), Path(options.pop("folder"))
        print(json.dumps((ours if kind == "ours" else faiss_flat)(folder, **options)))
        return
    folder = Path(tempfile.mkdtemp(dir=asked.folder))
    threads = {
        "OMP_NUM_THREADS": str(asked.threads),
        "OPENBLAS_NUM_THREADS": str(asked.threads),
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    common = {"folder": str(folder), "queries": asked.queries, "threads": asked.threads}
    try:
        write_gallery(folder, asked.rows)
        whole = run("ours", threads, rows=asked.rows, **common)
        print(f"ours, {asked.queries} x {asked.rows} x {WIDTH}: {json.dumps(whole)}", flush=True)
        part = run("ours", threads, rows=asked.faiss_rows, **common)
        scale = asked.rows / asked.faiss_rows
        installed = run("faiss", threads, rows=asked.faiss_rows, block=0, **common)["seconds"] * scale
        print(f"faiss IndexFlatIP as installed, scaled: {installed:.0f} s", flush=True)
        tuned = {}
        for core in ("SkylakeX", "Sapphirerapids", "Haswell"):
            for block in (0, 1024):
                found = run(
                    "faiss", {**threads, "OPENBLAS_CORETYPE": core}, rows=asked.faiss_rows, block=block, **common
                )
                tuned[f"{core}, block {block or 'default'}"] = found["seconds"] * scale
        best = min(tuned, key=lambda name: tuned[name])
        print(f"faiss settings, scaled: { {n: round(s, 1) for n, s in tuned.items()} }")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report = {
        "ours": whole,
        "ours_part": part,
        "faiss_installed_s": installed,
        "faiss_tuned_s": tuned,
        "ratio_installed": installed / whole["seconds"],
        "ratio_best": tuned[best] / whole["seconds"],
    }
    print(f"ratio to faiss as installed {report['ratio_installed']:.1f} (needed: 5), to its best ({best}) "
          f"{report['ratio_best']:.2f} (needed: 1)")  # fmt: skip
    if asked.json:
        asked.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
