"""Kernel matrices of one layer, packed as the index stores them, and the leading subspace for svcca."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from zooalign.indexes.preparation import Rows

# Raised when what an index holds changes: part of its digest.
VERSION = 2


# Directions that svcca compares.
SUBSPACE = 10
# Seeded draws of the published, randomised svcca.
_DRAWS = 4
# Columns whose spread is below this share of their magnitude hold nothing but rounding.
_FLAT = 1e-6
_TILE = 64
# Unit roundoffs of float32 and float64.
_SINGLE, _DOUBLE = 2.0**-24, 2.0**-53
# Below this share of two squared lengths, a squared distance from products has lost digits to cancellation.
_CANCELLING = 1e-2
# Block Krylov iteration: most steps, steps between tests, and the angle to the true subspace that ends it.
_DEPTH = 30
_STEPS = 5
_ANGLE = 1e-9


class Distances(NamedTuple):
    """Squared distances (n, n) float64 between prepared rows, and the length of the longest row."""

    squares: np.ndarray
    length: float


NO_DISTANCES = Distances(np.empty((0, 0)), 0.0)


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
    squares = distances.squares
    n = len(squares)
    if not squares.any():
        return np.zeros(n * (n + 1) // 2, np.float32)
    bandwidth = 1.0 if sigma is None else sigma * sigma
    if sigma is None:
        pairs = squares[np.triu_indices(n, 1)]
        middle = pairs.size // 2
        bandwidth = float(np.partition(pairs, middle)[middle])
        if bandwidth == 0.0:  # more than half of all pairs are duplicates: the smallest real distance
            bandwidth = float(pairs[pairs > 0].min())
    kernel = np.expm1(squares * (-0.5 / bandwidth))
    means = kernel.mean(axis=1)
    kernel -= means[:, None]
    kernel -= means - means.mean()
    return packed_linear(kernel, n)


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
    from zooalign.kernels import distances

    n = len(layer.values)
    rows = _padded(layer)
    length = float(np.sqrt(np.einsum("ij,ij->i", rows[:n], rows[:n]).max()))
    mean = rows[:n].mean(axis=0)
    rows[:n] -= mean
    squares = np.zeros((n, n))
    if np.einsum("ij,ij->i", rows, rows).max() > _SINGLE**2 * (mean @ mean):
        distances.squares_from_products(rows, rows @ rows.T, _CANCELLING, squares)
    return Distances(squares, length)


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
    n = len(distances.squares)
    values = distances.squares[np.triu_indices(n, 1)]
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    if ordered[-1] - ordered[0] <= 4.0 * _SINGLE * distances.length * np.sqrt(ordered[-1]):
        return np.zeros(values.size, np.float32)
    rounding = _DOUBLE * (2048.0 * ordered[1:] + 64.0 * distances.length * np.sqrt(ordered[1:]))
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] - ordered[:-1] > rounding]))
    counts = np.diff(np.concatenate([first, [values.size]]))
    ranks = np.empty(values.size)
    ranks[order] = np.repeat(first + 0.5 * (counts - 1), counts)
    ranks -= 0.5 * (values.size - 1)
    length = np.sqrt(ranks @ ranks)
    return (ranks / length if length > 0 else ranks).astype(np.float32)


def leading_subspace(layer: Rows) -> np.ndarray:
    """Leading left singular vectors of the z-scored columns of one layer.

    Parameters
    ----------
    layer : Rows
        A prepared layer of n samples.

    Returns
    -------
    ndarray of float64, shape (n, 10)
        Orthonormal columns, by falling singular value; zero columns beyond the rank.

    Notes
    -----
    Block Krylov iteration on the smaller of the two Gram matrices in float64, stopped when the residuals
    bound the angle to the true subspace by 1e-9, and a full eigendecomposition where the tenth and eleventh
    values are too close for that. Deterministic: the starting block is fixed.

    References
    ----------
    Raghu, Gilmer, Yosinski, Sohl-Dickstein 2017, arXiv 1706.05806. The published alignment code finds the
    subspace by a randomised method and wanders by .03.
    """
    z = _standardised(layer)  # (n padded, d padded) float64, zeros beyond n and d
    n, d = layer.values.shape
    wide = d > n
    gram = z @ z.T if wide else z.T @ z
    values, vectors = leading_eigenpairs(gram, SUBSPACE)
    keep = values > values[0] * 1e-12 if values[0] > 0 else np.zeros(len(values), bool)
    basis = np.zeros((n, SUBSPACE))
    if keep.any():
        left = vectors[:, keep] if wide else z @ (vectors[:, keep] / np.sqrt(values[keep]))
        basis[:, : keep.sum()] = left[:n]
    return basis


def sketches(layer: Rows) -> np.ndarray:
    """Randomised ten-dimensional subspaces of the z-scored columns, as the published code draws them.

    Parameters
    ----------
    layer : Rows
        A prepared layer of n samples.

    Returns
    -------
    ndarray of float64, shape (4, n, 10)
        One orthonormal basis per seeded draw: range finder with two power iterations and no oversampling.
        NaN in the columns that a layer of fewer than ten features or samples lacks: the published code
        refuses such a layer.

    References
    ----------
    Halko, Martinsson, Tropp 2011, arXiv 0909.4061, algorithm 4.4.
    """
    z = _standardised(layer)
    n, d = layer.values.shape
    bases = np.zeros((_DRAWS, n, SUBSPACE))
    width = min(SUBSPACE, n, d)
    for draw in range(_DRAWS if z.any() else 0):
        start = np.zeros((z.shape[1], width))
        start[:d] = np.random.default_rng(draw).standard_normal((d, width))
        basis = np.linalg.qr(z @ start)[0]
        for _ in range(2):
            basis = np.linalg.qr(z @ np.linalg.qr(z.T @ basis)[0])[0]
        bases[draw, :, :width] = basis[:n]
    bases[:, :, width:] = np.nan
    return bases


def leading_eigenpairs(gram: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Largest eigenvalues and their vectors of a symmetric positive semidefinite matrix.

    Parameters
    ----------
    gram : ndarray of float64, shape (m, m)
        Symmetric, no negative eigenvalues.
    count : int
        How many, cut to m.

    Returns
    -------
    values : ndarray, shape (count,)
        Falling.
    vectors : ndarray, shape (m, count)
        Orthonormal columns.
    """
    if len(gram) > 2 * (count + 2) * _STEPS:
        subspace = _block_krylov(gram, count)
        if subspace is not None:
            return subspace
    values, vectors = np.linalg.eigh(gram)
    return values[::-1][:count], vectors[:, ::-1][:, :count]


