"""Time the linear probe against scikit-learn as one would write it, in one run, on one thread.

    python benchmarks/probes.py [--repeats 3] [--shapes 1000x64x10 1000x4096x10 10000x1000x100] [--solvers]

A probe is six strengths on four fifths of the train samples, compared on the rest, and a last fit to all of them.
"Plain" standardises the features and fits every strength from zero, with the same solver, tolerance and penalty. Both
must choose the same strength and predict the same classes of as many test samples. Features are made up: a power-law
spectrum in a random basis, classes at a distance that leaves errors. --solvers times other solvers of one strength at
the last shape; --json FILE keeps the numbers.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from zooalign.capability import _probe_fit
from zooalign.capability._accuracy import plain
from zooalign.capability._probe_task import hold_out
from zooalign.capability.linear_probe import Options

SHAPES = ("1000x64x10", "1000x4096x10", "10000x1000x100")
STRENGTHS = sorted(Options().strengths, reverse=True)
# Of the solvers that are compared at one strength.
STRENGTH = 1e-2


def task(n: int, width: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features (2 n, width) float64, labels, and the positions of train and test samples."""
    rng = np.random.default_rng(0)
    spectrum = np.arange(1, width + 1) ** -0.7
    y = np.arange(2 * n) % classes
    centres = 0.3 * rng.standard_normal((classes, width)) * spectrum
    basis = np.linalg.qr(rng.standard_normal((width, width)))[0]
    x = (rng.standard_normal((2 * n, width)) * spectrum + centres[y]) @ basis
    order = rng.permutation(2 * n)
    return x, np.array([f"class{c:03}" for c in y]), np.sort(order[:n]), np.sort(order[n:])


def own_probe(
    x: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray
) -> tuple[float, list[str], float]:
    """Strength chosen, classes predicted, and the bound on the loss above its minimum."""
    inner, held_out = hold_out(train, labels, 0.2, 0)
    choice = _probe_fit.choose(x, labels, inner, held_out, STRENGTHS, lambda correct, _: plain(correct).value)
    fit = _probe_fit.fit(x, labels, train, test, choice.strength)
    return choice.strength, fit.predicted, fit.excess


def plain_probe(x: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> tuple[float, list[str]]:
    """Strength and classes, by a fit from zero per strength."""
    inner, held_out = hold_out(train, labels, 0.2, 0)

    def fitted(rows: np.ndarray, strength: float) -> Any:
        scaler = StandardScaler().fit(x[rows])
        model = LogisticRegression(
            C=1 / (strength * len(rows)), tol=_probe_fit.GRADIENT_TOLERANCE, max_iter=_probe_fit.MAX_ITERATIONS
        )
        model.fit(scaler.transform(x[rows]), labels[rows])
        return lambda other: model.predict(scaler.transform(x[other]))

    scores = [float((fitted(inner, s)(held_out) == labels[held_out]).mean()) for s in STRENGTHS]
    strength = STRENGTHS[int(np.argmax(scores))]
    return strength, fitted(train, strength)(test).tolist()


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and the result."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def compare(shape: str, repeats: int) -> dict[str, Any]:
    """Best seconds of both, in turn, and whether they agree."""
    arguments = task(*map(int, shape.split("x")))
    labels, test = arguments[1], arguments[3]
    theirs, ours = [], []
    for _ in range(repeats):
        seconds, (strength, expected) = timed(lambda: plain_probe(*arguments))
        theirs.append(seconds)
        seconds, (chosen, predicted, excess) = timed(lambda: own_probe(*arguments))
        ours.append(seconds)
    assert chosen == strength, (chosen, strength)
    same = float(np.mean(np.asarray(predicted) == np.asarray(expected)))
    assert same > 0.999, same
    accuracy = float(np.mean(np.asarray(predicted) == labels[test]))
    report = {"plain_s": min(theirs), "ours_s": min(ours), "ratio": min(theirs) / min(ours), "strength": chosen,
              "accuracy": accuracy, "same_predictions": same, "excess": excess}  # fmt: skip
    print(
        f"{shape:16} {min(theirs):9.2f} {min(ours):9.2f} {report['ratio']:6.2f}  strength {chosen:g}, accuracy "
        f"{accuracy:.3f}, {same:.2%} of predictions equal, loss at most {excess:.0e} above its minimum",
        flush=True,
    )
    return report


def solvers(shape: str) -> dict[str, float]:
    """Seconds of one fit from zero by solvers of scikit-learn and torch, with their loss above the best one."""
    x, labels, train, _ = task(*map(int, shape.split("x")))
    z, _ = _probe_fit.standardise(x[train], x[:1])
    y = labels[train]

    def by_scikit_learn(solver: str) -> Any:
        model = LogisticRegression(
            C=1 / (STRENGTH * len(z)), tol=_probe_fit.GRADIENT_TOLERANCE, max_iter=_probe_fit.MAX_ITERATIONS,
            solver=solver,
        )  # fmt: skip
        model.fit(z, y)
        return model.coef_, model.intercept_

    fits = {
        "scikit-learn lbfgs": lambda: by_scikit_learn("lbfgs"),
        "scikit-learn newton-cg": lambda: by_scikit_learn("newton-cg"),
        "torch LBFGS": lambda: _by_torch(z, np.unique(y, return_inverse=True)[1]),
    }
    found = {name: timed(fit) for name, fit in fits.items()}
    losses = {name: _loss(z, np.unique(y, return_inverse=True)[1], *result) for name, (_, result) in found.items()}
    for name, (seconds, _) in found.items():
        print(f"{name:24} {seconds:8.1f} s, loss {losses[name] - min(losses.values()):.0e} above the lowest")
    return {name: seconds for name, (seconds, _) in found.items()}


def _loss(z: np.ndarray, y: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> float:
    logits = z @ weights.T + bias
    logits -= logits.max(axis=1, keepdims=True)
    normaliser = np.log(np.exp(logits).sum(axis=1))
    return float((normaliser - logits[np.arange(len(y)), y]).mean() + STRENGTH / 2 * np.square(weights).sum())


def _by_torch(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import torch

    torch.set_num_threads(1)
    features, classes = torch.from_numpy(z), torch.from_numpy(y)
    weights = torch.zeros((int(y.max()) + 1, z.shape[1]), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(len(weights), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weights, bias], max_iter=_probe_fit.MAX_ITERATIONS, tolerance_grad=_probe_fit.GRADIENT_TOLERANCE,
        tolerance_change=0, history_size=10, line_search_fn="strong_wolfe",
    )  # fmt: skip

    def loss() -> Any:
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(features @ weights.T + bias, classes)
        value = value + STRENGTH / 2 * weights.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return weights.detach().numpy(), bias.detach().numpy()


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--shapes", nargs="+", default=SHAPES, help="train samples x width x classes")
    parser.add_argument("--solvers", action="store_true", help="also other solvers, at the last shape")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    asked = parser.parse_args()
    compare("200x20x4", 1)  # imports
    print(f"a probe on one thread, best of {asked.repeats}, s")
    print(f"{'shape':16} {'plain':>9} {'zooalign':>9} {'ratio':>6}")
    report: dict[str, Any] = {shape: compare(shape, asked.repeats) for shape in asked.shapes}
    if asked.solvers:
        report["solvers"] = solvers(asked.shapes[-1])
    if asked.json:
        asked.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
