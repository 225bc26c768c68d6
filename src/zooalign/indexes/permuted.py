"""Indexes of the same samples in another order, or of some of them: no neighbour is searched again."""

# threadpoolctl has no types.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np

from zooalign.errors import MetricError
from zooalign.indexes.index import Index, is_set


class Relabelled(Index):
    """An index whose sample i is sample order[i] of another; nothing is searched or decomposed again.

    Parameters
    ----------
    base : Index
        The index of the samples in their own order.
    order : ndarray of int, shape (n,)
        A permutation. The ids stay those of the base: unpairing the samples is the purpose.

    Attributes
    ----------
    base, order
        As given, for metrics that need no relabelled copy.
    """

    # What a permutation of the samples leaves as it is.
    _INVARIANT = frozenset(
        {"norms", "masked hsic", "centred edges", "ranks with themselves", "subspace ranks", "sketch widths"}
    )

    def __init__(self, base: Index, order: np.ndarray) -> None:
        super().__init__({}, base.sample_ids, base.layer_names, base.preparation, base.name)
        self.base, self.order = base, np.asarray(order, np.int64)

    @property
    def holds(self) -> set[str]:
        """Names of what the base holds."""
        return self.base.holds

    @property
    def k_max(self) -> int:
        """Longest neighbour list that can be asked for."""
        return self.base.k_max

    def derived(self, key: Any, compute: Callable[[], Any]) -> Any:
        """As the base's where permuting changes nothing or only moves rows; computed again otherwise."""
        base, order = self.base, self.order
        head = cast("tuple[Any, ...]", key)[0] if isinstance(key, tuple) else key
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
            self._arrays[name] = self._permuted(name, self.base.array(name))
        return self._arrays[name]

    def _permuted(self, name: str, values: np.ndarray) -> np.ndarray:
        base, order = self.base, self.order
        if name == "neighbors":
            places = np.empty(base.n, values.dtype)
            places[order] = np.arange(base.n)
            return places[values[:, order]]
        if values.ndim == 1 or name == "tie_counts":
            return values
        if is_set(name):
            return _permuted_sets(values, order)
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


