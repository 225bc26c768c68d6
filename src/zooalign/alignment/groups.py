"""Samples that come in groups: frames of one film, near-duplicates, several captions of one picture.

Members of a group are not exchangeable with other samples: what pairs one pairs them all. So nulls permute
whole groups, and halves are halves of the groups.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zooalign.errors import MetricError, StoreError

if TYPE_CHECKING:
    from zooalign.indexes.index import Index

VERSION = 1

# A sample is a near-duplicate of another within this share of the distance to the end of its neighbour list.
_CLOSE = 0.3
# Share of samples with a near-duplicate up to which samples are taken for independent draws.
_FEW = 0.05


@dataclass(frozen=True)
class Groups:
    """Which samples belong together.

    Attributes
    ----------
    codes : ndarray of int64, shape (n,)
        Group of every sample, 0, 1, ... in the order of first appearance.
    """

    codes: np.ndarray

    @property
    def count(self) -> int:
        """Number of groups."""
        return int(self.codes.max()) + 1

    @property
    def sizes(self) -> np.ndarray:
        """Samples per group, (count,)."""
        return np.bincount(self.codes)

    @cached_property
    def _members(self) -> list[np.ndarray]:
        """Samples of every group, in their order."""
        return np.split(np.argsort(self.codes, kind="stable"), np.cumsum(self.sizes)[:-1])

    @cached_property
    def _of_equal_size(self) -> list[np.ndarray]:
        """Samples (groups, size) of the groups of each size, small sizes first."""
        return [np.stack([m for m in self._members if len(m) == size]) for size in np.unique(self.sizes)]

    def settings(self) -> dict[str, Any]:
        """How many groups there are, and how many of each size; JSON-able."""
        sizes, counts = np.unique(self.sizes, return_counts=True)
        return {"count": self.count, "sizes": {str(s): int(c) for s, c in zip(sizes, counts, strict=True)}}

    def fixed_samples(self) -> int:
        """Samples in groups whose size no other group has: every permutation leaves them where they are."""
        sizes = self.sizes
        return int(sum(size for size in sizes if (sizes == size).sum() == 1))

    def check_permutable(self, alpha: float) -> None:
        """Raise MetricError unless there are at least 1 / alpha permutations, without which no p reaches alpha.

        Parameters
        ----------
        alpha : float
            Level of the test.
        """
        _, repeats = np.unique(self.sizes, return_counts=True)
        if sum(math.lgamma(m + 1) for m in repeats) < math.log(1.0 / alpha) - 1e-9:
            text = ", ".join(f"{count} of {size}" for size, count in self.settings()["sizes"].items())
            raise MetricError(
                f"groups of these sizes (groups of so many samples: {text}) can be permuted among equals in fewer "
                f"than 1 / alpha = {1 / alpha:.0f} ways, so no p-value could reach {alpha}. Drop samples until "
                "several groups have the same size."
            )

    def order(self, generator: np.random.Generator) -> np.ndarray:
        """Permutation that maps every group onto one of the same size, members in their order.

        Parameters
        ----------
        generator : numpy Generator
            Draws it, uniformly.

        Returns
        -------
        ndarray of int64, shape (n,)
            Sample i of x meets sample order[i] of y.

        Notes
        -----
        If the groups are independent draws and those of x tell nothing of those of y, groups of one size
        are exchangeable as wholes, whatever happens inside them. The members keep their order: shuffling
        them would also ask that members be exchangeable, which frames are not (position in the film may
        show in both models) and which the hypothesis does not say.
        """
        order = np.arange(len(self.codes))
        for equal in self._of_equal_size:
            order[equal] = equal[generator.permutation(len(equal))]
        return order

    def halves(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Samples of two random halves, no group in both.

        Parameters
        ----------
        generator : numpy Generator
            Draws them.

        Returns
        -------
        tuple of ndarray of int64
            Sample positions; groups in random order, members in theirs. Where all groups have one size, so
            have the halves, and an odd group is left out; else they are as equal as whole groups allow.
        """
        places, half = generator.permutation(self.count), self.count // 2
        if len(self._of_equal_size) == 1:
            drawn = self._of_equal_size[0][places]  # (groups, size)
            return drawn[:half].ravel(), drawn[half : 2 * half].ravel()
        drawn = [self._members[int(g)] for g in places]
        ends = np.cumsum([len(m) for m in drawn])
        cut = int(np.argmin(np.abs(ends[:-1] - len(self.codes) / 2))) + 1
        return np.concatenate(drawn[:cut]), np.concatenate(drawn[cut:])


def singletons(n: int) -> Groups:
    """Every sample a group of its own."""
    return Groups(np.arange(n))


def as_groups(labels: Sequence[Any] | np.ndarray, n: int) -> Groups:
    """Groups from a label per sample.

    Parameters
    ----------
    labels : sequence, length n
        Equal labels, equal group; compared as text.
    n : int
        Number of samples.

    Returns
    -------
    Groups
        At least two.

    Raises
    ------
    MetricError
        For another number of labels, a missing one, or a single group.
    """
    labels = list(labels)
    if len(labels) != n:
        raise MetricError(f"{len(labels)} group labels for {n} samples: give one per sample, in their order.")
    for i, label in enumerate(labels):
        if label is None or label != label or not str(label).strip():
            raise MetricError(f"sample {i} has no group label: give it one of its own if it belongs to no group.")
    codes: dict[str, int] = {}
    coded = np.array([codes.setdefault(str(label), len(codes)) for label in labels], np.int64)
    if len(codes) < 2:
        raise MetricError(f"all samples are of one group, {next(iter(codes))!r}: there is nothing to permute.")
    return Groups(coded)


