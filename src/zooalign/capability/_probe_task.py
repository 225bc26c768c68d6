"""What a linear probe is trained and tested on: samples, labels and splits."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from zooalign.capability._record import CapabilityError

if TYPE_CHECKING:
    import numpy as np

NO_GROUP = "(no group)"
# Names in a message; there may be hundreds of classes.
_NAMED = 5


class Split(NamedTuple):
    """Positions in the task's rows; the classifier is chosen on `validation`, or on a part of `train` without one."""

    train: np.ndarray  # int64
    validation: np.ndarray | None
    test: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """All that the tested classifier is fitted to."""
        import numpy as np

        return self.train if self.validation is None else np.concatenate([self.train, self.validation])


class Task(NamedTuple):
    """A labelling of some samples of a dataset."""

    rows: np.ndarray  # (m,) int64, positions in the dataset
    labels: np.ndarray  # (m,) str
    splits: list[Split]  # every tested sample is in one of them
    left_out: dict[str, int]  # label -> samples
    target: str  # "label" or "group"

    @property
    def tested(self) -> np.ndarray:
        """Positions in `rows` of the tested samples, split by split."""
        import numpy as np

        return np.concatenate([split.test for split in self.splits])


def task_of(samples: Any, folds: int, smallest_group: int, seed: int) -> Task:
    """Which samples are trained and tested on, with which labels.

    Parameters
    ----------
    samples : Samples
        Of kind "labels", which bring their split, or "pairs", whose groups are told apart in a cross-validation.
    folds, smallest_group, seed : int
        As in the options of the probe.

    Raises
    ------
    CapabilityError
        If the dataset is of another kind, or lacks labels, groups, a split, a second class, or train samples of a
        class.
    """
    if samples.kind == "labels":
        return _given_split(samples)
    if samples.kind == "pairs":
        return _cross_validation(samples, folds, smallest_group, seed)
    raise CapabilityError(
        f"linear_probe needs a dataset of kind 'labels' or 'pairs'; {samples.name!r} is of kind "
        f"{samples.kind!r}. Name another dataset for this capability in config.yaml."
    )


def _given_split(samples: Any) -> Task:
    import numpy as np

    for sample, label in zip(samples.ids, samples.labels, strict=True):
        if label is None or not str(label).strip():
            raise CapabilityError(
                f"linear_probe: dataset {samples.name!r}, sample {sample!r} has no label. Give it one or take it out."
            )
    labels, splits = np.asarray(samples.labels).astype(str), np.asarray(samples.splits)
    names = sorted(set(splits.tolist()))
    if not {"train", "test"} <= set(names) <= {"train", "validation", "test"}:
        raise CapabilityError(
            f"linear_probe: dataset {samples.name!r} has splits {names}; it needs 'train' and 'test' "
            "(and may have 'validation')."
        )
    train, validation, test = (np.flatnonzero(splits == s) for s in ("train", "validation", "test"))
    _two_classes(samples, labels[train])
    split = Split(train, validation if validation.size else None, test)
    unseen = sorted(set(labels[test].tolist()) - set(labels[split.known].tolist()))
    if unseen:
        named = [*map(repr, unseen[:_NAMED]), *(["..."] if len(unseen) > _NAMED else [])]
        raise CapabilityError(
            f"linear_probe: dataset {samples.name!r} tests classes without a train sample ({len(unseen)}: "
            f"{', '.join(named)}). "
            "Take more train samples, or take those classes out."
        )
    return Task(np.arange(labels.size), labels, [split], {}, "label")


def _cross_validation(samples: Any, n_folds: int, smallest_group: int, seed: int) -> Task:
    import numpy as np
    from sklearn.model_selection import StratifiedKFold

    if all(g is None for g in samples.groups):
        raise CapabilityError(
            f"linear_probe: dataset {samples.name!r} has no groups to tell apart. Name another dataset."
        )
    groups = np.asarray([NO_GROUP if g is None else g for g in samples.groups])
    sizes = Counter(groups.tolist())
    needed = max(smallest_group, n_folds)
    left_out = {g: c for g, c in sorted(sizes.items()) if c < needed or g == NO_GROUP}
    rows = np.flatnonzero(~np.isin(groups, list(left_out)))
    labels = groups[rows]
    _two_classes(samples, labels)
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    splits = [Split(train, None, test) for train, test in folds.split(rows, labels)]
    return Task(rows, labels, splits, left_out, "group")


def _two_classes(samples: Any, labels: np.ndarray) -> None:
    if len(set(labels.tolist())) < 2:
        raise CapabilityError(
            f"linear_probe: dataset {samples.name!r} leaves fewer than two classes to tell apart. "
            "Lower smallest_group, or name another dataset for this capability."
        )


def majority_rate(task: Task) -> float:
    """Accuracy of always answering with the most frequent class of the train part (first name of equals)."""
    hits = total = 0
    for split in task.splits:
        counts = Counter(task.labels[split.known].tolist())
        answer = min(counts, key=lambda c: (-counts[c], c))
        hits += int((task.labels[split.test] == answer).sum())
        total += split.test.size
    return hits / total


def hold_out(train: np.ndarray, labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Seeded part of each class; a class with one sample stays whole in the train part.

    Parameters
    ----------
    train : ndarray of int, shape (n,)
        Positions in `labels`.
    labels : ndarray of str
        Of all samples.
    fraction : float
        Part of each class that is held out.

    Returns
    -------
    ndarray, ndarray
        Positions that stay, and those held out, sorted.

    Raises
    ------
    CapabilityError
        If nothing would be held out.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    held_out = []
    for c in sorted(set(labels[train].tolist())):
        members = generator.permutation(train[labels[train] == c])
        held_out.append(members[: min(round(fraction * members.size), members.size - 1)])
    out = np.sort(np.concatenate(held_out))
    if out.size == 0:
        raise CapabilityError(
            f"linear_probe: validation_fraction = {fraction} of {train.size} train "
            "samples leaves no sample to choose the strength on. Raise it."
        )
    return np.setdiff1d(train, out), out
