"""CKNNA without the published 1e-6: unbiased HSIC of kernels masked to common neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zooalign.errors import MetricError
from zooalign.metrics import _hsic, _lists, _sets

if TYPE_CHECKING:
    from zooalign.indexes.index import Index

# Share of the squared similarities below which a masked HSIC is rounding.
_NOTHING_LEFT = 2.0**-42

VERSION = 2
NEEDS = frozenset({"neighbors", "similarities"})
TAKES_K = True
SYMMETRIC = False
RANGE = None
IDENTITY = 1.0
HAS_TERMS = False
QUANTITY = "kernel alignment over common {k} nearest neighbours"

beyond_lists = _sets.beyond_lists


def chance(n: int, k: int) -> float | None:
    """None: it depends on the mean similarity of neighbours; take the permutation null.

    Parameters
    ----------
    n, k : int
        Not used.

    Returns
    -------
    None
        See above.
    """
    return None


def matrix(x: Index, y: Index, k: int) -> np.ndarray:
    """Ratio of unbiased HSICs of (mask K, mask L), mask = neighbours in both, for every layer pair.

    Parameters
    ----------
    x, y : Index
        Two models on the same n > 3 samples.
    k : int
        2 <= k < n; beyond the k_max of an index it must hold what `beyond_lists` says.

    Returns
    -------
    ndarray of float64, shape (Lx, Ly)
        1 at identity; equals unbiased_cka at k = n - 1; can exceed 1 at large k where all similarities are
        high; slightly asymmetric, since the masks are. NaN where a layer's own HSIC is not positive or a layer is the
        same for every sample.

    Raises
    ------
    MetricError
        If samples differ, there are fewer than 4, or k is out of range.

    Notes
    -----
    The denominators use each model's own mask. `cknna` has the published 1e-6 in them, which costs up to
    1e-4 of the value. Sparse: n k operations per layer pair, in float64. Beyond the lists similarities come from
    the float32 kernel instead: the same to about 1e-6.

    References
    ----------
    Huh et al. 2024, arXiv 2405.07987, public code, without its constant.
    """
    return _lists.defined(x, y, _hsic.ratio(*parts("cknna_exact", x, y, k)))


def parts(metric: str, x: Index, y: Index, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masked HSIC of every layer pair (Lx, Ly) and of both sides with themselves (Lx,), (Ly,).

    Parameters
    ----------
    metric : str
        For messages.
    x, y, k
        As in :func:`matrix`.

    Returns
    -------
    tuple of ndarray of float64
        See above.
    """
    source = _sets.source(metric, x, y, k, least=2)
    if x.n < 4:
        raise MetricError(f"{metric} needs at least 4 samples; {x.name} has {x.n}. Use more samples.")
    if source is _sets.Source.ALL:
        return _hsic.unbiased(x, y, "gram")
    if source is _sets.Source.SETS:
        return _sets.masked_hsic(x, y, k), _own_of_sets(x, k), _own_of_sets(y, k)
    from zooalign.kernels import edges

    cross = np.empty((x.n_layers, y.n_layers))
    edges.masked_hsic(*_graph(x, k), *_graph(y, k), cross)
    return cross, _own(x, k), _own(y, k)


def _graph(x: Index, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    weights = _lists.edge_weights(x, "similarities", k)
    return x.lists(k), weights, _lists.two_way_weights(x, "similarities", k)


def _own(x: Index, k: int) -> np.ndarray:
    """Every layer with itself, (L,), by the same kernel: identity is exactly 1."""

    def compute() -> np.ndarray:
        from zooalign.kernels import edges

        graph = _graph(x, k)
        own = np.empty((x.n_layers, 1, 1))
        for layer in range(x.n_layers):
            lists, weights, two_way = (np.ascontiguousarray(a[:, layer : layer + 1]) for a in graph)
            edges.masked_hsic(lists, weights, two_way, lists, weights, two_way, own[layer])
        # What rounding of float32 similarities leaves of a sum that cancels is 0: all pairs alike under a full mask.
        largest = np.square(graph[1], dtype=np.float64).sum(axis=(0, 2)) / (x.n * (x.n - 3))
        return np.where(own[:, 0, 0] > _NOTHING_LEFT * largest, own[:, 0, 0], 0.0)

    return x.derived(("masked hsic", k), compute)


def _own_of_sets(x: Index, k: int) -> np.ndarray:
    def compute() -> np.ndarray:
        own, largest = _sets.own_hsic(x, k)
        return np.where(own > _NOTHING_LEFT * largest, own, 0.0)

    return x.derived(("masked hsic", k, "of sets"), compute)
