"""Is an alignment score real: permutation null and many comparisons. How exact it is: `intervals`.

Everything works on indexes: permuting samples relabels neighbour lists and reorders kernels, so no
neighbour search is repeated. Seeds are settings; the same seed gives the same bits on any machine, thread
count and batch.
"""

# scipy has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zooalign import metrics
from zooalign.alignment.groups import Groups
from zooalign.errors import MetricError
from zooalign.indexes.index import Index, index_sha256
from zooalign.indexes.permuted import Relabelled
from zooalign.provenance import digest
from zooalign.storage.journal import resumable_values

VERSION = 2

# Relative difference below which two scores are equal but for the rounding of float32 kernels.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Null:
    """Observed best score of a pair of models against its permutation null.

    Attributes
    ----------
    metric : str
        Label of the score, "mutual_knn@10".
    observed : float
        Maximum over layer pairs.
    layer_x, layer_y : int
        Where it is.
    null : ndarray of float64, shape (permutations,)
        Maximum over layer pairs under each permutation.
    threshold : float
        Order statistic ceil((1 - alpha) (permutations + 1)) of the observed and permuted maxima together.
    p_value : float
        (1 + number of permuted maxima >= observed) / (permutations + 1).
    calibrated : float
        (observed - threshold) / (highest possible - threshold), clipped to [0, 1]; 0 under the null at
        level alpha.
    alpha : float
        Level of the threshold.
    seed : int or None
        None where the permutations were given.
    groups : int or None
        Number of groups that were permuted as wholes; None where single samples were.
    fixed_samples : int
        Samples of groups whose size no other has, which every permutation leaves paired.
    """

    metric: str
    observed: float
    layer_x: int
    layer_y: int
    null: np.ndarray
    threshold: float
    p_value: float
    calibrated: float
    alpha: float
    seed: int | None
    groups: int | None = None
    fixed_samples: int = 0

    def settings(self) -> dict[str, Any]:
        """Everything but the single permuted maxima, JSON-able."""
        return {
            "observed": self.observed,
            "layers": [self.layer_x, self.layer_y],
            "permutations": len(self.null),
            "null_mean": float(self.null.mean()),
            "threshold": self.threshold,
            "p_value": self.p_value,
            "calibrated": self.calibrated,
            "alpha": self.alpha,
            "seed": self.seed,
            "groups": self.groups,
            "fixed_samples": self.fixed_samples,
        }


def permutation_null(
    x: Index,
    y: Index,
    metric: str,
    k: int | None = None,
    *,
    permutations: int = 200,
    alpha: float = 0.05,
    seed: int = 0,
    orders: np.ndarray | None = None,
    groups: Groups | None = None,
    keep: Path | None = None,
) -> Null:
    """Compare the best score over layer pairs with the best scores when samples are unpaired.

    Parameters
    ----------
    x, y : Index
        Two models on the same n samples.
    metric : str
        Name of a metric.
    k : int, optional
        Neighbours, for metrics that take them.
    permutations : int
        How many; p-values are multiples of 1 / (permutations + 1).
    alpha : float
        Level of the threshold, in (0, 1).
    seed : int
        Of the permutations.
    orders : ndarray of int, shape (permutations, n), optional
        Permutations to use instead: under orders[b], sample i of x meets sample orders[b, i] of y.
    groups : Groups, optional
        Samples that belong together: whole groups are permuted among those of equal size, their members in
        order (see :meth:`zooalign.alignment.groups.Groups.order`); a group whose size no other has stays where it is.
    keep : Path, optional
        File in which finished permutations are kept: an interrupted call with the same arguments goes on from there.

    Returns
    -------
    Null
        See there.

    Raises
    ------
    MetricError
        As the metric; and for no permutations, alpha outside (0, 1), orders that are no permutations or stand
        beside groups, or groups that can be permuted in fewer than 1 / alpha ways.

    Notes
    -----
    One permutation is applied to all layers of y and the maximum over layer pairs is taken under each, so
    the search for the best pair, the widths and the depths are all in the null. The test asks whether
    samples correspond at all: small p-values are easy to get, and a p-value does not measure alignment.
    Single samples are exchangeable only if they are independent draws; near-duplicates are not, and without
    `groups` unrelated models of them are rejected nearly always.
    Cost per permutation at n = 1,024 and 325 layer pairs: about 1 ms for neighbour metrics, 30 ms for CKA.

    References
    ----------
    Groeger, Wen, Brbic 2026, arXiv 2602.14486, algorithm 2.
    """
    module = metrics.get(metric)
    if not module.TAKES_K:
        k = None
    if not 0.0 < alpha < 1.0:
        raise MetricError(f"alpha is {alpha}: the level of a test lies between 0 and 1.")
    observed, layer_x, layer_y = metrics.best(module.matrix(x, y, k))
    given = orders is not None
    if groups is not None:
        if given:
            raise MetricError("give orders or groups, not both: groups are what permutations are drawn by.")
        if len(groups.codes) != x.n:
            raise MetricError(f"groups of {len(groups.codes)} samples for models of {x.n}.")
        groups.check_permutable(alpha)
    if orders is None:
        if permutations < 1:
            raise MetricError(f"{permutations} permutations: a null needs at least 1 (200 resolve p = .005).")
        generator = np.random.default_rng(seed)
        draw = (lambda: generator.permutation(x.n)) if groups is None else (lambda: groups.order(generator))
        drawn: Any = (draw() for _ in range(permutations))
    else:
        drawn = _checked_orders(orders, x.n)

    def maximum(order: np.ndarray) -> float:
        return metrics.best(module.matrix(x, Relabelled(y, order), k))[0]

    if keep is None:
        null = np.array([maximum(order) for order in drawn])
    else:
        content = [index_sha256(side, _read(side, metric, k)) for side in (x, y)]
        which = np.asarray(drawn).tolist() if given else [seed, None if groups is None else groups.codes.tolist()]
        null = np.array(
            resumable_values(maximum, drawn, keep, digest("null", VERSION, metric, module.VERSION, k, content, which))
        )
    threshold, p_value = calibrate(observed, null, alpha)
    top = highest(metric, k)
    calibrated = float(np.clip((observed - threshold) / max(top - threshold, 1e-12), 0.0, 1.0))
    return Null(
        metrics.label(metric, k), observed, layer_x, layer_y, null, threshold, p_value, calibrated, alpha,
        None if given else seed, None if groups is None else groups.count,
        0 if groups is None else groups.fixed_samples(),
    )  # fmt: skip


