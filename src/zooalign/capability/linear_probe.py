"""Linear probe: how much of a labelling can be read off one layer of a model by a linear classifier."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from zooalign.capability._record import CapabilityError, Measured
from zooalign.closed import Closed
from zooalign.errors import FeatureError
from zooalign.progress import Report
from zooalign.provenance import package_versions

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
APPLIES_TO = "vision"
NEEDS = "features"
UNIT = "accuracy"
HIGHER_IS_BETTER = True

# Greatest absolute entry of the gradient of the mean loss at which lbfgs stops.
GRADIENT_TOLERANCE = 1e-7
MAX_ITERATIONS = 5_000
NO_GROUP = "(no group)"
# Nats per sample that the loss may at most lie above its minimum, or the fit is refused. The penalised
# loss is strongly convex in the weights: loss - minimum <= |gradient|^2 / (2 strength).
LARGEST_EXCESS = 1e-5
_NOT_CONVERGED = (
    "linear_probe: the solver did not converge at strength {strength:g}; leave the weakest `strengths` out."
)


class Options(Closed):
    """Settings of the probe; all of them can change the value."""

    layer: int = Field(default=-1, description="Layer whose features are read; -1 is the last.")
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


class _Task(NamedTuple):
    rows: np.ndarray  # (m,) int64, positions in the dataset
    labels: np.ndarray  # (m,) str
    splits: list[tuple[np.ndarray, np.ndarray | None, np.ndarray]]  # train, validation, test: positions in rows
    left_out: dict[str, int]  # label -> samples
    target: str  # "label" or "group"


class _Fit(NamedTuple):
    predicted: np.ndarray  # (n_test,) str
    strength: float
    iterations: int
    excess: float  # bound on loss - minimum, nats per sample


def measure(store: Any, samples: Any, options: Options, report: Report) -> dict[str, Any]:
    """Accuracy of a multinomial logistic regression on the features of one layer.

    Features are standardised with the train part's mean and deviation. The L2 strength is the one with
    the highest accuracy on a validation part of the train set (the stronger one of equals); then the
    classifier is fitted to the whole train set and tested once. A labels dataset brings its own split;
    on a pairs dataset the groups are the labels and every sample is tested once in a stratified
    cross-validation.

    Parameters
    ----------
    store : FeatureStore
        Features of one model on `samples`.
    samples : Samples
        Of kind "labels" or "pairs" (with groups).
    options : Options
        Layer, grid, split and seed.

    Returns
    -------
    dict
        Fields of `CapabilityRecord` without model and digest. `value` is the fraction of test samples
        classified correctly, in [0, 1]; `details.majority_rate` is what always answering with the train
        set's most frequent class gets. `standard_error` is the deviation of a sample's correctness over
        sqrt(n); it knows the test samples' spread, not that of the training.

    Raises
    ------
    CapabilityError
        If store and dataset have different sample ids, the dataset has neither labels nor groups, a
        split is missing, fewer than two classes remain, the layer does not exist, or the solver does not
        converge.
    FeatureError
        If a feature is not finite; names the model, layer and sample.

    Notes
    -----
    Where a model has more features than there are train samples, they are first rotated into the span
    of the train samples: the L2-penalised minimum lies in it, so the classifier is the same and the
    problem small. float64, one thread, lbfgs from zero: identical bits on one machine.
    """
    import numpy as np
    from threadpoolctl import threadpool_limits

    if list(store.sample_ids) != list(samples.ids):
        raise CapabilityError(
            f"linear_probe: the features of {_model_name(store)!r} are of other samples than dataset "
            f"{samples.name!r} ({len(store.sample_ids)} and {len(samples.ids)} samples). Extract them again."
        )
    task = _task(samples, options)
    layer, features = _features(store, options.layer)
    x = features[task.rows]
    fits = []
    with threadpool_limits(limits=1):
        for number, (train, validation, test) in enumerate(task.splits, start=1):
            fits.append(_fit(x, task.labels, train, validation, test, options))
            report(f"linear probe, part {number} of {len(task.splits)}: strength {fits[-1].strength:g}")
    tested = np.concatenate([test for _, _, test in task.splits])
    truth = task.labels[tested]
    predicted = np.concatenate([f.predicted for f in fits])
    correct = predicted == truth
    value = float(correct.mean())
    classes = sorted(set(task.labels.tolist()))
    return Measured(
        capability="linear_probe",
        value=value,
        standard_error=float(correct.std(ddof=1) / math.sqrt(correct.size)) if correct.size > 1 else None,
        unit=UNIT,
        higher_is_better=HIGHER_IS_BETTER,
        n=int(correct.size),
        details={
            "majority_rate": _majority_rate(task),
            "balanced_accuracy": float(np.mean([correct[truth == c].mean() for c in sorted(set(truth.tolist()))])),
            "classes": classes,
            "samples_per_class": dict(sorted(Counter(task.labels.tolist()).items())),
            "left_out": task.left_out,
            "tested_rows": task.rows[tested].tolist(),
            "correct": correct.astype(int).tolist(),
            "strengths": [f.strength for f in fits],
            "iterations": [f.iterations for f in fits],
            "loss_above_minimum_at_most": max(f.excess for f in fits),
        },
        settings={
            "version": VERSION,
            "dataset": samples.name,
            "dataset_digest": samples.digest,
            "features_digest": store.digest,
            "target": task.target,
            "protocol": "given split" if task.target == "label" else f"{options.folds}-fold stratified",
            "layer": layer,
            "layer_name": store.layer_names[layer],
            "width": int(x.shape[1]),
            "solver": "scikit-learn lbfgs, multinomial",
            "gradient_tolerance": GRADIENT_TOLERANCE,
            "strengths": list(options.strengths),
            "validation_fraction": options.validation_fraction,
            "smallest_group": options.smallest_group if task.target == "group" else None,
            "seed": options.seed,
        },
        versions=package_versions(("zooalign", "numpy", "scipy", "scikit-learn")),
    ).model_dump()


def _model_name(store: Any) -> str:
    return str(store.attributes.get("model", {}).get("id", "a model"))


def _features(store: Any, layer: int) -> tuple[int, np.ndarray]:
    """Position of the layer and its features, (n, d) float64, checked for NaN and infinity."""
    import numpy as np

    n_layers = len(store.layer_names)
    if not -n_layers <= layer < n_layers:
        raise CapabilityError(
            f"linear_probe: {_model_name(store)!r} has {n_layers} layers, so there is no layer {layer}; "
            f"choose 0 to {n_layers - 1}, or -1 for the last."
        )
    layer %= n_layers
    features = np.asarray(store.layer(layer), dtype=np.float64)
    bad = ~np.isfinite(features).all(axis=1)
    if bad.any():
        raise FeatureError(
            f"{_model_name(store)!r}, layer {store.layer_names[layer]!r}, sample "
            f"{store.sample_ids[int(bad.argmax())]!r}: a feature is not finite. "
            "Extract again with precision: float32."
        )
    return layer, features


def _task(samples: Any, options: Options) -> _Task:
    """Which samples are trained and tested on, with which labels."""
    if samples.kind == "labels":
        return _given_split(samples)
    if samples.kind == "pairs":
        return _cross_validation(samples, options)
    raise CapabilityError(
        f"linear_probe needs a dataset of kind 'labels' or 'pairs'; {samples.name!r} is of kind "
        f"{samples.kind!r}. Name another dataset for this capability in config.yaml."
    )


def _given_split(samples: Any) -> _Task:
    import numpy as np

    labels, splits = np.asarray(samples.labels).astype(str), np.asarray(samples.splits)
    names = sorted(set(splits.tolist()))
    if not {"train", "test"} <= set(names) <= {"train", "validation", "test"}:
        raise CapabilityError(
            f"linear_probe: dataset {samples.name!r} has splits {names}; it needs 'train' and 'test' "
            "(and may have 'validation')."
        )
    train, validation, test = (np.flatnonzero(splits == s) for s in ("train", "validation", "test"))
    _two_classes(samples, labels[train])
    task_split = (train, validation if validation.size else None, test)
    return _Task(np.arange(labels.size), labels, [task_split], {}, "label")


def _cross_validation(samples: Any, options: Options) -> _Task:
    import numpy as np
    from sklearn.model_selection import StratifiedKFold

    if all(g is None for g in samples.groups):
        raise CapabilityError(
            f"linear_probe: dataset {samples.name!r} has no groups to tell apart. Name another dataset."
        )
    groups = np.asarray([NO_GROUP if g is None else g for g in samples.groups])
    sizes = Counter(groups.tolist())
    needed = max(options.smallest_group, options.folds)
    left_out = {g: c for g, c in sorted(sizes.items()) if c < needed or g == NO_GROUP}
    rows = np.flatnonzero(~np.isin(groups, list(left_out)))
    labels = groups[rows]
    _two_classes(samples, labels)
    folds = StratifiedKFold(options.folds, shuffle=True, random_state=options.seed)
    splits: list[tuple[np.ndarray, np.ndarray | None, np.ndarray]] = [
        (train, None, test) for train, test in folds.split(rows, labels)
    ]
    return _Task(rows, labels, splits, left_out, "group")


def _two_classes(samples: Any, labels: np.ndarray) -> None:
    if len(set(labels.tolist())) < 2:
        raise CapabilityError(
            f"linear_probe: dataset {samples.name!r} leaves fewer than two classes to tell apart. "
            "Lower smallest_group, or name another dataset for this capability."
        )


def _majority_rate(task: _Task) -> float:
    """Accuracy of always answering with the most frequent class of the train part (first name of equals)."""
    hits = total = 0
    for train, validation, test in task.splits:
        known = task.labels[train].tolist() + ([] if validation is None else task.labels[validation].tolist())
        counts = Counter(known)
        answer = min(counts, key=lambda c: (-counts[c], c))
        hits += int((task.labels[test] == answer).sum())
        total += test.size
    return hits / total


def _fit(
    x: np.ndarray,
    labels: np.ndarray,
    train: np.ndarray,
    validation: np.ndarray | None,
    test: np.ndarray,
    options: Options,
) -> _Fit:
    """Choose the strength on the validation part, fit to all of the train set, predict the test part."""
    import numpy as np

    inner, held_out = (train, validation) if validation is not None else _hold_out(train, labels, options)
    strongest_first = sorted(set(options.strengths), reverse=True)
    inner_x, held_out_x = _standardise(x[inner], x[held_out])
    best, best_accuracy = strongest_first[0], -1.0
    for strength, classifier in _path(inner_x, labels[inner], strongest_first):
        accuracy = float(np.mean(classifier.predict(held_out_x) == labels[held_out]))
        if accuracy > best_accuracy:
            best, best_accuracy = strength, accuracy
    whole = train if validation is None else np.concatenate([train, validation])
    train_x, test_x = _standardise(x[whole], x[test])
    # From zero, not along the path: the result depends on the chosen strength alone.
    [(_, classifier)] = _path(train_x, labels[whole], [best])
    excess = _excess(classifier, train_x, labels[whole], best)
    if not excess <= LARGEST_EXCESS:
        raise CapabilityError(_NOT_CONVERGED.format(strength=best))
    return _Fit(classifier.predict(test_x), best, int(classifier.n_iter_[0]), excess)


def _hold_out(train: np.ndarray, labels: np.ndarray, options: Options) -> tuple[np.ndarray, np.ndarray]:
    """Seeded part of each class; a class with one sample stays whole in the train part."""
    import numpy as np

    generator = np.random.default_rng(options.seed)
    held_out = []
    for c in sorted(set(labels[train].tolist())):
        members = generator.permutation(train[labels[train] == c])
        held_out.append(members[: min(round(options.validation_fraction * members.size), members.size - 1)])
    out = np.sort(np.concatenate(held_out))
    if out.size == 0:
        raise CapabilityError(
            f"linear_probe: validation_fraction = {options.validation_fraction} of {train.size} train "
            "samples leaves no sample to choose the strength on. Raise it."
        )
    return np.setdiff1d(train, out), out


def _standardise(train: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Zero mean, unit deviation by the train part; then at most as many columns as train rows."""
    import numpy as np

    mean, deviation = train.mean(axis=0), train.std(axis=0)
    # A feature that never varies in training says nothing: it becomes 0 instead of a division by 0.
    scale = np.where(deviation > 1e-12 * np.maximum(np.abs(mean), 1e-300), deviation, np.inf)
    train, other = (train - mean) / scale, (other - mean) / scale
    if train.shape[1] <= train.shape[0]:
        return train, other
    basis, triangle = np.linalg.qr(train.T)  # (d, m), (m, m)
    return np.ascontiguousarray(triangle.T), other @ basis


