"""Hilbert-Schmidt independence criteria of all layer pairs from packed, doubly centred kernels.

Not a metric: shared by the CKA family. A packed kernel is [diagonal | strict upper triangle times sqrt 2], so
an inner product of two packed kernels is the inner product of the matrices.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from zooalign.indexes.index import Index

# Share of its terms below which an unbiased HSIC is what rounding of float32 sums leaves of zero.
_NOTHING_LEFT = 2.0**-16


def products(x: Index, y: Index, array: str) -> tuple[np.ndarray, np.ndarray]:
    """Inner products of the stored kernels of x and y: diagonal part and the rest, each (Lx, Ly) float64.

    The last partner's products are kept with x: biased and unbiased estimators read the same ones.
    """
    kept = x.derived(("hsic", array), dict)
    if kept.get("partner", _nobody)() is not y:
        kept["partner"] = weakref.ref(y)
        kept["values"] = _products(x.array(array), y.array(array), x.n)
    return kept["values"]


def norms(x: Index, array: str) -> tuple[np.ndarray, np.ndarray]:
    """The same of every layer with itself, each (L,), by the same arithmetic: identity is exactly 1."""

    def compute() -> tuple[np.ndarray, np.ndarray]:
        kernels = x.array(array)
        own = [_products(kernels[i : i + 1], kernels[i : i + 1], x.n) for i in range(x.n_layers)]
        return np.array([d[0, 0] for d, _ in own]), np.array([r[0, 0] for _, r in own])

    return x.derived(("norms", array), compute)


def diagonals(x: Index, array: str) -> np.ndarray:
    """Diagonals of the centred kernels, (L, n) float64."""
    return x.derived(("diagonals", array), lambda: np.asarray(x.array(array)[:, : x.n], np.float64))


def biased(x: Index, y: Index, array: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """tr(KHLH) of every layer pair (Lx, Ly), of x with itself (Lx,), of y with itself (Ly,)."""
    return sum(products(x, y, array)), sum(norms(x, array)), sum(norms(y, array))  # type: ignore[return-value]


def unbiased(x: Index, y: Index, array: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Song et al. 2012, equation 5, of every layer pair and of both sides with themselves; shapes as biased.

    The estimator of kernels with zeroed diagonals does not change when constants are added to rows and
    columns, so the centred kernel B may stand for K; its rows sum to zero, so those of B without its
    diagonal d sum to -d, and every sum in the equation is one over B or over d. n must exceed 3.

    A layer with itself is 0, and its scores undefined, where its terms cancel to within rounding: where all
    samples are equally far from each other, say.
    """
    n = x.n
    trace_x, trace_y = diagonals(x, array).sum(axis=1), diagonals(y, array).sum(axis=1)

    def terms(parts: tuple[np.ndarray, np.ndarray], traces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        diagonal, rest = parts
        return rest, traces / ((n - 1) * (n - 2)), -2.0 * diagonal / (n - 2)

    def own(side: Index, trace: np.ndarray) -> np.ndarray:
        parts = terms(norms(side, array), trace**2)
        value = _added(parts)
        largest = _added((np.abs(parts[0]), np.abs(parts[1]), np.abs(parts[2])))
        return np.where(value > _NOTHING_LEFT * largest, value, 0.0) / (n * (n - 3))

    cross = _added(terms(products(x, y, array), np.outer(trace_x, trace_y))) / (n * (n - 3))
    return cross, own(x, trace_x), own(y, trace_y)


def _added(parts: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    first, second, third = parts
    return first + second + third


def ratio(cross: np.ndarray, own_x: np.ndarray, own_y: np.ndarray, added: float = 0.0) -> np.ndarray:
    """Cross / (sqrt(own_x own_y) + added); NaN where either side has no variation."""
    with np.errstate(invalid="ignore", divide="ignore"):
        values = cross / (np.sqrt(own_x[:, None] * own_y[None, :]) + added)
    values[~(own_x > 0.0), :] = np.nan
    values[:, ~(own_y > 0.0)] = np.nan
    return values


def square(x: Index, array: str, layer: int) -> np.ndarray:
    """The centred kernel of one layer as a full symmetric (n, n) float64 matrix."""
    packed = np.asarray(x.array(array)[layer], np.float64)
    n = x.n
    full = np.zeros((n, n))
    rest = packed[n:] / np.sqrt(2.0)
    start = 0
    for i in range(n - 1):  # row by row: triangle indices would take ten times as long
        full[i, i + 1 :] = rest[start : start + n - 1 - i]
        start += n - 1 - i
    full += full.T
    np.fill_diagonal(full, packed[:n])
    return full


def terms(x: Index, y: Index, layer_x: int, layer_y: int, array: str) -> np.ndarray:
    """Share of every sample in a biased CKA at one layer pair, (n,) float32 with the score as its mean."""
    return shares(square(x, array, layer_x), square(y, array, layer_y))


def row_products(x: Index, y: Index, layer_x: int, layer_y: int, array: str) -> np.ndarray:
    """Sum of K_ij L_ij over all j but i of two centred kernels, (n,) float64."""
    a, b = square(x, array, layer_x), square(y, array, layer_y)
    return np.einsum("ij,ij->i", a, b) - np.diagonal(a) * np.diagonal(b)


def shares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Share of every row in the cosine of two matrices (n, n), (n,) float32 with the cosine as its mean."""
    rows = np.einsum("ij,ij->i", a, b)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (len(a) * rows / np.sqrt(np.sum(a * a) * np.sum(b * b))).astype(np.float32)


def u_centred(x: Index, array: str, layer: int) -> np.ndarray:
    """Kernel without diagonal whose rows sum to zero, (n, n); from the doubly centred one."""
    n = x.n
    full = square(x, array, layer)
    diagonal = np.diagonal(full).copy()
    full += (diagonal[:, None] + diagonal[None, :]) / (n - 2) - diagonal.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(full, 0.0)
    return full


def _products(a: np.ndarray, b: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    from zooalign.kernels.grams import inner_products

    diagonal = a[:, :n].astype(np.float64)[:, None, :] * b[:, :n].astype(np.float64)[None, :, :]  # (La, Lb, n)
    rest = np.empty((len(a), len(b)))
    inner_products(np.asarray(a), np.asarray(b), n, rest)
    return diagonal.sum(axis=-1), rest


def _nobody() -> Any:
    return None
