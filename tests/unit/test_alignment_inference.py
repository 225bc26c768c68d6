"""Inference: agreement with an independent oracle, exact relabelling, and statistical truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zooalign import metrics
from zooalign.alignment import inference
from zooalign.alignment.groups import as_groups, singletons
from zooalign.errors import MetricError
from zooalign.indexes.build import build_index
from zooalign.indexes.index import NEEDS
from zooalign.indexes.permuted import Relabelled
from zooalign.indexes.preparation import Preparation

PLAIN = Preparation(clamp_scope="none")


def layers_of(seed, n, widths, signal):
    cause = np.random.default_rng(99_000 + n).standard_normal((n, 6))
    rng = np.random.default_rng(seed)
    return [
        (signal * cause @ rng.standard_normal((6, d)) + rng.standard_normal((n, d))).astype(np.float32)
        for d in widths
    ]


@pytest.fixture(scope="module")
def pair():
    return [
        build_index(layers_of(s, 64, widths, 0.4), PLAIN, 63, NEEDS, name=name)
        for s, widths, name in ((1, (17, 12), "x"), (2, (19, 15, 16), "y"))
    ]


@pytest.mark.parametrize("name", metrics.names())
def test_relabelling_equals_indexing_permuted_features(pair, name):
    """No search or decomposition is repeated, and yet the scores are those of permuted features."""
    order = np.random.default_rng(3).permutation(64)
    layers = [v[order] for v in layers_of(2, 64, (19, 15, 16), 0.4)]
    module = metrics.get(name)
    k = 5 if module.TAKES_K else None
    module.matrix(*pair, k)
    expected = module.matrix(pair[0], build_index(layers, PLAIN, 63, NEEDS), k)
    found = module.matrix(pair[0], Relabelled(pair[1], order), k)
    tolerance = 2e-5 if name == "rsa" else 1e-6
    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)
    fresh = build_index(layers_of(2, 64, (19, 15, 16), 0.4), PLAIN, 63, NEEDS)  # nothing derived yet
    np.testing.assert_allclose(module.matrix(pair[0], Relabelled(fresh, order), k), found, atol=1e-8)


@pytest.mark.parametrize("name", ["mutual_knn", "cka", "svcca"])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_null_equals_the_oracle_with_the_same_permutations(name, alpha):
    """calibrated-similarity, an independent implementation, on the same permutations."""
    oracle = pytest.importorskip("calibrated_similarity")
    torch = pytest.importorskip("torch")
    sides = [layers_of(1, 40, (7, 12), 0.25), layers_of(2, 40, (9, 5), 0.25)]
    indexes = [build_index(layers, PLAIN, 39, NEEDS) for layers in sides]
    orders = np.stack([np.random.default_rng(i).permutation(40) for i in range(19)])
    module = metrics.get(name)
    k = 5 if module.TAKES_K else None

    def similarity(a, b):
        one = [build_index([v.numpy()], PLAIN, 39, module.NEEDS) for v in (a, b)]
        return float(module.matrix(*one, k)[0, 0])

    drawn = iter(orders)
    calibrated, p, tau = oracle.calibrate_layers(
        *([torch.from_numpy(v) for v in side] for side in sides),
        similarity,
        K=19,
        alpha=alpha,
        perm_fn=lambda *_: torch.from_numpy(next(drawn)),
    )
    found = inference.permutation_null(*indexes, name, k, alpha=alpha, orders=orders)
    assert found.p_value == pytest.approx(float(p), abs=1e-6)
    assert found.threshold == pytest.approx(float(tau), abs=1e-6)
    assert found.calibrated == pytest.approx(float(calibrated), abs=2e-6)
    assert found.seed is None


def test_planted_alignment_is_found_and_independence_is_not():
    x = build_index(layers_of(1, 200, (10, 12), 1.0), PLAIN)
    y = build_index(layers_of(2, 200, (8,), 1.0), PLAIN)
    alone = build_index(layers_of(3, 200, (8,), 0.0), PLAIN)
    planted = inference.permutation_null(x, y, "mutual_knn", 10, permutations=99)
    assert planted.p_value == 0.01
    assert planted.calibrated > 0.05
    independent = inference.permutation_null(x, alone, "mutual_knn", 10, permutations=99)
    assert independent.p_value > 0.05
    assert independent.calibrated == 0.0


def test_seed_decides_and_is_recorded(pair):
    first, again, other = (
        inference.permutation_null(*pair, "mutual_knn", 5, permutations=20, seed=s) for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.null, again.null)
    assert (first.null != other.null).any()
    assert first.settings()["seed"] == 1
    assert len(first.null) == first.settings()["permutations"] == 20


def test_highest_value_follows_the_declared_range():
    assert inference.highest("mutual_knn", 10) == 1.0
    assert inference.highest("lcs_knn", 10) == 10.0
    assert inference.highest("unbiased_cka", None) == 1.0


@given(
    null=st.lists(st.integers(0, 9), min_size=1, max_size=40), observed=st.integers(0, 9), alpha=st.floats(0.01, 0.99)
)
@settings(deadline=None, max_examples=80)
def test_calibration_against_its_definition(null, observed, alpha):
    values = np.array(null, float)
    threshold, p = inference.calibrate(float(observed), values, alpha)
    together = sorted([*null, observed])
    assert threshold in together
    assert p == (1 + sum(v >= observed for v in null)) / (len(null) + 1)
    above = sum(v > threshold for v in together)
    assert above <= alpha * len(together) + 1e-6


def test_false_discovery_rate_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    p = np.random.default_rng(0).random((6, 7)) ** 2
    np.testing.assert_allclose(
        inference.benjamini_hochberg(p).ravel(), stats.false_discovery_control(p.ravel()), atol=1e-15
    )
    p[2, 3] = np.nan
    found = inference.benjamini_hochberg(p)
    assert np.isnan(found[2, 3])
    assert np.isfinite(np.delete(found.ravel(), 17)).all()
    with pytest.raises(MetricError, match="outside"):
        inference.benjamini_hochberg(np.array([1.2]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: inference.permutation_null(x, y, "mutual_knn", 5, permutations=0), "at least 1"),
        (lambda x, y: inference.permutation_null(x, y, "mutual_knn", 5, alpha=1.0), "alpha is 1.0"),
        (
            lambda x, y: inference.permutation_null(x, y, "mutual_knn", 5, orders=np.zeros((2, 64), int)),
            "no permutation",
        ),
        (lambda x, y: inference.permutation_null(x, y, "mutual_knn", 5, orders=np.zeros((2, 9), int)), "n = 64"),
        (lambda x, y: inference.permutation_null(x, y, "cka", groups=singletons(9)), "groups of 9 samples"),
        (
            lambda x, y: inference.permutation_null(x, y, "cka", groups=singletons(64), orders=np.arange(64)[None]),
            "not both",
        ),
    ],
)
def test_settings_out_of_range(pair, call, message):
    with pytest.raises(MetricError, match=message):
        call(*pair)


@pytest.mark.slow
def test_type_one_error_of_the_null():
    """1,000 independent draws with several widths and depths: rejected at .05 in .03 to .07 of them."""
    shapes = [((4,), (4,)), ((5, 40), (8, 16, 30)), ((60,), (3, 3, 90, 10)), ((20, 20, 20), (100,))]
    rejected = {"mutual_knn": 0, "cka": 0}
    for draw in range(1000):
        rng = np.random.default_rng(draw)
        sides = [
            build_index([rng.standard_normal((50, d)) for d in widths], PLAIN, 5, ("neighbors", "gram"))
            for widths in shapes[draw % len(shapes)]
        ]
        for name, k in (("mutual_knn", 5), ("cka", None)):
            null = inference.permutation_null(*sides, name, k, permutations=99, seed=draw)
            rejected[name] += null.p_value <= 0.05
    for name, count in rejected.items():
        assert 0.03 <= count / 1000 <= 0.07, (name, count)


def test_whole_groups_are_permuted():
    """A null of groups is the null of the orders that they draw, and its record says so."""
    labels = np.repeat(np.arange(16), 4)
    sides = [build_index(layers_of(s, 64, (9,), 0.4), PLAIN, 10) for s in (1, 2)]
    groups = as_groups(labels, 64)
    by_groups = inference.permutation_null(*sides, "mutual_knn", 5, permutations=9, seed=2, groups=groups)
    generator = np.random.default_rng(2)
    orders = np.stack([groups.order(generator) for _ in range(9)])
    np.testing.assert_array_equal(
        by_groups.null, inference.permutation_null(*sides, "mutual_knn", 5, orders=orders).null
    )
    assert by_groups.settings()["groups"] == 16
    assert by_groups.settings()["fixed_samples"] == 0


@pytest.mark.slow
def test_groups_hold_the_level_where_samples_do_not():
    """Unrelated models of 30 tight groups of 10: all rejected by sample, .05 (300 draws: .015 to .095) by group."""
    codes = np.repeat(np.arange(30), 10)
    groups = as_groups(codes, 300)
    rejected = {(m, by): 0 for m in ("mutual_knn", "cka") for by in ("samples", "groups")}
    draws = 300
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        sides = [
            build_index(
                [rng.standard_normal((30, d))[codes] + 0.05 * rng.standard_normal((300, d))],
                PLAIN,
                10,
                ("neighbors", "gram"),
            )
            for d in (20, 30)
        ]
        for name, by in rejected:
            if by == "samples" and draw >= 20:
                continue
            null = inference.permutation_null(
                *sides, name, 10, permutations=19, seed=draw, groups=groups if by == "groups" else None
            )
            rejected[name, by] += null.p_value <= 0.05
    for name in ("mutual_knn", "cka"):
        assert rejected[name, "samples"] == 20
        assert 0.015 <= rejected[name, "groups"] / draws <= 0.095, rejected