def _path(x: np.ndarray, labels: np.ndarray, strengths: list[float]) -> Any:
    """Classifiers of falling strength, each started from the last: (strength, fitted classifier)."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    classifier = LogisticRegression(solver="lbfgs", tol=GRADIENT_TOLERANCE, max_iter=MAX_ITERATIONS, warm_start=True)
    for strength in strengths:
        classifier.C = 1.0 / (strength * x.shape[0])  # scikit-learn weighs the sum of losses by C
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            try:
                classifier.fit(x, labels)
            except ConvergenceWarning as error:
                raise CapabilityError(_NOT_CONVERGED.format(strength=strength)) from error
        yield strength, classifier


def _excess(classifier: Any, x: np.ndarray, labels: np.ndarray, strength: float) -> float:
    """Bound on loss - minimum in nats per sample, from a gradient computed apart from the solver."""
    import numpy as np

    probability = classifier.predict_proba(x)  # (m, c)
    residual = (probability - (labels[:, None] == classifier.classes_[None, :])) / x.shape[0]  # (m, c)
    weights = classifier.coef_
    if weights.shape[0] == 1:  # two classes: scikit-learn keeps one row
        residual = residual[:, 1:]
    gradient = residual.T @ x + strength * weights  # (c, d)
    # Strong convexity covers the weights. The intercept is not penalised, so its gradient is held to the
    # same measure as if it were: not a bound, but as strict a demand.
    squared = float(np.square(gradient).sum() + np.square(residual.sum(axis=0)).sum())
    return squared / (2 * strength)
