"""Ties say nothing: unrelated models with tied neighbours are aligned by chance, a layer with itself completely."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from zooalign import metrics, score
from zooalign.alignment import inference
from zooalign.errors import MetricError
from zooalign.indexes.build import build_index
from zooalign.indexes.galleries import nearest_in_gallery
from zooalign.indexes.index import NEEDS, Index
from zooalign.indexes.permuted import Relabelled, Subset
from zooalign.indexes.preparation import Preparation

PLAIN = Preparation(clamp_scope="none")
OF_NEIGHBOURS = [name for name in metrics.names() if metrics.get(name).TAKES_K]
LISTS = ("neighbors", "similarities", "centred_similarities")
PERMUTATIONS = 39


def centres(rng, n):
    return rng.standard_normal((8, 12))[rng.integers(0, 8, n)]


TIED = {
    "8 distinct rows": lambda rng, n: [centres(rng, n)],
    "one-hot": lambda rng, n: [np.eye(10)[rng.integers(0, 10, n)]],
    "width 1": lambda rng, n: [rng.standard_normal((n, 1))],
    "a constant layer beside a real one": lambda rng, n: [
        np.tile(rng.standard_normal(12), (n, 1)),
        rng.standard_normal((n, 12)),
    ],
    "parallel rows": lambda rng, n: [centres(rng, n) * rng.uniform(0.5, 4.0, (n, 1))],
    "exactly parallel rows": lambda rng, n: [
        centres(rng, n).astype(np.float16) * 2.0 ** rng.integers(-2, 3, (n, 1)).astype(np.float32)
    ],
}


def with_permutations(y, orders):
    """One index with the layers of y under every permutation: all permuted scores in one call."""
    lists = y.neighbors
    arrays = {name: np.concatenate([y.array(name)[:, order] for order in orders]) for name in LISTS[1:]}
    arrays["neighbors"] = np.concatenate([np.argsort(order).astype(lists.dtype)[lists[:, order]] for order in orders])
    arrays["constant"] = np.tile(y.array("constant"), len(orders))
    return Index(arrays, y.sample_ids, [str(i) for i in range(len(arrays["constant"]))], y.preparation)


@cache
def rejections(kind, n, ks, draws):
    """Share of unrelated pairs with p <= .05 by metric and k: as reported, and with equal scores split at random.

    A score of few values (k = 1 has about six) is often equal under permutation and rejects less than .05; the
    second share is .05 whatever the score.
    """
    found = {}
    for draw in range(draws):
        rng = np.random.default_rng([draw, n])
        x, y = (build_index(TIED[kind](rng, n), PLAIN, max(ks), LISTS) for _ in range(2))
        permuted = with_permutations(y, [np.arange(n), *(rng.permutation(n) for _ in range(PERMUTATIONS))])
        for name in OF_NEIGHBOURS:
            for k in ks:
                if k == 1 and name in ("cknna", "cknna_exact"):
                    continue
                matrix = metrics.get(name).matrix(x, permuted, k).reshape(x.n_layers, PERMUTATIONS + 1, -1)
                best = np.fmax.reduce(np.fmax.reduce(matrix, axis=2), axis=0)  # NaN only where all are
                if np.isnan(best).all():
                    continue
                above, equal = (best[1:] > best[0]).sum(), (best[1:] == best[0]).sum()
                reported = (1 + above + equal) / (PERMUTATIONS + 1) <= 0.05
                split = (above + rng.uniform() * (1 + equal)) / (PERMUTATIONS + 1) <= 0.05
                found.setdefault((name, k), []).append((reported, split))
    return {key: (np.mean(values, axis=0), len(values)) for key, values in found.items()}


def check(found, draws):
    for (name, k), ((reported, split), defined) in found.items():
        error = np.sqrt(0.05 * 0.95 / defined)
        assert defined > 0.9 * draws, (name, k)
        assert reported < 0.05 + 4.0 * error, (name, k, reported)
        assert abs(split - 0.05) < 4.0 * error, (name, k, split)


@pytest.mark.parametrize("kind", TIED)
def test_unrelated_models_with_ties_are_rejected_at_the_level(kind):
    """With ties by index, .25 to 1.0; the bound is .13."""
    found = rejections(kind, 60, (1, 5), 120)
    assert len(found) == 2 * len(OF_NEIGHBOURS) - 2
    check(found, 120)


@pytest.mark.slow
@pytest.mark.parametrize("kind", TIED)
def test_longer_lists_are_rejected_at_the_level(kind):
    check(rejections(kind, 130, (10, 50), 150), 150)


def test_the_same_texts_on_both_sides_are_not_alignment():
    """500 samples with 10 texts: 10 of the 49 samples of one text are drawn on either side."""
    rng = np.random.default_rng(0)
    texts = rng.integers(0, 10, 500)
    x, y = (rng.standard_normal((10, 32))[texts] for _ in range(2))
    same = np.bincount(texts)[texts] - 1
    found = score(x, y, "mutual_knn", 10)
    assert found.best["mutual_knn@10"]["score"] == pytest.approx(np.mean(10 / same), abs=0.01)
    assert found.best["mutual_knn@10"]["tied_x"] == 1.0
    assert "100% of samples" in str(found)


@pytest.mark.parametrize("name", OF_NEIGHBOURS)
@pytest.mark.parametrize("kind", TIED)
def test_a_layer_agrees_with_itself_whatever_is_tied(kind, name):
    identity = metrics.get(name).IDENTITY
    if identity is None:
        pytest.skip("declares no value at identity")
    features = TIED[kind](np.random.default_rng(4), 80)
    x, y = (build_index(features, PLAIN, 6, NEEDS) for _ in range(2))
    halved = build_index([f / 2 for f in features], PLAIN, 6, NEEDS)
    top = 6 if identity == "k" else identity
    for other in (y, halved):
        assert metrics.best(metrics.get(name).matrix(x, other, 6))[0] == pytest.approx(top, abs=1e-12)


@pytest.mark.parametrize("name", OF_NEIGHBOURS)
@pytest.mark.parametrize("constant", ["one vector", "one direction"])
def test_a_constant_layer_is_undefined(name, constant):
    rng = np.random.default_rng(5)
    lengths = np.ones((40, 1)) if constant == "one vector" else rng.uniform(0.5, 3.0, (40, 1))
    flat = rng.standard_normal(7) * lengths
    x = build_index([rng.standard_normal((40, 9)), flat], PLAIN, 8, NEEDS)
    y = build_index([flat, rng.standard_normal((40, 6))], PLAIN, 8, NEEDS)
    module = metrics.get(name)
    defined = ~np.isnan(module.matrix(x, y, 5))
    assert defined.tolist() == [[False, True], [False, False]]
    assert metrics.best(module.matrix(x, y, 5))[1:] == (0, 1)
    assert inference.permutation_null(x, y, name, 5, permutations=3).layer_y == 1
    if module.HAS_TERMS:
        assert np.isnan(module.terms(x, y, 0, 0, 5)).all()
        assert np.isnan(module.terms(x, y, -1, -1, 5)).all()
        assert np.isfinite(module.terms(x, y, 0, 1, 5)).all()
    with pytest.raises(MetricError, match="the same for all samples"):
        metrics.best(module.matrix(build_index([flat], PLAIN, 8, NEEDS), y, 5))


def test_tied_shares_by_hand():
    """Eight rows, by distance on a line: 0 0 0 5 6 7 20 30."""
    x = np.array([0, 0, 0, 5, 6, 7, 20, 30], np.float32)[:, None]
    index = build_index([x], Preparation(normalise="none", similarity="euclidean", clamp_scope="none"), 7)
    # 0: 0 0 5 6 ...; 5: 6 7 0 0 0 20 30; 6: 5 = 7, then 0 0 0; 7: 6 5 0 0 0 20; 20: 7 6 5 0 0 0 30 (20 - 10 = 30 - 20
    # is no tie of one query's); 30: 20 7 6 5 0 0 0.
    assert (8 * index.tied_share(1)).tolist() == [3 + 1]
    assert (8 * index.tied_share(2)).tolist() == [0]
    assert (8 * index.tied_share(3)).tolist() == [3]
    assert index.tied_share(7).tolist() == [0]
    assert (8 * Relabelled(index, np.arange(8)[::-1]).tied_share(3)).tolist() == [3]


def test_lists_that_run_out_are_not_filled_alike():
    """Two unrelated models whose lists hold too few members of a half agree there by chance only."""
    rng = np.random.default_rng(8)
    members = rng.permutation(300)[:150]
    cut = [Subset(build_index([rng.standard_normal((300, 9))], PLAIN, 1), members, 10) for _ in range(2)]
    assert metrics.get("mutual_knn").matrix(*cut, 10)[0, 0] == pytest.approx(10 / 149, abs=0.02)
    assert min(half.short for half in cut) == 150


def test_mass_ties_cost_no_square():
    """Runs as long as the layer: selected, not sorted (by insertion this would take an hour)."""
    x = np.random.default_rng(1).standard_normal((2, 16))[np.arange(6_000) % 2]
    found = build_index([x], PLAIN, 10)
    assert found.tied_share(10).tolist() == [1.0]
    some = found.neighbors[0].astype(int)
    assert ((some - np.arange(6_000)[:, None]) % 2 == 0).all()
    positions, _ = nearest_in_gallery(x[:50], x, 10)
    assert ((positions - np.arange(50)[:, None]) % 2 == 0).all()
