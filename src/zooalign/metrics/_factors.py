"""Singular value decompositions for the metrics that compare column spaces: of layers, and of products of two."""

# threadpoolctl has no types.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from zooalign.indexes.index import Index

# Canonical correlations this close to 1 are 1 but for rounding.
_FULL = 1e-12
# Singular values below this share of the largest are rounding of float32 features.
_RANK = 1e-6


def one_thread() -> AbstractContextManager[Any]:
    """One BLAS thread meanwhile: with more, sums have another order and scores another last digit."""
    return _blas().limit(limits=1, user_api="blas")


@cache
def _blas() -> Any:
    # Looking for the libraries takes longer than most scores.
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


class Factors(NamedTuple):
    """Thin decomposition of centred features: u (n, r), s (r,), v (r, d); float64, r the numerical rank."""

    u: np.ndarray
    s: np.ndarray
    v: np.ndarray


def factors(x: Index, layer: int) -> Factors:
    """Decomposition of one layer's centred features, kept with the index."""

    def compute() -> Factors:
        u, s, v = np.linalg.svd(x.features(layer).astype(np.float64), full_matrices=False)
        r = int((s > _RANK * s[0]).sum()) if s[0] > 0 else 0
        return Factors(u[:, :r], s[:r], v[:r])

    return x.derived(("factors", layer % x.n_layers), compute)


def over_layer_pairs(x: Index, y: Index, score: Callable[[Factors, Factors], float]) -> np.ndarray:
    """A score of the decompositions of every layer pair, (Lx, Ly); NaN where a layer is the same for every sample."""
    scores = np.full((x.n_layers, y.n_layers), np.nan)
    with one_thread():
        for i in range(x.n_layers):
            a = factors(x, i)
            for j in range(y.n_layers):
                b = factors(y, j)
                if len(a.s) and len(b.s):
                    scores[i, j] = score(a, b)
    return scores


def full_correlations(values: np.ndarray) -> np.ndarray:
    """Canonical correlations with those that are 1 but for rounding set to exactly 1, none above it.

    Where two subspaces fill the space of the samples, every correlation is 1 whatever the pairing. Were rounding
    left in them, a permutation null would rank that rounding.
    """
    return np.where(values > 1.0 - _FULL, 1.0, values)
