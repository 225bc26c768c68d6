"""Errors a user can act on: each says what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Self


class ZooalignError(Exception):
    """Base of every error that is the user's to resolve; its text is shown without a traceback.

    Attributes
    ----------
    record : Path or None
        Where an artefact of a sweep is damaged, the file without which it does not count as made: a job removes it,
        so that the next run makes the artefact again.
    """

    def __init__(self, message: str, record: Path | None = None) -> None:
        super().__init__(message)
        self.record = record

    def within(self, place: str) -> Self:
        """The same error with the place in front of its message."""
        return type(self)(f"{place}: {self}", self.record)


class ConfigError(ZooalignError):
    """A key, name or value of config.yaml or of a file it names is wrong."""


class WeightsError(ZooalignError):
    """A weight file is missing, differs from the manifest's SHA-256, or cannot be read safely."""


class DatasetError(ZooalignError):
    """A dataset cannot be built or read; names the dataset and the sample."""


class FeatureError(ZooalignError):
    """A model yields features that cannot be used; names the model, layer and sample."""


class StoreError(ZooalignError):
    """A stored artefact is incomplete, damaged or not the one asked for; names the path."""


class ShareError(ZooalignError):
    """A file to import is damaged, foreign, shuffled or of other samples; names the file and the remedy."""


class LeaseError(ZooalignError):
    """Another process took over the output that this one was writing; names the path and the other one."""


class MetricError(ZooalignError):
    """A metric is unknown or cannot be computed from what it was given."""


# Most names that a message lists: a zoo of hundreds is still on a page, the 1,700 names of timm are not.
_LISTED = 200


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Message for an unknown name, with the nearest names first.

    Parameters
    ----------
    kind : str
        What was looked up ("metric", "source", "key of config.yaml").
    name : str
        The name as the user wrote it.
    known : iterable of str
        Every name that would have been right.

    Returns
    -------
    str
        One line.

    Examples
    --------
    >>> unknown("metric", "mutal_knn", ["cka", "mutual_knn"])
    "unknown metric 'mutal_knn': did you mean 'mutual_knn'? Known: cka, mutual_knn."
    >>> unknown("model", "x", map(str, range(1000)))[-19:]
    '... (1,000 in all).'
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    hint = f": did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
    listed = ", ".join(names[:_LISTED]) + (f", ... ({len(names):,} in all)" if len(names) > _LISTED else "")
    return f"unknown {kind} {name!r}{hint} Known: {listed or 'none'}."
