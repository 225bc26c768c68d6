"""The linear probe on features whose labels are known to be readable, or not."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError

from zooalign.capability import _probe_fit, linear_probe
from zooalign.capability._record import CapabilityError, CapabilityRecord
from zooalign.errors import FeatureError


def blobs(n=300, d=20, classes=4, distance=4.0, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, n)
    centres = generator.normal(size=(classes, d)) * distance / math.sqrt(d)
    return generator.normal(size=(n, d)) + centres[labels], [f"class{c}" for c in labels]


def store_of(*layers):
    ids = [f"s{i}" for i in range(len(layers[0]))]
    return SimpleNamespace(
        sample_ids=ids,
        layer_names=[f"layer{i}" for i in range(len(layers))],
        digest="digest",
        attributes={"model": {"id": "some_model"}},
        layer=lambda i: layers[i],
    )


def labelled(labels, n_test=60, validation=0):
    n = len(labels)
    splits = ["train"] * (n - n_test - validation) + ["validation"] * validation + ["test"] * n_test
    return SimpleNamespace(
        kind="labels", name="task", digest="d", ids=[f"s{i}" for i in range(n)], labels=labels, splits=splits
    )


def grouped(groups):
    ids = [f"s{i}" for i in range(len(groups))]
    return SimpleNamespace(kind="pairs", name="pairs", digest="d", ids=ids, groups=groups)


def measure(store, samples, journal=None, **options):
    return linear_probe.measure(store, samples, linear_probe.Options(**options), lambda line: None, journal)


def three_layers(distance=3.0, n=240):
    """A store whose middle layer says most of the classes, and their labels."""
    x, labels = blobs(n=n, distance=distance)
    generator = np.random.default_rng(8)
    return store_of(*(x + generator.normal(size=x.shape) * noise for noise in (3.0, 0.0, 1.5))), labels


@pytest.mark.parametrize("make_samples", [labelled, grouped])
def test_far_blobs_are_told_apart(make_samples):
    x, labels = blobs(distance=12.0)
    record = measure(store_of(x), make_samples(labels))
    assert record["value"] == 1.0
    assert record["standard_error"] == 0.0
    assert CapabilityRecord(**json.loads(json.dumps(record)), model="m", digest="d").value == 1.0


def test_labels_that_have_nothing_to_do_with_features_stay_at_the_majority_rate():
    x, _ = blobs(n=600, d=30)
    generator = np.random.default_rng(5)
    labels = ["often" if v < 0.7 else "seldom" for v in generator.random(600)]
    record = measure(store_of(x), grouped(labels))
    share = labels.count("often") / 600
    assert record["details"]["majority_rate"] == pytest.approx(share, abs=0.005)
    assert record["value"] < share + 3 * record["standard_error"]
    assert record["details"]["balanced_accuracy"] == pytest.approx(0.5, abs=0.06)


def test_accuracy_is_near_that_of_the_best_possible_classifier():
    # Two unit-variance classes at distance 2: the best rule is right with probability Phi(1) = .841.
    generator = np.random.default_rng(1)
    y = generator.integers(0, 2, 4000)
    x = generator.normal(size=(4000, 5))
    x[:, 2] += 2.0 * y
    record = measure(store_of(x), labelled([str(v) for v in y], n_test=2000))
    assert record["value"] == pytest.approx(0.841, abs=3 * record["standard_error"])
    assert record["standard_error"] == pytest.approx(math.sqrt(0.841 * 0.159 / 2000), rel=0.05)


def test_repeated_runs_are_identical_bit_for_bit():
    x, labels = blobs(n=200, d=300, distance=3.0)
    first, second = (json.dumps(measure(store_of(x.astype(np.float16)), grouped(labels))) for _ in range(2))
    assert first == second


def test_another_seed_splits_otherwise():
    x, labels = blobs(n=200, distance=3.0)
    tested = [measure(store_of(x), grouped(labels), seed=s)["details"]["tested_rows"] for s in (0, 1)]
    assert tested[0] != tested[1]
    assert sorted(tested[0]) == sorted(tested[1]) == list(range(200))


def test_scale_and_offset_of_features_do_not_matter():
    x, labels = blobs(distance=3.0)
    one = measure(store_of(x), grouped(labels))
    other = measure(store_of(x * np.linspace(0.01, 100, x.shape[1]) + 7), grouped(labels))
    assert one["details"]["correct"] == other["details"]["correct"]


def test_a_constant_feature_is_harmless():
    x, labels = blobs(distance=12.0)
    assert measure(store_of(np.column_stack([x, np.full(300, 3.0)])), grouped(labels))["value"] == 1.0


def test_rotation_into_the_samples_span_leaves_the_classifier_as_it_is():
    from sklearn.linear_model import LogisticRegression

    x, labels = blobs(n=80, d=400, distance=2.0)
    labels = np.asarray(labels)
    train, test = np.arange(60), np.arange(60, 80)
    mean, deviation = x[train].mean(0), x[train].std(0)
    plain = LogisticRegression(C=1 / (0.01 * 60), tol=1e-9, max_iter=20_000)
    plain.fit((x[train] - mean) / deviation, labels[train])
    rotated_train, rotated_test = _probe_fit.standardise(x[train], x[test])
    assert rotated_train.shape == (60, 60)
    [(_, classifier)] = _probe_fit.path(rotated_train, labels[train], [0.01])
    expected = plain.predict_proba((x[test] - mean) / deviation)
    np.testing.assert_allclose(classifier.predict_proba(rotated_test), expected, atol=1e-5)


@pytest.mark.parametrize("strength", [1e-5, 1e-2, 1.0])
@pytest.mark.parametrize("classes", [2, 5])
def test_the_solver_has_converged_by_an_independent_measure(strength, classes):
    x, labels = blobs(n=150, d=220, classes=classes, distance=2.0)
    x, _ = _probe_fit.standardise(x, x)
    [(_, classifier)] = _probe_fit.path(x, np.asarray(labels), [strength])
    assert _probe_fit.excess(classifier, x, np.asarray(labels), strength) < _probe_fit.LARGEST_EXCESS
    classifier.coef_ = classifier.coef_ * 1.5  # and the measure sees a solution that is none
    assert _probe_fit.excess(classifier, x, np.asarray(labels), strength) > _probe_fit.LARGEST_EXCESS


def test_a_solver_that_stops_early_is_refused(monkeypatch):
    monkeypatch.setattr(_probe_fit, "MAX_ITERATIONS", 2)
    x, labels = blobs(n=100, d=50, distance=1.0)
    with pytest.raises(CapabilityError, match="did not converge at strength"):
        measure(store_of(x), grouped(labels))


def test_the_test_part_is_not_used_to_choose():
    x, labels = blobs(n=300, distance=3.0)
    honest = measure(store_of(x), labelled(labels))
    spoiled = x.copy()
    spoiled[-60:] = np.random.default_rng(9).normal(size=(60, x.shape[1])) * 50
    other = measure(store_of(spoiled), labelled(labels))
    assert honest["details"]["strengths"] == other["details"]["strengths"]
    assert honest["details"]["iterations"] == other["details"]["iterations"]


def test_a_given_validation_part_is_used_as_one():
    x, labels = blobs(n=300, distance=12.0)
    record = measure(store_of(x), labelled(labels, n_test=60, validation=50))
    assert (record["n"], record["value"]) == (60, 1.0)


def test_the_last_layer_is_read_unless_told():
    good, labels = blobs(distance=12.0)
    bad = np.random.default_rng(2).normal(size=good.shape)
    store = store_of(bad, good)
    assert measure(store, grouped(labels))["settings"]["layer_name"] == "layer1"
    assert measure(store, grouped(labels))["value"] == 1.0
    assert measure(store, grouped(labels), layer=0)["value"] < 0.5
    with pytest.raises(CapabilityError, match=r"'some_model' has 2 layers.*no layer 2"):
        measure(store, grouped(labels), layer=2)


def test_the_accuracy_is_that_of_scikit_learn_on_the_same_split_and_penalty():
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    x, labels = blobs(n=300, d=30, distance=3.0)
    record = measure(store_of(x), labelled(labels))
    (strength,) = record["details"]["strengths"]
    scaler = StandardScaler().fit(x[:240])
    theirs = LogisticRegression(C=1 / (strength * 240), tol=1e-9, max_iter=20_000)
    theirs.fit(scaler.transform(x[:240]), labels[:240])
    assert 0.5 < record["value"] < 1
    assert record["value"] == theirs.score(scaler.transform(x[240:]), labels[240:])


@pytest.mark.parametrize("make_samples", [labelled, grouped])
@pytest.mark.parametrize("accuracy", ["plain", "balanced"])
def test_features_without_the_classes_are_at_chance(make_samples, accuracy):
    labels = [f"class{i % 5}" for i in range(600)]
    x = np.random.default_rng(3).normal(size=(600, 20))
    record = measure(store_of(x), make_samples(labels), accuracy=accuracy)
    assert record["standard_error"] > 0.01
    assert record["value"] == pytest.approx(0.2, abs=3 * record["standard_error"])


# --- what is refused ------------------------------------------------------------------------------------


def test_small_groups_and_samples_without_one_are_left_out_and_counted():
    x, labels = blobs(n=100, distance=12.0)
    groups = [*labels[:90], *["rare"] * 4, *[None] * 6]
    record = measure(store_of(x), grouped(groups))
    assert record["n"] == 90
    assert record["details"]["left_out"] == {"(no group)": 6, "rare": 4}


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (grouped([None] * 300), "no groups"),
        (grouped(["one"] * 300), "fewer than two classes"),
        (SimpleNamespace(**{**vars(grouped(["a"] * 300)), "kind": "texts"}), "kind 'texts'"),
        (labelled(["a", "b"] * 150, n_test=0), r"splits \['train'\]"),
        (labelled(["a"] * 240 + ["b"] * 60), "fewer than two classes"),
        (labelled(["a", "b"] * 120 + ["a", "c"] * 30), r"'task' tests classes .* \(1: 'c'\)\. Take"),
        (
            labelled(["a", "b"] * 120 + [f"c{i}" for i in range(60)]),
            r"\(60: 'c0', 'c1', 'c10', 'c11', 'c12', \.\.\.\)\. Take",
        ),
        (labelled(["a", "b"] * 149 + ["a", None]), "'task', sample 's299' has no label. Give it one"),
        (labelled(["a", " "] * 150), "'task', sample 's1' has no label"),
        (SimpleNamespace(**{**vars(labelled(["a", "b"] * 150)), "splits": ["held out"] * 300}), r"\['held out'\]"),
        (SimpleNamespace(kind="pairs", name="p", digest="", ids=["other"] * 300), "other samples than"),
    ],
)
def test_what_cannot_be_probed_is_refused(samples, message):
    x, _ = blobs()
    with pytest.raises(CapabilityError, match=message):
        measure(store_of(x), samples)


def test_a_validation_part_without_samples_is_refused():
    x, labels = blobs(n=60)
    with pytest.raises(CapabilityError, match=r"validation_fraction = 0\.001 of 50 train samples leaves no sample"):
        measure(store_of(x), labelled(labels, n_test=10), validation_fraction=0.001)


def test_a_class_of_the_validation_part_alone_is_known():
    x, labels = blobs(n=300, distance=12.0)
    labels = [*labels[:190], *["late"] * 50, *["late"] * 60]
    x[190:] += 20
    assert measure(store_of(x), labelled(labels, n_test=60, validation=50))["value"] == 1.0


@pytest.mark.parametrize(("options", "message"), [({"layer": "first"}, "layer"), ({"accuracy": "top5"}, "accuracy")])
def test_options_that_there_are_not_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        linear_probe.Options(**options)


def test_a_feature_that_is_not_finite_names_model_layer_and_sample():
    x, labels = blobs()
    x[17, 3] = np.inf
    with pytest.raises(FeatureError, match=r"'some_model', layer 'layer0', sample 's17'"):
        measure(store_of(x), grouped(labels))


def test_a_real_feature_store_is_read(tmp_path):
    from zooalign.features.store import FeatureStore, write_store

    x, labels = blobs(n=120, distance=14.0)
    layers = np.stack([np.zeros_like(x), x]).astype(np.float16)
    samples = grouped(labels)
    attributes = {
        "model": {"id": "some_model"},
        "layer_names": ["first", "last"],
        "widths": [x.shape[1]] * 2,
        "sample_ids": samples.ids,
        "digest": "f",
    }
    write_store(tmp_path / "some_model.zarr", layers, attributes)
    record = measure(FeatureStore.open(tmp_path / "some_model.zarr"), samples)
    assert record["value"] == 1.0
    assert record["settings"]["layer_name"] == "last"
