"""Linear probe: how much of a labelling can be read off the layers of a model by a linear classifier."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from zooalign.capability._accuracy import Accuracy, balanced, plain
from zooalign.capability._probe_fit import GRADIENT_TOLERANCE, Choice, Fit, choose, fit
from zooalign.capability._probe_task import Split, Task, hold_out, majority_rate, task_of
from zooalign.capability._record import CapabilityError, Measured
from zooalign.closed import Closed
from zooalign.errors import FeatureError
from zooalign.progress import Report
from zooalign.provenance import digest, package_versions
from zooalign.storage.journal import Journal

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
APPLIES_TO = "vision"
NEEDS = "features"
READS = ("labels", "pairs")
KEEPS_JOURNAL = True
UNIT = "accuracy"
HIGHER_IS_BETTER = True


class Options(Closed):
    """Settings of the probe; all of them can change the value."""

    layer: int | Literal["last", "best", "all"] = Field(
        default="last",
        description="Layer whose features are read: its number (-1 is the last), last, best (on the validation part "
        "of the train set), or all (the value is that of best, every layer is tested and recorded).",
    )
    accuracy: Literal["plain", "balanced"] = Field(
        default="plain",
        description="What the value is and is chosen by: the share of samples that are right, or its mean over "
        "classes. The other one is recorded, too.",
    )
    strengths: tuple[float, ...] = Field(
        default=(1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0),
        min_length=1,
        description="Grid of L2 strengths: strength / 2 * |weights|^2 is added to the mean loss per sample.",
    )
    validation_fraction: float = Field(
        default=0.2, gt=0, lt=1, description="Part of the train set on which the strength is chosen."
    )
    folds: int = Field(
        default=5, ge=2, description="Cross-validation folds where the dataset has groups and no test split."
    )
    smallest_group: int = Field(
        default=10, ge=2, description="Groups with fewer samples are left out (and named in the record)."
    )
    seed: int = Field(default=0, ge=0, description="Seed of the stratified splits.")


def measure(
    store: Any, samples: Any, options: Options, report: Report, journal: Journal | None = None
) -> dict[str, Any]:
    """Accuracy of a multinomial logistic regression on the features of one layer.

    Features are standardised with the train part's mean and deviation. The L2 strength, and with `layer: best` or
    `all` the layer, is the one with the highest accuracy on a validation part of the train set (of equals the
    stronger one, and the later layer); then the classifier is fitted to the whole train set and tested once. A
    labels dataset brings its own split; on a pairs dataset the groups are the labels and every sample is tested
    once in a stratified cross-validation, where each fold chooses for itself.

    Parameters
    ----------
    store : FeatureStore
        Features of one model on `samples`.
    samples : Samples
        Of kind "labels" or "pairs" (with groups).
    options : Options
        Layer, grid, split and seed.
    journal : Journal, optional
        Keeps what was chosen and fitted, by layer and split, so that an interrupted measurement continues to the
        same record, bit for bit.

    Returns
    -------
    dict
        Fields of `CapabilityRecord` without model and digest. `value` is the accuracy on the test samples that
        `options.accuracy` names, in [0, 1]; both are in `details`, each with its standard error (see
        `_accuracy`). `details.majority_rate` is what always answering with the train set's most frequent class
        gets; `details.layers` says per split which layer was chosen, and `details.layer_profile` has a field per
        layer considered: its mean accuracy on the validation parts, and with `layer: all` its accuracies on test.

    Raises
    ------
    CapabilityError
        If store and dataset have different sample ids, the dataset has neither labels nor groups, a
        split is missing, fewer than two classes remain, a class has no train sample, the layer does not exist, or
        the solver does not converge.
    FeatureError
        If a feature is not finite; names the model, layer and sample.

    Notes
    -----
    Where a model has more features than there are train samples, they are first rotated into the span
    of the train samples: the L2-penalised minimum lies in it, so the classifier is the same and the
    problem small. float64, one thread, lbfgs from zero: identical bits on one machine.
    """
    from threadpoolctl import threadpool_limits

    if list(store.sample_ids) != list(samples.ids):
        raise CapabilityError(
            f"linear_probe: the features of {_model_name(store)!r} are of other samples than dataset "
            f"{samples.name!r} ({len(store.sample_ids)} and {len(samples.ids)} samples). Extract them again."
        )
    task = task_of(samples, options.folds, options.smallest_group, options.seed)
    layers, splits = _layers(store, options.layer), list(enumerate(task.splits))
    key = digest(store.digest, samples.digest, layers, options.model_dump(mode="json"))
    with threadpool_limits(limits=1):
        probe = _Probe(store, task, options, report, journal, key)
        choices = {(layer, s): probe.choice(layer, split) for layer in layers for s, split in splits}
        # Of equals the later layer.
        chosen = [max(reversed(layers), key=lambda layer: choices[layer, s].accuracy) for s, _ in splits]
        every = options.layer == "all"
        fits = {
            (layer, s): probe.fit(layer, split, choices[layer, s].strength)
            for layer in layers
            for s, split in splits
            if every or layer == chosen[s]
        }
    own = [(layer, s) for s, layer in enumerate(chosen)]
    correct = _correct(task, [fits[key] for key in own])
    accuracies = _accuracies(task, correct)
    value, names = accuracies[options.accuracy], [store.layer_names[layer] for layer in chosen]
    return Measured(
        capability="linear_probe",
        value=value.value,
        standard_error=value.standard_error,
        unit=UNIT,
        higher_is_better=HIGHER_IS_BETTER,
        n=int(correct.size),
        details={
            "majority_rate": majority_rate(task),
            "accuracy": accuracies["plain"].value,
            "accuracy_standard_error": accuracies["plain"].standard_error,
            "balanced_accuracy": accuracies["balanced"].value,
            "balanced_standard_error": accuracies["balanced"].standard_error,
            "classes": sorted(set(task.labels.tolist())),
            "samples_per_class": dict(sorted(Counter(task.labels.tolist()).items())),
            "left_out": task.left_out,
            "tested_rows": task.rows[task.tested].tolist(),
            "correct": correct.astype(int).tolist(),
            "strengths": [choices[key].strength for key in own],
            "validation_accuracies": [choices[key].accuracy for key in own],
            "layers": chosen,
            "layer_names": names,
            "layer_profile": _profile(store, task, layers, choices, fits if every else None),
            "iterations": [fits[key].iterations for key in own],
            "loss_above_minimum_at_most": max(one.excess for one in fits.values()),
        },
        settings={
            "version": VERSION,
            "dataset": samples.name,
            "dataset_digest": samples.digest,
            "features_digest": store.digest,
            "target": task.target,
            "protocol": "given split" if task.target == "label" else f"{options.folds}-fold stratified",
            "layer": layers[0] if len(layers) == 1 else options.layer,
            "layer_name": ", ".join(dict.fromkeys(names)),
            "accuracy": options.accuracy,
            "solver": "scikit-learn lbfgs, multinomial",
            "gradient_tolerance": GRADIENT_TOLERANCE,
            "strengths": list(options.strengths),
            "validation_fraction": options.validation_fraction,
            "smallest_group": options.smallest_group if task.target == "group" else None,
            "seed": options.seed,
        },
        versions=package_versions(("zooalign", "numpy", "scipy", "scikit-learn")),
    ).model_dump()


class _Probe:
    """Choices and fits by layer and split, of which those in the journal are not computed again."""

    def __init__(
        self, store: Any, task: Task, options: Options, report: Report, journal: Journal | None, key: str
    ) -> None:
        self._store, self._task, self._options = store, task, options
        self._report, self._journal = report, journal
        self._held: tuple[int, np.ndarray] | None = None
        self._kept = [] if journal is None else journal.resume(key, lambda part: isinstance(part, list))
        self._done = 0
        if self._kept:
            report(f"linear probe: continuing after {len(self._kept)} choices and fits")

    def choice(self, layer: int, split: Split) -> Choice:
        """Strength that does best on the validation part."""
        options, labels = self._options, self._task.labels

        def compute() -> Choice:
            inner, held_out = split.train, split.validation
            if held_out is None:
                inner, held_out = hold_out(split.train, labels, options.validation_fraction, options.seed)
            return choose(self._read(layer), labels, inner, held_out, options.strengths, _SCORES[options.accuracy])

        found = Choice(*self._part(compute))
        self._report(
            f"linear probe, {self._store.layer_names[layer]}: strength {found.strength:g}, "
            f"validation accuracy {found.accuracy:.4f}"
        )
        return found

    def fit(self, layer: int, split: Split, strength: float) -> Fit:
        """The tested classifier."""
        labels = self._task.labels
        return Fit(*self._part(lambda: fit(self._read(layer), labels, split.known, split.test, strength)))

    def _part(self, compute: Callable[[], Choice | Fit]) -> list[Any]:
        """The next part: from the journal, or computed and written there."""
        self._done += 1
        if self._done <= len(self._kept):
            return self._kept[self._done - 1]
        part = list(compute())
        if self._journal is not None:
            self._journal.append(part)
        return part

    def _read(self, layer: int) -> np.ndarray:
        """Features of the task's samples; one layer is held at a time."""
        if self._held is None or self._held[0] != layer:
            self._held = None
            self._held = layer, _features(self._store, layer)[self._task.rows]
        return self._held[1]


