"""Exact neighbours of fixed queries in a gallery too large for memory, streamed block by block.

As the gallery grows the queries stay, and a sample is not its own neighbour: it is left out by its id. The
scores of a block are computed in bfloat16 (or float32, or on a GPU) only to rule rows out: every row within
the proven rounding bound of a query's k-th best is scored in float64 from its clamped features. So the
result is that of :mod:`zooalign.indexes.neighbors` and does not depend on precision, block size, threads or device.
Ties are ordered as there, by what is known while the gallery is streamed: the content of the queries, the number of
the query and the position of the row.
"""

# torch.from_numpy does not say what it takes.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zooalign.errors import FeatureError, MetricError
from zooalign.indexes.gallery_inputs import Names, blocks, checked_shape, own_positions
from zooalign.indexes.neighbors import TIE_STEP, row_classes, tie_seed
from zooalign.indexes.preparation import Preparation, Rows, prepare_layers

VERSION = 2

# Queries and gallery rows per product: tall and narrow, so that the rows are packed for the product only once.
_QUERIES = 4096
_COLUMNS = 2048
# Extra columns of the product carry the offset of a gallery row in two parts; padded for the hardware.
_EXTRA = 32
# Bits of infinity; those of NaN lie above.
_INFINITY = {np.float16: 0x7C00, np.float32: 0x7F800000}


@dataclass
class _Search:
    """State of one search: queries as they are, as they are multiplied, and the best rows so far."""

    rows: Rows
    centre: np.ndarray  # (d,) float64
    factor: Any  # (q, d + extra) torch tensor
    shift: np.ndarray  # (q,) float64
    lengths: np.ndarray  # (q,) float64, of the rounded centred queries
    errors: np.ndarray  # (q,) float64, of their rounding
    own: np.ndarray  # (q,) int64
    best: np.ndarray  # (q, k) float64
    where: np.ndarray  # (q, k) int64
    unit: bool  # whether rank values are cosines
    euclidean: bool
    seed: np.uint64  # of the order of ties
    scores: Any  # torch tensor for one tile of scores


def nearest_in_gallery(
    queries: np.ndarray,
    gallery: Any,
    k: int,
    preparation: Preparation | None = None,
    *,
    query_ids: Sequence[str] | None = None,
    gallery_ids: Sequence[str] | None = None,
    clamp: float | None = None,
    block: int = 16_384,
    scan: str = "auto",
    device: str = "auto",
) -> tuple[np.ndarray, np.ndarray]:
    """Ordered k nearest gallery rows of every query.

    Parameters
    ----------
    queries : ndarray of floats, shape (q, d)
        Features of the queries.
    gallery : array-like of floats, shape (m, d)
        Anything with shape and row slices: ndarray, memory map, Zarr array. Read once, in order.
    k : int
        1 <= k < m.
    preparation : Preparation, optional
        normalise "l2" or "none"; its similarity ranks. Its clamp is not computed here, see `clamp`.
    query_ids, gallery_ids : sequence of str, optional
        Where given, a query is not its own neighbour: the gallery row of the same id is left out.
    clamp : float, optional
        Threshold to clip features to, known beforehand: an order statistic of the whole gallery would need
        another pass (see :func:`zooalign.indexes.preparation.order_statistic`). None clips nothing.
    block : int
        Gallery rows in memory at a time.
    scan : {"auto", "bfloat16", "float32"}
        Precision of the products that rule rows out; "auto" takes bfloat16 where the processor multiplies it.
    device : {"auto", "cpu", "cuda"}
        Where the products are computed; "auto" takes a GPU if there is one.

    Returns
    -------
    positions : ndarray of int64, shape (q, k)
        Best first; ties in the pseudo-random order that follows from the queries.
    values : ndarray of float64, shape (q, k)
        Similarities (negative squared distances under "euclidean" without normalisation), rounded as they are
        compared, see :func:`zooalign.indexes.neighbors.nearest`.

    Raises
    ------
    FeatureError
        For rows that cannot be used; names the sample.
    MetricError
        For k out of range, widths that differ, ids that do not fit or repeat, or an unknown setting.

    Notes
    -----
    2 q m d operations. Memory: about 8 bytes x block x d and 14 bytes x q x d, whatever m is. The queries'
    mean is subtracted on both sides, so narrow cones of features lose no precision. Rounding to bfloat16 moves
    a score by at most |dq||x| + |q||dx| (Cauchy-Schwarz with the rounding errors dq, dx as they are), plus
    the accumulation in float32 and the rounding of the result.
    """
    import torch

    preparation = preparation or Preparation()
    m, d = checked_shape(queries, gallery, k, preparation, scan, device, block)
    own = own_positions(len(queries), m, query_ids, gallery_ids)
    if (own >= 0).any() and k >= m:
        raise MetricError(f"k = {k} of a gallery of {m} rows that holds the queries: k must be below {m}.")
    place = torch.device("cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu")
    if scan == "auto":
        scan = "bfloat16" if place.type == "cuda" or _multiplies_bfloat16() else "float32"
    ids = query_ids if query_ids is not None else [str(i) for i in range(len(queries))]
    search = _begin(_prepared(queries, preparation, clamp, ids, "queries"), own, k, preparation, scan, place)
    names = gallery_ids if gallery_ids is not None else range(m)
    bits = np.zeros((min(block, m), d + _EXTRA), np.uint16)  # reused: fresh memory costs more than filling it
    for first, raw in blocks(gallery, m, block):
        named = Names(names, first, len(raw))
        if scan == "bfloat16":
            rounded = _rounded_block(search, raw, preparation, clamp, named, bits[: len(raw)])
        else:
            rounded = _float32_block(search, _prepared(raw, preparation, clamp, named, "gallery"))
        _search_block(search, rounded, first, scan, place)
    return search.where, search.best


