"""Kernels that move the columns of one layer to mean 0 in float64.

Every pass goes along whole rows: blocks of columns would fall on few sets of the cache where the width is a power
of 2.
"""

from __future__ import annotations

import numpy as np

from zooalign.kernels import F32, F64, VECTORISED, compiled


@compiled()
def _moments(values: F32, scale: F64, mean: F64, size: F64) -> None:
    """Mean and largest magnitude of every column of scale[i] values[i, t]; values (n, d), mean and size (d,)."""
    n, d = values.shape
    mean[:] = 0.0
    size[:] = 0.0
    for i in range(n):
        s = scale[i]
        for t in range(d):
            v = s * np.float64(values[i, t])
            mean[t] += v
            size[t] = max(size[t], abs(v))
    for t in range(d):
        mean[t] /= n


@compiled()
def standardise(values: F32, scale: F64, flat: float, z: F64) -> None:
    """z[:n, :d] = columns of scale[i] values[i, t] with mean 0 and variance 1; z (>= n, >= d) float64.

    A column whose spread is at most `flat` times its largest magnitude becomes 0. Sums run in the order of the rows.
    """
    n, d = values.shape
    mean = np.empty(d)
    size = np.empty(d)
    _moments(values, scale, mean, size)
    factor = np.zeros(d)
    for i in range(n):
        s = scale[i]
        for t in range(d):
            e = s * np.float64(values[i, t]) - mean[t]
            factor[t] += e * e
    for t in range(d):
        spread = np.sqrt(factor[t] / n)
        factor[t] = 0.0 if spread <= flat * size[t] else 1.0 / spread
    for i in range(n):
        s = scale[i]
        for t in range(d):
            z[i, t] = (s * np.float64(values[i, t]) - mean[t]) * factor[t]


@compiled(fastmath=VECTORISED)
def _square(row: F64) -> float:
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
    size = np.empty(d)
    _moments(values, scale, mean, size)
    for i in range(n):
        s = scale[i]
        row = centred[i, :d]
        for t in range(d):
            row[t] = s * np.float64(values[i, t])
        before[i] = _square(row)
        for t in range(d):
            row[t] -= mean[t]
        after[i] = _square(row)
