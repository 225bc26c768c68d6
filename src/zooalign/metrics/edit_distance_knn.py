"""Edit similarity of ordered neighbour lists: one minus the normalised Levenshtein distance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zooalign.metrics import _lists, check_k, check_layers, check_pair

if TYPE_CHECKING:
    from zooalign.indexes.index import Index

VERSION = 2
NEEDS = frozenset({"neighbors"})
TAKES_K = True
SYMMETRIC = True
RANGE = (0.0, 1.0)
IDENTITY = 1.0
HAS_TERMS = True
QUANTITY = "1 - edit distance / k of the {k} nearest neighbours"


def chance(n: int, k: int) -> float | None:
    """None: there is no simple formula; take the permutation null.

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
    """1 - mean over samples of Levenshtein(S_x(i), S_y(i)) / k, for every layer pair.

    Parameters
    ----------
    x, y : Index
        Two models on the same n samples.
    k : int
        1 <= k < n, at most the k_max of both.

    Returns
    -------
    ndarray of float64, shape (Lx, Ly)
        In [0, 1]; 1 at identity; never above lcs_knn / k. NaN where a layer is the same for every sample.

    Raises
    ------
    MetricError
        If samples differ or k is out of range.

    Notes
    -----
    Bit-parallel for k <= 64, dynamic programming beyond; one pass also gives lcs_knn.

    References
    ----------
    Huh et al. 2024, arXiv 2405.07987, public code (see lcs_knn for its defect). Myers 1999 for the
    bit-parallel form.
    """
    check_pair(x, y)
    k = check_k("edit_distance_knn", x, y, k)
    _, edits = _lists.sequences(x, y, k)
    return _lists.defined(x, y, 1.0 - edits / (x.n * k))


def terms(x: Index, y: Index, layer_x: int, layer_y: int, k: int) -> np.ndarray:
    """Value of every sample at one layer pair, whose mean is the score.

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
        Multiples of 1 / k in [0, 1].
    """
    check_pair(x, y)
    k = check_k("edit_distance_knn", x, y, k)
    check_layers(x, y, layer_x, layer_y)
    _, edits = _lists.sequence_terms(x, y, layer_x, layer_y, k)
    return _lists.defined_terms(x, y, layer_x, layer_y, 1.0 - edits / k)
