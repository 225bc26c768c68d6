"""Sums over neighbour lists that several metrics share. Not a metric; inputs already checked."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from zooalign.indexes.index import Index


def defined(x: Index, y: Index, values: np.ndarray) -> np.ndarray:
    """Scores of all layer pairs (Lx, Ly), NaN where a layer is the same for every sample: it has no neighbours."""
    values[x.constant, :] = np.nan
    values[:, y.constant] = np.nan
    return values


def defined_terms(x: Index, y: Index, layer_x: int, layer_y: int, values: np.ndarray) -> np.ndarray:
    """Values per sample at one layer pair as float32, all NaN where one of the layers has no neighbours."""
    if x.constant[layer_x] or y.constant[layer_y]:
        return np.full(x.n, np.nan, np.float32)
    return values.astype(np.float32)


def sequences(x: Index, y: Index, k: int) -> tuple[np.ndarray, np.ndarray]:
    """LCS lengths and Levenshtein distances summed over samples, (Lx, Ly) int64 each.

    One pass gives both, so the last partner's are kept with x.
    """
    kept = x.derived("sequences", dict)
    if kept.get("key") != k or kept.get("partner", _nobody)() is not y:
        kept.update(key=k, partner=weakref.ref(y), values=_sequences(x, y, k))
    return kept["values"]


def sequence_terms(x: Index, y: Index, layer_x: int, layer_y: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The same per sample at one layer pair, (n,) int64 each."""
    from zooalign.kernels import lists as kernels

    common, edits = np.empty(x.n, np.int64), np.empty(x.n, np.int64)
    kernels.sequence_terms(layer_lists(x, layer_x, k), layer_lists(y, layer_y, k), common, edits)
    return common, edits


def overlap_terms(x: Index, y: Index, layer_x: int, layer_y: int, k: int) -> np.ndarray:
    """Common neighbours per sample at one layer pair, (n,) int64."""
    from zooalign.kernels import lists as kernels

    counts = np.empty(x.n, np.int64)
    kernels.overlap_terms(layer_lists(x, layer_x, k), layer_lists(y, layer_y, k), counts)
    return counts


def in_stored_order(y: Index) -> tuple[Index, np.ndarray]:
    """The index that `y` relabels, and which of its samples each is: lists are compared without a relabelled copy."""
    from zooalign.indexes.permuted import Relabelled

    return (y.base, y.order) if isinstance(y, Relabelled) else (y, np.arange(y.n))


def layer_lists(x: Index, layer: int, k: int) -> np.ndarray:
    """Lists of one layer cut to k, (n, k), contiguous."""
    return np.ascontiguousarray(x.neighbors[layer, :, :k])


def reversed_lists(x: Index, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Who names whom, per layer: starts (L, n + 1) and sources (L, n k)."""

    def compute() -> tuple[np.ndarray, np.ndarray]:
        from zooalign.kernels import lists as kernels

        starts = np.empty((x.n_layers, x.n + 1), np.int64)
        sources = np.empty((x.n_layers, x.n * k), x.neighbors.dtype)
        kernels.reverse_lists(x.lists(k), starts, sources)
        return starts, sources

    return x.derived(("reversed", k), compute)


def edge_weights(x: Index, array: str, k: int) -> np.ndarray:
    """Kernel values on the edges to the k nearest, by sample, (n, L, k) float32."""
    return x.derived((array, k), lambda: np.ascontiguousarray(x.array(array)[:, :, :k].transpose(1, 0, 2)))


def two_way_weights(x: Index, array: str, k: int) -> np.ndarray:
    """The same with 0 on edges that are not there in the other direction too, (n, L, k) float32."""

    def compute() -> np.ndarray:
        from zooalign.kernels import edges

        weights = np.empty((x.n, x.n_layers, k), np.float32)
        edges.two_way_weights(x.lists(k), edge_weights(x, array, k), weights)
        return weights

    return x.derived(("two way", array, k), compute)


def _sequences(x: Index, y: Index, k: int) -> tuple[np.ndarray, np.ndarray]:
    from zooalign.kernels import lists as kernels

    shape = (x.n_layers, y.n_layers)
    common, edits = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    if k <= 64:
        kernels.sequence_sums(x.lists(k), y.lists(k), common, edits)
        return common, edits
    for i in range(shape[0]):  # lists longer than a machine word: dynamic programming
        for j in range(shape[1]):
            c, e = sequence_terms(x, y, i, j, k)
            common[i, j], edits[i, j] = c.sum(), e.sum()
    return common, edits


def _nobody() -> Any:
    return None
