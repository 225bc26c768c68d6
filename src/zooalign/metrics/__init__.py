"""Metrics: how alike two models are, all layers at once, from their indexes; one file each, found by name.

They may import indexes and kernels, and nothing of each other but files that start with an underscore.
Each gives matrix(x, y, k), terms(x, y, layer_x, layer_y, k), chance(n, k) and the declarations below.

VERSION : int
    Raised when its values change; part of every pair's digest.
NEEDS : frozenset of str
    What the index must hold.
TAKES_K : bool
    Whether it has a number of neighbours.
SYMMETRIC : bool
    Whether matrix(x, y) is matrix(y, x) transposed.
RANGE : tuple of float or None
    Lowest and highest value; None where there is no bound; "k" where the bound is k.
IDENTITY : float, "k" or None
    Value of a model against itself; None where it is not fixed.
HAS_TERMS : bool
    Whether terms() gives a value per sample whose mean is the score.
QUANTITY : str
    What its numbers are, for the axis of a figure; {k} stands for the number of neighbours.
beyond_lists : function, optional
    Of k: what the index must hold, beside NEEDS, for k neighbours if its lists are shorter. A metric without it
    needs lists of k.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from zooalign.errors import MetricError
from zooalign.registry import plugin, plugin_names

if TYPE_CHECKING:
    from zooalign.indexes.index import Index

# Above this share of samples with tied neighbours at the best layers, a score says less than it seems to.
MANY_TIES = 0.05


def names() -> list[str]:
    """Names of all metrics, sorted.

    Returns
    -------
    list of str
        File names without ".py".

    Examples
    --------
    >>> "mutual_knn" in names()
    True
    """
    return plugin_names("metrics")


def get(name: str) -> ModuleType:
    """Module of a metric by name.

    Parameters
    ----------
    name : str
        As in :func:`names`.

    Returns
    -------
    module
        See the head of this package.

    Raises
    ------
    MetricError
        If there is no such metric; the message gives the nearest names.
    """
    return plugin("metrics", name, "metric", MetricError)


def needs(metrics: list[str]) -> set[str]:
    """Union of what the named metrics need of an index whose lists are long enough."""
    return set[str]().union(*(get(m).NEEDS for m in metrics))


def lists_and_needs(asked: Iterable[tuple[str, int | None]], least: int) -> tuple[int, set[str]]:
    """Length of the neighbour lists, and what else an index must hold, for metrics with their k.

    Parameters
    ----------
    asked : iterable of (str, int or None)
        Names and numbers of neighbours.
    least : int
        Shortest lists.

    Returns
    -------
    k_max : int
        Largest k of the metrics that need lists of it, at least `least`.
    needs : set of str
        See :data:`zooalign.indexes.index.NEEDS`.

    Examples
    --------
    >>> k_max, needs = lists_and_needs([("mutual_knn", 20), ("cknna", 10), ("cknna", 512)], least=48)
    >>> k_max, sorted(needs)
    (48, ['gram', 'kernel_offsets', 'neighbors', 'sets@512', 'similarities'])
    """
    pairs = list(asked)
    k_max = max([least, *(k for name, k in pairs if k is not None and not hasattr(get(name), "beyond_lists"))])
    return k_max, set[str]().union(*(reads(name, k, k_max) for name, k in pairs))


def reads(name: str, k: int | None, k_max: int) -> set[str]:
    """What a metric with its k needs of an index with lists of k_max."""
    module = get(name)
    if k is None or k <= k_max or not hasattr(module, "beyond_lists"):
        return set(module.NEEDS)
    return set(module.NEEDS | module.beyond_lists(k))


def counts_neighbours(name: str) -> bool:
    """Whether a score is a mean over samples of what their neighbour lists have in common, and nothing else."""
    return frozenset({"neighbors"}) == get(name).NEEDS


def label(name: str, k: int | None) -> str:
    """Name of a score: "mutual_knn@10" for a metric with k, "cka" for one without."""
    return f"{name}@{k}" if get(name).TAKES_K else name


def quantity(name: str, k: int | None) -> str:
    """What the numbers of a metric are, for an axis.

    Examples
    --------
    >>> quantity("mutual_knn", 10)
    'shared fraction of the 10 nearest neighbours'
    """
    return get(name).QUANTITY.format(k=k)


def check_pair(x: Index, y: Index) -> None:
    """Raise MetricError unless two indexes describe the same samples in the same order.

    Parameters
    ----------
    x, y : Index
        Two models on one dataset.

    Raises
    ------
    MetricError
        If the numbers of samples, or any id, differ: both names and the first difference are given.
    """
    if x.n != y.n:
        raise MetricError(
            f"{x.name} has {x.n} samples and {y.name} has {y.n}: alignment compares the same samples under two "
            "models. Extract both on the same dataset."
        )
    if x.sample_ids is not y.sample_ids and x.sample_ids != y.sample_ids:
        i = next(i for i, (a, b) in enumerate(zip(x.sample_ids, y.sample_ids, strict=True)) if a != b)
        raise MetricError(
            f"{x.name} and {y.name} differ in their samples: sample {i} is {x.sample_ids[i]!r} in the first and "
            f"{y.sample_ids[i]!r} in the second. Extract both on the same dataset, in the same order."
        )


def check_k(metric: str, x: Index, y: Index, k: Any, least: int = 1, from_lists: bool = True) -> int:
    """Return k as an int after checking it against both indexes.

    Parameters
    ----------
    metric : str
        For the message.
    x, y : Index
        Two models on the same samples.
    k : int
        Number of neighbours asked for.
    least : int
        Smallest k that the metric allows.
    from_lists : bool
        Whether the stored lists must be that long.

    Raises
    ------
    MetricError
        If k is no whole number, below `least`, not below n, or longer than the stored lists.
    """
    if not _is_whole(k):
        raise MetricError(f"{metric} needs a whole number of neighbours k, not {k!r}.")
    if not least <= k < x.n:
        raise MetricError(
            f"{metric}: k = {k} with n = {x.n} samples; k must be at least {least} and below n. Use fewer neighbours "
            "or more samples."
        )
    for index in (x, y):
        if from_lists and k > index.k_max:
            raise MetricError(
                f"{metric}: k = {k} but the index of {index.name} keeps {index.k_max} neighbours: build it again "
                f"with k_max of at least {k}."
            )
    return int(k)


def _is_whole(k: Any) -> bool:
    return isinstance(k, (int, np.integer)) and not isinstance(k, bool)


def check_layers(x: Index, y: Index, layer_x: int, layer_y: int) -> None:
    """Raise MetricError unless both layer positions exist (negative ones count from the end)."""
    for index, layer in ((x, layer_x), (y, layer_y)):
        if not -index.n_layers <= layer < index.n_layers:
            raise MetricError(f"{index.name} has {index.n_layers} layers: there is no layer {layer}.")


def tied_shares(name: str, x: Index, y: Index, layer_x: int, layer_y: int, k: int | None) -> list[float | None]:
    """Share of samples, on either side of one layer pair, whose k neighbours depend on the order of ties.

    Parameters
    ----------
    name : str
        Of a metric.
    x, y : Index
        Two models.
    layer_x, layer_y : int
        Layer positions.
    k : int or None
        Neighbours.

    Returns
    -------
    list of float or None
        For x and for y, in [0, 1], see :meth:`zooalign.indexes.index.Index.tied_share`; None for a metric without k.
    """
    if not get(name).TAKES_K or k is None:
        return [None, None]
    return [float(side.tied_share(k)[layer]) for side, layer in ((x, layer_x), (y, layer_y))]


def best(matrix: np.ndarray) -> tuple[float, int, int]:
    """Highest score over all layer pairs and where it is.

    Parameters
    ----------
    matrix : ndarray, shape (Lx, Ly)
        Scores; NaN where a metric is undefined (a layer that is the same for every sample).

    Returns
    -------
    score : float
        Maximum of the defined scores, negative if all are.
    layer_x, layer_y : int
        First layer pair, row by row, that attains it.

    Raises
    ------
    MetricError
        If no score is defined.

    Examples
    --------
    >>> best(np.array([[-0.3, float("nan")], [-0.1, -0.2]]))
    (-0.1, 1, 0)
    """
    if np.isnan(matrix).all():
        raise MetricError("no layer pair has a defined score: every layer of a model is the same for all samples.")
    row, column = np.unravel_index(int(np.nanargmax(matrix)), matrix.shape)
    return float(matrix[row, column]), int(row), int(column)
