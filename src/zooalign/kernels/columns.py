"""Kernels that move the columns of one layer to mean 0 in float64, in blocks that stay in the second-level cache."""

from __future__ import annotations

import numpy as np

from zooalign.kernels import F32, F64, VECTORISED, compiled

# Columns per block: 1,024 rows of so many float32 values are 1 MB.
_BLOCK = 256


@compiled()
def _moments(values: F32, scale: F64, mean: F64, size: F64) -> None:
    """Mean and largest magnitude of every column of scale[i] values[i, t]; values (n, w), mean and size (w,)."""
    n, w = values.shape
    mean[:] = 0.0
    size[:] = 0.0
    for i in range(n):
        s = scale[i]
        for t in range(w):
            v = s * np.float64(values[i, t])
            mean[t] += v
            size[t] = max(size[t], abs(v))
    for t in range(w):
        mean[t] /= n


@compiled()
def standardise(values: F32, scale: F64, flat: float, z: F64) -> None:
    """z[:n, :d] = columns of scale[i] values[i, t] with mean 0 and variance 1; z (>= n, >= d) float64.

    A column whose spread is at most `flat` times its largest magnitude becomes 0. Sums run in the order of the rows.
    """
    n, d = values.shape
    mean = np.empty(_BLOCK)
    size = np.empty(_BLOCK)
    square = np.empty(_BLOCK)
    for start in range(0, d, _BLOCK):
        w = min(_BLOCK, d - start)
        block = values[:, start : start + w]
        _moments(block, scale, mean[:w], size[:w])
        square[:] = 0.0
        for i in range(n):
            s = scale[i]
            for t in range(w):
                e = s * np.float64(block[i, t]) - mean[t]
                square[t] += e * e
        for t in range(w):
            spread = np.sqrt(square[t] / n)
            square[t] = 0.0 if spread <= flat * size[t] else 1.0 / spread
        for i in range(n):
            s = scale[i]
            row = z[i, start : start + w]
            for t in range(w):
                row[t] = (s * np.float64(block[i, t]) - mean[t]) * square[t]


@compiled(fastmath=VECTORISED)
def _add_squares(row: F64) -> float:
    total = 0.0
    for t in range(row.shape[0]):
        total += row[t] * row[t]
    return total


@compiled()
def centre_columns(values: F32, scale: F64, centred: F64, mean: F64, before: F64, after: F64) -> None:
    """centred[:n, :d] = scale[i] values[i, t] minus the column's mean, float64; mean (d,) is filled.

    before and after (n,): squared lengths of the rows as they came and without the mean.
    """
    n, d = values.shape
    size = np.empty(_BLOCK)
    before[:] = 0.0
    after[:] = 0.0
    for start in range(0, d, _BLOCK):
        w = min(_BLOCK, d - start)
        block = values[:, start : start + w]
        own = mean[start : start + w]
        _moments(block, scale, own, size[:w])
        for i in range(n):
            s = scale[i]
            row = centred[i, start : start + w]
            for t in range(w):
                row[t] = s * np.float64(block[i, t])
            before[i] += _add_squares(row)
            for t in range(w):
                row[t] -= own[t]
            after[i] += _add_squares(row)
