"""How far metrics agree on which models are alike: rank correlations over pairs (Huh et al. 2024, Figure 12)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from zooalign import metrics
from zooalign.results.clustering import leaves
from zooalign.results.frames import where
from zooalign.results.leave_out import standard_error
from zooalign.results.means import trained
from zooalign.results.populations import MIN_MODELS

if TYPE_CHECKING:
    import pandas as pd

    from zooalign.results.findings import Findings

VERSION = 1  # part of the digest of what this module determines


class Agreement(NamedTuple):
    """Rank correlations of metrics over the pairs of released models of one dataset and comparison.

    Attributes
    ----------
    dataset, comparison : str
        Where the pairs are from.
    labels : tuple of str
        "mutual_knn@10", "cka", ...: every metric and k, m of them.
    models, families, pairs : int
        Pairs that have a score under every metric, and the models and families that they are of.
    spearman, standard_error : ndarray, shape (m, m)
        NaN for fewer than four models or constant scores; the error leaves out a family at a time, NaN for fewer
        than five.
    """

    dataset: str
    comparison: str
    labels: tuple[str, ...]
    models: int
    families: int
    pairs: int
    spearman: np.ndarray
    standard_error: np.ndarray


def agreements(findings: Findings, datasets: tuple[str, ...]) -> Iterator[Agreement]:
    """Agreement of all metrics of a sweep, per dataset and comparison.

    Every metric is taken at its own best layers of a pair: none is read at layers that another metric chose.
    """
    released = trained(findings.models, "vision") + trained(findings.models, "language")
    family = dict(zip(findings.models["id"], findings.models["family"], strict=True))
    frame = findings.alignment
    frame = cast("pd.DataFrame", frame[frame["model_x"].isin(released) & frame["model_y"].isin(released)])
    for dataset in datasets:
        here = where(frame, "dataset", dataset)
        for comparison in sorted(set(here["comparison"]), reverse=True):  # across modalities first
            wide = where(here, "comparison", comparison).pivot_table(
                index=["model_x", "model_y"], columns=["metric", "k"], values="score"
            )
            wide = wide[sorted(wide.columns)].dropna()
            values, pairs = wide.to_numpy(float), list(wide.index)
            of = [(family[x], family[y]) for x, y in pairs]
            models = {model for pair in pairs for model in pair}
            known = spearman(values), np.full((values.shape[1],) * 2, np.nan)
            if len(models) < MIN_MODELS:
                known = known[1], known[1]
            else:
                known = known[0], standard_error(lambda kept, values=values: spearman(values[kept]), of)
            labels = tuple(metrics.label(metric, k or None) for metric, k in wide.columns)
            yield Agreement(
                dataset, comparison, labels, len(models), len({f for two in of for f in two}), len(pairs), *known
            )


def spearman(values: np.ndarray) -> np.ndarray:
    """Rank correlation of every two columns, mid-ranks for ties.

    Parameters
    ----------
    values : ndarray, shape (n, m)
        A column per metric.

    Returns
    -------
    ndarray of float64, shape (m, m)
        In [-1, 1], 1 on the diagonal; NaN where a column is constant, or for fewer than two rows.
    """
    from scipy.stats import rankdata

    n, m = values.shape
    if n < 2:
        return np.full((m, m), np.nan)
    ranks = np.asarray(rankdata(values, axis=0), float)
    ranks -= ranks.mean(axis=0)
    length = np.sqrt((ranks**2).sum(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.clip((ranks.T @ ranks) / np.outer(length, length), -1.0, 1.0)
    found[length == 0, :] = np.nan
    found[:, length == 0] = np.nan
    np.fill_diagonal(found, np.where(length > 0, 1.0, np.nan))
    return found


def clustered(correlations: np.ndarray) -> list[int]:
    """Order in which columns that agree are neighbours; `correlations` (m, m) symmetric, without NaN."""
    return leaves(1.0 - (correlations + correlations.T) / 2)
