"""Intervals: subsets equal indexes built anew, and intervals contain what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from zooalign import metrics
from zooalign.alignment import intervals
from zooalign.alignment.groups import as_groups
from zooalign.errors import MetricError
from zooalign.indexes.build import build_index
from zooalign.indexes.index import NEEDS
from zooalign.indexes.permuted import Subset, one_layer
from zooalign.indexes.preparation import Preparation

PLAIN = Preparation(clamp_scope="none")


def latent(n, seed, signal, shares=((1.0,), (1.0,)), needs=("neighbors",)):
    """Fresh draws of samples seen by fixed maps, a layer per share of the signal."""
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(12345)
    cause = rng.standard_normal((n, 8))
    return [
        build_index(
            [signal * s * cause @ fixed.standard_normal((8, d)) + rng.standard_normal((n, d)) for s in side],
            PLAIN,
            60,
            needs,
        )
        for side, d in zip(shares, (20, 30), strict=True)
    ]


SEVERAL = ((1.0, 0.8, 0.6), (0.7, 1.0, 0.9, 0.5))


@pytest.fixture(scope="module")
def pair():
    return latent(90, 0, 0.6, SEVERAL, NEEDS)


@pytest.mark.parametrize("name", [m for m in metrics.names() if m != "svcca_published"])
def test_a_subset_is_an_index_of_those_samples(name):
    """Cut lists, kernels and decompositions are those of an index built on the members alone."""
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((80, d)).astype(np.float32) + 1 for d in (12, 20)]
    y = [x[0][:, :11] + 0.3 * rng.standard_normal((80, 11)).astype(np.float32)]
    members = rng.permutation(80)[:41]
    module = metrics.get(name)
    k = 6 if module.TAKES_K else None
    cut = [Subset(build_index(side, PLAIN, 79, NEEDS), members, 6) for side in (x, y)]
    alone = [build_index([layer[members] for layer in side], PLAIN, 40, NEEDS) for side in (x, y)]
    # The bandwidth, and the mean that rows are centred by, are those of all samples.
    tolerance = {"cka_rbf_median": 0.03, "cknna_centered": 0.03}.get(name, 1e-6)
    np.testing.assert_allclose(module.matrix(*cut, k), module.matrix(*alone, k), atol=tolerance, rtol=0)
    assert cut[0].short == cut[1].short == 0


@pytest.mark.parametrize("name", metrics.names())
def test_one_layer_scores_as_among_others(pair, name):
    module = metrics.get(name)
    k = 5 if module.TAKES_K else None
    alone = module.matrix(one_layer(pair[0], -1), one_layer(pair[1], 1), k)
    assert alone.shape == (1, 1)
    assert alone[0, 0] == pytest.approx(module.matrix(*pair, k)[-1, 1], abs=1e-9)


def test_lists_that_run_out_are_counted_and_filled_without_repeats():
    x = latent(60, 1, 0.5)[0]
    short = Subset(build_index([np.random.default_rng(0).standard_normal((60, 9))], PLAIN, 8), np.arange(30), 6)
    for i, row in enumerate(short.neighbors[0]):
        assert len({*row.tolist(), i}) == 7
    assert short.short > 0
    full = Subset(x, np.arange(30), 6)
    assert full.neighbors.shape == (1, 30, 6)
    assert full.short == 0


@pytest.mark.parametrize("name", [m for m in metrics.names() if m != "svcca_published"])
def test_interval_is_in_range_repeatable_and_says_what_it_is_of(pair, name):
    k = 8 if metrics.get(name).TAKES_K else None
    searched = intervals.split_half(*pair, name, k, splits=6, seed=1)
    best, i, j = metrics.best(metrics.get(name).matrix(*pair, k))
    assert searched == intervals.split_half(*pair, name, k, splits=6, seed=1)
    if not name.startswith("cycle"):  # whose standard error has a floor, here reached
        assert searched != intervals.split_half(*pair, name, k, splits=6, seed=2)
    assert searched.of == "the best of 12 layer pairs"
    fixed = intervals.split_half(*pair, name, k, i, j, splits=6, seed=1)
    assert fixed.of == "this layer pair"
    for found in (searched, fixed):
        assert found.score == pytest.approx(best, abs=1e-9)
        assert found.low < found.score < found.high
        assert found.standard_error > 0
    declared = metrics.get(name).RANGE
    wide = intervals.split_half(*pair, name, k, splits=2, level=0.999999)
    if declared is not None:
        top = k if declared[1] == "k" else declared[1]
        assert declared[0] <= wide.low < wide.high <= top


def test_a_model_against_itself_has_no_uncertainty(pair):
    for name in ("mutual_knn", "cka"):
        found = intervals.split_half(pair[0], pair[0], name, 5, splits=4)
        assert found.low == pytest.approx(1.0, abs=1e-6)
        assert found.high == 1.0


def test_groups_widen_the_interval():
    """Ten copies of every sample with a little noise are worth no more than the samples."""
    codes = np.repeat(np.arange(40), 10)
    rng = np.random.default_rng(0)
    cause = rng.standard_normal((40, 6))
    sides = [
        build_index(
            [
                (cause @ rng.standard_normal((6, 9)) + rng.standard_normal((40, 9)))[codes]
                + 0.1 * rng.standard_normal((400, 9))
            ],
            PLAIN,
            50,
            ("gram",),
        )
        for _ in range(2)
    ]
    alone = intervals.split_half(*sides, "cka", splits=60)
    together = intervals.split_half(*sides, "cka", splits=60, groups=as_groups(codes, 400))
    assert together.groups == 40
    assert together.standard_error > 2 * alone.standard_error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "svcca_published"}, "its random draws"),
        ({"metric": "mutual_knn", "k": 45}, "not below half"),
        ({"metric": "mutual_knn", "k": 20}, "build it with k_max of at least that"),
        ({"metric": "cka", "splits": 1}, "at least 2 splits"),
        ({"metric": "cka", "level": 95}, "level is 95"),
        ({"metric": "cka", "layer_x": 1}, "give both layers"),
        ({"metric": "cka", "layer_x": 1, "layer_y": 9}, "no layer 9"),
        ({"metric": "cka", "groups": as_groups(np.arange(90) % 3, 90)}, "at least 2 groups"),
        ({"metric": "cka", "groups": as_groups(np.arange(9), 9)}, "groups of 9 samples"),
    ],
)
def test_what_has_no_interval_says_why(pair, options, message):
    with pytest.raises(MetricError, match=message):
        intervals.split_half(*pair, **options)


def covered(name, signal, shares, needs, draws, splits=40, n=200):
    """Share of intervals of fresh draws that contain the mean score of four times as many."""
    module = metrics.get(name)
    k = 10 if module.TAKES_K else None
    scores, found = [], []
    for draw in range(4 * draws):
        x, y = latent(n, draw, signal, shares, needs)
        scores.append(metrics.best(module.matrix(x, y, k))[0])
        if draw < draws:
            found.append(intervals.split_half(x, y, name, k, splits=splits, seed=draw))
    return np.mean([i.low <= np.mean(scores) <= i.high for i in found])


def test_interval_covers():
    """60 draws at a true coverage of .90 to .98 contain the expected score in .80 to 1 of cases (4 errors)."""
    assert covered("mutual_knn", 0.0, SEVERAL, ("neighbors",), 60) >= 0.80


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "signal", "shares"),
    [
        ("cycle_knn", 1.5, SEVERAL),
        ("mutual_knn", 0.5, SEVERAL),
        ("unbiased_cka", 0.0, ((1.0,), (1.0,))),
        ("cka", 0.5, SEVERAL),
    ],
)
def test_intervals_cover(name, signal, shares):
    """At a true coverage of .90 to .98, 120 draws contain the expected score in .84 to 1 of cases (2 errors)."""
    assert covered(name, signal, shares, metrics.get(name).NEEDS, 120) >= 0.84


@pytest.mark.parametrize(("name", "k"), [("mutual_knn", 5), ("cycle_knn", 5), ("cka", None), ("rsa", None)])
def test_a_layer_that_is_the_same_for_all_samples(name, k):
    """Searched over, it counts for nothing; chosen, it has no score, and the message names it."""
    needs = ("neighbors", "gram", "ranks")
    cause = np.random.default_rng(0).standard_normal((80, 8))
    noise = np.random.default_rng(1).standard_normal((80, 8))
    constant = build_index([np.ones((80, 5)), cause], PLAIN, 60, needs, name="m")
    plain, y = build_index([cause], PLAIN, 60, needs), build_index([cause + noise], PLAIN, 60, needs)
    searched = intervals.split_half(constant, y, name, k, splits=20)
    chosen = intervals.split_half(plain, y, name, k, 0, 0, splits=20)
    assert (searched.score, searched.low, searched.high) == (chosen.score, chosen.low, chosen.high)
    with pytest.raises(MetricError, match=r"of layer .* of m and layer .* is not defined: one of them is the same"):
        intervals.split_half(constant, y, name, k, 0, 0, splits=20)