@dataclass
class _Block:
    """A block of the gallery: exact, and rounded for the product."""

    stored: np.ndarray  # (n, d) float32, or the bits of float16
    clamp: np.float32  # what they are still to be clipped to, 0 for nothing
    scales: np.ndarray  # (n,) float64
    classes: np.ndarray  # (n,) int64, equal rows have the same
    factor: Any  # (n, d + extra) torch tensor
    offsets: np.ndarray  # (n,) float64
    lengths: np.ndarray  # (n,) float64, of the centred rows
    errors: np.ndarray  # (n,) float64, of their rounding


def _prepared(x: np.ndarray, preparation: Preparation, clamp: float | None, ids: Sequence[str], name: str) -> Rows:
    """Clip to the given threshold and scale as the preparation says."""
    x = np.array(x, np.float32, order="C")
    if clamp is not None:
        if not clamp > 0:
            raise FeatureError(f"clamp is {clamp}: the threshold of the features must be positive.")
        np.clip(x, -np.float32(clamp), np.float32(clamp), out=x)
    plain = Preparation(clamp_scope="none", normalise=preparation.normalise, similarity=preparation.similarity)
    (rows,) = prepare_layers([x], plain, [name], ids)
    return rows


def _begin(rows: Rows, own: np.ndarray, k: int, preparation: Preparation, scan: str, place: Any) -> _Search:
    """Centre and round the queries."""
    import torch

    from zooalign.kernels import rows as kernels

    q, d = len(rows.values), rows.values.shape[1]
    euclidean = preparation.by_distance
    centre = np.empty(d)
    kernels.scaled_column_means(rows.values, rows.rank_scale, centre)
    factor, lengths, errors = _rounded(rows, centre, np.ones(q), scan)
    factor[:, d + 1] = 1  # multiplies the second part of a gallery row's offset
    along = np.empty(q)
    kernels.project_rows(rows.values, centre, along)
    # <q, x> = <q - c, x - c> + (<c, x> - <c, c>) + <q, c>: the bracket is the row's offset, the rest the shift.
    shift = along * rows.rank_scale
    if euclidean:
        squares = np.empty(q)
        kernels.row_sums_of_squares(rows.values, squares)
        # -|q - x|^2 = 2 (<q - c, x - c> - |x - c|^2 / 2) - |q - c|^2: scored at half its value.
        shift = squares - 2.0 * along + centre @ centre
    best = np.full((q, k), -np.inf)
    where = np.full((q, k), np.iinfo(np.int64).max)
    tile = torch.empty(min(q, _QUERIES) * _COLUMNS, dtype=factor.dtype, device=place)
    unit, seed = preparation.unit_rows, tie_seed(rows)
    return _Search(
        rows, centre, factor.to(place), shift, lengths, errors, own, best, where, unit, euclidean, seed, tile
    )


