"""CKNNA as the paper writes it: centred kernels first, then summed over common neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zooalign.metrics import _hsic, _lists, _sets, check_layers

if TYPE_CHECKING:
    from zooalign.indexes.index import Index

VERSION = 2
NEEDS = frozenset({"neighbors", "centred_similarities"})
TAKES_K = True
SYMMETRIC = True
RANGE = None
IDENTITY = 1.0
HAS_TERMS = True
QUANTITY = "centred kernel alignment over common {k} nearest neighbours"

beyond_lists = _sets.centred_beyond_lists


def chance(n: int, k: int) -> float | None:
    """None: it depends on how far neighbours stand out; take the permutation null.

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
    """Align(K, L) / sqrt(Align(K, K) Align(L, L)) for every layer pair.

    Align(K, L) is the sum of K_ij L_ij over j that are neighbours of i in both, with both kernels centred.

    Parameters
    ----------
    x, y : Index
        Two models on the same n samples.
    k : int
        1 <= k < n; beyond the k_max of an index it must hold what `beyond_lists` says.

    Returns
    -------
    ndarray of float64, shape (Lx, Ly)
        In [-1, 1]; 1 at identity; at k = n - 1 it is CKA with the diagonal left out. NaN where a layer is
        the same for every sample.

    Raises
    ------
    MetricError
        If samples differ or k is out of range.

    Notes
    -----
    Sparse: n k operations per layer pair, in float64. Beyond the lists the centred kernel is that of CKA, in float32:
    the same to about 1e-6.

    References
    ----------
    Huh et al. 2024, arXiv 2405.07987, equations 12 and 16-18; the published code masks first, see `cknna`.
    """
    return _lists.defined(x, y, _hsic.ratio(*_parts(x, y, k, _sets.source("cknna_centered", x, y, k))))


def _parts(x: Index, y: Index, k: int, source: _sets.Source) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Align of every layer pair (Lx, Ly) and of both sides with themselves (Lx,), (Ly,)."""
    if source is _sets.Source.ALL:
        return _hsic.products(x, y, "gram")[1], *_own(x, y, k, source)
    if source is _sets.Source.SETS:
        return _sets.masked_products(x, y, k), *_own(x, y, k, source)
    from zooalign.kernels import edges

    cross = np.zeros((x.n_layers, y.n_layers))
    edges.masked_products(*_graph(x, k), *_graph(y, k), cross)
    return cross, *_own(x, y, k, source)


def terms(x: Index, y: Index, layer_x: int, layer_y: int, k: int) -> np.ndarray:
    """Share of every sample in the score at one layer pair.

    Parameters
    ----------
    x, y : Index
        As in :func:`matrix`.
    layer_x, layer_y : int
        Layer positions; -1 the last.
    k : int
        As in :func:`matrix`.

    Returns
    -------
    ndarray of float32, shape (n,)
        Mean equal to the score.
    """
    source = _sets.source("cknna_centered", x, y, k)
    check_layers(x, y, layer_x, layer_y)
    own_x, own_y = _own(x, y, k, source)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = x.n * _sums(x, y, layer_x, layer_y, k, source) / np.sqrt(own_x[layer_x] * own_y[layer_y])
    return _lists.defined_terms(x, y, layer_x, layer_y, shares)


def _sums(x: Index, y: Index, layer_x: int, layer_y: int, k: int, source: _sets.Source) -> np.ndarray:
    """What every sample adds to Align at one layer pair, (n,)."""
    if source is _sets.Source.ALL:
        return _hsic.row_products(x, y, layer_x, layer_y, "gram")
    if source is _sets.Source.SETS:
        return _sets.product_terms(x, y, layer_x, layer_y, k)
    from zooalign.kernels import edges

    sums = np.empty(x.n)
    sides = [
        (_lists.layer_lists(s, layer, k), np.ascontiguousarray(s.array("centred_similarities")[layer, :, :k]))
        for s, layer in ((x, layer_x), (y, layer_y))
    ]
    edges.masked_product_terms(*sides[0], *sides[1], sums)
    return sums


def _graph(x: Index, k: int) -> tuple[np.ndarray, np.ndarray]:
    return x.lists(k), _lists.edge_weights(x, "centred_similarities", k)


def _own(x: Index, y: Index, k: int, source: _sets.Source) -> tuple[np.ndarray, np.ndarray]:
    """Align(K, K) of every layer of x, (Lx,), and of y, (Ly,), by the same sums: identity is exactly 1."""

    def own(side: Index) -> np.ndarray:
        if source is _sets.Source.ALL:
            return _hsic.norms(side, "gram")[1]
        if source is _sets.Source.SETS:
            return side.derived(("centred edges", k, "of sets"), lambda: _sets.own_products(side, k))
        return _own_of_lists(side, k)

    return own(x), own(y)


def _own_of_lists(x: Index, k: int) -> np.ndarray:

    def compute() -> np.ndarray:
        from zooalign.kernels import edges

        graph = _graph(x, k)
        own = np.zeros((x.n_layers, 1, 1))
        for layer in range(x.n_layers):
            ids, weights = (np.ascontiguousarray(part[:, layer : layer + 1]) for part in graph)
            edges.masked_products(ids, weights, ids, weights, own[layer])
        return own[:, 0, 0]

    return x.derived(("centred edges", k), compute)
