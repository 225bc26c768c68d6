"""Print the tables of docs/validation.md: what the statistics promise, measured on fresh draws.

python benchmarks/validation.py        (about five minutes on one core)
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from zooalign import inference, metrics
from zooalign.indexing import Index, build_index
from zooalign.preparation import Preparation
from zooalign.relabelling import Relabelled

PLAIN = Preparation(clamp_scope="none")
SHAPES = (((4,), (4,)), ((5, 40), (8, 16, 30)), ((60,), (3, 3, 90, 10)), ((20, 20, 20), (100,)))


def index(layers: list[np.ndarray], k_max: int = 50) -> Index:
    """What the metrics of these tables need."""
    return build_index(layers, PLAIN, k_max, ("neighbors", "gram"))


def type_one_error(draws: int = 1000, permutations: int = 99, n: int = 50) -> None:
    """Rejections at .05 between unrelated models: with the max in the null, and with the best pair's own null."""
    print(f"Type-I error at .05, {draws} draws of unrelated Gaussian models, n = {n}, {permutations} permutations")
    print("| widths of x | widths of y | mutual_knn@5 | cka | mutual_knn@5, naive | cka, naive |")
    counts = np.zeros((len(SHAPES), 4))
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        shape = draw % len(SHAPES)
        x, y = (index([rng.standard_normal((n, d)) for d in widths]) for widths in SHAPES[shape])
        orders = np.stack([rng.permutation(n) for _ in range(permutations)])
        relabelled = [Relabelled(y, order) for order in orders]
        for column, (name, k) in enumerate((("mutual_knn", 5), ("cka", None))):
            module = metrics.get(name)
            observed, i, j = metrics.best(module.matrix(x, y, k))
            null = np.stack([module.matrix(x, other, k) for other in relabelled])
            counts[shape, column] += inference.calibrate(observed, null.max(axis=(1, 2)))[1] <= 0.05
            counts[shape, column + 2] += inference.calibrate(observed, null[:, i, j])[1] <= 0.05
    for shape, row in zip(SHAPES, counts * len(SHAPES) / draws, strict=True):
        print(f"| {shape[0]} | {shape[1]} | " + " | ".join(f"{v:.3f}" for v in row) + " |")
    print("| all | | " + " | ".join(f"{v:.3f}" for v in counts.sum(axis=0) / draws) + " |\n", flush=True)


def bias_of_cka(n: int = 1024, draws: int = 5) -> None:
    """Scores of unrelated Gaussian features by width."""
    print(f"Unrelated Gaussian features, n = {n}, mean of {draws} draws")
    print("| width | cka | cka calibrated | unbiased_cka | mutual_knn@10 |")
    for d in (16, 64, 256, 900, 2048):
        found = []
        for draw in range(draws):
            rng = np.random.default_rng(draw)
            x, y = (index([rng.standard_normal((n, d))]) for _ in range(2))
            null = inference.permutation_null(x, y, "cka", permutations=39, seed=draw)
            values = [metrics.get(m).matrix(x, y, 10)[0, 0] for m in ("unbiased_cka", "mutual_knn")]
            found.append([null.observed, null.calibrated, *values])
        print(f"| {d} | " + " | ".join(f"{v:.4f}" for v in np.mean(found, axis=0)) + " |", flush=True)
    print()


def latent(n: int, seed: int, signal: float) -> list[list[np.ndarray]]:
    """Fresh samples seen by two fixed linear maps with noise."""
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(12345)
    cause = rng.standard_normal((n, 8))
    return [[signal * cause @ fixed.standard_normal((8, d)) + rng.standard_normal((n, d))] for d in (20, 30)]


def coverage(n: int = 400, draws: int = 400) -> None:
    """How often a nominal .95 interval contains the expected score."""
    print(f"Coverage of nominal .95 intervals of mutual_knn@10 on {draws} fresh draws, n = {n}")
    print("| signal | expected score | true standard deviation | split-half | query bootstrap | split-half error |")
    for signal in (0.3, 0.5, 1.0, 2.0):
        scores, intervals = [], []
        for draw in range(2 * draws):
            x, y = (index(side) for side in latent(n, draw, signal))
            scores.append(metrics.get("mutual_knn").matrix(x, y, 10)[0, 0])
            if draw >= draws:
                terms = metrics.get("mutual_knn").terms(x, y, 0, 0, 10)
                query = inference.query_bootstrap(terms, resamples=400, seed=draw)
                intervals.append((inference.split_half(x, y, "mutual_knn", 10, 0, 0, seed=draw), query))
        truth = np.mean(scores)
        hit = [[i.low <= truth <= i.high for i in pair] for pair in intervals]
        error = np.mean([pair[0].standard_error for pair in intervals])
        split, query = np.mean(hit, axis=0)
        print(
            f"| {signal} | {truth:.4f} | {np.std(scores):.5f} | {split:.3f} | {query:.3f} | {error:.5f} |", flush=True
        )
    print()


def planted(n: int = 400) -> None:
    """The layer pair that shares a cause is found, and its score rises with the share of it."""
    print(f"Planted alignment: layer 2 of 5 against layer 1 of 4 share a cause, n = {n}, 199 permutations")
    print("| signal | found at | mutual_knn@10 | threshold | p | calibrated |")
    for signal in (0.0, 0.15, 0.3, 0.6, 1.2):
        rng = np.random.default_rng(1)
        cause = rng.standard_normal((n, 8))
        x, y = (
            index(
                [
                    (signal * (at == layer)) * cause @ rng.standard_normal((8, 24)) + rng.standard_normal((n, 24))
                    for layer in range(depth)
                ]
            )
            for at, depth in ((2, 5), (1, 4))
        )
        null = inference.permutation_null(x, y, "mutual_knn", 10, permutations=199)
        print(
            f"| {signal} | ({null.layer_x}, {null.layer_y}) | {null.observed:.4f} | {null.threshold:.4f} "
            f"| {null.p_value:.3f} | {null.calibrated:.4f} |",
            flush=True,
        )
    print()


if __name__ == "__main__":
    type_one_error()
    bias_of_cka()
    planted()
    coverage()
