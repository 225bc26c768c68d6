"""Which released models each model is nearest to, within its modality and across."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from zooalign.results.frames import ModelRow, model_rows
from zooalign.results.means import OTHER, scores, select, trained

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 1  # part of the digest of what this module determines

WITHIN, ACROSS = "within", "across"
NEAREST = 3


class Neighbour(NamedTuple):
    """A model and one of the released models that it is nearest to.

    Attributes
    ----------
    model : ModelRow
        Released, a control or an intervention.
    side : str
        "within" its modality or "across".
    rank : int
        1 is the nearest of `candidates` released models; the model itself is none.
    neighbour, family : str
        The other model, and its family.
    score : float
        By the headline metric; equal scores are in the order of ids.
    """

    model: ModelRow
    side: str
    rank: int
    candidates: int
    neighbour: str
    family: str
    score: float


def neighbours(findings: Findings, dataset: str) -> Iterator[Neighbour]:
    """The nearest models of every model by the headline metric, in the order of the sweep.

    A pair has one score, also under a metric that has a direction: the direction that was computed counts for both.
    """
    pair_scores = scores(select(findings.alignment, dataset, findings.metric, findings.k))
    family = dict(zip(findings.models["id"], findings.models["family"], strict=True))
    released = {modality: trained(findings.models, modality) for modality in OTHER}
    for model in model_rows(findings.models):
        for side, modality in ((WITHIN, model.modality), (ACROSS, OTHER[model.modality])):
            others = [(-pair_scores[model.id, other], other) for other in released[modality]
                      if other != model.id and (model.id, other) in pair_scores]  # fmt: skip
            for rank, (score, other) in enumerate(sorted(others)[:NEAREST], start=1):
                yield Neighbour(model, side, rank, len(others), other, family[other], -score)
