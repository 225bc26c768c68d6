"""The order in which things that are alike are neighbours."""

from __future__ import annotations

import numpy as np

VERSION = 1  # part of the digest of what this module determines


def leaves(distance: np.ndarray) -> list[int]:
    """Places of a matrix of distances in the order of the leaves of its tree, neighbours as near as can be.

    Parameters
    ----------
    distance : ndarray, shape (n, n)
        Symmetric, without NaN; its diagonal is not read.

    Returns
    -------
    list of int
        A permutation of 0 ... n - 1; average linkage with optimal order of the leaves.

    References
    ----------
    Bar-Joseph, Gifford and Jaakkola 2001, Bioinformatics 17 (optimal leaf order).

    Examples
    --------
    >>> leaves(np.array([[0, 9, 1], [9, 0, 8], [1, 8, 0]]))
    [1, 2, 0]
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    n = len(distance)
    if n < 3:
        return list(range(n))
    between = np.array(distance, np.float64)
    np.fill_diagonal(between, 0)
    tree = linkage(squareform(between, checks=False), method="average", optimal_ordering=True)
    return [int(leaf) for leaf in leaves_list(tree)]
