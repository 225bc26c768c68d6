"""Which samples of a label dataset are taken: stratified parts of a whole, or uniform rows of a stream."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import Field

from zooalign.closed import Closed
from zooalign.data.attribution import Attribution
from zooalign.data.records import Label
from zooalign.data.writing import write_samples
from zooalign.errors import DatasetError
from zooalign.progress import Report


class Split(Closed):
    """Options of a family that cuts a collection of labelled pictures into train and test itself."""

    n_train: int | None = Field(
        default=2000, ge=2, description="Pictures to train a probe on, stratified; null: all that n_test leaves."
    )
    n_test: int = Field(default=1000, ge=2, description="Pictures to test it on, stratified.")
    seed: int = Field(default=0, ge=0, description="Seed of the split.")

    def parts(self, labels: Sequence[str], name: str) -> dict[str, list[int]]:
        """Rows to train and to test on, each in ascending order.

        Parameters
        ----------
        labels : sequence of str
            Label of every picture.
        name : str
            Dataset, for the message.

        Returns
        -------
        dict
            `train` and `test`, disjoint; each class has its share of both, within one picture.

        Raises
        ------
        DatasetError
            If more pictures are asked for than there are, or so few that a class is tested and never trained on.
        """
        if (self.n_train or 1) + self.n_test > len(labels):
            raise DatasetError(
                f"{name}: n_train {self.n_train} + n_test {self.n_test} is more than {len(labels)}, which is all "
                "there are; lower one."
            )
        order = stratified_order(labels, self.seed)
        cut = len(order) - self.n_test
        parts = {"train": sorted(order[:cut][: self.n_train]), "test": sorted(order[cut:])}
        check_classes({split: {labels[i] for i in rows} for split, rows in parts.items()}, name, "raise n_train")
        return parts


def write_parts(
    folder: Path,
    what: str,
    parts: Mapping[str, Sequence[int]],
    record: Callable[[str, int], Label],
    *,
    attribution: Sequence[Attribution],
    options: Closed,
    family: str,
    version: int,
    packages: Mapping[str, str | None],
    report: Report,
) -> None:
    """Write a label dataset of chosen rows.

    Parameters
    ----------
    folder : pathlib.Path
        As in `writing.write_samples`, like attribution, family and version.
    what : str
        What its pictures are, for people.
    parts : mapping of str to sequence of int
        Rows of `train` and `test`.
    record : callable
        Split and row to the picture's record.
    options : Closed
        Of the family; where downloads are kept is no part of the dataset.
    packages : mapping
        Versions of packages; None where one is not known.
    report : Report
    """
    write_samples(
        folder,
        "labels",
        (record(split, row) for split, rows in parts.items() for row in rows),
        name=folder.name,
        description=f"{what}: {len(parts['train'])} to train on, {len(parts['test'])} to test on.",
        attribution=attribution,
        options=options.model_dump(exclude={"cache"}),
        family=family,
        version=version,
        packages={name: number for name, number in packages.items() if number is not None},
    )
    report(f"{folder.name}: {sum(map(len, parts.values()))} pictures")


def stratified(labels: Sequence[str], n: int | None, seed: int, where: str) -> list[int]:
    """Rows of a part that is given: a stratified choice of n of them, in ascending order; all without n.

    Raises
    ------
    DatasetError
        If there are fewer than n; `where` names the dataset and the option.
    """
    if n is not None and n > len(labels):
        raise DatasetError(f"{where} {n} is more than {len(labels)}, which is all there are; lower it.")
    return sorted(stratified_order(labels, seed)[:n])


def check_classes(classes: Mapping[str, set[str]], name: str, remedy: str) -> None:
    """Refuse a class of the test part that the train part does not have: no probe can learn it.

    Parameters
    ----------
    classes : mapping of str to set of str
        Labels of `train` and `test`.
    name, remedy : str
        Dataset, and what to do, for the message.

    Raises
    ------
    DatasetError
        Names the class.
    """
    unseen = sorted(classes["test"] - classes["train"])
    if unseen:
        raise DatasetError(
            f"{name}: class {unseen[0]!r} has no train sample ({len(unseen)} of {len(classes['test'])} classes of "
            f"the test part have none); {remedy}."
        )


def stratified_order(labels: Sequence[str], seed: int) -> list[int]:
    """All rows in an order of which every beginning and every end holds the classes in proportion.

    Parameters
    ----------
    labels : sequence of str
        Label of every row.
    seed : int
        Of the order within each class.

    Returns
    -------
    list of int
        A permutation of the rows.

    Examples
    --------
    >>> order = stratified_order(["a", "a", "a", "a", "b", "b"], seed=0)
    >>> sorted(order[:3]), sorted(["aaaabb"[i] for i in order[:3]])
    ([0, 2, 5], ['a', 'a', 'b'])
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    classes = np.asarray(labels)
    # Every class is shuffled, then spread evenly over 0..1.
    order: list[tuple[float, int]] = []
    for label in np.unique(classes):
        members = rng.permutation(np.flatnonzero(classes == label))
        order += [((place + 0.5) / len(members), int(i)) for place, i in enumerate(members)]
    return [i for _, i in sorted(order)]


class UniformRows:
    """A uniform choice of at most `limit` rows of a stream whose length nobody knows beforehand.

    Row i draws the i-th number of ``random.Random(seed)``, and the rows with the lowest numbers are chosen. So the
    choice depends on the seed, the limit and the number of rows alone, and a lower limit chooses a part of it. The
    numbers of :mod:`random` are the same in every version of Python.

    Parameters
    ----------
    limit : int or None
        Most rows to choose; None: all.
    seed : int
        Of the numbers.
    """

    def __init__(self, limit: int | None, seed: int) -> None:
        self.limit = limit
        self._numbers = random.Random(seed)  # noqa: S311
        self._seen = 0
        self._chosen: list[tuple[float, int]] = []  # a heap: the negated number and the row, the highest number first

    def offer(self) -> tuple[bool, int | None]:
        """Offer the next row.

        Returns
        -------
        tuple of bool and (int or None)
            Whether it is chosen for now, and the row (from 0) that it displaces, if any.
        """
        entry = (-self._numbers.random(), self._seen)
        self._seen += 1
        if self.limit is None or len(self._chosen) < self.limit:
            heapq.heappush(self._chosen, entry)
            return True, None
        dropped = heapq.heappushpop(self._chosen, entry)[1]
        return (False, None) if dropped == entry[1] else (True, dropped)