class Subset(Index):
    """An index of some of another's samples, in any order, as if it had been built on them alone.

    Parameters
    ----------
    base : Index
        The index of all samples.
    members : ndarray of int, shape (m,)
        Sample i is sample members[i] of the base; none twice.
    k : int
        Length of the neighbour lists.
    longest : int, optional
        How many stored neighbours are looked through for them, so that longer lists give the same; default all.

    Attributes
    ----------
    short : int
        Lists that held fewer than k members and were filled with others.

    Notes
    -----
    Lists are cut, kernels are centred again, dissimilarities are ranked again, features are centred and
    decomposed again. Two things stay as they are in the base: the bandwidth of `gram_rbf_median` and the
    mean that `centred_similarities` are centred by. The base's "similarities" keep their values.
    """

    def __init__(self, base: Index, members: np.ndarray, k: int = 1, longest: int | None = None) -> None:
        self._members = np.asarray(members, np.int64)
        # Without ids, so that two disjoint subsets can be unpaired on purpose.
        super().__init__({}, [""] * len(self._members), base.layer_names, base.preparation, base.name)
        self._base, self._k, self._longest, self.short = base, k, longest, 0

    def _get(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            self._arrays[name] = self._cut(name)
        return self._arrays[name]

    def _lists(self) -> tuple[np.ndarray, np.ndarray]:
        def compute() -> tuple[np.ndarray, np.ndarray]:
            from zooalign.kernels.subsets import subset_lists

            lists = self._base.neighbors
            place = np.full(self._base.n, -1, np.int64)
            place[self._members] = np.arange(self.n)
            nearest = np.empty((len(lists), self.n, self._k), lists.dtype)
            columns = np.empty(nearest.shape, np.int64)
            longest = min(self._longest or lists.shape[2], lists.shape[2])
            self.short = int(subset_lists(lists, self._members, place, longest, nearest, columns))
            return nearest, columns

        return self.derived("cut lists", compute)

    def _cut(self, name: str) -> np.ndarray:
        base, members = self._base, self._members
        if name == "neighbors":
            return self._lists()[0]
        if name in ("similarities", "centred_similarities"):
            return np.take_along_axis(base.array(name)[:, members], self._lists()[1], axis=2)
        if name == "features":
            values = base.array(name)[members]
            return values - values.mean(axis=0, dtype=np.float64).astype(np.float32)
        if name == "subspace":
            return self._subspaces()
        if name == "ranks":
            return self._ranks()
        if is_set(name) or name == "kernel_offsets":
            raise MetricError(f"{name} of {base.name} cannot be cut to some of the samples: use lists of neighbours.")
        values = base.array(name)
        if name.startswith("gram"):
            from zooalign.kernels.subsets import subset_gram

            full = base.derived(("full", name), lambda: _full(values, base.n, True))
            packed = np.empty((len(values), self.n * (self.n + 1) // 2), np.float32)
            for layer in range(len(values)):
                subset_gram(full[layer], members, packed[layer])
            return packed
        return values[:, members] if values.ndim > 1 and values.shape[1] == base.n else values

    def _ranks(self) -> np.ndarray:
        from zooalign.kernels.subsets import subset_ranks

        codes = self._base.derived("codes", lambda: _codes(self._base))
        packed = np.empty((len(codes), self.n * (self.n - 1) // 2), np.float32)
        counts = np.empty(int(codes.max()) + 1, np.int64)
        for layer in range(len(codes)):
            subset_ranks(codes[layer], self._members, counts, packed[layer])
        return packed

    def _subspaces(self) -> np.ndarray:
        from threadpoolctl import threadpool_limits

        from zooalign.indexes.preparation import Rows
        from zooalign.indexes.subspaces import leading_subspace, standardise

        ones = np.ones(self.n)
        with threadpool_limits(1, "blas"):
            return np.stack(
                [
                    leading_subspace(standardise(Rows(name, self.features(layer), ones, ones)))
                    for layer, name in enumerate(self.layer_names)
                ]
            )


def one_layer(index: Index, layer: int) -> Index:
    """Index of one layer of another.

    Parameters
    ----------
    index : Index
        Of several layers.
    layer : int
        Position; -1 the last.

    Returns
    -------
    Index
        Of the same samples.
    """
    layer %= index.n_layers
    return some_layers(index, layer, layer + 1)


def some_layers(index: Index, start: int, stop: int) -> Index:
    """Index of the layers from `start` up to `stop` of another, prepared as all of its layers were."""
    arrays: dict[str, np.ndarray] = {}
    for name in index.holds:
        if name == "features":
            arrays[name] = np.concatenate([index.features(layer) for layer in range(start, stop)], axis=1)
        else:
            arrays[name] = index.array(name)[start:stop]
    return Index(arrays, index.sample_ids, index.layer_names[start:stop], index.preparation, index.name)


def _permuted_sets(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Sets of neighbours, (L, n, bytes), of the samples in another order."""
    from zooalign.kernels import sets

    permuted = np.zeros_like(values)
    for layer, bits in enumerate(values):
        sets.permute(bits, order, np.argsort(order), permuted[layer])
    return permuted


def _codes(base: Index) -> np.ndarray:
    """Places of the dissimilarities in their order, equal ones equal, (L, n, n) int32; the diagonal 0."""
    n = base.n
    codes = np.zeros((base.n_layers, n, n), np.int32)
    upper = np.triu_indices(n, 1)
    for layer, ranks in enumerate(base.array("ranks")):
        codes[layer][upper] = np.unique(ranks, return_inverse=True)[1]
        codes[layer] += codes[layer].T
    return codes


def _full(packed: np.ndarray, n: int, diagonal: bool) -> np.ndarray:
    """Unpacked kernels, (L, n, n) float32: a permutation then moves along rows that fit into the cache."""
    from zooalign.kernels import grams

    full = np.empty((len(packed), n, n), np.float32)
    for layer in range(len(packed)):
        grams.unpack(packed[layer], diagonal, full[layer])
    return full
