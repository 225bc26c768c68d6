"""Representational similarity analysis: rank correlation of the dissimilarities of all pairs of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zooalign.errors import MetricError
from zooalign.metrics import _hsic, check_pair

if TYPE_CHECKING:
    from zooalign.indexes.index import Index

VERSION = 2
NEEDS = frozenset({"ranks"})
TAKES_K = False
SYMMETRIC = True
RANGE = (-1.0, 1.0)
IDENTITY = 1.0
HAS_TERMS = False
QUANTITY = "rank correlation of dissimilarities, -1 to 1"


def chance(n: int, k: int | None = None) -> float:
    """Expected score of unrelated models: 0.

    Parameters
    ----------
    n : int
        Samples.
    k : None
        Not used.

    Returns
    -------
    float
        0.0.
    """
    return 0.0


def matrix(x: Index, y: Index, k: int | None = None) -> np.ndarray:
    """Spearman correlation of the squared distances of all pairs of samples, for every layer pair.

    Parameters
    ----------
    x, y : Index
        Two models on the same n > 2 samples.
    k : None
        Not used.

    Returns
    -------
    ndarray of float64, shape (Lx, Ly)
        In [-1, 1]; 1 at identity; 0 by chance; NaN where all distances of a layer are equal.

    Raises
    ------
    MetricError
        If samples differ or there are fewer than 3.

    Notes
    -----
    On unit rows the squared distance is 2 - 2 cosine, so these are the ranks of 1 - cosine. Ties share
    their mean rank. Ranked once per layer (60 ms at n = 1,024); a layer pair is one inner product.

    References
    ----------
    Kriegeskorte, Mur, Bandettini 2008, doi 10.3389/neuro.06.004.2008.
    """
    check_pair(x, y)
    if x.n < 3:
        raise MetricError(f"rsa needs at least 3 samples; {x.name} has {x.n}. Use more samples.")
    from zooalign.kernels.grams import inner_products

    a, b = x.array("ranks"), y.array("ranks")
    cross = np.empty((len(a), len(b)))
    inner_products(a, b, 0, cross)
    return _hsic.ratio(cross, _own(x), _own(y))


def _own(x: Index) -> np.ndarray:
    def compute() -> np.ndarray:
        from zooalign.kernels.grams import inner_products

        ranks, own = x.array("ranks"), np.empty((x.n_layers, 1, 1))
        for layer in range(x.n_layers):
            inner_products(ranks[layer : layer + 1], ranks[layer : layer + 1], 0, own[layer])
        return own[:, 0, 0]

    return x.derived("ranks with themselves", compute)
