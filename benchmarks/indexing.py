"""Time the index of one layer against plain numpy and scipy in one run, on one thread.

    python benchmarks/indexing.py [--widths 1024 4096 8192] [--repeats 5] [--no-plain] [--json FILE]

1,024 samples in float16. "Plain" is the direct route to the same numbers: float64 products, a sort of every row, a
comparison sort of all distances, ten eigenpairs by scipy, the range finder as published. Results are checked equal
first; then each route is run --repeats times, in turn, and the best of its times is taken. Every line of the table is
an index that holds nothing else, with the preparation of the features; "lists" are those of the 48 nearest.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import eigh
from scipy.stats import rankdata

sys.path.insert(0, str(Path(__file__).parent))

from metrics import BARS, N, model

K_MAX = 48
CLAMP = 0.95


def prepared(x: np.ndarray) -> np.ndarray:
    """Clipped rows of unit length, (n, d) float64."""
    x = x.astype(np.float32)
    magnitudes = np.abs(x).ravel()
    place = int(CLAMP * magnitudes.size)
    threshold = np.partition(magnitudes, place)[place]
    x = np.clip(x, -threshold, threshold).astype(np.float64)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def z_scored(x: np.ndarray) -> np.ndarray:
    """Prepared rows with columns of mean 0 and variance 1."""
    x = prepared(x)
    x -= x.mean(axis=0)
    return x / x.std(axis=0)


def plain_lists(x: np.ndarray) -> np.ndarray:
    """The nearest by a sort of every row of the product, (n, 48)."""
    x = prepared(x)
    scores = x @ x.T
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1)[:, :K_MAX]


def plain_similarities(x: np.ndarray) -> np.ndarray:
    """Their cosines."""
    rows = prepared(x)
    products = rows @ rows.T
    np.fill_diagonal(products, -np.inf)
    return np.take_along_axis(products, np.argsort(-products, axis=1)[:, :K_MAX], axis=1)


def plain_gram(x: np.ndarray) -> np.ndarray:
    """Centred linear kernel, packed."""
    x = prepared(x)
    x -= x.mean(axis=0)
    gram = x @ x.T
    return np.concatenate([np.diag(gram), gram[np.triu_indices(N, 1)] * np.sqrt(2)])


def plain_ranks(x: np.ndarray) -> np.ndarray:
    """Ranks of all distances, centred, of length 1."""
    x = prepared(x)
    x -= x.mean(axis=0)
    gram = x @ x.T
    squares = np.diag(gram)[:, None] + np.diag(gram) - 2 * gram
    ranks = rankdata(squares[np.triu_indices(N, 1)])
    ranks -= ranks.mean()
    return ranks / np.linalg.norm(ranks)


def plain_subspace(x: np.ndarray) -> np.ndarray:
    """Ten leading left singular vectors of the z-scored columns by scipy's eigh of the smaller Gram matrix."""
    z = z_scored(x)
    wide = z.shape[1] > N
    gram = z @ z.T if wide else z.T @ z
    values, vectors = eigh(gram, subset_by_index=(len(gram) - 10, len(gram) - 1))
    return (vectors if wide else z @ (vectors / np.sqrt(values)))[:, ::-1]


def plain_sketches(x: np.ndarray) -> np.ndarray:
    """Four draws of the published range finder."""
    z = z_scored(x)
    bases = []
    for draw in range(4):
        basis = np.linalg.qr(z @ np.random.default_rng(draw).standard_normal((z.shape[1], 10)))[0]
        for _ in range(2):
            basis = np.linalg.qr(z @ np.linalg.qr(z.T @ basis)[0])[0]
        bases.append(basis)
    return np.stack(bases)


PLAIN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "neighbors": plain_lists,
    "similarities": plain_similarities,
    "gram": plain_gram,
    "ranks": plain_ranks,
    "subspace": plain_subspace,
    "sketches": plain_sketches,
}


def check(need: str, found: np.ndarray, plain: np.ndarray) -> None:
    """Assert that an index holds what the plain route gives."""
    if need == "neighbors":
        assert (found == plain).mean() > 0.9999, need  # float64 rounding alone may swap two
    elif need in ("subspace", "sketches"):
        cosines = np.linalg.svd(np.swapaxes(found, -1, -2) @ plain, compute_uv=False)
        assert cosines.min() > 1 - 1e-9, need
    else:
        np.testing.assert_allclose(found, plain, atol=1e-6, err_msg=need)


def compare(width: int, repeats: int, plain: bool) -> dict[str, dict[str, float]]:
    """Best times in milliseconds of every line of the table, by who took them."""
    from zooalign import metrics
    from zooalign.indexes.build import build_index

    layer = model(1, width, 0)
    lines = {need: (need,) for need in PLAIN}
    lines |= {"eight metrics": tuple(metrics.needs(list(BARS))), "all metrics": tuple(metrics.needs(metrics.names()))}
    routes: dict[tuple[str, str], Callable[[], Any]] = {
        (name, "zooalign"): lambda needs=needs: build_index(layer, k_max=K_MAX, needs=needs)
        for name, needs in lines.items()
    }
    if plain:
        for need, function in PLAIN.items():
            check(need, build_index(layer, k_max=K_MAX, needs=(need,)).array(need)[0], function(layer[0]))
            routes[need, "plain"] = lambda function=function: function(layer[0])
    times: dict[str, dict[str, float]] = {name: {} for name in lines}
    for _ in range(repeats):
        for (name, who), run in routes.items():
            start = time.perf_counter()
            run()
            taken = 1e3 * (time.perf_counter() - start)
            times[name][who] = min(taken, times[name].get(who, np.inf))
    return times


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[1024, 4096, 8192])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-plain", action="store_true", help="time the index alone")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    asked = parser.parse_args()
    compare(64, 1, False)  # compile
    report: dict[str, Any] = {}
    print(f"one layer of {N} samples, one thread, best of {asked.repeats}, ms")
    print(f"{'width':>5} {'index of':14} {'plain':>8} {'zooalign':>9} {'ratio':>6}")
    for width in asked.widths:
        report[str(width)] = compare(width, asked.repeats, not asked.no_plain)
        for name, by in report[str(width)].items():
            plain = by.get("plain")
            theirs = f"{'-':>8}" if plain is None else f"{plain:8.1f}"
            ratio = "" if plain is None else f" {plain / by['zooalign']:6.1f}"
            print(f"{width:5} {name:14} {theirs} {by['zooalign']:9.1f}{ratio}", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