def read_groups(path: str | Path, sample_ids: Sequence[str]) -> list[str]:
    """Group labels of the samples from a file.

    Parameters
    ----------
    path : path
        A label per line, in the order of the samples; or a CSV file (name ends in .csv) with columns "id" and
        "group", in any order, further samples ignored; or the folder of a dataset, for its group column, a
        sample without a group being one of its own.
    sample_ids : sequence of str, length n
        Of the models.

    Returns
    -------
    list of str
        A label per sample.

    Raises
    ------
    StoreError
        For a file that cannot be read, or a CSV file without these columns.
    MetricError
        For a sample that the CSV file does not name, or names twice.
    """
    path = Path(path)
    if path.is_dir():
        from zooalign.data.samples import open_samples

        samples = open_samples(path)
        named = zip(samples.ids, samples.groups, strict=True)
        return _in_order(path, {i: f"sample {i}" if group is None else group for i, group in named}, sample_ids)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"cannot read the groups in {path}: {error}.") from error
    if path.suffix != ".csv":
        return text.splitlines()
    rows = list(csv.DictReader(text.splitlines()))
    if not rows or not {"id", "group"} <= set(rows[0]):
        raise StoreError(f"{path} has no columns 'id' and 'group': give them, or a plain file of one label per line.")
    labels: dict[str, str] = {}
    for row in rows:
        if row["id"] in labels:
            raise MetricError(f"{path} names sample {row['id']!r} twice.")
        labels[row["id"]] = row["group"]
    return _in_order(path, labels, sample_ids)


def given_groups(groups: Sequence[Any] | np.ndarray | str | Path | None, x: Index) -> Groups | None:
    """Groups from whatever a user has: labels, a path for :func:`read_groups`, or None.

    Parameters
    ----------
    groups : sequence, str, Path or None
        See above.
    x : Index
        A model on the samples.

    Returns
    -------
    Groups or None
        None for None.

    Raises
    ------
    StoreError, MetricError
        As :func:`read_groups` and :func:`as_groups`.
    """
    if groups is None:
        return None
    return as_groups(read_groups(groups, x.sample_ids) if isinstance(groups, (str, Path)) else groups, x.n)


def near_duplicates(x: Index, y: Index) -> np.ndarray | None:
    """Samples that have a near-duplicate, the same one, in both models.

    Parameters
    ----------
    x, y : Index
        Two models on the same n samples, with similarities of rows of unit length.

    Returns
    -------
    ndarray of bool, shape (n,), or None
        None where the indexes do not tell (no stored similarities, or rows not of unit length).

    Notes
    -----
    j is a near-duplicate of i in a model if, in some layer, it is closer to i than .3 times the last stored
    neighbour. Two models that are unrelated hardly ever agree in which pairs these are, and distances in
    features of more than a few dimensions lie closer together: among n points of d dimensions the nearest
    neighbour is about (1 / k_max)^(1/d) times as far as the last stored one, .52 for d = 6 and 50
    neighbours. Layers whose last neighbours are at distance 0 (constant, or a few distinct rows) are left
    out; a group that fills the lists is not seen. Unrelated features of two or three dimensions (directions on
    a circle or sphere) may be flagged by coincidence.
    """
    if any(not {"neighbors", "similarities"} <= s.holds or s.preparation.get("normalise") == "none" for s in (x, y)):
        return None
    keys = [_close_pairs(side) for side in (x, y)]
    alike = np.zeros(x.n, bool)
    alike[np.intersect1d(*keys, assume_unique=True) // x.n] = True
    return alike


def duplicate_warning(x: Index, y: Index) -> list[str]:
    """One message if more than 5 % of the samples have the same near-duplicate in both models, else none.

    Parameters
    ----------
    x, y : Index
        As :func:`near_duplicates`.

    Returns
    -------
    list of str
        At most one.
    """
    flagged = near_duplicates(x, y)
    if flagged is None or flagged.mean() <= _FEW:
        return []
    first = ", ".join(x.sample_ids[int(i)] for i in np.flatnonzero(flagged)[:3])
    return [
        f"{flagged.sum()} of {x.n} samples have a near-duplicate that both models agree on ({first}, ...): they are "
        "not exchangeable, so p-values are too small and intervals too narrow. Say with groups which samples belong "
        "together, or keep one of each."
    ]


def _in_order(path: Path, labels: dict[str, str], sample_ids: Sequence[str]) -> list[str]:
    for sample in sample_ids:
        if sample not in labels:
            raise MetricError(f"{path} gives no group for sample {sample!r}: name every sample of the models.")
    return [labels[sample] for sample in sample_ids]


def _close_pairs(x: Index) -> np.ndarray:
    """Keys i n + j of the close pairs of any layer, sorted."""
    squares = np.maximum(2.0 - 2.0 * np.asarray(x.similarities, np.float64), 0.0)  # (L, n, k_max)
    last = squares[:, :, -1:]
    close = (squares < _CLOSE**2 * last) & (np.median(last, axis=1, keepdims=True) > 0.0)
    layer, i, t = np.nonzero(close)
    return np.unique(i * x.n + x.neighbors[layer, i, t].astype(np.int64))
