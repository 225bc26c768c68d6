"""Models as points of a plane, near each other where they are aligned (Huh et al. 2024, Figure 2, right)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zooalign.registry import plugin

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION = 1  # part of the digest of what this module determines

# With fewer models, a neighbourhood is nearly everything and the plane shows nothing.
MIN_MODELS = 8
NEIGHBOURS, SEED = 15, 0
# Lower scores count as this, as zero has no logarithm: one shared neighbour among all the ten of a thousand samples.
FLOOR = 1e-4


class Distances(NamedTuple):
    """Distances between models.

    Attributes
    ----------
    models : tuple of str
        Ids, sorted.
    values : ndarray of float64, shape (models, models)
        -log alignment, symmetric, zero on the diagonal.
    left_out : tuple of str
        Models that lack the score of a pair.
    """

    models: tuple[str, ...]
    values: NDArray[np.float64]
    left_out: tuple[str, ...]


def distances(models: Sequence[str], pair_scores: Mapping[tuple[str, str], float], metric: str, k: int) -> Distances:
    """-log alignment of every pair among some models.

    Parameters
    ----------
    models : sequence of str
        Ids. Where a pair has no score, the model that lacks most is left out, until none is missing.
    pair_scores : mapping
        Score by (x, y); of a pair that has both directions the mean counts.
    metric : str
        Name of the metric, whose largest score (1 or k) has distance 0; larger ones, which CKNNA can have, too.
    k : int
        Its number of neighbours; 0 for none.
    """
    largest = k if (plugin("metrics", metric, "metric").RANGE or (0, 1))[1] == "k" else 1
    names = sorted(models)
    grid = np.full((len(names), len(names)), np.nan)
    place = {name: i for i, name in enumerate(names)}
    for (x, y), score in pair_scores.items():
        if x in place and y in place:
            grid[place[x], place[y]] = score
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of the mean of nothing, which is NaN
        grid = np.nanmean([grid, grid.T], axis=0)
    np.fill_diagonal(grid, largest)
    kept = list(range(len(names)))
    while (missing := np.isnan(grid[np.ix_(kept, kept)]).sum(axis=1)).any():
        kept.pop(int(missing.argmax()))
    values = -np.log(np.clip(grid[np.ix_(kept, kept)] / largest, FLOOR, 1.0))
    those = tuple(names[i] for i in kept)
    return Distances(those, np.abs(values), tuple(name for name in names if name not in those))


def embed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coordinates in a plane that keep near models near.

    Parameters
    ----------
    values : ndarray of float64, shape (n, n)
        Distances of at least `MIN_MODELS` models.

    Returns
    -------
    ndarray of float64, shape (n, 2)
        Without unit: only who is near whom has a meaning. The same on every run on a machine.

    References
    ----------
    McInnes, Healy and Melville 2018, arXiv 1802.03426: `umap-learn`, min(15, n - 1) neighbours, seed 0, one thread.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # its variant that needs TensorFlow
        import umap
    with warnings.catch_warnings():
        # A given matrix has no way back to features; far-off models are in parts of their own.
        warnings.simplefilter("ignore", UserWarning)
        method = umap.UMAP(
            n_neighbors=min(NEIGHBOURS, len(values) - 1), metric="precomputed", random_state=SEED, n_jobs=1
        )
        return np.asarray(method.fit_transform(values), dtype=np.float64)
