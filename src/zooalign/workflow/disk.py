"""Fetched weights on the disk: who needs them, when they go, and in which order they come.

With `weights: temp` the rule remove_weights removes what was fetched for a model after the last job that reads it.
With `weights_gib` besides, the weights of a model are fetched only when those of enough models before it are gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zooalign.errors import ConfigError
from zooalign.planning import costs

if TYPE_CHECKING:
    from zooalign.workflow.work import Item, Work


def readers(work: Work) -> dict[str, list[Item]]:
    """Items that run a model, by the id of the row whose weights it is loaded from."""
    found: dict[str, list[Item]] = {name: [] for name in work.sweep.weights}
    for rule in ("extract_features", "measure_capability"):
        for item in work.items(rule):
            for need in work.needs(item):
                if need.rule == "fetch_weights":
                    found[need.parts[0]].append(item)
    return found


def together(work: Work, model: str) -> list[str]:
    """Rows whose weights are one download, as the two towers of a checkpoint are; the row itself if there is none."""
    download = work.sweep.weights[model].download
    if download is None:
        return [model]
    return [name for name, spec in work.sweep.weights.items() if spec.download == download]


def downloads(work: Work) -> list[list[str]]:
    """Rows of every download that is on the disk in this run, in the order of fetching: first what is there."""
    rows = [item.parts[0] for item in work.items("remove_weights") if work.is_due(item)]
    groups = {work.sweep.weights[name].download: together(work, name) for name in rows}
    to_fetch = _to_fetch(work)
    return sorted(groups.values(), key=lambda group: not to_fetch.isdisjoint(group))


def _to_fetch(work: Work) -> set[str]:
    """Rows whose weights are fetched in this run."""
    return {item.parts[0] for item in work.due("fetch_weights")}


def download_bytes(work: Work, group: Sequence[str]) -> float:
    """Bytes of one download, as the manifest tells: that of its largest row."""
    return max(costs.weight_bytes(work.sweep.weights[name]) for name in group)


def first_kept(sizes: Sequence[float], bound: float) -> list[int]:
    """For every place of a sequence, the first place that may still be there with it and all between.

    Examples
    --------
    >>> first_kept([3, 4, 2, 6], bound=8)
    [0, 0, 1, 2]
    """
    first, held, places = 0, 0.0, []
    for place, size in enumerate(sizes):
        held += size
        while held > bound and first < place:
            held -= sizes[first]
            first += 1
        places.append(first)
    return places


def fetched_after(work: Work) -> dict[str, list[Path]]:
    """Records of removal that must be there before the weights of a model are fetched, by model."""
    bound = work.sweep.config.weights_gib
    if bound is None:
        return {}
    groups = downloads(work)
    removed = {item.parts[0] for item in work.items("remove_weights")}
    kept, to_fetch = first_kept([download_bytes(work, group) for group in groups], bound * 2**30), _to_fetch(work)
    return {
        name: [work.layout.removed(former) for earlier in groups[:first] for former in earlier if former in removed]
        for group, first in zip(groups, kept, strict=True)
        for name in group
        if name in to_fetch
    }


def peak_bytes(work: Work) -> float:
    """Most bytes of fetched weights that are on the disk at a time in this run."""
    sizes = [download_bytes(work, group) for group in downloads(work)]
    bound = work.sweep.config.weights_gib
    if bound is None:
        return sum(sizes)
    kept = first_kept(sizes, bound * 2**30)
    return max((sum(sizes[first : place + 1]) for place, first in enumerate(kept)), default=0.0)


def check_bound(work: Work) -> None:
    """Refuse a bound that one model exceeds alone.

    Raises
    ------
    ConfigError
        Names the model and what it takes.
    """
    bound = work.sweep.config.weights_gib
    if bound is None:
        return
    for name, spec in work.sweep.weights.items():
        size = costs.weight_bytes(spec) / 2**30
        if spec.download is not None and size > bound:
            raise ConfigError(
                f"config.yaml, weights_gib: the weights of {name} alone take {size:.3g} GiB, and {bound:g} are "
                "allowed: raise weights_gib, or leave the model out (models)."
            )