def _block_krylov(gram: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Block Lanczos with full orthogonalisation; None if the wanted vectors do not separate soon."""
    block = count + 2
    deepest = min(_DEPTH, len(gram) // (2 * block))
    basis = np.empty((len(gram), block * deepest))
    image = np.empty_like(basis)
    part = np.random.default_rng(0).standard_normal((len(gram), block))
    for step in range(deepest):
        done, end = block * step, block * (step + 1)
        for _ in range(2):  # orthogonalising twice is enough
            part = part - basis[:, :done] @ (basis[:, :done].T @ part)
        basis[:, done:end] = np.linalg.qr(part)[0]
        part = image[:, done:end] = gram @ basis[:, done:end]
        if (step + 1) % _STEPS == 0:
            small = basis[:, :end].T @ image[:, :end]
            values, rotation = np.linalg.eigh(0.5 * (small + small.T))
            values, rotation = values[::-1], rotation[:, ::-1][:, :count]
            vectors = basis[:, :end] @ rotation
            residual = np.linalg.norm(image[:, :end] @ rotation - vectors * values[:count])
            if residual <= _ANGLE * (values[count - 1] - values[count]):
                return values[:count], vectors
    return None


def _standardised(layer: Rows) -> np.ndarray:
    """Columns with mean 0 and variance 1, constant ones 0, padded with zeros to whole tiles."""
    n, d = layer.values.shape
    z = _padded(layer)
    x = z[:n, :d]
    size = np.abs(x).max(axis=0)
    x -= x.mean(axis=0)
    spread = np.sqrt(np.mean(x * x, axis=0))
    flat = spread <= _FLAT * size
    x *= np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, spread))
    return z


def _padded(layer: Rows) -> np.ndarray:
    """Prepared rows in float64, padded with zeros to whole tiles: products then have the same bits everywhere."""
    n, d = layer.values.shape
    rows = np.zeros((-(-n // _TILE) * _TILE, -(-d // _TILE) * _TILE))
    rows[:n, :d] = layer.values.astype(np.float64) * layer.scale[:, None]
    return rows
