"""Singular value decompositions of whole layers, for the metrics that compare full column spaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from zooalign.indexing import Index

# Singular values below this share of the largest are rounding of float32 features.
_RANK = 1e-6


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
