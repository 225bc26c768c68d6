"""Print the tables of docs/validation.md: what the statistics promise, measured on fresh draws.

python benchmarks/validation.py        (about two hours on one core, nearly all of it the coverage of intervals)
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from zooalign import metrics
from zooalign.alignment import inference, intervals
from zooalign.alignment.groups import as_groups
from zooalign.indexes.build import build_index
from zooalign.indexes.index import Index
from zooalign.indexes.permuted import Relabelled
from zooalign.indexes.preparation import Preparation

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


# Signal of each layer of the two models, as a share; the first of each alone where the pair is fixed.
DEPTHS = ((1.0, 0.8, 0.6), (0.7, 1.0, 0.9, 0.5))
LISTS = ("mutual_knn", "jaccard_knn", "lcs_knn", "edit_distance_knn", "cycle_knn", "cycle_knn_reverse")
KERNELS = ("cknna", "cknna_centered", "cka", "unbiased_cka", "cka_rbf", "cka_rbf_median", "rsa")
DECOMPOSED = ("svcca", "procrustes", "pwcca")


def latent(n: int, seed: int, signal: float, searched: bool, needs: tuple[str, ...]) -> list[Index]:
    """Fresh samples seen by fixed linear maps with noise: one layer of each model, or several to search."""
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(12345)
    cause = rng.standard_normal((n, 8))
    return [
        build_index(
            [
                signal * share * cause @ fixed.standard_normal((8, width + 2 * layer))
                + rng.standard_normal((n, width + 2 * layer))
                for layer, share in enumerate(shares if searched else (1.0,))
            ],
            PLAIN,
            60,
            needs,
        )
        for shares, width in zip(DEPTHS, (20, 30), strict=True)
    ]


def coverage(
    names: tuple[str, ...], searched: bool, signal: float, n: int = 200, draws: int = 300, splits: int = 100
) -> None:
    """How often a nominal .95 interval contains the expected score of fresh samples, as many as these."""
    needs = tuple(metrics.needs(list(names)) | ({"features"} if "svcca" in names else set()))
    truth: dict[str, list[float]] = {name: [] for name in names}
    found: dict[str, list[intervals.Interval]] = {name: [] for name in names}
    for draw in range(4 * draws):
        x, y = latent(n, draw, signal, searched, needs)
        for name in names:
            module = metrics.get(name)
            k = 10 if module.TAKES_K else None
            truth[name].append(metrics.best(module.matrix(x, y, k))[0])
            if draw < draws:
                found[name].append(intervals.split_half(x, y, name, k, splits=splits, seed=draw))
    for name in names:
        expected, spread = np.mean(truth[name]), np.std(truth[name])
        covered = np.mean([i.low <= expected <= i.high for i in found[name]])
        error = np.mean([i.standard_error for i in found[name]])
        kind = "searched" if searched else "fixed"
        print(
            f"| {name} | {kind} | {signal} | {expected:.4f} | {spread:.5f} | {error:.5f} | {covered:.3f} |",
            flush=True,
        )


def coverage_table(draws: int = 300, splits: int = 100) -> None:
    """Coverage of every metric, at a fixed layer pair and of the best of twelve."""
    print(f"Coverage of nominal .95 intervals, {draws} fresh draws, n = 200, k = 10, {splits} splits")
    print("| metric | layer pair | signal | expected score | its standard deviation | mean standard error | covers |")
    for searched in (False, True):
        for signal in (0.0, 0.5, 1.5):
            coverage(LISTS + KERNELS, searched, signal, draws=draws, splits=splits)
    for signal in (0.0, 0.5, 1.5):
        coverage(DECOMPOSED, False, signal, draws=draws, splits=splits)
    print()


def grouped(draws: int = 400, permutations: int = 39) -> None:
    """Rejections at .05 between unrelated models of samples that come in groups."""
    print(f"Type-I error at .05 of grouped samples, n = 300, {draws} draws, {permutations} permutations")
    print("| groups | spread within | metric | samples permuted | groups permuted |")
    for title, sizes in (("30 of 10", [10] * 30), ("20 of 5, 20 of 10", [5, 10] * 20)):
        codes = np.repeat(np.arange(len(sizes)), sizes)
        for within in (0.05, 0.3):
            rejected = {(m, by): 0 for m in ("mutual_knn", "cka") for by in (False, True)}
            for draw in range(draws):
                rng = np.random.default_rng(draw)
                x, y = (
                    index([rng.standard_normal((len(sizes), d))[codes] + within * rng.standard_normal((300, d))])
                    for d in (20, 30)
                )
                for name, by in rejected:
                    groups = as_groups(codes, 300) if by else None
                    null = inference.permutation_null(
                        x, y, name, 10, permutations=permutations, seed=draw, groups=groups
                    )
                    rejected[name, by] += null.p_value <= 0.05
            for name in ("mutual_knn", "cka"):
                both = (rejected[name, by] / draws for by in (False, True))
                print(f"| {title} | {within} | {name} | " + " | ".join(f"{v:.3f}" for v in both) + " |", flush=True)
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
    grouped()
    coverage_table()
