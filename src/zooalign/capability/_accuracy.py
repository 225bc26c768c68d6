"""Accuracy of predictions, plain and balanced, each with its standard error."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np


class Accuracy(NamedTuple):
    """A share of correct answers, in [0, 1], and its standard error (None for a single sample)."""

    value: float
    standard_error: float | None


def plain(correct: np.ndarray) -> Accuracy:
    """Share of samples that are right; every sample counts alike.

    Parameters
    ----------
    correct : ndarray of bool, shape (n,)

    Returns
    -------
    Accuracy
        The error is the deviation of a sample's correctness over sqrt(n). It knows the spread of the test samples,
        not that of the training.
    """
    n = correct.size
    return Accuracy(float(correct.mean()), float(correct.std(ddof=1) / math.sqrt(n)) if n > 1 else None)


def balanced(correct: np.ndarray, truth: np.ndarray) -> Accuracy:
    """Mean over classes of the share that is right; every class counts alike.

    Parameters
    ----------
    correct : ndarray of bool, shape (n,)
    truth : ndarray, shape (n,)
        Class of each sample.

    Returns
    -------
    Accuracy
        With C classes of n_c samples, of which a share p_c is right, the error is
        sqrt(sum p_c (1 - p_c) / (n_c - 1)) / C: samples are drawn within their class. A class of one sample shows no
        spread; it is taken to have that of all samples together, which is larger on average.

    Notes
    -----
    The mean of a stratified sample with equal weights (Cochran, Sampling Techniques, 3rd ed., section 5.4).

    Examples
    --------
    >>> import numpy as np
    >>> balanced(np.array([True, True, True, False]), np.array(["a", "a", "a", "b"])).value
    0.5
    """
    import numpy as np

    classes, place, n = np.unique(truth, return_inverse=True, return_counts=True)
    share = np.bincount(place, weights=correct) / n  # (C,)
    if correct.size < 2:
        return Accuracy(float(share.mean()), None)
    alone = float(correct.var(ddof=1))
    variance = np.where(n > 1, share * (1 - share) / np.maximum(n - 1, 1), alone)
    return Accuracy(float(share.mean()), float(np.sqrt(variance.sum()) / classes.size))
