"""Kernel over squared distances: those that cancellation spoils are summed directly."""

from __future__ import annotations

from zooalign.kernels import F64, VECTORISED, compiled

# Rows and columns per tile: the transposed copy of one stays in the cache.
_TILE = 32


@compiled(fastmath=VECTORISED)
def _between(u: F64, v: F64) -> float:
    total = 0.0
    for t in range(u.shape[0]):
        e = u[t] - v[t]
        total += e * e
    return total


@compiled()
def squares_from_products(rows: F64, gram: F64, share: float, squares: F64) -> None:
    """squares[i, j] = |rows[i] - rows[j]|^2, symmetric with a zero diagonal, all float64.

    From the products in `gram`, whose rounding grows with the lengths of the rows; where the result is below
    `share` of the two squared lengths, from the differences of the rows, so that equal rows are at exactly 0.
    """
    n = squares.shape[0]
    for top in range(0, n, _TILE):
        for left in range(top, n, _TILE):
            for i in range(top, min(top + _TILE, n)):
                for j in range(max(left, i + 1), min(left + _TILE, n)):
                    lengths = gram[i, i] + gram[j, j]
                    value = lengths - 2.0 * gram[i, j]
                    if value < share * lengths:
                        value = _between(rows[i], rows[j])
                    squares[i, j] = value
                    squares[j, i] = value
    for i in range(n):
        squares[i, i] = 0.0
