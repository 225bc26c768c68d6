"""Kernel matrices of one layer, packed as the index stores them, and the ranks of its dissimilarities for rsa."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from zooalign.indexes.preparation import Rows
from zooalign.indexes.subspaces import padded

# Raised when what an index holds changes: part of its digest.
VERSION = 3

# Unit roundoffs of float32 and float64.
_SINGLE, _DOUBLE = 2.0**-24, 2.0**-53
# Below this share of two squared lengths, a squared distance from products has lost digits to cancellation.
_CANCELLING = 1e-2


class Distances(NamedTuple):
    """Squared Euclidean distances between the prepared rows of one layer.

    Attributes
    ----------
    squares : ndarray of float64, shape (n (n - 1) / 2,)
        Of all pairs: the strict upper triangle, row by row.
    n : int
        Number of samples.
    length : float
        Length of the longest row.
    """

    squares: np.ndarray
    n: int
    length: float


NO_DISTANCES = Distances(np.empty(0), 0, 0.0)


def packed_linear(gram: np.ndarray, n: int) -> np.ndarray:
    """Pack a doubly centred kernel.

    Parameters
    ----------
    gram : ndarray of float32 or float64, shape (>= n, >= n)
        Symmetric.
    n : int
        Rows and columns that count.

    Returns
    -------
    ndarray of float32, shape (n (n + 1) / 2,)
        [diagonal | strict upper triangle times sqrt 2, row by row]: inner products of packed kernels are
        inner products of the matrices.
    """
    from zooalign.kernels import rows as kernels

    packed = np.empty(n * (n + 1) // 2, np.float32)
    kernels.pack_gram(gram, n, packed)
    return packed


def kernel_offsets(layer: Rows) -> np.ndarray:
    """What centring takes from the linear kernel, as a term per sample.

    Parameters
    ----------
    layer : Rows
        A prepared layer of n samples.

    Returns
    -------
    ndarray of float64, shape (n,)
        <x_i, m> - <m, m> / 2 with m the mean row: <x_i, x_j> is the centred kernel plus the offsets of i and j.
    """
    from zooalign.kernels import rows as kernels

    n, d = layer.values.shape
    means, along = np.empty(d), np.empty(n)
    kernels.scaled_column_means(layer.values, layer.scale, means)
    kernels.project_rows(layer.values, means, along)
    return layer.scale * along - 0.5 * (means @ means)


def packed_rbf(distances: Distances, sigma: float | None) -> np.ndarray:
    """Centre and pack the Gaussian kernel exp(-|x_i - x_j|^2 / (2 sigma^2)).

    Parameters
    ----------
    distances : Distances
        From :func:`squared_distances`.
    sigma : float or None
        Bandwidth; None for the median distance between two samples (the upper one of an even number).

    Returns
    -------
    ndarray of float32, shape (n (n + 1) / 2,)
        As :func:`packed_linear`; zeros where all rows are equal.

    Notes
    -----
    Centring takes constants away, so exp - 1 serves as well as exp and keeps what distinguishes samples in
    narrow cones, where every kernel value is close to 1. All in float64 until the result is packed.
    """
    from zooalign.kernels.distances import pack_centred

    pairs, n = distances.squares, distances.n
    packed = np.zeros(n * (n + 1) // 2, np.float32)
    if not pairs.any():
        return packed
    bandwidth = 1.0 if sigma is None else sigma * sigma
    if sigma is None:
        middle = pairs.size // 2
        bandwidth = float(np.partition(pairs, middle)[middle])
        if bandwidth == 0.0:  # more than half of all pairs are duplicates: the smallest real distance
            bandwidth = float(pairs[pairs > 0].min())
    pack_centred(np.expm1(pairs * (-0.5 / bandwidth)), n, packed)
    return packed


def squared_distances(layer: Rows) -> Distances:
    """Squared Euclidean distances between all prepared rows of one layer, in float64.

    Parameters
    ----------
    layer : Rows
        A prepared layer of n samples.

    Returns
    -------
    Distances
        All zero where nothing but the rounding of float32 features distinguishes the rows.

    Notes
    -----
    A float64 product of the rows minus their mean; pairs much closer than they are long (narrow cones, a
    large column) are summed from the differences instead. The relative error of a distance is some 1e-14,
    or 1e-16 times the ratio of the rows' length to it, whichever is larger: what the prepared rows allow.
    """
    from zooalign.kernels import columns, distances

    n, d = layer.values.shape
    rows, mean = padded(n, d), np.empty(d)
    before, after = np.empty(n), np.empty(n)
    columns.centre_columns(layer.values, layer.scale, rows, mean, before, after)
    squares = np.zeros(n * (n - 1) // 2)
    if after.max() > _SINGLE**2 * (mean @ mean):
        distances.squares_from_products(rows, rows @ rows.T, n, _CANCELLING, squares)
    return Distances(squares, n, float(np.sqrt(before.max())))


def dissimilarity_ranks(distances: Distances) -> np.ndarray:
    """Ranks of the dissimilarities of all pairs of samples, centred and scaled to unit length.

    Parameters
    ----------
    distances : Distances
        From :func:`squared_distances`.

    Returns
    -------
    ndarray of float32, shape (n (n - 1) / 2,)
        Squared distances ranked; on unit rows the order of 1 - cosine. Those that differ by no more than
        float64 rounding are ties and share their mean rank. The inner product of two such vectors is
        Spearman's correlation. Zeros where all distances are equal up to the rounding of float32 features.
    """
    from zooalign.kernels import ranks as kernels

    values = distances.squares
    order = np.empty(values.size, np.uint32)
    kernels.sort_positive(values, np.empty(values.size, np.uint64), order)
    least, most = values[order[0]], values[order[-1]]
    if most - least <= 4.0 * _SINGLE * distances.length * np.sqrt(most):
        return np.zeros(values.size, np.float32)
    ranks = np.empty(values.size)
    kernels.mean_ranks(values, order, _DOUBLE * 2048.0, _DOUBLE * 64.0 * distances.length, ranks)
    ranks -= 0.5 * (values.size - 1)
    length = np.sqrt(ranks @ ranks)
    return (ranks / length if length > 0 else ranks).astype(np.float32)
