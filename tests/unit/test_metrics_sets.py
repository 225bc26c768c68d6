"""CKNNA beyond the stored lists: the same sets, the same scores, and CKA where every sample is a neighbour."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zooalign import metrics
from zooalign.alignment.inference import permutation_null
from zooalign.alignment.intervals import split_half
from zooalign.alignment.score import score
from zooalign.errors import MetricError
from zooalign.indexes.build import build_index
from zooalign.indexes.index import Index
from zooalign.indexes.neighbors import sets_of_lists
from zooalign.indexes.permuted import Relabelled, Subset, some_layers
from zooalign.indexes.preparation import Preparation

DATA = Path(__file__).parents[1] / "data"
NAMES = [name for name in metrics.names() if hasattr(metrics.get(name), "beyond_lists")]
LISTS = ("neighbors", "similarities", "centred_similarities")
N = 60
PREPARATIONS = (
    {},
    {"normalise": "none"},
    {"normalise": "none", "similarity": "euclidean"},
    {"normalise": "none", "similarity": "inner_product"},
)


def layers_of(seed, n=N, offset=0.0):
    """Two ordinary layers of a common cause, one of eight distinct rows, one that is the same for every sample."""
    cause = np.random.default_rng(99).standard_normal((n, 5))
    rng = np.random.default_rng(seed)
    layers = [cause @ rng.standard_normal((5, d)) + rng.standard_normal((n, d)) + offset for d in (12, 17)]
    return [*layers, layers[0][rng.integers(0, 8, n)], np.tile(layers[0][:1], (n, 1))]


def with_lists(seed, offset=0.0, n=N, **options):
    return build_index(layers_of(seed, n, offset), Preparation(clamp_scope="none", **options), n - 1, LISTS)


def with_sets(seed, k, offset=0.0, n=N, k_max=2, **options):
    needs = {*LISTS, *(need for name in NAMES for need in metrics.get(name).beyond_lists(k))}
    preparation = Preparation(clamp_scope="none", **options)
    return build_index(layers_of(seed, n, offset), preparation, k_max, needs, name=f"model {seed}")


def test_these_are_the_masked_kernels():
    assert NAMES == ["cknna", "cknna_centered", "cknna_exact"]


@pytest.mark.parametrize("options", PREPARATIONS)
@pytest.mark.parametrize("n", [60, 64, 131])
def test_sets_are_those_of_the_lists(options, n):
    """Also where many samples are tied at the border, and in a cone that float32 cannot resolve."""
    for offset in (0.0, 300.0):
        lists = with_lists(1, offset, n, **options)
        for k in (3, 7, 8, 31, n - 2):
            sets = with_sets(1, k, offset, n, **options)
            expected = np.stack([sets_of_lists(layer, k) for layer in lists.neighbors])
            np.testing.assert_array_equal(sets.array(f"sets@{k}"), expected)
            np.testing.assert_array_equal(sets.neighbors, lists.neighbors[:, :, :2])
            np.testing.assert_array_equal(sets.tied_share(k), lists.tied_share(k))
            members = np.unpackbits(expected, axis=2, bitorder="little")
            assert (members.sum(axis=2) == k).all()
    assert lists.tied_share(3)[2:].min() > 0.5


@given(seed=st.integers(0, 2**16), k=st.integers(3, 38), width=st.integers(1, 6), grid=st.sampled_from([1, 2, 4]))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_sets_of_any_rows_are_those_of_the_lists(seed, k, width, grid):
    """Rows on a coarse grid: duplicates, parallel rows and ties everywhere."""
    x = np.random.default_rng(seed).integers(-grid, grid + 1, (40, width)).astype(np.float32)
    x[~x.any(axis=1)] = 1.0
    lists = build_index([x], Preparation(clamp_scope="none"), 39)
    sets = build_index([x], Preparation(clamp_scope="none"), 2, {f"sets@{k}"})
    np.testing.assert_array_equal(sets.sets(k), lists.sets(k))
    np.testing.assert_array_equal(sets.tied_share(k), lists.tied_share(k))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", PREPARATIONS)
def test_scores_are_those_of_the_lists(name, options):
    matrix = metrics.get(name).matrix
    for offset in (0.0, 30.0):
        x, y = (with_lists(seed, offset, **options) for seed in (1, 2))
        for k in (3, 8, 30, 57, N - 1):
            a, b = (with_sets(seed, k, offset, **options) for seed in (1, 2))
            expected = matrix(x, y, k)
            assert np.isnan(expected[3]).all()
            assert np.isfinite(expected[:2, :2]).all()
            close = {"atol": 2e-5 * max(1.0, float(np.nanmax(np.abs(expected)))), "rtol": 0}
            np.testing.assert_allclose(matrix(a, b, k), expected, **close)
            order = np.random.default_rng(k).permutation(N)
            moved = matrix(a, Relabelled(b, order), k)
            np.testing.assert_allclose(moved, matrix(x, Relabelled(y, order), k), **close)
            assert np.nanmax(np.abs(moved - expected)) > 1e-3


@pytest.mark.parametrize("name", NAMES)
@given(a=st.integers(0, 30), b=st.integers(31, 60), k=st.integers(3, N - 1))
@settings(deadline=None, max_examples=15, derandomize=True)
def test_a_score_depends_on_its_two_layers_alone(name, a, b, k):
    module = metrics.get(name)
    x, y = with_sets(a, k), with_sets(b, k)
    found = module.matrix(x, y, k)
    one = module.matrix(some_layers(x, 1, 2), some_layers(y, 0, 1), k)
    np.testing.assert_array_equal(one, found[1:2, :1])
    if module.IDENTITY == 1.0:
        np.testing.assert_array_equal(np.diagonal(module.matrix(x, x, k))[:3], 1.0)
    if module.SYMMETRIC:
        np.testing.assert_allclose(module.matrix(y, x, k), found.T, atol=1e-12, rtol=0)


@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_all_neighbours_are_unbiased_cka(offset):
    """From the kernels of CKA and no list of that length, in a cone too."""
    x, y = (with_sets(seed, N - 1, offset) for seed in (1, 2))
    assert not any(name.startswith("sets") for name in x.holds)
    for name, other in (("cknna_exact", "unbiased_cka"), ("cknna", "unbiased_cka_published")):
        found = metrics.get(name).matrix(x, y, N - 1)
        expected = metrics.get(other).matrix(x, y)
        np.testing.assert_allclose(found[:3, :3], expected[:3, :3], atol=1e-12, rtol=0)
        assert np.isnan(found[3]).all()


@pytest.mark.parametrize("k", [8, 30, N - 1])
def test_terms_have_the_score_as_their_mean(k):
    module = metrics.get("cknna_centered")
    x, y = (with_sets(seed, k) for seed in (1, 2))
    found, expected = (module.terms(*pair, 0, -3, k) for pair in ((x, y), [with_lists(s) for s in (1, 2)]))
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
    assert found.mean() == pytest.approx(module.matrix(x, y, k)[0, 1], abs=1e-6)
    assert np.isnan(module.terms(x, y, 0, 3, k)).all()


def test_lists_on_one_side_and_sets_on_the_other():
    k = 20
    long = build_index(layers_of(1), Preparation(clamp_scope="none"), 40, {*LISTS, "gram", "kernel_offsets"})
    for name in NAMES:
        found = metrics.get(name).matrix(long, with_sets(2, k), k)
        expected = metrics.get(name).matrix(with_sets(1, k), with_sets(2, k), k)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("answer", ["cknna@10", "cknna@20"])
def test_published_values(answer):
    k = int(answer.removeprefix("cknna@"))
    with np.load(DATA / "layers_256.npz") as file:
        needs = {*LISTS, *metrics.get("cknna").beyond_lists(k)}
        pair = [build_index(list(np.moveaxis(file[m], 1, 0)), k_max=5, needs=needs, name=m) for m in ("A", "B")]
    expected = json.loads((DATA / "layers_256.json").read_text())["scores"][answer]
    np.testing.assert_allclose(metrics.get("cknna").matrix(*pair, k), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("k", "expected"), [(50, 0.86507999), (128, 0.84677102), (255, 0.78384835)])
def test_values_by_formula(k, expected):
    i, j, m = np.arange(256)[:, None], np.arange(16)[None, :], np.arange(24)[None, :]
    a = np.sin(0.37 * i * (1 + j) + 0.11 * j)
    b = np.cos(0.53 * i * (1 + m) + 0.07 * m)
    c = np.concatenate([a + 0.5 * np.sin(1.7 * i * (1 + j)), b[:, :4]], axis=1)
    needs = {*LISTS, *metrics.get("cknna").beyond_lists(k)}
    x, y = (build_index([v], Preparation(clamp_scope="none"), 48, needs) for v in (a, c))
    assert metrics.get("cknna").matrix(x, y, k)[0, 0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("k", [20, N - 1])
def test_permutation_null(name, k, tmp_path):
    sets, lists = [with_sets(s, k) for s in (1, 2)], [with_lists(s) for s in (1, 2)]
    found, expected = (permutation_null(*pair, name, k, permutations=9) for pair in (sets, lists))
    np.testing.assert_allclose(found.null, expected.null, atol=1e-4, rtol=0)
    kept = permutation_null(*sets, name, k, permutations=9, keep=tmp_path / "kept")
    np.testing.assert_array_equal(kept.null, found.null)


def test_intervals_need_lists():
    x, y = with_sets(1, 20), with_sets(2, 20)
    with pytest.raises(
        MetricError, match="the halves need about 75 stored neighbours and the index of model 1 has 2"
    ):
        split_half(x, y, "cknna", 20, splits=2)
    with pytest.raises(MetricError, match=r"sets@20 of model 1 cannot be cut to some of the samples"):
        Subset(x, np.arange(30), 2).array("sets@20")


@pytest.mark.parametrize("name", NAMES)
def test_an_index_without_sets_says_what_it_lacks(name):
    short = build_index(layers_of(1), Preparation(clamp_scope="none"), 5, LISTS, name="tiny")
    with pytest.raises(
        MetricError, match=r"tiny keeps 5 neighbours.*k_max of at least 20.*needs including gram,.*sets@20"
    ):
        metrics.get(name).matrix(short, short, 20)
    with pytest.raises(MetricError, match=r"not 'gram': build it again with needs including 'gram'"):
        metrics.get(name).matrix(short, short, N - 1)


def test_stored_and_opened_again(tmp_path):
    x, y = with_sets(1, 20), with_sets(2, 20)
    x.save(tmp_path / "x")
    again = Index.open(tmp_path / "x")
    np.testing.assert_array_equal(metrics.get("cknna").matrix(again, y, 20), metrics.get("cknna").matrix(x, y, 20))
    np.testing.assert_array_equal(again.tied_share(20), x.tied_share(20))


def test_one_call_needs_no_long_lists():
    layers = [layers_of(seed)[:2] for seed in (1, 2)]
    found = score(*layers, "cknna,mutual_knn@5", [50, N - 1], prepare={"clamp_scope": "none"})
    x, y = (build_index(v, Preparation(clamp_scope="none"), N - 1, LISTS) for v in layers)
    for k in (50, N - 1):
        expected = metrics.get("cknna").matrix(x, y, k)
        np.testing.assert_allclose(found.scores[f"cknna@{k}"], expected, atol=1e-5, rtol=0)
        assert not np.array_equal(found.scores[f"cknna@{k}"], expected)  # from the kernel, not from lists
