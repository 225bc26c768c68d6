"""Which layers align: profiles of models over their relative depth, and the layer matrices of two pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zooalign.results.frames import ModelRow, model_rows, where
from zooalign.results.means import ACROSS, trained

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 1  # part of the digest of what this module determines

N_BINS = 5
BINS = tuple(f"{100 * i // N_BINS}-{100 * (i + 1) // N_BINS} %" for i in range(N_BINS))


class Profile(NamedTuple):
    """Where in a model the released models of the other modality find most in common with it.

    Attributes
    ----------
    model : ModelRow
        Whose layers.
    depths : ndarray of float64, shape (L,)
        Relative depth of its layers, 0 to 1: layer / (L - 1). NaN for a model of one layer.
    scores : ndarray of float64, shape (L,)
        Mean over partners of the highest score with any of the partner's layers.
    best : ndarray of float64, shape (partners,)
        Relative depth of its best layer with each partner.
    """

    model: ModelRow
    depths: np.ndarray
    scores: np.ndarray
    best: np.ndarray

    @property
    def by_bin(self) -> np.ndarray:
        """Mean of `scores` over the layers of each fifth of the depth, shape (N_BINS,); NaN where there is none."""
        found = np.full(N_BINS, np.nan)
        if np.isfinite(self.depths).all():
            member = np.minimum((self.depths * N_BINS + 1e-9).astype(int), N_BINS - 1)
            for place in set(member.tolist()):
                found[place] = self.scores[member == place].mean()
        return found


class LayerMap(NamedTuple):
    """Scores of all layer pairs of two models, (layers of x, layers of y), with the names of the best two."""

    x: str
    y: str
    score: float
    matrix: np.ndarray
    name_x: str
    name_y: str


def relative_depths(n: int) -> np.ndarray:
    """Relative depth of n layers.

    Examples
    --------
    >>> relative_depths(3).tolist(), relative_depths(1).tolist()
    ([0.0, 0.5, 1.0], [nan])
    """
    return np.arange(n) / (n - 1) if n > 1 else np.full(n, np.nan)


def profiles(findings: Findings, dataset: str) -> list[Profile]:
    """Profile of every model that has a score with a released model of the other modality, by the headline metric.

    Controls and interventions have a profile and are no partners. The pseudo-layer of all layers side by side, where
    features were prepared with one, has no depth and is left out. Sorted as the models of the sweep are.
    """
    known = _matrices(findings, dataset)
    released = {*trained(findings.models, "vision"), *trained(findings.models, "language")}
    of: dict[str, list[np.ndarray]] = {}
    for (x, y), matrix in known.items():
        for model, partner, scores in ((x, y, matrix), (y, x, matrix.T)):
            if partner in released:
                of.setdefault(model, []).append(scores)
    return [_profile(row, of[row.id]) for row in model_rows(findings.models) if row.id in of]


def _profile(model: ModelRow, matrices: Sequence[np.ndarray]) -> Profile:
    highest = np.array([np.fmax.reduce(matrix, axis=1) for matrix in matrices], dtype=float)  # (partners, L)
    depths = relative_depths(highest.shape[1])
    # A layer that is the same for every sample has no score, and is not the best.
    best = np.where(np.isnan(highest), -np.inf, highest).argmax(axis=1)
    return Profile(model, depths, highest.mean(axis=0), depths[best])


def _matrices(findings: Findings, dataset: str) -> dict[tuple[str, str], np.ndarray]:
    matrices = findings.matrices(dataset, findings.metric, findings.k, ACROSS)
    end = -1 if findings.sweep.config.preparation.include_concat else None
    return {pair: matrix[:end, :end] for pair, matrix in matrices.items()}


def layer_maps(findings: Findings, dataset: str) -> list[LayerMap]:
    """Layer matrices of the released pair across modalities that scores highest, and of the median one.

    Of an even number of pairs the median is the lower of the two in the middle; equal scores are in the order of ids.
    None without a pair; one if there is no other.
    """
    rows = where(where(findings.alignment, "dataset", dataset), "comparison", ACROSS)
    rows = where(where(rows, "metric", findings.metric), "k", findings.k)
    released = {*trained(findings.models, "vision"), *trained(findings.models, "language")}
    names = ("score", "model_x", "model_y", "layer_name_x", "layer_name_y")
    ranked = sorted(
        (row for row in zip(*(rows[name] for name in names), strict=True) if released.issuperset(row[1:3])),
        key=lambda row: (-row[0], row[1], row[2]),
    )
    matrices = findings.matrices(dataset, findings.metric, findings.k, ACROSS) if ranked else {}
    chosen = dict.fromkeys((0, len(ranked) // 2)) if ranked else {}
    return [
        LayerMap(x, y, float(score), matrices[x, y], name_x, name_y)
        for score, x, y, name_x, name_y in (ranked[place] for place in chosen)
    ]
