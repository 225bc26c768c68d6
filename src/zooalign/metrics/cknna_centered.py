"""CKNNA as the paper writes it: centred kernels first, then summed over common neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zooalign.metrics import _hsic, _lists, check_k, check_layers, check_pair

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
        1 <= k < n, at most the k_max of both.

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
    Sparse: n k operations per layer pair, in float64.

    References
    ----------
    Huh et al. 2024, arXiv 2405.07987, equations 12 and 16-18; the published code masks first, see `cknna`.
    """
    check_pair(x, y)
    k = check_k("cknna_centered", x, y, k)
    from zooalign.kernels import edges

    cross = np.zeros((x.n_layers, y.n_layers))
    edges.masked_products(*_graph(x, k), *_graph(y, k), cross)
    return _lists.defined(x, y, _hsic.ratio(cross, _own(x, k), _own(y, k)))


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
    check_pair(x, y)
    k = check_k("cknna_centered", x, y, k)
    check_layers(x, y, layer_x, layer_y)
    from zooalign.kernels import edges

    sums = np.empty(x.n)
    sides = [
        (_lists.layer_lists(s, layer, k), np.ascontiguousarray(s.array("centred_similarities")[layer, :, :k]))
        for s, layer in ((x, layer_x), (y, layer_y))
    ]
    edges.masked_product_terms(*sides[0], *sides[1], sums)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = x.n * sums / np.sqrt(_own(x, k)[layer_x] * _own(y, k)[layer_y])
    return _lists.defined_terms(x, y, layer_x, layer_y, shares)


def _graph(x: Index, k: int) -> tuple[np.ndarray, np.ndarray]:
    return x.lists(k), _lists.edge_weights(x, "centred_similarities", k)


def _own(x: Index, k: int) -> np.ndarray:
    """Align(K, K) of every layer, (L,), by the same kernel: identity is exactly 1."""

    def compute() -> np.ndarray:
        from zooalign.kernels import edges

        graph = _graph(x, k)
        own = np.zeros((x.n_layers, 1, 1))
        for layer in range(x.n_layers):
            ids, weights = (np.ascontiguousarray(part[:, layer : layer + 1]) for part in graph)
            edges.masked_products(ids, weights, ids, weights, own[layer])
        return own[:, 0, 0]

    return x.derived(("centred edges", k), compute)
