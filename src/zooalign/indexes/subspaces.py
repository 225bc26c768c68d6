"""Leading subspaces of one layer: the exact one for svcca, randomised ones for the published svcca."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zooalign.indexes.preparation import Rows

# Raised when what an index holds changes: part of its digest.
VERSION = 1

# Directions that svcca compares.
SUBSPACE = 10
# Seeded draws of the published, randomised svcca.
_DRAWS = 4
# Columns whose spread is below this share of their magnitude hold nothing but rounding.
_FLAT = 1e-6
# Products of whole tiles have the same bits for any number of threads.
_TILE = 64
# Block Krylov iteration: most steps, steps between tests, and the angle to the true subspace that ends it.
_DEPTH = 30
_STEPS = 5
_ANGLE = 1e-9
# Where a product with the Gram matrix shrinks a direction of a sketch further than this, rounding is in it: the Gram
# matrix squares the singular values, so such sketches are iterated on the columns themselves.
_SHRUNK = 1e-6


@dataclass(frozen=True)
class Standardised:
    """The columns of one layer with mean 0 and variance 1, and what subspaces are found from.

    Attributes
    ----------
    z : ndarray of float64, shape (n padded, d padded)
        Columns that hold nothing but rounding are 0; zeros beyond n and d.
    gram : ndarray of float64
        The smaller one of z z' (n padded, n padded) and z' z (d padded, d padded).
    n, d : int
        Samples and features.
    """

    z: np.ndarray
    gram: np.ndarray
    n: int
    d: int

    @property
    def wide(self) -> bool:
        """Whether there are more features than samples, so that `gram` is that of the samples."""
        return self.d > self.n


def standardise(layer: Rows) -> Standardised:
    """Scale the columns of one layer to mean 0 and variance 1.

    Parameters
    ----------
    layer : Rows
        A prepared layer of n samples.

    Returns
    -------
    Standardised
        See there.
    """
    from zooalign.kernels import columns

    n, d = layer.values.shape
    z = padded(n, d)
    columns.standardise(layer.values, layer.scale, _FLAT, z)
    return Standardised(z, z @ z.T if d > n else z.T @ z, n, d)


def leading_subspace(columns: Standardised) -> np.ndarray:
    """Leading left singular vectors of the z-scored columns of one layer.

    Parameters
    ----------
    columns : Standardised
        From :func:`standardise`, of n samples.

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
    values, vectors = leading_eigenpairs(columns.gram, SUBSPACE)
    keep = values > values[0] * 1e-12 if values[0] > 0 else np.zeros(len(values), bool)
    basis = np.zeros((columns.n, SUBSPACE))
    if keep.any():
        left = vectors[:, keep] if columns.wide else columns.z @ (vectors[:, keep] / np.sqrt(values[keep]))
        basis[:, : keep.sum()] = left[: columns.n]
    return basis


def sketches(columns: Standardised) -> np.ndarray:
    """Randomised ten-dimensional subspaces of the z-scored columns, as the published code draws them.

    Parameters
    ----------
    columns : Standardised
        From :func:`standardise`, of n samples.

    Returns
    -------
    ndarray of float64, shape (4, n, 10)
        One orthonormal basis per seeded draw: range finder with two power iterations and no oversampling.
        NaN in the columns that a layer of fewer than ten features or samples lacks: the published code
        refuses such a layer.

    Notes
    -----
    An iteration is a product with the Gram matrix, which the exact subspace needs too, in place of two with the
    columns; where that would lose digits (`_SHRUNK`), the two. All draws share a product.

    References
    ----------
    Halko, Martinsson, Tropp 2011, arXiv 0909.4061, algorithm 4.4.
    """
    z, n, d = columns.z, columns.n, columns.d
    bases = np.zeros((_DRAWS, n, SUBSPACE))
    width = min(SUBSPACE, n, d)
    bases[:, :, width:] = np.nan
    if not z.any():
        return bases
    starts = np.zeros((_DRAWS, z.shape[1], width))
    for draw in range(_DRAWS):
        starts[draw, :d] = np.random.default_rng(draw).standard_normal((d, width))
    # The range after two iterations: z (z' z)^2 start, by whichever of the two Gram matrices there is.
    if columns.wide:
        basis, kept = _orthonormal(_times(columns.gram, _orthonormal(_times(z, starts))[0]))
        basis, again = _orthonormal(_times(columns.gram, basis))
    else:
        inner, kept = _orthonormal(_times(columns.gram, starts))
        inner, again = _orthonormal(_times(columns.gram, inner))
        basis, _ = _orthonormal(_times(z, inner))
    if min(kept, again) < _SHRUNK:
        basis, _ = _orthonormal(_times(z, starts))
        for _ in range(2):
            basis, _ = _orthonormal(_times(z, _orthonormal(_times(z.T, basis))[0]))
    bases[:, :, :width] = basis[:, :n]
    return bases


def _times(matrix: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Products of a matrix (p, q) with every block of (draws, q, w), as one product: (draws, p, w)."""
    draws, q, w = blocks.shape
    side_by_side = matrix @ blocks.transpose(1, 0, 2).reshape(q, draws * w)
    return side_by_side.reshape(len(matrix), draws, w).transpose(1, 0, 2)


def _orthonormal(blocks: np.ndarray) -> tuple[np.ndarray, float]:
    """Orthonormal columns of every block, and the smallest share of a block's longest direction that one has."""
    q, r = np.linalg.qr(blocks)
    lengths = np.abs(np.diagonal(r, axis1=1, axis2=2))
    longest = lengths.max(axis=1)
    return q, float((lengths.min(axis=1) / np.where(longest > 0, longest, 1.0)).min())


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
    basis = np.empty((block * deepest, len(gram)))  # vectors as rows, so that every product is of whole blocks
    image = np.empty_like(basis)
    part = np.ascontiguousarray(np.random.default_rng(0).standard_normal((len(gram), block)).T)
    for step in range(deepest):
        done, end = block * step, block * (step + 1)
        for _ in range(2):  # orthogonalising twice is enough
            part = part - (part @ basis[:done].T) @ basis[:done]
        basis[done:end] = np.linalg.qr(part.T)[0].T
        part = image[done:end] = basis[done:end] @ gram
        if (step + 1) % _STEPS == 0:
            small = basis[:end] @ image[:end].T
            values, rotation = np.linalg.eigh(0.5 * (small + small.T))
            values, rotation = values[::-1], rotation[:, ::-1][:, :count]
            vectors = basis[:end].T @ rotation
            residual = np.linalg.norm(image[:end].T @ rotation - vectors * values[:count])
            if residual <= _ANGLE * (values[count - 1] - values[count]):
                return values[:count], vectors
    return None


def padded(n: int, d: int) -> np.ndarray:
    """Zeros (n, d) float64, filled up to whole tiles: products then have the same bits everywhere."""
    return np.zeros((-(-n // _TILE) * _TILE, -(-d // _TILE) * _TILE))
