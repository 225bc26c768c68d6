"""Preparation of features before any metric: clamp, normalise, concatenate.

The features of one model on one dataset are a sequence of layers, (n, d_l) each. Outliers are clipped, never
removed; rows are scaled to unit length; every step is a setting that is recorded with the result.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from zooalign.errors import ConfigError, FeatureError, unknown
from zooalign.indexes.layers import CheckedLayers, all_finite, flat

VERSION = 1

_SCOPES = ("model", "layer", "published", "none")
_NORMS = ("l2", "none", "centred_l2")
# A threshold at which more values than this share are equal, far below what it clips, leaves their signs.
_TIED, _FAR = 0.5, 8.0
# A threshold below this share of what it clips leaves the rounding of float32 features.
_SINGLE = 2.0**-24
_SIMILARITIES = ("cosine", "euclidean", "inner_product", "rbf")
_PRECISIONS = ("float32", "float16", "bfloat16")
# What an index may hold under `rbf`: everything else is of inner products.
RBF_NEEDS = frozenset({"neighbors", "gram"})
CONCATENATED = "concatenated"


@dataclass(frozen=True)
class Preparation:
    """Settings of the preparation; part of the digest of every result.

    Parameters
    ----------
    clamp_quantile : float
        q in (0, 1]: the threshold is the order statistic with 0-based index floor(q size) of |x|. 1 clips
        nothing.
    clamp_scope : {"model", "layer", "published", "none"}
        One threshold over all samples, layers and features; one per layer; or none. The published code does
        the first where all layers have one width and the second where widths differ: "published" does as it
        does. The default, "model", treats every model alike.
    normalise : {"l2", "none", "centred_l2"}
        Rows to unit length; left alone; or columns centred first, then rows to unit length.
    include_concat : bool
        Add the pseudo-layer of all clamped layers side by side (paper, C.2), last, named "concatenated".
    similarity : {"cosine", "euclidean", "inner_product", "rbf"}
        What ranks neighbours. On unit rows the four agree. "rbf", the Gaussian kernel with the median distance as
        bandwidth, ranks as "euclidean" does; the kernel of cka and its kin is then that one, not the linear one.
    precision : {"float32", "float16", "bfloat16"}
        What prepared rows are rounded to before similarities are computed. Rows of unit length are scaled again
        afterwards, so that rounding changes their direction only.

    Raises
    ------
    ConfigError
        For a value outside these sets.

    Examples
    --------
    >>> Preparation(clamp_scope="none").clamp_quantile
    0.95
    """

    clamp_quantile: float = 0.95
    clamp_scope: str = "model"
    normalise: str = "l2"
    include_concat: bool = False
    similarity: str = "cosine"
    precision: str = "float32"

    def __post_init__(self) -> None:
        if not 0.0 < self.clamp_quantile <= 1.0:
            raise ConfigError(f"clamp_quantile is {self.clamp_quantile}: it must be above 0 and at most 1.")
        for kind, value, known in (
            ("clamp_scope", self.clamp_scope, _SCOPES),
            ("normalise", self.normalise, _NORMS),
            ("similarity", self.similarity, _SIMILARITIES),
            ("precision", self.precision, _PRECISIONS),
        ):
            if value not in known:
                raise ConfigError(unknown(kind, str(value), known))

    def settings(self) -> dict[str, Any]:
        """Return the settings as a JSON-able dict; `precision` only where rows are rounded."""
        # Digests of what was made before rows could be rounded still hold.
        left_out = {"precision"} if self.precision == "float32" else set[str]()
        return {name: value for name, value in asdict(self).items() if name not in left_out}

    def digest(self) -> str:
        """Hexadecimal SHA-256 of the settings and of this module's VERSION.

        Returns
        -------
        str
            64 characters.
        """
        text = json.dumps({"preparation": VERSION, **self.settings()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def unit_rows(self) -> bool:
        """Whether neighbours are ranked by the inner product of rows of unit length."""
        return self.normalise != "none" or self.similarity == "cosine"

    @property
    def by_distance(self) -> bool:
        """Whether neighbours are ranked by the Euclidean distance of rows of any length."""
        return self.similarity in ("euclidean", "rbf") and not self.unit_rows


@dataclass(frozen=True)
class Rows:
    """One prepared layer: prepared row i is scale[i] * values[i].

    Attributes
    ----------
    name : str
        Layer name.
    values : ndarray of float32, shape (n, d)
        Clamped (and for "centred_l2" centred) features: the exact numbers, before any rounding by scaling.
    scale : ndarray of float64, shape (n,)
        1 / length of the row, or 1 where `normalise` is "none".
    rank_scale : ndarray of float64, shape (n,)
        The scale under which inner products rank neighbours: differs from `scale` for "none" with cosine.
    """

    name: str
    values: np.ndarray
    scale: np.ndarray
    rank_scale: np.ndarray


class Threshold(NamedTuple):
    """An order statistic of magnitudes and what lies around it.

    Attributes
    ----------
    value : float
        The order statistic.
    reached : float
        Share of the values that are at least as large.
    outlying : float
        Lower bound, within 1 %, of what exceeds nine tenths of the values above the order statistic.
    """

    value: float
    reached: float
    outlying: float


def order_statistic(arrays: Sequence[np.ndarray], quantile: float) -> float:
    """Value at 0-based index floor(quantile size) of the sorted |x| over all arrays together, exactly.

    Parameters
    ----------
    arrays : sequence of ndarray of float16 or float32
        Any shapes; finite.
    quantile : float
        In (0, 1).

    Returns
    -------
    float
        The order statistic, exactly representable in the arrays' type.

    Notes
    -----
    Magnitudes of floats are ordered as their bits are, so two histograms over 15 and 16 bits (one for
    float16) select the value in two passes instead of a sort. Counts are integers: neither the order of the
    arrays nor threads can change the result.
    """
    return _threshold(arrays, quantile).value


def _threshold(arrays: Sequence[np.ndarray], quantile: float) -> Threshold:
    from zooalign.kernels import rows as kernels

    def place(counts: np.ndarray, rank: int) -> int:
        return int(np.searchsorted(np.cumsum(counts), rank, side="right"))

    counts = np.zeros(1 << 15, np.int64)
    size, halves = 0, True
    for a in arrays:
        halves = halves and a.dtype == np.float16
        if not halves:
            break
        size += a.size
        kernels.count_half(flat(a).view(np.uint16), counts)
    if halves:
        bits = [place(counts, rank) for rank in _ranks(size, quantile)]
        value, outlying = np.array(bits, np.uint16).view(np.float16).tolist()
        return Threshold(value, float(counts[bits[0] :].sum() / size), outlying)
    counts[:] = 0
    size = 0
    for a in arrays:
        size += a.size
        kernels.count_high(flat(a.astype(np.float32, copy=False)).view(np.uint32), counts)
    rank, far = _ranks(size, quantile)
    high = place(counts, rank)
    above = int(counts[high + 1 :].sum())
    outlying = float(np.array([place(counts, far) << 16], np.uint32).view(np.float32)[0])
    rank -= int(counts[:high].sum())
    counts = np.zeros(1 << 16, np.int64)
    for a in arrays:
        kernels.count_low(flat(a.astype(np.float32, copy=False)).view(np.uint32), np.uint32(high), counts)
    low = place(counts, rank)
    value = float(np.array([(high << 16) | low], np.uint32).view(np.float32)[0])
    return Threshold(value, float((above + counts[low:].sum()) / size), outlying)


def _ranks(size: int, quantile: float) -> tuple[int, int]:
    """Index of the order statistic, and of the value that exceeds nine tenths of what lies above it."""
    rank = int(quantile * size)
    return rank, rank + int(0.9 * (size - 1 - rank))


def _clamp_at(arrays: Sequence[np.ndarray], preparation: Preparation, what: str) -> float:
    """Threshold of one clamp, refused where clipping there would leave signs or rounding in place of features."""
    quantile = preparation.clamp_quantile
    value, reached, outlying = _threshold(arrays, quantile)
    remedy = (
        "Set clamp_scope to 'none', or clamp_quantile closer to 1 (sparse features, as after a ReLU, have few values "
        "that are not zero), or leave the layer or model out."
    )
    if value == 0.0:
        raise FeatureError(
            f"clamp: more than {100 * quantile:g} % of the values of {what} are zero, so the threshold of "
            f"clamp_quantile {quantile:g} is 0 and would set every feature to 0. {remedy}"
        )
    if value < _SINGLE * outlying:
        raise FeatureError(
            f"clamp: the threshold of clamp_quantile {quantile:g} over {what} is {value:.3g}, below the rounding of "
            f"the values that it would clip (around {outlying:.3g}): only noise would be left. {remedy}"
        )
    if reached - (1.0 - quantile) > _TIED and outlying > _FAR * value:
        raise FeatureError(
            f"clamp: {100 * reached:.0f} % of the values of {what} are as large as the threshold of clamp_quantile "
            f"{quantile:g}, {value:.3g}, or larger (up to {outlying:.3g}), so that clipping there would leave little "
            f"but their signs. {remedy}"
        )
    return value


def prepare_layers(
    layers: Sequence[np.ndarray],
    preparation: Preparation,
    layer_names: Sequence[str],
    sample_ids: Sequence[str],
) -> Iterator[Rows]:
    """Prepare the layers of one model, one at a time.

    Parameters
    ----------
    layers : sequence of ndarray of floats, shape (n, d_l)
        Read twice where one threshold covers the model; a lazy sequence keeps one layer in memory.
    preparation : Preparation
        The settings.
    layer_names : sequence of str, length L
        For messages and for the result.
    sample_ids : sequence of str, length n
        For messages.

    Yields
    ------
    Rows
        One per layer, then the concatenation if asked for.

    Raises
    ------
    FeatureError
        For no layers, a layer that is not (n, d) of floats, a NaN or infinity, or a row of length zero
        where rows are to have unit length; the message names the layer and the sample. For a clamp that
        would leave zeros, signs or noise: more zeros, equal values or tiny ones than the quantile allows for; for a
        value that does not fit into the precision.
    """
    n = len(sample_ids)
    if len(layers) == 0:
        raise FeatureError("no layers: a model needs at least one array of shape (n, d).")
    if len(layer_names) != len(layers):
        raise FeatureError(f"{len(layers)} layers but {len(layer_names)} layer names.")
    threshold = None
    lazy = CheckedLayers(layers, layer_names, sample_ids)
    scope = preparation.clamp_scope if preparation.clamp_quantile < 1.0 else "none"
    if scope == "published":
        scope = "layer" if len({x.shape[1] for x in lazy}) > 1 else "model"
    if scope == "model":
        threshold = _clamp_at(lazy, preparation, "the model")
    parts: list[np.ndarray] = []
    for position, name in enumerate(layer_names):
        x = lazy[position]
        t = threshold if scope != "layer" else _clamp_at([x], preparation, f"layer {name!r}")
        clamped = _clamped(x, t)
        if preparation.include_concat:
            parts.append(clamped.copy() if preparation.normalise == "centred_l2" else clamped)
        yield _normalised(clamped, preparation, name, sample_ids)
    if preparation.include_concat:
        joined = np.concatenate(parts, axis=1)  # (n, sum of d_l)
        assert joined.shape[0] == n
        yield _normalised(joined, preparation, CONCATENATED, sample_ids)


def _clamped(x: np.ndarray, threshold: float | None) -> np.ndarray:
    """A float32 copy of a checked layer, clipped to [-threshold, threshold]."""
    from zooalign.kernels import rows as kernels

    half = x.dtype == np.float16
    stored = np.ascontiguousarray(x)
    values = np.empty(x.shape, np.float32)
    kernels.load_rows(stored.view(np.uint16) if half else stored, half, np.float32(threshold or 0.0), values)
    return values


def _normalised(values: np.ndarray, preparation: Preparation, name: str, ids: Sequence[str]) -> Rows:
    """Scale the rows; `values` is float32, contiguous and ours to change."""
    from zooalign.kernels import rows as kernels

    n = len(values)
    ones = np.ones(n)
    if preparation.normalise == "centred_l2":
        means = np.empty(values.shape[1])
        kernels.scaled_column_means(values, ones, means)
        centred = np.empty_like(values)
        kernels.centre_rows(values, ones, means, centred)
        values = centred
    squares = np.empty(n)
    kernels.row_sums_of_squares(values, squares)
    if preparation.precision != "float32":
        scale = 1.0 / np.sqrt(np.where(squares > 0, squares, 1.0)) if preparation.normalise != "none" else ones
        values = _rounded(values * scale.astype(np.float32)[:, None], preparation.precision, name, ids)
        kernels.row_sums_of_squares(values, squares)
    if preparation.unit_rows and not squares.all():
        row = int(np.flatnonzero(squares == 0.0)[0])
        raise FeatureError(
            f"layer {name!r}: the features of sample {ids[row]!r} (row {row}) are all zero after preparation, "
            "so they have no direction. Leave that layer or sample out, or set normalise to 'none' with "
            "similarity 'euclidean'."
        )
    unit = 1.0 / np.sqrt(squares) if preparation.unit_rows else ones
    return Rows(name, values, unit if preparation.normalise != "none" else ones, unit)


def _rounded(values: np.ndarray, precision: str, name: str, ids: Sequence[str]) -> np.ndarray:
    """Float32 rows (n, d) rounded to the nearest number of a precision, ties to even; still float32."""
    if precision == "float16":
        with np.errstate(over="ignore"):  # reported below, by name
            rounded = values.astype(np.float16).astype(np.float32)
    else:  # bfloat16 is the upper half of float32
        bits = values.view(np.uint32)
        rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) & np.uint32(0xFFFF0000)).view(np.float32)
    if not all_finite(rounded):
        row, column = (int(v) for v in np.argwhere(~np.isfinite(rounded))[0])
        raise FeatureError(
            f"layer {name!r}: feature {column} of sample {ids[row]!r} (row {row}) is {values[row, column]:.6g} and "
            f"does not fit into {precision}. Set precision to bfloat16, or normalise to l2."
        )
    return rounded
