"""SVCCA with a randomised decomposition as in the published code; for comparison with published numbers only."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from zooalign.errors import MetricError
from zooalign.indexes.subspaces import SUBSPACE
from zooalign.metrics import check_pair
from zooalign.metrics._factors import full_correlations, one_thread

if TYPE_CHECKING:
    from zooalign.indexes.index import Index

VERSION = 2
NEEDS = frozenset({"sketches"})
TAKES_K = False
SYMMETRIC = True
RANGE = (0.0, 1.0)
IDENTITY = None
HAS_TERMS = False
QUANTITY = "mean canonical correlation of leading subspaces, as published"


def chance(n: int, k: int | None = None) -> float | None:
    """None: take the permutation null.

    Parameters
    ----------
    n : int
        Samples.
    k : None
        Not used.

    Returns
    -------
    None
        See above.
    """
    return None


def matrix(x: Index, y: Index, k: int | None = None) -> np.ndarray:
    """Mean canonical correlation between randomised ten-dimensional subspaces, over twelve draws.

    Parameters
    ----------
    x, y : Index
        Two models on the same n samples.
    k : None
        Not used.

    Returns
    -------
    ndarray of float64, shape (Lx, Ly)
        In [0, 1]; the expected value of what the published code returns, to about .01; NaN where a layer is
        the same for every sample or has fewer than ten features.

    Raises
    ------
    MetricError
        If samples differ, there are fewer than ten, or every layer of a model has fewer than ten features.

    Warns
    -----
    UserWarning
        Names the layers with fewer than ten features, where the published code refuses.

    Notes
    -----
    Two power iterations without oversampling do not find the leading subspace where the tenth and eleventh
    singular values are close: on such features the published value lies below `svcca`, by up to .1, and a
    single draw of it wanders by .02 to .03 besides. Here four seeded sketches of each side are compared with
    the three others of the other side.

    References
    ----------
    Huh et al. 2024, arXiv 2405.07987, public code; Halko, Martinsson, Tropp 2011, algorithm 4.4.
    """
    check_pair(x, y)
    if x.n < SUBSPACE:
        raise MetricError(
            f"svcca_published needs at least {SUBSPACE} samples; {x.name} has {x.n}. The published code refuses "
            "fewer too: use more samples, or svcca."
        )
    wide = [_wide_layers(side) for side in (x, y)]
    a, b = x.array("sketches"), y.array("sketches")  # (L, draws, n, r)
    total = np.full((len(a), len(b)), np.nan)
    pairs = [(s, t) for s in range(a.shape[1]) for t in range(a.shape[1]) if s != t]
    both = np.ix_(*wide)
    total[both] = 0.0
    with one_thread():
        for s, t in pairs:
            cross = np.ascontiguousarray(a[wide[0], s].transpose(0, 2, 1))[:, None] @ b[wide[1], t][None]
            total[both] += full_correlations(np.linalg.svd(cross, compute_uv=False)).mean(axis=-1)
    defined = [np.any(u != 0.0, axis=(1, 2, 3)) for u in (a, b)]
    return np.where(np.outer(*defined), total / len(pairs), np.nan)


def _wide_layers(x: Index) -> np.ndarray:
    """Positions of the layers with ten features or more; says which the others are."""

    def compute() -> np.ndarray:
        widths = (~np.isnan(x.array("sketches")[:, 0, 0])).sum(axis=1)
        narrow = np.flatnonzero(widths < SUBSPACE)
        if not narrow.size:
            return widths
        named = ", ".join(f"{x.layer_names[i]!r} ({widths[i]} wide)" for i in narrow)
        reason = (
            f"svcca_published needs at least {SUBSPACE} features, as the published code does: undefined (NaN) for "
            f"{x.name}, layer {named}. Use svcca, which takes the directions that there are."
        )
        if narrow.size == len(widths):
            raise MetricError(reason)
        warnings.warn(reason, stacklevel=4)
        return widths

    return np.flatnonzero(x.derived("sketch widths", compute) >= SUBSPACE)
