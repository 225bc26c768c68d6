"""Standard errors of what is computed over pairs of models, by leaving out a family at a time.

Pairs that share a model are not independent, nor are models of one family; so all pairs of a family go at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from zooalign.results.populations import MIN_FAMILIES
from zooalign.results.resampling import families_left_out

VERSION = 1  # part of the digest of what this module determines


def standard_error(
    statistic: Callable[[np.ndarray], np.ndarray | float], families: Sequence[tuple[str, str]]
) -> np.ndarray:
    """Jackknife error of a statistic of pairs.

    Parameters
    ----------
    statistic : callable
        Takes which pairs count (bool, shape (pairs,)) and gives a number or an array.
    families : sequence of (str, str)
        Families of the two models of each pair.

    Returns
    -------
    ndarray of float64, shape of the statistic
        sqrt((F - 1) / F * sum (value without family f - mean of those)^2) over the F families. NaN for fewer than
        `populations.MIN_FAMILIES`, or where the statistic is undefined without one of them.

    References
    ----------
    Arvesen 1969, Annals of Mathematical Statistics 40 (jackknife of U-statistics).
    """
    names, member = np.unique(np.array(list(families), dtype=str).reshape(-1, 2), return_inverse=True)
    if len(names) < MIN_FAMILIES:
        return np.full(np.shape(statistic(np.ones(len(families), bool))), np.nan)
    kept = families_left_out(member.reshape(-1, 2)).astype(bool)
    without = np.array([statistic(row) for row in kept], dtype=float)
    spread = ((without - without.mean(axis=0)) ** 2).sum(axis=0)
    return np.sqrt((len(names) - 1) / len(names) * spread)