def _rounded(rows: Rows, centre: np.ndarray, extra: np.ndarray, scan: str) -> tuple[Any, np.ndarray, np.ndarray]:
    """[centred rows | extra in two parts] in the precision of the product, their lengths, their errors."""
    import torch

    from zooalign.kernels import rows as kernels

    n, d = rows.values.shape
    centred = np.zeros((n, d), np.float32)
    kernels.centre_rows(rows.values, rows.rank_scale, centre, centred)
    exact = torch.from_numpy(centred)
    factor = torch.zeros((n, d + _EXTRA), dtype=torch.bfloat16 if scan == "bfloat16" else torch.float32)
    factor[:, :d] = exact
    part = torch.from_numpy(extra)
    factor[:, d] = part
    factor[:, d + 1] = part - factor[:, d].double()
    lengths, errors = np.empty(n), np.zeros(n)
    kernels.row_sums_of_squares(centred, lengths)
    if scan == "bfloat16":
        exact -= factor[:, :d].float()
        kernels.row_sums_of_squares(centred, errors)
    return factor, np.sqrt(lengths), np.sqrt(errors)


def _rounded_block(
    search: _Search,
    raw: np.ndarray,
    preparation: Preparation,
    clamp: float | None,
    names: Sequence[str],
    bits: np.ndarray,
) -> _Block:
    """Everything about a block in one pass; the ordinary preparation speaks where a row cannot be used."""
    import torch

    from zooalign.kernels import gallery as kernels
    from zooalign.kernels import rows as row_kernels

    half = raw.dtype == np.float16
    stored = np.ascontiguousarray(raw, np.float16 if half else np.float32).view(np.uint16 if half else np.float32)
    limit = np.float32(0 if clamp is None else clamp)
    if half:
        usable = row_kernels.largest_half(stored.reshape(-1).view(np.uint16)) < _INFINITY[np.float16]
    else:
        usable = row_kernels.largest_single(stored.reshape(-1).view(np.uint32)) < _INFINITY[np.float32]
    scales, offsets, lengths, errors = np.empty((4, len(raw)))
    if usable:
        kernels.round_rows(
            stored, half, limit, search.centre, preparation.unit_rows, search.euclidean,
            scales, offsets, lengths, errors, bits,
        )  # fmt: skip
    if not usable or not np.isfinite(scales).all():  # a row of zeros has an infinite scale
        _prepared(raw, preparation, clamp, names, "gallery")
    factor = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16)
    return _Block(stored, limit, scales, row_classes(stored), factor, offsets, lengths, errors)


def _float32_block(search: _Search, rows: Rows) -> _Block:
    """The same for products in float32."""
    from zooalign.kernels import rows as kernels

    n = len(rows.values)
    along = np.empty(n)
    kernels.project_rows(rows.values, search.centre, along)
    square = float(search.centre @ search.centre)
    offsets = along * rows.rank_scale - square
    if search.euclidean:
        squares = np.empty(n)
        kernels.row_sums_of_squares(rows.values, squares)
        offsets = -0.5 * (squares - 2.0 * along + square)
    factor, lengths, errors = _rounded(rows, search.centre, offsets, "float32")
    errors += lengths * 2.0**-24
    classes = row_classes(rows.values)
    return _Block(rows.values, np.float32(0), rows.rank_scale, classes, factor, offsets, lengths, errors)


