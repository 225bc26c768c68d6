"""Exact nearest neighbours: all layers of a small set, or fixed queries against a large streamed gallery.

The result is defined without reference to how it is computed: neighbour j precedes j' if its similarity,
computed in float64 from the clamped features, is higher, or equal with j < j'. A float32 matrix product
only proposes; whatever lies within its rounding bound is settled in float64. So the lists do not depend on
the BLAS, its threads, the batch, or the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zooalign.errors import MetricError
from zooalign.preparation import Preparation, Rows

VERSION = 1

# Unit roundoff of float32.
_ROUNDOFF = 2.0**-24
# Rows and columns are padded with zeros to whole tiles: OpenBLAS then splits and accumulates every element
# alike whatever the number of threads, and the product has the same bits.
_TILE = 64
# Spread relative to the mean below which a layer counts as constant.
_CONSTANT = 1e-12
# Above this many samples the n x n scores are computed in blocks of rows.
_WHOLE = 4096
_BLOCK = 1024


@dataclass(frozen=True)
class Centred:
    """A layer moved to its mean: what float32 products are computed from.

    Attributes
    ----------
    rows : ndarray of float32, shape (n padded, d padded)
        Prepared rows minus their mean; zeros beyond n and d.
    offsets : ndarray of float32, shape (n,)
        Added to <rows[i], rows[j]> over j, they give the rank value of j for i up to a constant of i.
    margins : ndarray of float32, shape (n,)
        Bound on the rounding error of those sums.
    n : int
        Number of samples.
    """

    rows: np.ndarray
    offsets: np.ndarray
    margins: np.ndarray
    n: int


def centre(layer: Rows, preparation: Preparation, ranking: bool) -> Centred:
    """Subtract the mean row, so that float32 keeps the differences between nearly parallel rows.

    Parameters
    ----------
    layer : Rows
        A prepared layer.
    preparation : Preparation
        Its settings.
    ranking : bool
        Whether to scale rows as neighbours are ranked (unit length under cosine) or as prepared.

    Returns
    -------
    Centred
        See there.

    Notes
    -----
    With x = m + y, <x_i, x_j> = <y_i, y_j> + <m, y_j> + a constant of i: the order over j needs only the
    centred product and one offset per j. At mean cosine .997 the products shrink 300-fold and so does
    their rounding error. The bound is the standard one for a dot product of d terms, (d + 8) u |y_i||y_j|,
    plus the rounding of y and of the offsets.
    """
    from zooalign.kernels import rows as kernels

    n, d = layer.values.shape
    scale = layer.rank_scale if ranking else layer.scale
    means = np.empty(d)
    kernels.scaled_column_means(layer.values, scale, means)
    rows = np.zeros((-(-n // _TILE) * _TILE, -(-d // _TILE) * _TILE), np.float32)
    kernels.centre_rows(layer.values, scale, means, rows)
    lengths = np.empty(n)
    kernels.row_sums_of_squares(rows[:n], lengths)
    lengths = np.sqrt(lengths)
    longest = float(lengths.max())
    if longest <= _CONSTANT * float(np.sqrt(means @ means)):
        # Nothing but float64 rounding distinguishes the rows: the layer is the same for every sample.
        rows[:] = 0.0
        lengths[:] = longest = 0.0
    offsets = np.empty(n)
    if preparation.similarity == "euclidean" and not preparation.unit_rows:
        offsets = -0.5 * lengths**2
        slack = longest**2
    else:
        kernels.project_rows(rows[:n], means, offsets)
        slack = longest * float(np.sqrt(means @ means))
    bound = (d + 16) * lengths * longest + 4.0 * float(np.abs(offsets).max()) + 2.0 * slack
    margins = np.nextafter((bound * _ROUNDOFF).astype(np.float32), np.float32(np.inf))
    return Centred(rows, offsets.astype(np.float32), margins, n)


def centred_gram(centred: Centred) -> np.ndarray:
    """Inner products of all centred rows.

    Parameters
    ----------
    centred : Centred
        From :func:`centre`.

    Returns
    -------
    ndarray of float32, shape (n padded, n padded)
        Symmetric, the same bits for any number of threads.
    """
    return centred.rows @ centred.rows.T


def nearest(
    layer: Rows,
    preparation: Preparation,
    k: int,
    centred: Centred | None = None,
    gram: np.ndarray | None = None,
) -> np.ndarray:
    """Ordered k nearest neighbours of every sample within one layer, the sample itself excluded.

    Parameters
    ----------
    layer : Rows
        A prepared layer of n samples.
    preparation : Preparation
        Its settings; `similarity` says what ranks.
    k : int
        1 <= k < n.
    centred, gram : optional
        From :func:`centre` with ranking=True and :func:`centred_gram`, if already at hand.

    Returns
    -------
    ndarray of uint16 (n <= 65,536) or int32, shape (n, k)
        Best first; ties by lower index.

    Raises
    ------
    MetricError
        If k is not in 1 ... n - 1.

    Notes
    -----
    2 n^2 d operations in float32 (half of them where n <= 4,096) plus float64 products for the pairs whose
    order float32 cannot decide. Memory 4 n^2 bytes, or 4,096 n beyond n = 4,096.
    """
    from zooalign.kernels import rows as kernels

    n = len(layer.values)
    check_k(k, n)
    if centred is None:
        centred = centre(layer, preparation, ranking=True)
    euclidean = preparation.similarity == "euclidean" and not preparation.unit_rows
    found = np.empty((n, k), neighbor_dtype(n))
    if gram is None and n <= _WHOLE:
        gram = centred_gram(centred)
    for first in range(0, n, _BLOCK):
        last = min(first + _BLOCK, n)
        if gram is not None:
            scores = gram[first:last, :n]
        else:
            padded = -(-last // _TILE) * _TILE
            scores = (centred.rows[first:padded] @ centred.rows.T)[: last - first, :n]
        kernels.nearest_rows(
            scores, centred.offsets, first, centred.margins, layer.values, layer.rank_scale, euclidean, k,
            found[first:last],
        )  # fmt: skip
    return found


def neighbor_products(layer: Rows, neighbors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inner products of prepared rows with their neighbours: the linear kernel on the edges of the graph.

    Parameters
    ----------
    layer : Rows
        A prepared layer.
    neighbors : ndarray of int, shape (n, k)
        Positions below n.

    Returns
    -------
    products : ndarray of float32, shape (n, k)
        Accumulated in float64 from the clamped features; in [-1, 1] for unit rows.
    centred : ndarray of float32, shape (n, k)
        The same of the rows minus their mean: the doubly centred kernel on the edges.

    Raises
    ------
    MetricError
        If the lists are not of this layer's samples.
    """
    from zooalign.kernels import rows as kernels

    n, d = layer.values.shape
    if neighbors.ndim != 2 or len(neighbors) != n or (neighbors.size and int(neighbors.max()) >= n):
        raise MetricError(f"neighbours {neighbors.shape} do not belong to features {layer.values.shape}.")
    means = np.empty(d)
    kernels.scaled_column_means(layer.values, layer.scale, means)
    products = np.empty(neighbors.shape, np.float32)
    centred = np.empty(neighbors.shape, np.float32)
    kernels.neighbor_products(layer.values, layer.scale, neighbors, means, products, centred)
    return products, centred


def neighbor_dtype(n: int) -> type:
    """Smallest integer type that numbers n samples: uint16 up to 65,536, then int32."""
    return np.uint16 if n <= 65_536 else np.int32


def check_k(k: int, n: int) -> None:
    """Raise MetricError unless 1 <= k < n.

    Parameters
    ----------
    k : int
        Number of neighbours.
    n : int
        Number of samples.
    """
    if not 1 <= k < n:
        raise MetricError(
            f"k = {k} neighbours of n = {n} samples: k must be at least 1 and below n, since a sample is not "
            "its own neighbour. Use fewer neighbours or more samples."
        )
