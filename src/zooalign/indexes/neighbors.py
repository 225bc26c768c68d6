"""Exact nearest neighbours: all layers of a small set, or fixed queries against a large streamed gallery.

The result is defined without reference to how it is computed: neighbour j precedes j' if its similarity,
computed in float64 from the clamped features, is higher. Similarities that differ by nothing but float64
rounding are tied, and tied neighbours are in a pseudo-random order that follows from the content of the layer
and differs from query to query: two layers that are tied in the same places agree there by chance only, and a
layer agrees with itself. A float32 matrix product only proposes; whatever lies within its rounding bound is
settled in float64. So the lists do not depend on the BLAS, its threads, the batch, or the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from zooalign.errors import MetricError
from zooalign.indexes.preparation import Preparation, Rows

VERSION = 2

# Unit roundoff of float32.
_ROUNDOFF = 2.0**-24
# Rows and columns are padded with zeros to whole tiles: OpenBLAS then splits and accumulates every element
# alike whatever the number of threads, and the product has the same bits.
_TILE = 64
# Spread relative to the mean below which a layer counts as constant: float64 rounding; for rows of unit length
# what rounding parallel rows to float32 leaves, 2^-24 on either side, twice.
_CONSTANT = 1e-12
_ONE_DIRECTION = 2.0**-22
# Rank values are compared on a grid of this step (relative to their size where rows have no unit length).
TIE_STEP = 2.0**-46
# Columns per float32 product: the sum of several has a bound on its rounding that does not grow with the width, so
# that wide layers need no more float64 products to settle their order.
_COLUMNS = 4096
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
    constant : bool
        Whether the layer is the same for every sample: nothing but rounding distinguishes the rows.
    """

    rows: np.ndarray
    offsets: np.ndarray
    margins: np.ndarray
    n: int
    constant: bool


class Neighbors(NamedTuple):
    """The neighbour lists of one layer.

    Attributes
    ----------
    lists : ndarray of uint16 (n <= 65,536) or int32, shape (n, k)
        Best first.
    tie_counts : ndarray of int32, shape (k,)
        At place t - 1 the number of samples whose t-th and (t + 1)-th neighbours are tied, so that which samples
        are among the t nearest depends on the tie order.
    dots : ndarray of float64, shape (n, k)
        Products of the rows as they are stored (not scaled) with their neighbours, where one was needed to order
        them; NaN elsewhere.
    """

    lists: np.ndarray
    tie_counts: np.ndarray
    dots: np.ndarray


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
    their rounding error. The bound is the standard one for a dot product of w terms, (w + 8) u |y_i||y_j|,
    plus the rounding of y and of the offsets; w is the width, or that of a block and the number of blocks.
    """
    from zooalign.kernels import rows as kernels

    n, d = layer.values.shape
    scale = layer.rank_scale if ranking else layer.scale
    means = np.empty(d)
    kernels.scaled_column_means(layer.values, scale, means)
    rows = np.zeros((-(-n // _TILE) * _TILE, -(-d // _TILE) * _TILE), np.float32)
    lengths, offsets = np.empty(n), np.empty(n)
    kernels.centre_and_measure(layer.values, scale, means, rows, lengths, offsets)
    lengths = np.sqrt(lengths)
    longest = float(lengths.max())
    mean_length = float(np.sqrt(means @ means))
    unit = preparation.unit_rows if ranking else preparation.normalise != "none"
    constant = longest <= (_ONE_DIRECTION if unit else _CONSTANT * mean_length)
    if constant:
        rows[:] = 0.0
        lengths[:] = offsets[:] = longest = 0.0
    if preparation.by_distance:
        offsets = -0.5 * lengths**2
        slack = longest**2
    else:
        slack = longest * mean_length
    terms = min(d, _COLUMNS) + -(-d // _COLUMNS)
    bound = (terms + 16) * lengths * longest + 4.0 * float(np.abs(offsets).max()) + 2.0 * slack
    bound = bound * _ROUNDOFF + 2.0 * TIE_STEP * (mean_length + longest) ** 2  # all tied rows are candidates
    margins = np.nextafter(bound.astype(np.float32), np.float32(np.inf))
    return Centred(rows, offsets.astype(np.float32), margins, n, bool(constant))


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
    return _products(centred.rows, centred.rows)


def _products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Inner products of the rows of a (p, d) and b (q, d), summed over blocks of columns."""
    total = a[:, :_COLUMNS] @ b[:, :_COLUMNS].T
    part = np.empty_like(total) if a.shape[1] > _COLUMNS else total
    for start in range(_COLUMNS, a.shape[1], _COLUMNS):
        stop = start + _COLUMNS
        total += np.matmul(a[:, start:stop], b[:, start:stop].T, out=part)
    return total


def tie_seed(layer: Rows) -> np.uint64:
    """Hash of the prepared content of a layer, from which the order of its tied neighbours follows.

    Parameters
    ----------
    layer : Rows
        A prepared layer of n samples.

    Returns
    -------
    uint64
        A function of the rows as they are ranked, rounded to float32, in their order.
    """
    from zooalign.kernels import ties

    hashes = np.empty(len(layer.values), np.uint64)
    ties.content_hashes(layer.values, layer.rank_scale, hashes)
    return np.uint64(ties.combined(hashes, layer.values.shape[1]))


