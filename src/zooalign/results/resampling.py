"""Joint resampling: families of models as wholes, and the samples of a dataset for all models at once.

Models of one family are not independent, so families are drawn or left out as wholes. All pairs share the samples of a
dataset, so a draw of samples moves the alignment of every model together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from zooalign.errors import MetricError

VERSION = 1  # part of the digest of what this module determines

REPLICATES, SEED, LEVEL = 2000, 0, 0.95


def drawn_families(member: np.ndarray, replicates: int = REPLICATES, seed: int = SEED) -> np.ndarray:
    """How often each model is drawn where families are drawn with replacement, as many as there are.

    Parameters
    ----------
    member : ndarray of int, shape (n,)
        Family of each model, 0, 1, ...
    replicates : int
        Number of draws, B.
    seed : int
        Of the draws.

    Returns
    -------
    ndarray of float64, shape (B, n)

    References
    ----------
    Davison and Hinkley 1997, section 3.8 (clustered bootstrap).
    """
    families = int(member.max()) + 1
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(families, np.full(families, 1 / families), size=replicates)
    return counts[:, member].astype(np.float64)


def families_left_out(member: np.ndarray) -> np.ndarray:
    """Weights 0 or 1 of each model or pair of models, one row per family that is left out.

    Parameters
    ----------
    member : ndarray of int, shape (n,) or (n, 2)
        Family of each model, 0, 1, ..., or families of the two models of each pair.

    Returns
    -------
    ndarray of float64, shape (families, n)
    """
    of = member.reshape(len(member), -1)
    families = int(member.max()) + 1
    return (np.arange(families)[:, None, None] != of).all(axis=2).astype(np.float64)


def mean_terms(
    pair_terms: Mapping[tuple[str, str], np.ndarray], models: Sequence[str], partners: Iterable[str]
) -> np.ndarray | None:
    """Per-sample terms of each model, averaged over its partners.

    Parameters
    ----------
    pair_terms : mapping of (str, str) to ndarray, shape (N,)
        Terms of each ordered pair (model, partner), whose mean is the score; see `metrics` on HAS_TERMS.
    models : sequence of str
        Ids of m models.
    partners : iterable of str
        Ids that the mean is over; a model is no partner of itself.

    Returns
    -------
    ndarray of float64, shape (m, N), or None
        None where a pair has no terms (the metric has none): then nothing is known of how samples move the means.

    Raises
    ------
    MetricError
        If pairs differ in their number of samples.
    """
    chosen = sorted(set(partners))
    found: list[np.ndarray] = []
    for model in models:
        others = [other for other in chosen if other != model]
        if not others or any((model, other) not in pair_terms for other in others):
            return None
        rows = [np.asarray(pair_terms[model, other], np.float64) for other in others]
        sizes = {len(row) for row in [*rows, *found]}
        if len(sizes) > 1:
            raise MetricError(
                f"terms of {model} with its partners are of {sorted(sizes)} samples: a mean needs the same samples."
            )
        found.append(np.mean(rows, axis=0))
    return np.array(found) if found else None


def alignment_draws(
    terms: np.ndarray, draws: int = 400, seed: int = SEED, groups: Sequence[int] | np.ndarray | None = None
) -> np.ndarray:
    """Mean alignments of all models on resampled samples: the same samples for every model in a draw.

    Parameters
    ----------
    terms : ndarray, shape (m, N)
        Per-sample terms of m models on N samples, as :func:`mean_terms` gives them.
    draws : int
        Number of draws, B.
    seed : int
        Of the draws.
    groups : sequence of int, length N, optional
        Samples that belong together; whole groups are drawn.

    Returns
    -------
    ndarray of float64, shape (B, m)
        In the unit of the score.

    Raises
    ------
    MetricError
        If terms are not finite, there are fewer than two samples or groups, or lengths differ.

    Notes
    -----
    Neighbour sets and best layers are held fixed: a sample that is drawn twice is not its own neighbour. So the draws
    hold the spread of the terms, and not how other samples would change everybody's neighbours.
    """
    terms = np.asarray(terms, np.float64)
    if terms.ndim != 2 or not np.isfinite(terms).all():
        raise MetricError(f"terms: need finite values of shape (models, samples), not {terms.shape} with NaN or inf.")
    codes = np.arange(terms.shape[1]) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if len(codes) != terms.shape[1]:
        raise MetricError(f"groups: {len(codes)} values for {terms.shape[1]} samples.")
    sizes = np.bincount(codes)
    if len(sizes) < 2:
        raise MetricError(f"{len(sizes)} groups of samples cannot be resampled; at least 2 are needed.")
    # (m, groups)
    sums = np.stack([np.bincount(codes, weights=row) for row in terms])
    counts = np.random.default_rng(seed).multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=draws)
    return (counts @ sums.T) / (counts @ sizes)[:, None]
