"""Correlations of columns whose rows are drawn several times or left out, for all draws at once."""

from __future__ import annotations

from typing import Literal

import numpy as np

VERSION = 1  # part of the digest of what this module determines

Kind = Literal["pearson", "spearman"]
# Less variance than this of standardised values is what rounding leaves of a constant.
_NOTHING = 1e-12


def correlate(columns: np.ndarray, weights: np.ndarray, kind: Kind) -> np.ndarray:
    """Correlation of the first two columns given the others, per row of weights; NaN where one does not vary.

    Parameters
    ----------
    columns : ndarray, shape (2 + covariates, n)
        Values of n models.
    weights : ndarray of float64, shape (B, n)
        How often each model was drawn.
    kind : str
        For "spearman" ranks are taken of what was drawn, those of covariates too.

    Returns
    -------
    ndarray of float64, shape (B,)
    """
    own, left = given_others(columns, weights, kind)
    spread = np.diagonal(left, axis1=1, axis2=2)
    varies = ((own > _NOTHING) & (spread > 1e-9 * own)).all(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(varies, np.clip(left[:, 0, 1] / np.sqrt(spread.prod(axis=1)), -1, 1), np.nan)


def standardised(values: np.ndarray) -> np.ndarray:
    """Values less their mean, over their standard deviation; zeros for a constant."""
    centred = values - values.mean()
    scale = centred.std()
    if scale <= _NOTHING * np.abs(values).max():
        return np.zeros_like(centred)
    return centred / scale


def ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mid-ranks of every value among those drawn, shape (B, n)."""
    distinct, place = np.unique(values, return_inverse=True)
    drawn = weights @ np.eye(len(distinct))[place]  # (B, distinct values)
    below = np.cumsum(drawn, axis=1) - drawn
    return (below + (drawn + 1) / 2)[:, place]


def residuals(columns: np.ndarray) -> np.ndarray:
    """The first two columns less what is linear in the others, shape (2, n)."""
    design = np.vstack([np.ones(columns.shape[1]), *map(standardised, columns[2:])]).T
    return columns[:2] - (design @ np.linalg.lstsq(design, columns[:2].T)[0]).T


def given_others(columns: np.ndarray, weights: np.ndarray, kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    """Variances (B, 2) of the first two columns, standardised or ranked, and covariances (B, 2, 2) given the others."""
    total = weights.sum(axis=1)
    centred = []
    for column in map(standardised, columns):
        values = ranks(column, weights) if kind == "spearman" else column
        centred.append(values - ((weights * values).sum(axis=1) / total)[:, None])
    products = np.empty((len(weights), len(columns), len(columns)))
    for i, a in enumerate(centred):
        weighted = weights * a
        for j in range(i, len(columns)):
            products[:, i, j] = products[:, j, i] = (weighted * centred[j]).sum(axis=1) / total
    own, left = np.diagonal(products, axis1=1, axis2=2)[:, :2], products[:, :2, :2]
    if len(columns) > 2:
        shared = products[:, :2, 2:]
        left = left - shared @ np.linalg.pinv(products[:, 2:, 2:], 1e-10, hermitian=True) @ shared.mT
    return own, left