def row_classes(stored: np.ndarray) -> np.ndarray:
    """Which rows are equal, so that features with few distinct rows are not ranked row by row.

    Parameters
    ----------
    stored : ndarray of float32 or uint16, shape (n, d)
        Rows, contiguous.

    Returns
    -------
    ndarray of int64, shape (n,)
        Position of an equal row, the same for rows known to be equal.
    """
    from zooalign.kernels import ties

    hashes, classes = np.empty(len(stored), np.uint64), np.empty(len(stored), np.int64)
    ties.sampled_hashes(stored if stored.dtype == np.uint16 else stored.view(np.uint32), hashes)
    ties.equal_rows(stored, hashes, classes)
    return classes


def nearest(
    layer: Rows,
    preparation: Preparation,
    k: int,
    centred: Centred | None = None,
    gram: np.ndarray | None = None,
) -> Neighbors:
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
    Neighbors
        Lists and the number of ties at every place.

    Raises
    ------
    MetricError
        If k is not in 1 ... n - 1.

    Notes
    -----
    Rank values are rounded before they are compared: cosines to multiples of 2^-46 (1.4e-14), inner products and
    squared distances to 46 significant bits. That is some fifty times the rounding of a float64 dot product, so
    equal rows, cosines of exactly 1, 0 or -1 and other values equal but for rounding are tied; and 1e-4 of what
    separates neighbours in a cone of mean cosine 1 - 1e-6 at n = 4,096, so ordinary features keep their order. Rows
    that are parallel only up to float32 rounding differ by about 1e-8 for other rows, and fall by that.

    2 n^2 d operations in float32 (half of them where n <= 4,096) plus float64 products for the pairs whose
    order float32 cannot decide, one for all equal rows. Memory 4 n^2 bytes, or 4,096 n beyond n = 4,096.
    """
    from zooalign.kernels import nearest as kernels

    n = len(layer.values)
    check_k(k, n)
    if centred is None:
        centred = centre(layer, preparation, ranking=True)
    euclidean = preparation.by_distance
    seed, classes = tie_seed(layer), row_classes(layer.values)
    lists, tie_counts, dots = np.empty((n, k), neighbor_dtype(n)), np.zeros(k, np.int32), np.empty((n, k))
    for first, last, scores in _blocks(centred, gram):
        kernels.nearest_rows(
            scores, centred.offsets, first, centred.margins, layer.values, layer.rank_scale, preparation.unit_rows,
            euclidean, centred.constant, seed, classes, k, lists[first:last], tie_counts, dots[first:last],
        )  # fmt: skip
    return Neighbors(lists, tie_counts, dots)


def nearest_sets(
    layer: Rows,
    preparation: Preparation,
    k: int,
    centred: Centred | None = None,
    gram: np.ndarray | None = None,
) -> tuple[np.ndarray, int]:
    """The k nearest neighbours of every sample without their order, for large k: exactly those that `nearest` lists.

    Parameters
    ----------
    layer, preparation, k, centred, gram
        As in :func:`nearest`.

    Returns
    -------
    bits : ndarray of uint8, shape (n, ceil(n / 8))
        Bit j % 8 of byte j // 8 in row i says whether j is a neighbour of i.
    tied : int
        Number of samples whose k-th and (k + 1)-th neighbour are tied.

    Raises
    ------
    MetricError
        If k is not in 1 ... n - 1.

    Notes
    -----
    Only the samples that float32 cannot place on one side of the border are compared in float64.
    """
    from zooalign.kernels import nearest as kernels

    n = len(layer.values)
    check_k(k, n)
    if centred is None:
        centred = centre(layer, preparation, ranking=True)
    euclidean = preparation.similarity == "euclidean" and not preparation.unit_rows
    seed, classes = tie_seed(layer), row_classes(layer.values)
    bits, tied = np.zeros((n, -(-n // 8)), np.uint8), 0
    for first, last, scores in _blocks(centred, gram):
        tied += kernels.nearest_sets(
            scores, centred.offsets, first, centred.margins, layer.values, layer.rank_scale, preparation.unit_rows,
            euclidean, centred.constant, seed, classes, k, bits[first:last],
        )  # fmt: skip
    return bits, tied


def sets_of_lists(neighbors: np.ndarray, k: int) -> np.ndarray:
    """The first k neighbours of every sample, (n, >= k) integers, as the bits of :func:`nearest_sets`."""
    from zooalign.kernels.sets import pack_lists

    n = len(neighbors)
    bits = np.zeros((n, -(-n // 8)), np.uint8)
    pack_lists(neighbors, k, bits)
    return bits


def _blocks(centred: Centred, gram: np.ndarray | None) -> Iterator[tuple[int, int, np.ndarray]]:
    """Products of the centred rows first ... last - 1 with all rows, (last - first, n), until there are no more."""
    n = centred.n
    if gram is None and n <= _WHOLE:
        gram = centred_gram(centred)
    for first in range(0, n, _BLOCK):
        last = min(first + _BLOCK, n)
        if gram is not None:
            yield first, last, gram[first:last, :n]
        else:
            padded = -(-last // _TILE) * _TILE
            yield first, last, _products(centred.rows[first:padded], centred.rows)[: last - first, :n]


def neighbor_products(
    layer: Rows, neighbors: np.ndarray, dots: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Inner products of prepared rows with their neighbours: the linear kernel on the edges of the graph.

    Parameters
    ----------
    layer : Rows
        A prepared layer.
    neighbors : ndarray of int, shape (n, k)
        Positions below n.
    dots : ndarray of float64, shape (n, k), optional
        Those that :func:`nearest` needed.

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
    dots = np.full(neighbors.shape, np.nan) if dots is None else dots.copy()
    kernels.fill_dots(layer.values, neighbors, dots)
    kernels.neighbor_products(layer.values, layer.scale, neighbors, dots, means, products, centred)
    return products, centred


def neighbor_dtype(n: int) -> type[np.uint16 | np.int32]:
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