def _layers(store: Any, asked: int | str) -> list[int]:
    """Numbers of the layers that are considered."""
    n = len(store.layer_names)
    if asked in ("best", "all"):
        return list(range(n))
    layer = -1 if isinstance(asked, str) else asked
    if not -n <= layer < n:
        raise CapabilityError(
            f"linear_probe: {_model_name(store)!r} has {n} layers, so there is no layer {layer}; "
            f"choose 0 to {n - 1}, last, best or all."
        )
    return [layer % n]


def _features(store: Any, layer: int) -> np.ndarray:
    """Features of a layer, (n, d) float64, checked for NaN and infinity."""
    import numpy as np

    features = np.asarray(store.layer(layer), dtype=np.float64)
    bad = ~np.isfinite(features).all(axis=1)
    if bad.any():
        raise FeatureError(
            f"{_model_name(store)!r}, layer {store.layer_names[layer]!r}, sample "
            f"{store.sample_ids[int(bad.argmax())]!r}: a feature is not finite. "
            "Extract again with precision: float32."
        )
    return features


def _model_name(store: Any) -> str:
    return str(store.attributes.get("model", {}).get("id", "a model"))


_SCORES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "plain": lambda correct, truth: plain(correct).value,
    "balanced": lambda correct, truth: balanced(correct, truth).value,
}


