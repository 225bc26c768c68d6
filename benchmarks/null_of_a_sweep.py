"""What the nulls and intervals of all cross-modal pairs of a sweep of 78 x 75 models take on one core.

    python benchmarks/null_of_a_sweep.py [--models 3] [--permutations 200] [--splits 100] [--json FILE]

A few models of 12 to 25 layers a side are built and every pair of them is measured as `infer_row` does it: stored
indexes, mutual_knn, k = 10, n = 1,024. CPU time, so that other work on the machine does not count.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

VISION, LANGUAGE = 78, 75
SHORTEST, LONGEST = 12, 25
K = 10
BAR_MIN = 40


def measure(models: int, permutations: int, splits: int) -> dict[str, Any]:
    """CPU seconds of the null and the interval per pair, and what the sweep takes."""
    from metrics import model

    from zooalign.alignment.inference import permutation_null
    from zooalign.alignment.intervals import list_length, split_half
    from zooalign.indexes.build import build_index
    from zooalign.indexes.index import Index

    depths = np.linspace(SHORTEST, LONGEST, models).round().astype(int)
    null_s, interval_s, layer_pairs = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for side in range(2):
            for i, depth in enumerate(depths):
                index = build_index(model(int(depth), 256, 100 * side + i), k_max=list_length(K))
                index.save(f"{folder}/{side}-{i}.zarr")
        for i in range(models):
            x = Index.open(f"{folder}/0-{i}.zarr")
            for j in range(models):
                y = Index.open(f"{folder}/1-{j}.zarr")
                if not layer_pairs:  # compile
                    permutation_null(x, y, "mutual_knn", K, permutations=1)
                    split_half(x, y, "mutual_knn", K, splits=2)
                null_s.append(_cpu(lambda: permutation_null(x, y, "mutual_knn", K, permutations=permutations)))  # noqa: B023
                interval_s.append(_cpu(lambda: split_half(x, y, "mutual_knn", K, splits=splits)))  # noqa: B023
                layer_pairs.append(x.n_layers * y.n_layers)
    pairs = VISION * LANGUAGE
    null_min, interval_min = (pairs * float(np.mean(seconds)) / 60 for seconds in (null_s, interval_s))
    print(f"{len(null_s)} pairs of {SHORTEST} to {LONGEST} layers, {np.mean(layer_pairs):.0f} layer pairs on average")
    print(f"null, {permutations} permutations: {np.mean(null_s):.3f} s per pair; {pairs:,} pairs: {null_min:.1f} min")
    print(f"interval, {splits} splits: {np.mean(interval_s):.3f} s per pair; {pairs:,} pairs: {interval_min:.1f} min")
    print(f"null of the sweep on one core {'below' if null_min < BAR_MIN else 'NOT below'} {BAR_MIN} min")
    return {
        "layer_pairs": float(np.mean(layer_pairs)),
        "null_s": float(np.mean(null_s)),
        "interval_s": float(np.mean(interval_s)),
        "null_min": null_min,
        "interval_min": interval_min,
    }


def _cpu(function: Callable[[], Any]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=3, help="models a side")
    parser.add_argument("--permutations", type=int, default=200)
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    asked = parser.parse_args()
    found = measure(asked.models, asked.permutations, asked.splits)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
