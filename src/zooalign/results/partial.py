"""Correlation of capability and alignment given size and release date."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zooalign.results.correlation import Correlation, checked, of_sample
from zooalign.results.weighted import Kind
from zooalign.results.resampling import LEVEL, REPLICATES, SEED

VERSION = 1  # part of the digest of what this module determines


def partial_correlation(
    capability: Sequence[float] | np.ndarray,
    alignment: Sequence[float] | np.ndarray,
    families: Sequence[str],
    covariates: Sequence[Sequence[float] | np.ndarray],
    kind: Kind = "spearman",
    *,
    capability_errors: Sequence[float] | np.ndarray | None = None,
    alignment_errors: Sequence[float] | np.ndarray | None = None,
    alignment_draws: np.ndarray | None = None,
    replicates: int = REPLICATES,
    seed: int = SEED,
    level: float = LEVEL,
) -> Correlation:
    """Correlation of what covariates leave of capability and alignment.

    Parameters
    ----------
    capability, alignment, families, kind
        As in :func:`zooalign.results.correlation.correlation`.
    covariates : sequence of arrays of shape (n,)
        Such as :func:`log_parameters` and :func:`years`; NaN where unknown.
    capability_errors, alignment_errors, alignment_draws, replicates, seed, level
        As in :func:`zooalign.results.correlation.correlation`.

    Returns
    -------
    Correlation
        Over models that have every covariate. Each covariate asks for one more model and one more family.

    Notes
    -----
    Residuals of least squares on all covariates; for "spearman" everything is ranked first. A covariate is taken
    without error, and one that does not vary explains nothing.
    """
    columns = [capability, alignment, *covariates]
    sample = checked(columns, families, capability_errors, alignment_errors, alignment_draws)
    return of_sample(sample, kind, replicates, seed, level)


def log_parameters(parameters: Sequence[float | None]) -> np.ndarray:
    """log10 of numbers of parameters, float64; NaN where unknown or not positive.

    Examples
    --------
    >>> log_parameters([1_000_000, None])
    array([ 6., nan])
    """
    values = np.array([np.nan if p is None or p <= 0 else p for p in parameters], dtype=np.float64)
    return np.log10(values)


def years(released: Sequence[str | None]) -> np.ndarray:
    """Release months ("2024-07") as years, the middle of the month; NaN where unknown.

    Examples
    --------
    >>> years(["2024-07", None]).round(3)
    array([2024.542,      nan])
    """
    return np.array([np.nan if r is None else int(r[:4]) + (int(r[5:7]) - 0.5) / 12 for r in released], dtype=float)