def _search_block(search: _Search, block: _Block, first: int, scan: str, place: Any) -> None:
    """Offer a block of the gallery to all queries."""
    n, d = block.stored.shape
    largest = float(np.abs(block.offsets).max())
    worst = float(block.errors.max())
    longest = float(block.lengths.max()) + worst
    margin = (
        search.errors * longest
        + (search.lengths + search.errors) * worst
        + largest * 2.0**-15
        + (d + _EXTRA + 16) * 2.0**-23 * ((search.lengths + search.errors) * longest + largest)
    )
    # A row that is tied with the k-th best may come before it.
    reach = np.sqrt(search.centre @ search.centre) + longest
    margin += 2.0 * TIE_STEP * (reach + search.lengths + search.errors) ** 2
    known = np.empty(n), np.full(n, -1, np.int64)
    factor = block.factor.to(place)
    for start in range(0, len(search.own), _QUERIES):
        some = slice(start, start + _QUERIES)
        known[1][:] = -1
        for column in range(0, n, _COLUMNS):
            part = slice(column, min(column + _COLUMNS, n))
            _offer(search, block, factor, some, part, first + column, margin[some], known, scan, place)


def _offer(
    search: _Search, block: _Block, factor: Any, some: slice, part: slice, first: int, margin: np.ndarray,
    known: tuple[np.ndarray, np.ndarray], scan: str, place: Any,
) -> None:  # fmt: skip
    """Multiply a tile and settle what it cannot rule out."""
    import torch

    from zooalign.kernels import gallery as kernels

    best, where = search.best[some], search.where[some]
    # Under "euclidean" the product is half the rank value; scores compare with (best + |q - c|^2) / 2.
    half = 0.5 if search.euclidean else 1.0
    shift = search.shift[some] * (-half if search.euclidean else 1.0)
    queries, scales = search.rows.values[some], search.rows.rank_scale[some]
    half_stored = block.stored.dtype == np.uint16
    stored = (block.stored[part], half_stored, block.clamp, block.scales[part], block.classes[part], search.unit)
    order = (search.seed, some.start, search.own[some], first)
    left, right = search.factor[some], factor[part].T
    # Into memory of the search: a fresh matrix would cost a third of the product in page faults.
    scores = search.scores[: left.shape[0] * right.shape[1]].view(left.shape[0], right.shape[1])  # (q, m)
    torch.mm(left, right, out=scores)
    if place.type == "cpu" and not search.euclidean:
        bits = scores.view(torch.int16).numpy() if scan == "bfloat16" else scores.numpy()
        kernel = kernels.scan_bfloat16 if scan == "bfloat16" else kernels.scan_float32
        kernel(bits, queries, scales, *stored, False, *order, shift, margin, *known, best, where)
        return
    limit = best[:, -1] * half - shift - margin
    limit -= np.abs(limit) * (2.0**-8 if scan == "bfloat16" else 1e-6)
    floor = torch.from_numpy(np.nextafter(limit.astype(np.float32), np.float32(-np.inf))).to(place)
    if not np.isfinite(limit).all():  # nothing known yet: the block's own k best bound the rest from below
        top = torch.topk(scores.float(), min(best.shape[1] + 1, scores.shape[1]), dim=1).values[:, -1]
        slack = torch.from_numpy((2.0 * margin).astype(np.float32)).to(place) + top.abs() * 2.0**-6
        floor = torch.where(torch.isfinite(floor), floor, top - slack)
        if scores.shape[1] <= best.shape[1]:
            floor = torch.full_like(floor, -torch.inf)
    pairs = torch.nonzero(scores.float() >= floor[:, None]).cpu().numpy()
    kernels.offer_listed(pairs, queries, scales, *stored, search.euclidean, *order, *known, best, where)


def _multiplies_bfloat16() -> bool:
    """Whether this processor has bfloat16 products in hardware; elsewhere they are slower than float32."""
    import torch

    check = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(check is not None and check())
