"""Indexes and rows of the sensitivity's preparations: as those of the sweep, in folders of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zooalign.workflow.rule import Parts, place
from zooalign.workflow.rules.alignment import AlignRow
from zooalign.workflow.rules.features import IndexFeatures

if TYPE_CHECKING:
    from zooalign.workflow.work import Work


class IndexPrepared(IndexFeatures):
    """Neighbour lists and kernels of a model in a preparation that changes something for it."""

    name, wildcards, kind = "index_prepared", ("preparation", "dataset", "model"), "sensitivity index"

    def parts(self, work: Work) -> list[Parts]:
        needs = {work.index_item(*place(parts)) for parts in AlignPrepared().parts(work)}
        return sorted(item.parts for item in needs if item.rule == self.name)

    def title(self, parts: Parts) -> str:
        return "{2} on {1}, {0}".format(*parts)


class AlignPrepared(AlignRow):
    """A model against its partners of the other modality in a preparation."""

    name, wildcards, kind = "align_prepared", ("preparation", "dataset", "model"), "sensitivity row"

    def parts(self, work: Work) -> list[Parts]:
        return [(name, *parts) for name in work.sweep.preparations for parts in work.compared(name)]

    def title(self, parts: Parts) -> str:
        return "{2} on {1}, {0}".format(*parts)
