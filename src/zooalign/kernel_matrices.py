"""Kernel matrices of one layer, packed as the index stores them, and the leading subspace for svcca."""

from __future__ import annotations

import numpy as np

from zooalign.preparation import Rows, order_statistic

# Directions that svcca compares.
SUBSPACE = 10
# Seeded draws of the published, randomised svcca.
_DRAWS = 4
# Columns whose spread is below this share of their magnitude hold nothing but rounding.
_FLAT = 1e-6
_TILE = 64
# Block Krylov iteration: most steps, steps between tests, and the angle to the true subspace that ends it.
_DEPTH = 30
_STEPS = 5
_ANGLE = 1e-9


def packed_linear(gram: np.ndarray, n: int) -> np.ndarray:
    """Pack a doubly centred kernel.

    Parameters
    ----------
    gram : ndarray of float32, shape (>= n, >= n)
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


def packed_rbf(gram: np.ndarray, n: int, sigma: float | None) -> np.ndarray:
    """Centre and pack the Gaussian kernel exp(-|x_i - x_j|^2 / (2 sigma^2)).

    Parameters
    ----------
    gram : ndarray of float32, shape (>= n, >= n)
        Inner products of the rows after any translation.
    n : int
        Rows and columns that count.
    sigma : float or None
        Bandwidth; None for the median distance between two samples (the lower one of an even number).

    Returns
    -------
    ndarray of float32, shape (n (n + 1) / 2,)
        As :func:`packed_linear`; zeros where all rows are equal.
    """
    squares = squared_distances(gram, n)
    if sigma is None:
        bandwidth = order_statistic([squares[np.triu_indices(n, 1)]], 0.5)
        if bandwidth == 0.0:  # more than half of all pairs are duplicates: the smallest real distance
            positive = squares[squares > 0]
            bandwidth = float(positive.min()) if positive.size else 1.0
    else:
        bandwidth = sigma * sigma
    kernel = np.exp(squares * np.float32(-0.5 / bandwidth))
    kernel[np.diag_indices(n)] = 1.0
    # Sums of rows in float64; the kernel differs from its mean by far more than float32's rounding.
    means = kernel.mean(axis=1, dtype=np.float64)
    kernel -= means.astype(np.float32)[:, None]
    kernel -= (means - means.mean()).astype(np.float32)[None, :]
    return packed_linear(kernel, n) if squares.any() else np.zeros(n * (n + 1) // 2, np.float32)


def squared_distances(gram: np.ndarray, n: int) -> np.ndarray:
    """Squared Euclidean distances from inner products, (n, n) float32, none negative."""
    diagonal = np.ascontiguousarray(np.diagonal(gram)[:n])
    squares = diagonal[:, None] + diagonal[None, :]
    squares -= np.float32(2.0) * gram[:n, :n]
    np.maximum(squares, 0.0, out=squares)
    return squares


def dissimilarity_ranks(gram: np.ndarray, n: int) -> np.ndarray:
    """Ranks of the dissimilarities of all pairs of samples, centred and scaled to unit length.

    Parameters
    ----------
    gram : ndarray of float32, shape (>= n, >= n)
        Inner products of the rows after any translation.
    n : int
        Rows and columns that count.

    Returns
    -------
    ndarray of float32, shape (n (n - 1) / 2,)
        Squared distances ranked (ties share their mean rank); on unit rows the order of 1 - cosine. The
        inner product of two such vectors is Spearman's correlation. Zeros where all ranks are equal.
    """
    values = squared_distances(gram, n)[np.triu_indices(n, 1)]
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
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
        A prepared layer of n samples, at least ten of them and of its features.

    Returns
    -------
    ndarray of float64, shape (4, n, 10)
        One orthonormal basis per seeded draw: range finder with two power iterations and no oversampling.

    References
    ----------
    Halko, Martinsson, Tropp 2011, arXiv 0909.4061, algorithm 4.4.
    """
    z = _standardised(layer)
    n, d = layer.values.shape
    found = np.zeros((_DRAWS, n, SUBSPACE))
    width = min(SUBSPACE, n, d)
    for draw in range(_DRAWS if z.any() else 0):
        start = np.zeros((z.shape[1], width))
        start[:d] = np.random.default_rng(draw).standard_normal((d, width))
        basis = np.linalg.qr(z @ start)[0]
        for _ in range(2):
            basis = np.linalg.qr(z @ np.linalg.qr(z.T @ basis)[0])[0]
        found[draw, :, :width] = basis[:n]
    return found


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
        found = _block_krylov(gram, count)
        if found is not None:
            return found
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
    x = layer.values.astype(np.float64) * layer.scale[:, None]
    n, d = x.shape
    size = np.abs(x).max(axis=0)
    x -= x.mean(axis=0)
    spread = np.sqrt(np.mean(x * x, axis=0))
    flat = spread <= _FLAT * size
    x *= np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, spread))
    z = np.zeros((-(-n // _TILE) * _TILE, -(-d // _TILE) * _TILE))
    z[:n, :d] = x
    return z