def calibrate(observed: float, null: np.ndarray, alpha: float = 0.05) -> tuple[float, float]:
    """Threshold and p-value of an observed statistic against permuted ones.

    Parameters
    ----------
    observed : float
        The statistic.
    null : ndarray, shape (K,)
        Its values under K permutations.
    alpha : float
        Level.

    Returns
    -------
    threshold : float
        Order statistic ceil((1 - alpha)(K + 1)) of {observed} and null together.
    p_value : float
        (1 + #{null >= observed}) / (K + 1), never 0; a permuted score that is equal but for rounding counts, so that
        a score that no permutation changes has p = 1.

    Examples
    --------
    >>> calibrate(0.5, np.array([0.1, 0.2, 0.3]), alpha=0.25)
    (0.3, 0.25)
    """
    together = np.sort(np.append(null, observed))
    place = min(max(math.ceil((1.0 - alpha) * len(together) - 1e-9) - 1, 0), len(null))
    return float(together[place]), float((1 + (null >= observed - _ROUNDING * abs(observed)).sum()) / len(together))


def highest(metric: str, k: int | None) -> float:
    """Highest attainable value of a metric: the upper end of its RANGE, or 1 where it has none."""
    declared = metrics.get(metric).RANGE
    top = 1.0 if declared is None else declared[1]
    return float(k) if top == "k" and k is not None else float(top)


def benjamini_hochberg(p_values: np.ndarray) -> np.ndarray:
    """Adjusted p-values that control the false discovery rate over a whole matrix.

    Parameters
    ----------
    p_values : ndarray of float, any shape
        In [0, 1]; NaN where there was no test.

    Returns
    -------
    ndarray of float64, same shape
        Reject where at most q: among the rejected, a share of at most q is expected to be false. NaN stays.

    Raises
    ------
    MetricError
        For a value outside [0, 1].

    Notes
    -----
    Valid for independent and for positively dependent tests, such as pairs that share a model.

    References
    ----------
    Benjamini and Hochberg 1995; Benjamini and Yekutieli 2001 for dependence.

    Examples
    --------
    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.5]))
    array([0.04      , 0.05333333, 0.05333333, 0.5       ])
    """
    from scipy.stats import false_discovery_control

    p_values = np.asarray(p_values, np.float64)
    tested = ~np.isnan(p_values)
    if ((p_values[tested] < 0) | (p_values[tested] > 1)).any():
        raise MetricError("a p-value lies outside [0, 1].")
    adjusted = np.full(p_values.shape, np.nan)
    if tested.any():
        adjusted[tested] = false_discovery_control(p_values[tested])
    return adjusted


def _read(index: Index, metric: str, k: int | None) -> set[str]:
    """Arrays that a score depends on."""
    return metrics.reads(metric, k, index.k_max if k is not None else 0) & index.holds


def _checked_orders(orders: np.ndarray, n: int) -> np.ndarray:
    orders = np.asarray(orders)
    if orders.ndim != 2 or orders.shape[1] != n or not len(orders) or orders.dtype.kind not in "iu":
        raise MetricError(f"orders have shape {orders.shape}: expected whole numbers (permutations, n = {n}).")
    if not (np.sort(orders, axis=1) == np.arange(n)).all():
        raise MetricError(f"a row of orders is no permutation of 0 ... {n - 1}.")
    return orders
