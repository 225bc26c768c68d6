"""CKNNA beyond the stored lists: sets of neighbours as bits with the stored kernel, or all pairs. Not a metric.

A list gives its set and the kernel at it. Where an index has none of that length, it may hold the set alone
("sets@k") and takes the kernel from "gram"; at k = n - 1 there is nothing to choose, and the sums are those of CKA.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

import numpy as np

from zooalign.errors import MetricError
from zooalign.metrics import check_k, check_pair

if TYPE_CHECKING:
    from zooalign.indexes.index import Index

# Layers of x at a time: kernels keep 16 bytes per sample and layer pair.
_LAYERS = 16
_ALL = slice(None)


class Source(Enum):
    """What a pair of indexes gives the k nearest neighbours from."""

    LISTS = auto()
    SETS = auto()
    ALL = auto()


def source(metric: str, x: Index, y: Index, k: int, least: int = 1) -> Source:
    """Where neighbours come from, after checking samples and k.

    Parameters
    ----------
    metric : str
        For messages.
    x, y : Index
        Two models.
    k : int
        Neighbours; `least` the smallest that the metric allows.

    Raises
    ------
    MetricError
        If the samples differ, k is out of range, or an index has neither lists nor sets of k.
    """
    from zooalign.indexes.index import set_name

    check_pair(x, y)
    k = check_k(metric, x, y, k, least, from_lists=False)
    if k <= min(x.k_max, y.k_max):
        return Source.LISTS
    if k == x.n - 1:
        return Source.ALL
    for index in (x, y):
        if k > index.k_max and set_name(k) not in index.holds:
            raise MetricError(
                f"{metric}: k = {k} but the index of {index.name} keeps {index.k_max} neighbours: build it again "
                f"with k_max of at least {k}, or with needs including {', '.join(sorted(beyond_lists(k)))}."
            )
    return Source.SETS


def beyond_lists(k: int) -> frozenset[str]:
    """What an index must hold for k neighbours if its lists are shorter, for kernels as they are."""
    return centred_beyond_lists(k) | {"kernel_offsets"}


def centred_beyond_lists(k: int) -> frozenset[str]:
    """The same for centred kernels."""
    from zooalign.indexes.index import set_name

    return frozenset({"gram", set_name(k)})


def masked_hsic(x: Index, y: Index, k: int) -> np.ndarray:
    """Unbiased HSIC of kernels masked to common neighbours, of every layer pair, (Lx, Ly) float64."""
    from zooalign.kernels import sets

    values = np.empty((x.n_layers, y.n_layers))
    for start in range(0, x.n_layers, _LAYERS):
        some = slice(start, start + _LAYERS)
        sets.masked_hsic(*_uncentred(x, k, some), *_uncentred(y, k), values[some])
    return values


def own_hsic(x: Index, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The same of every layer with itself by the same sums, and the mean square of the kernel, (L,) each."""
    from zooalign.kernels import sets

    own, largest = np.empty((x.n_layers, 1, 1)), np.empty(x.n_layers)
    for layer in range(x.n_layers):
        bits, gram, offsets = _uncentred(x, k, slice(layer, layer + 1))
        sets.masked_hsic(bits, gram, offsets, bits, gram, offsets, own[layer])
        # The kernel of a sample with itself is not in the sum, but bounds the others.
        largest[layer] = np.square(gram[0, : x.n] + 2.0 * offsets[0]).sum() * k / (x.n * (x.n - 3))
    return own[:, 0, 0], largest


def masked_products(x: Index, y: Index, k: int) -> np.ndarray:
    """Sums of products of centred kernels over common neighbours, of every layer pair, (Lx, Ly) float64."""
    from zooalign.kernels import sets

    values = np.zeros((x.n_layers, y.n_layers))
    sets.masked_products(*_centred(x, k), *_centred(y, k), values, np.empty(x.n))
    return values


def own_products(x: Index, k: int) -> np.ndarray:
    """The same of every layer with itself by the same sums, (L,)."""
    from zooalign.kernels import sets

    own = np.zeros((x.n_layers, 1, 1))
    for layer in range(x.n_layers):
        one = _centred(x, k, slice(layer, layer + 1))
        sets.masked_products(*one, *one, own[layer], np.empty(x.n))
    return own[:, 0, 0]


def product_terms(x: Index, y: Index, layer_x: int, layer_y: int, k: int) -> np.ndarray:
    """The same per sample at one layer pair, (n,)."""
    from zooalign.kernels import sets

    terms = np.empty(x.n)
    i, j = layer_x % x.n_layers, layer_y % y.n_layers
    one_x, one_y = _centred(x, k, slice(i, i + 1)), _centred(y, k, slice(j, j + 1))
    sets.masked_products(*one_x, *one_y, np.zeros((1, 1)), terms)
    return terms


def _centred(x: Index, k: int, layers: slice = _ALL) -> tuple[np.ndarray, np.ndarray]:
    return x.sets(k)[layers], x.array("gram")[layers]


def _uncentred(x: Index, k: int, layers: slice = _ALL) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return *_centred(x, k, layers), x.array("kernel_offsets")[layers]
