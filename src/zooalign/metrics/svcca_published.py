"""SVCCA with a randomised decomposition as in the published code; for comparison with published numbers only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zooalign.metrics import check_pair

if TYPE_CHECKING:
    from zooalign.indexing import Index

VERSION = 1
NEEDS = frozenset({"sketches"})
TAKES_K = False
SYMMETRIC = True
RANGE = (0.0, 1.0)
IDENTITY = None
HAS_TERMS = False


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
        the same for every sample.

    Raises
    ------
    MetricError
        If samples differ.

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
    a, b = x.array("sketches"), y.array("sketches")  # (L, draws, n, r)
    total = np.zeros((len(a), len(b)))
    pairs = [(s, t) for s in range(a.shape[1]) for t in range(a.shape[1]) if s != t]
    for s, t in pairs:
        cross = np.ascontiguousarray(a[:, s].transpose(0, 2, 1))[:, None] @ b[None, :, t]
        total += np.linalg.svd(cross, compute_uv=False).clip(max=1.0).mean(axis=-1)
    defined = [np.any(u != 0.0, axis=(1, 2, 3)) for u in (a, b)]
    return np.where(np.outer(*defined), total / len(pairs), np.nan)
