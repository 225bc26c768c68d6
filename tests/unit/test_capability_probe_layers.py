"""The linear probe over several layers, in both accuracies, and continued after a kill."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from tests.unit.test_capability_linear_probe import blobs, grouped, labelled, measure, store_of, three_layers
from zooalign.capability import _probe_fit, linear_probe
from zooalign.capability._accuracy import balanced, plain
from zooalign.storage.journal import Journal

# --- layers ---------------------------------------------------------------------------------------------


def test_the_last_layer_has_three_names():
    store, labels = three_layers()
    usual, named, counted = (measure(store, labelled(labels), **o) for o in ({}, {"layer": "last"}, {"layer": -1}))
    assert usual == named == counted == measure(store, labelled(labels), layer=2)


@pytest.mark.parametrize("make_samples", [labelled, lambda g: labelled(g, validation=50), grouped])
def test_the_best_layer_is_that_of_the_validation_part(make_samples):
    store, labels = three_layers()
    best = measure(store, make_samples(labels), layer="best")
    assert set(best["details"]["layer_names"]) == {"layer1"} == {best["settings"]["layer_name"]}
    alone = measure(store, make_samples(labels), layer=1)
    assert (best["value"], best["details"]["correct"]) == (alone["value"], alone["details"]["correct"])
    profile = best["details"]["layer_profile"]
    assert list(profile) == ["layer_name", "validation_accuracy"]
    assert np.argmax(profile["validation_accuracy"]) == 1


@pytest.mark.parametrize("layer", ["best", "all", "last"])
@pytest.mark.parametrize("accuracy", ["plain", "balanced"])
@pytest.mark.parametrize("seed", range(5))
def test_permuted_test_labels_change_nothing_that_is_chosen(layer, accuracy, seed):
    # So near each other that another look would choose another layer.
    x, labels = blobs(n=240, distance=2.0)
    generator = np.random.default_rng(seed)
    store = store_of(*(x + generator.normal(size=x.shape) * 0.3 for _ in range(4)))
    shuffled = [*labels[:180], *generator.permutation(labels[180:]).tolist()]
    one, other = (measure(store, labelled(l), layer=layer, accuracy=accuracy) for l in (labels, shuffled))  # noqa: E741
    assert one["value"] != other["value"]
    for key in ("layers", "strengths", "validation_accuracies", "iterations"):
        assert one["details"][key] == other["details"][key]


@pytest.mark.parametrize("make_samples", [labelled, grouped])
def test_the_profile_of_all_layers_holds_what_each_layer_gets_alone(make_samples):
    store, labels = three_layers()
    record = measure(store, make_samples(labels), layer="all")
    profile = record["details"]["layer_profile"]
    for i in range(3):
        alone = measure(store, make_samples(labels), layer=i)
        assert profile["layer_name"][i] == alone["settings"]["layer_name"]
        assert profile["accuracy"][i] == alone["value"]
        assert profile["standard_error"][i] == alone["standard_error"]
        for key in ("balanced_accuracy", "balanced_standard_error", "strengths"):
            assert profile[key][i] == alone["details"][key]
    best = measure(store, make_samples(labels), layer="best")
    assert (record["value"], record["details"]["layers"]) == (best["value"], best["details"]["layers"])
    assert record["settings"]["layer"] == "all"


def test_of_equal_layers_the_later_one_is_taken():
    x, labels = blobs(distance=3.0)
    assert measure(store_of(x, x, x * 2), labelled(labels), layer="best")["details"]["layers"] == [2]


def test_every_fold_chooses_for_itself():
    # Two layers of the same worth: which is better is chance, fold by fold.
    x, labels = blobs(n=300, d=10, distance=2.0)
    generator = np.random.default_rng(2)
    store = store_of(*(x + generator.normal(size=x.shape) for _ in range(2)))
    record = measure(store, grouped(labels), layer="best")
    assert set(record["details"]["layers"]) == {0, 1}
    assert record["settings"]["layer_name"].split(", ") == [
        f"layer{i}" for i in dict.fromkeys(record["details"]["layers"])
    ]


# --- plain and balanced accuracy ------------------------------------------------------------------------


def test_accuracies_by_hand():
    truth = np.array(["a"] * 8 + ["b"] * 2)
    correct = np.array([True] * 6 + [False] * 2 + [True, False])
    assert plain(correct).value == 0.7
    assert plain(correct).standard_error == pytest.approx(math.sqrt(0.7 * 0.3 / 9))
    assert balanced(correct, truth).value == pytest.approx((0.75 + 0.5) / 2)
    assert balanced(correct, truth).standard_error == pytest.approx(math.sqrt(0.75 * 0.25 / 7 + 0.25 / 1) / 2)


@pytest.mark.parametrize("sizes", [(40, 40, 40), (200, 30, 12, 8)])
def test_the_balanced_error_is_that_of_a_bootstrap_within_classes(sizes):
    generator = np.random.default_rng(4)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    correct = generator.random(truth.size) < np.linspace(0.9, 0.4, len(sizes))[truth]
    replicates = []
    for _ in range(20_000):
        shares = [generator.choice(correct[truth == c], n).mean() for c, n in enumerate(sizes)]
        replicates.append(np.mean(shares))
    assert balanced(correct, truth).standard_error == pytest.approx(np.std(replicates), rel=0.06)


def test_a_class_that_is_tested_once_has_the_spread_of_all():
    truth = np.array(["a"] * 20 + ["b"])
    correct = np.array([True] * 15 + [False] * 5 + [True])
    alone = correct.var(ddof=1)
    assert balanced(correct, truth).standard_error == pytest.approx(math.sqrt(0.75 * 0.25 / 19 + alone) / 2)
    assert balanced(np.array([True]), np.array(["a"])) == (1.0, None) == plain(np.array([True]))


def test_the_value_is_the_accuracy_that_is_asked_for():
    generator = np.random.default_rng(6)
    labels = ["often" if v < 0.8 else "seldom" for v in generator.random(400)]
    x = generator.normal(size=(400, 8))
    x[:, 0] += 1.5 * (np.asarray(labels) == "often")
    for accuracy, prefix in (("plain", ""), ("balanced", "balanced_")):
        record = measure(store_of(x), grouped(labels), accuracy=accuracy)
        assert record["value"] == record["details"][f"{prefix}accuracy"]
        error = "balanced_standard_error" if prefix else "accuracy_standard_error"
        assert record["standard_error"] == record["details"][error]
        assert record["details"]["accuracy"] > record["details"]["balanced_accuracy"] + 0.05


# --- the journal ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["last", "best", "all"])
@pytest.mark.parametrize("make_samples", [labelled, grouped])
def test_a_killed_measurement_continues_to_the_same_record(make_samples, layer, tmp_path, monkeypatch):
    store, labels = three_layers(n=150)
    options = {"layer": layer, "strengths": (1e-2, 1.0), "folds": 2}
    whole = measure(store, make_samples(labels), **options)
    fitted, path = [], _probe_fit.path

    def dies(limit):
        def counted(*arguments):
            if len(fitted) == limit:
                raise KeyboardInterrupt
            fitted.append(limit)
            return path(*arguments)

        return counted

    runs = 0
    while True:
        runs += 1
        # One more choice or fit each time, then the end.
        monkeypatch.setattr(_probe_fit, "path", dies(len(fitted) + 1))
        try:
            record = measure(store, make_samples(labels), Journal(tmp_path / "m.json", "d"), **options)
        except KeyboardInterrupt:
            continue
        break
    assert record == whole
    assert runs == len(fitted) > 1  # nothing was computed twice


def test_a_journal_of_other_features_or_options_is_not_continued(tmp_path):
    store, labels = three_layers(n=150)

    def n_kept(**changes):
        lines = []
        other = SimpleNamespace(**{**vars(store), "digest": changes.pop("digest", "digest")})
        options = linear_probe.Options(**{"strengths": (1.0,), **changes})
        linear_probe.measure(other, labelled(labels), options, lines.append, Journal(tmp_path / "m.json", "d"))
        return sum("continuing" in line for line in lines)

    assert n_kept() == 0
    assert n_kept() == 1
    assert n_kept(digest="other") == 0
    assert n_kept(digest="other", seed=1) == 0
    assert n_kept(digest="other", seed=1) == 1
