"""Large galleries in parts: a shard is some whole batches of an extraction; all shards together are the store.

A model's features depend in their last bits on what else is in a batch (padding, and which kernel a batch size
takes). So a shard is not a range of samples but a range of the batches that a single job would make, in the order
in which the model reads: the joined store is bit for bit that of a single job. For a vision model, which reads in the
dataset's order, that is a contiguous range of samples; captions are read longest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from zooalign.data.samples import ids_digest
from zooalign.errors import FeatureError, StoreError
from zooalign.features.store import FeatureStore
from zooalign.provenance import digest


@dataclass(frozen=True, order=True)
class Shard:
    """One of the parts into which an extraction is cut.

    Parameters
    ----------
    index : int
        Which one, 1 <= index <= of.
    of : int
        How many there are.

    Examples
    --------
    >>> Shard(3, 16).path(Path("results/features/emoji/vit.zarr")).as_posix()
    'results/features/emoji/vit.zarr.shards/03-of-16.zarr'
    """

    index: int
    of: int

    def __str__(self) -> str:
        return f"shard {self.index} of {self.of}"

    def digest(self, whole: str) -> str:
        """Digest of the shard's features; differs from `whole`, so that a part is never taken for all."""
        return digest("shard", whole, self.index, self.of)

    def path(self, whole: Path) -> Path:
        """Store of the shard, beside the store that it will be part of."""
        return shards_folder(whole) / f"{self.index:0{len(str(self.of))}}-of-{self.of}.zarr"

    def cut(self, plan: dict[str, Any], costs: Sequence[int], whole: str) -> dict[str, Any]:
        """Part of the plan of a whole extraction that is this shard's.

        Parameters
        ----------
        plan : dict
            As for `FeatureWriter`: "sample_ids", "order", "bounds" and what describes the layers.
        costs : sequence of int
            Cost of every sample in reading order; shards are of about the same cost.
        whole : str
            Digest of the whole features.

        Returns
        -------
        dict
            The same keys for the part; besides "reads" (positions in the dataset, in reading order) and "shard"
            (what `features.merge` checks).

        Raises
        ------
        FeatureError
            If there are fewer batches than shards.
        """
        ends = plan["bounds"]
        if len(ends) < self.of:
            raise FeatureError(
                f"{self}: the dataset makes {len(ends)} batches with this model, and a shard holds whole batches. "
                f"Ask for {len(ends)} shards at most."
            )
        first, last = _part([0, *ends], costs, self.index, self.of)
        reads = plan["order"][first:last]
        rank = {position: i for i, position in enumerate(sorted(reads))}
        return {
            **plan,
            "sample_ids": [plan["sample_ids"][position] for position in rank],
            "order": [rank[position] for position in reads],
            "bounds": [end - first for end in ends if first < end <= last],
            "reads": reads,
            "shard": {
                "index": self.index,
                "of": self.of,
                "whole": whole,
                "samples": len(plan["order"]),
                "ids_digest": ids_digest(plan["sample_ids"]),
                "batches_digest": digest(plan["order"], ends),
                "runs": _runs(list(rank)),
            },
        }


def _part(bounds: list[int], costs: Sequence[int], index: int, of: int) -> tuple[int, int]:
    """First row of a shard and the one after its last: whole batches, about equal padded cost, none empty."""
    heavy = [(stop - start) * max(costs[start:stop]) for start, stop in pairwise(bounds)]
    done = np.concatenate([[0], np.cumsum(heavy, dtype=np.int64)])
    cuts = [0]
    for i in range(1, of):
        even = int(np.searchsorted(done, done[-1] * i / of))
        cuts.append(min(max(even, cuts[-1] + 1), len(heavy) - (of - i)))
    cuts.append(len(heavy))
    return bounds[cuts[index - 1]], bounds[cuts[index]]


def _runs(positions: list[int]) -> list[int]:
    """Increasing positions as starts and stops of runs, one after the other.

    Examples
    --------
    >>> _runs([0, 1, 2, 7, 8])
    [0, 3, 7, 9]
    """
    at = np.asarray(positions)
    breaks = np.flatnonzero(np.diff(at) != 1)
    starts = at[np.concatenate([[0], breaks + 1])]
    stops = at[np.concatenate([breaks, [len(at) - 1]])] + 1
    return np.stack([starts, stops], axis=1).ravel().tolist()


def positions(runs: Sequence[int]) -> np.ndarray:
    """What :func:`_runs` made runs of."""
    pairs = np.asarray(runs, np.int64).reshape(-1, 2)
    return np.concatenate([np.arange(start, stop) for start, stop in pairs])


def shards_folder(whole: Path) -> Path:
    """Folder of the shards of a store."""
    return whole.with_name(whole.name + ".shards")


def whole_of(shard: Path) -> Path:
    """Store that a shard is part of."""
    return shard.parent.with_suffix("")


def find_shards(whole: Path, of: int | None = None) -> list[Path]:
    """Finished shards of a store, by name; with `of` only those of that number of shards."""
    folder = shards_folder(whole)
    if not folder.is_dir():
        return []
    name = "*.zarr" if of is None else f"*-of-{of}.zarr"
    return sorted(p for p in folder.glob(name) if not p.name.startswith("."))


def stored_digest(path: Path) -> str | None:
    """Digest of the store at a path, None if there is no whole one."""
    try:
        return FeatureStore.open(path).digest
    except StoreError:  # missing, or not to be trusted: it is written again
        return None
