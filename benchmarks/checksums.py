"""What checksums of stored arrays cost a row of the alignment matrix: python benchmarks/checksums.py.

Eight indexes of 13 layers and 1,024 samples, seven pairs under the metrics of the default sweep, with and without the
comparison, taken in turns.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from zooalign import metrics
from zooalign.indexes import files
from zooalign.indexes.build import build_index
from zooalign.indexes.index import Index

MODELS, LAYERS, SAMPLES, WIDTH, ROUNDS = 8, 13, 1024, 64, 7
METRICS = [("mutual_knn", 1), ("mutual_knn", 5), ("mutual_knn", 10), ("mutual_knn", 20), ("cka", None),
           ("unbiased_cka", None)]  # fmt: skip


def main() -> None:
    """Print the ratio."""
    rng = np.random.default_rng(0)
    compared = files.check_array
    seconds: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}.zarr" for i in range(MODELS)]
        for path in paths:
            layers = [rng.standard_normal((SAMPLES, WIDTH)).astype(np.float32) for _ in range(LAYERS)]
            build_index(layers, k_max=48, needs=metrics.needs([name for name, _ in METRICS])).save(path)
        row(paths)
        for _ in range(ROUNDS):
            for checked in seconds:
                files.check_array = compared if checked else lambda *_: None
                begin = time.process_time()
                row(paths)
                seconds[checked].append(time.process_time() - begin)
    with_checks, without = median(seconds[True]), median(seconds[False])
    print(f"a row of {MODELS - 1} pairs: {with_checks:.3f} s with checksums, {without:.3f} s without, "
          f"{with_checks / without - 1:+.1%}")  # fmt: skip


def row(paths: list[Path]) -> None:
    """Every metric of one model against all others, as a job computes it."""
    own = Index.open(paths[0])
    for path in paths[1:]:
        other = Index.open(path)
        for name, k in METRICS:
            module = metrics.get(name)
            _, i, j = metrics.best(module.matrix(own, other, k))
            if module.HAS_TERMS:
                module.terms(own, other, i, j, k)


if __name__ == "__main__":
    main()
