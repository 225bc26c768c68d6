"""Indexes of the same samples in another order, or in halves: nothing is searched or decomposed again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from zooalign.indexing import Index


class Relabelled(Index):
    """An index whose sample i is sample order[i] of another; nothing is searched or decomposed again.

    Parameters
    ----------
    base : Index
        The index of the samples in their own order.
    order : ndarray of int, shape (n,)
        A permutation. The ids stay those of the base: unpairing the samples is the purpose.
    """

    # What a permutation of the samples leaves as it is.
    _INVARIANT = frozenset({"norms", "masked hsic", "centred edges", "ranks with themselves", "subspace ranks"})

    def __init__(self, base: Index, order: np.ndarray) -> None:
        super().__init__({}, base.sample_ids, base.layer_names, base.preparation, base.name)
        self._base = base
        self._order = np.asarray(order, np.int64)

    @property
    def k_max(self) -> int:
        """Longest neighbour list that can be asked for."""
        return self._base.k_max

    def derived(self, key: Any, compute: Callable[[], Any]) -> Any:
        """As the base's where permuting changes nothing or only moves rows; computed anew otherwise."""
        base, order = self._base, self._order
        head = key[0] if isinstance(key, tuple) else key
        if key not in self._derived and key in base._derived:
            if head in self._INVARIANT:
                self._derived[key] = base._derived[key]
            elif head == "lists":
                places = np.empty(base.n, base._derived[key].dtype)
                places[order] = np.arange(base.n)
                self._derived[key] = places[base._derived[key][order]]
            elif head in ("two way", "similarities", "centred_similarities"):
                self._derived[key] = base._derived[key][order]
        return super().derived(key, compute)

    def _get(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            self._arrays[name] = self._permuted(name, self._base.array(name))
        return self._arrays[name]

    def _permuted(self, name: str, values: np.ndarray) -> np.ndarray:
        base, order = self._base, self._order
        if name == "neighbors":
            places = np.empty(base.n, values.dtype)
            places[order] = np.arange(base.n)
            return places[values[:, order]]
        if name == "widths":
            return values
        if name == "features":
            return values[order]
        if name == "sketches":
            return values[:, :, order]
        if name.startswith("gram") or name == "ranks":
            from zooalign.kernels import grams

            full = base.derived(("full", name), lambda: _full(values, base.n, name != "ranks"))
            packed = np.empty_like(values)
            for layer in range(len(values)):
                grams.pack_permuted(full[layer], order, name != "ranks", packed[layer])
            return packed
        return values[:, order]


def half_index(lists: np.ndarray, half: np.ndarray, side: int, k: int) -> tuple[Index, int]:
    """Index of one layer cut to one half of the samples.

    Parameters
    ----------
    lists : ndarray of int, shape (n, k_max)
        Neighbour lists of all samples.
    half : ndarray of uint8, shape (n,)
        0 or 1 per sample.
    side : int
        Which half.
    k : int
        Neighbours to keep.

    Returns
    -------
    index : Index
        Of the members in order; the k nearest of each among them.
    short : int
        Lists that held fewer than k members and were filled with others.
    """
    from zooalign.kernels.lists import lists_within

    members = half == side
    position = np.cumsum(members) - 1
    found = np.empty((int(members.sum()), k), lists.dtype)
    short = lists_within(lists, half, side, position, k, found)
    return single_layer(found, k), int(short)


def single_layer(lists: np.ndarray, k: int) -> Index:
    """Index of one layer that holds lists (n, at least k) alone."""
    names = [""] * len(lists)
    return Index({"neighbors": np.ascontiguousarray(lists[:, :k])[None]}, names, ["0"], {}, "half")


def _full(packed: np.ndarray, n: int, diagonal: bool) -> np.ndarray:
    """Unpacked kernels, (L, n, n) float32: a permutation then moves along rows that lie in the cache."""
    from zooalign.kernels import grams

    full = np.empty((len(packed), n, n), np.float32)
    for layer in range(len(packed)):
        grams.unpack(packed[layer], diagonal, full[layer])
    return full