def _correct(task: Task, fits: list[Fit]) -> np.ndarray:
    """Which of the tested samples are right, in the order of `task.tested`."""
    import numpy as np

    return np.concatenate([one.predicted for one in fits]) == task.labels[task.tested]


def _accuracies(task: Task, correct: np.ndarray) -> dict[str, Accuracy]:
    return {"plain": plain(correct), "balanced": balanced(correct, task.labels[task.tested])}


def _profile(
    store: Any,
    task: Task,
    layers: list[int],
    choices: Mapping[tuple[int, int], Choice],
    fits: Mapping[tuple[int, int], Fit] | None,
) -> dict[str, list[Any]]:
    """A value per layer: its name, its mean validation accuracy, and how it does on test where `fits` are of all."""
    splits = range(len(task.splits))
    profile: dict[str, list[Any]] = {
        "layer_name": [store.layer_names[layer] for layer in layers],
        "validation_accuracy": [
            math.fsum(choices[layer, s].accuracy for s in splits) / len(splits) for layer in layers
        ],
    }
    if fits is None:
        return profile
    for layer in layers:
        tested = _accuracies(task, _correct(task, [fits[layer, s] for s in splits]))
        for name, accuracy in tested.items():
            prefix = "" if name == "plain" else f"{name}_"
            profile.setdefault(f"{prefix}accuracy", []).append(accuracy.value)
            profile.setdefault(f"{prefix}standard_error", []).append(accuracy.standard_error)
        profile.setdefault("strengths", []).append([choices[layer, s].strength for s in splits])
    return profile
