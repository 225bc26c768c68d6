"""Cells of the sensitivity, rounding of prepared rows, and Kendall's tau between orders of models."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from zooalign.config.schema import Config
from zooalign.config.sensitivity import Cell, make_cells, why_not_pooled
from zooalign.config.sweep import load_sweep
from zooalign.errors import ConfigError, FeatureError, MetricError
from zooalign.indexes.build import build_index
from zooalign.indexes.preparation import Preparation, prepare_layers
from zooalign.metrics import get
from zooalign.results.sensitivity import Place, follow, tau


def config(**sensitivity):
    metrics = {"mutual_knn": {"k": [5, 10]}, "cka": {}, "cknna": {"k": [10]}}
    return Config(zoo=("zoo.yaml",), datasets=("d",), metrics=metrics, sensitivity=sensitivity)


def cells(**sensitivity):
    return {cell.id: cell for cell in make_cells(config(**sensitivity))}


def test_one_cell_per_value_and_k_needs_no_preparation():
    found = cells(k=[5, 20], similarity=["euclidean"], clamp_quantile=[1.0], pooling=["mean"])
    assert {name: (cell.k, cell.preparation) for name, cell in found.items()} == {
        "k-5": (5, ""),
        "k-20": (20, "own"),
        "similarity-euclidean": (10, "similarity-euclidean"),
        "clamp_quantile-1.0": (10, "clamp_quantile-1.0"),
        "pooling-mean": (10, "pooling-mean"),
    }
    assert cells() == {}


def test_a_full_design_is_the_product_without_the_sweep_itself():
    found = cells(design="full", k=[5, 20], normalise=["none"])
    assert list(found) == [
        "normalise-none", "k-5", "k-5_normalise-none", "k-20", "k-20_normalise-none"
    ]  # fmt: skip
    assert {cell.preparation for cell in found.values()} == {"", "own", "normalise-none"}


@pytest.mark.parametrize(
    ("asked", "same"),
    [
        ({"similarity": ["euclidean", "rbf"]}, ["the sweep's own settings"] * 2),
        ({"normalise": ["none", "centred_l2"]}, ["the sweep's own settings", ""]),
        ({"precision": ["float16"]}, [""]),
        ({"metric": "cka", "similarity": ["euclidean", "rbf"]}, ["the sweep's own settings", ""]),
        ({"metric": "cka", "normalise": ["none"]}, [""]),
    ],
)
def test_cells_that_are_the_same_by_theory_are_named(asked, same):
    assert [cell.same_as for cell in cells(**asked).values()] == same


def test_what_is_the_same_by_theory_is_the_same():
    x = [np.random.default_rng(0).standard_normal((40, 12)).astype(np.float32)]
    own = build_index(x, Preparation(), 10).neighbors
    for changed in ({"similarity": "euclidean"}, {"similarity": "rbf"}, {"normalise": "none"}):
        np.testing.assert_array_equal(build_index(x, Preparation(**changed), 10).neighbors, own)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"k": [10]}, r"sensitivity.k: 10 is the sweep's own"),
        ({"similarity": ["cosine"]}, r"similarity: cosine is the sweep's own"),
        ({"k": [5, 5]}, "repeats a value"),
        ({"metric": "rsa"}, r"sensitivity.metric: unknown metric 'rsa'"),
        ({"metric": "cka", "k": [5]}, "cka takes no k"),
        ({"metric": "cknna", "similarity": ["rbf"]}, "cknna has no form with an RBF kernel"),
    ],
)
def test_nonsense_is_refused(asked, message):
    with pytest.raises(ConfigError, match=message):
        make_cells(config(**{"precision": ["float16"], **asked}))


def test_a_pooling_must_change_a_model(zoo, monkeypatch):
    vit, cnn = zoo["random_vit_s16"], zoo["efficientnet_lite0"]
    assert why_not_pooled(cnn, "cls") == "it has no class token"
    assert why_not_pooled(cnn.model_copy(update={"class_token": True}), "cls") == ""
    assert why_not_pooled(vit, "last") == why_not_pooled(vit, "mean") == ""
    asked = {"zoo": ["packaged"], "models": ["efficientnet_lite0", "wordllama"], "datasets": ["emoji"],
             "metrics": {"mutual_knn": {"k": [10]}}, "tables": ["alignment"], "figures": []}  # fmt: skip
    with pytest.raises(ConfigError, match="pooling: cls changes no model of the sweep"):
        load_sweep({**asked, "sensitivity": {"pooling": ["cls"]}})
    sweep = load_sweep({**asked, "sensitivity": {"pooling": ["last"]}})
    assert [sweep.further_poolings("emoji", m) for m in sweep.models] == [
        ("last",) if m.modality == "language" else () for m in sweep.models
    ]


def test_digests_are_those_from_before_rows_could_be_rounded():
    assert Preparation().digest() == "44ccc41578f0714fbf8d3de16334533b490b1e100c1882e5b7cf1ab1028c5202"
    assert "precision" not in Preparation().settings()
    assert len({Preparation(precision=p).digest() for p in ("float32", "float16", "bfloat16")}) == 3


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("normalise", ["none", "l2"])
def test_prepared_rows_are_rounded_as_torch_rounds(precision, normalise):
    import torch

    x = np.random.default_rng(1).standard_normal((9, 33)).astype(np.float32)
    names = [str(i) for i in range(9)]
    plain = Preparation(clamp_scope="none", normalise=normalise)
    (rows,) = prepare_layers([x], plain, ["a"], names)
    (rounded,) = prepare_layers(
        [x], Preparation(clamp_scope="none", normalise=normalise, precision=precision), ["a"], names
    )
    prepared = rows.values * rows.scale.astype(np.float32)[:, None]
    expected = torch.from_numpy(prepared).to(getattr(torch, precision)).float().numpy()
    np.testing.assert_array_equal(rounded.values, expected)
    if normalise == "l2":
        np.testing.assert_allclose(np.linalg.norm(rounded.values * rounded.scale[:, None], axis=1), 1, atol=1e-12)


def test_a_value_that_does_not_fit_is_an_error():
    x = np.ones((3, 2), np.float32)
    x[1, 1] = 1e6
    settings = Preparation(clamp_scope="none", normalise="none", similarity="euclidean", precision="float16")
    with pytest.raises(FeatureError, match=r"layer 'a': feature 1 of sample 's1' .* is 1e\+06 and does not fit"):
        list(prepare_layers([x], settings, ["a"], ["s0", "s1", "s2"]))


def test_kernels_under_rbf_are_those_of_cka_rbf_median():
    rng = np.random.default_rng(2)
    layers = [[rng.standard_normal((30, d)).astype(np.float32)] for d in (6, 9)]
    x, y = (build_index(a, Preparation(similarity="rbf"), needs=["gram"]) for a in layers)
    u, v = (build_index(a, needs=["gram_rbf_median"]) for a in layers)
    np.testing.assert_allclose(get("cka").matrix(x, y, None), get("cka_rbf_median").matrix(u, v, None), rtol=1e-6)
    with pytest.raises(MetricError, match="similarities: not with similarity 'rbf'"):
        build_index(layers[0], Preparation(similarity="rbf"), needs=["neighbors", "similarities"])


def places(*means):
    return tuple(Place(f"m{i}", mean, 0.0) for i, mean in enumerate(means))


def test_tau_is_scipys_over_models_that_both_have():
    a, b = (0.1, 0.2, 0.3, 0.4, 0.5), (0.2, 0.1, 0.3, 0.3, 0.9)
    assert tau(places(*a), places(*b)) == (pytest.approx(kendalltau(a, b).statistic), 5)
    # 10 pairs: 8 agree, one is turned, one is tied on one side.
    assert tau(places(*a), places(*b))[0] == pytest.approx((8 - 1) / math.sqrt(10 * 9))
    assert tau(places(*a), places(*b[:4]))[1] == 4
    assert math.isnan(tau(places(*a), places(*b[:3]))[0])


def frame(scores):
    """Two vision models against language models l0, l1, ... with these scores."""
    rows = [("d", v, f"l{i}", score) for v in ("v0", "v1") for i, score in enumerate(scores)]
    return pd.DataFrame(rows, columns=["dataset", "model_x", "model_y", "score"])


def test_an_order_is_followed_over_cells():
    models = pd.DataFrame(
        [(n, "vision" if n[0] == "v" else "language", False, "") for n in ("v0", "v1", "l0", "l1", "l2", "l3", "l4")],
        columns=["id", "modality", "control", "intervention"],
    )
    own = [0.5, 0.4, 0.3, 0.2, 0.1]
    named = [Cell((("k", k),), "mutual_knn", k, "own") for k in (1, 2, 3)]
    frames = {"k-1": frame(own), "k-2": frame(own[::-1]), "k-3": frame([0.4, 0.5, 0.3, 0.2, 0.1])}
    found = follow(frame(own), frames, named, models, "d", "language")
    assert [(p.model, p.rank) for p in found.default] == [(f"l{i}", i + 1) for i in range(5)]
    assert [one.tau for one in found.cells] == pytest.approx([1.0, -1.0, 0.8])
    assert (found.worst.cell.id, found.median) == ("k-2", pytest.approx(0.8))
    expected = "order not stable: tau < 0.8 in 1 of 3 cells (worst -1.00 at k = 2, median 0.80, 5 models)"
    assert found.sentence == expected
    stable = follow(frame(own), frames, named[::2], models, "d", "language")
    assert stable.sentence == "order stable: tau >= 0.8 in all 2 cells (worst 0.80 at k = 3, median 0.90, 5 models)"
    assert follow(frame(own), frames, named, models, "d", "vision").worst is None
