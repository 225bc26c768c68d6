"""Neighbours: equal to a float64 sort for every setting, whatever the features do to float32."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zooalign.errors import MetricError
from zooalign.indexes.neighbors import centre, centred_gram, nearest, neighbor_products
from zooalign.indexes.preparation import Preparation, prepare_layers


def rows_of(x, **options):
    preparation = Preparation(**options)
    (rows,) = prepare_layers([x], preparation, ["layer"], [str(i) for i in range(len(x))])
    return rows, preparation


def sorted_neighbors(rows, preparation, k):
    """Full float64 scores, self masked, sorted; for features without ties."""
    v = rows.values.astype(np.float64)
    if preparation.similarity == "euclidean" and not preparation.unit_rows:
        score = -((v[:, None, :] - v[None, :, :]) ** 2).sum(axis=-1)
    else:
        v = v * rows.rank_scale[:, None]
        score = v @ v.T
    np.fill_diagonal(score, -np.inf)
    return np.argsort(-score, axis=1, kind="stable")[:, :k], score


@pytest.mark.parametrize(("n", "d"), [(50, 3), (130, 64), (257, 100)])
@pytest.mark.parametrize("shift", [0.0, 8.0])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"normalise": "none", "similarity": "euclidean"},
        {"normalise": "none", "similarity": "inner_product"},
        {"normalise": "none", "similarity": "cosine"},
        {"normalise": "centred_l2"},
        {"similarity": "euclidean", "clamp_scope": "none"},
    ],
)
def test_equal_to_a_float64_sort(n, d, shift, options):
    x = np.random.default_rng(n).standard_normal((n, d)) + shift
    rows, preparation = rows_of(x, **options)
    expected, _ = sorted_neighbors(rows, preparation, 20)
    np.testing.assert_array_equal(nearest(rows, preparation, 20).lists, expected)


def test_nearly_parallel_rows_keep_their_order():
    rng = np.random.default_rng(5)
    x = (rng.standard_normal((300, 64)) + 18.0).astype(np.float16)
    rows, preparation = rows_of(x, clamp_scope="none")
    expected, score = sorted_neighbors(rows, preparation, 10)
    assert np.mean(score[np.isfinite(score)]) > 0.996
    np.testing.assert_array_equal(nearest(rows, preparation, 10).lists, expected)


def distinct_scores(rows, preparation):
    """Float64 scores in which equal rows have equal ones, self masked."""
    _, first, back = np.unique(rows.values, axis=0, return_index=True, return_inverse=True)
    one = type(rows)(rows.name, rows.values[first], rows.scale[first], rows.rank_scale[first])
    _, score = sorted_neighbors(one, preparation, 1)
    v = one.values.astype(np.float64)
    euclidean = preparation.similarity == "euclidean" and not preparation.unit_rows
    np.fill_diagonal(score, 0.0 if euclidean else (v * v).sum(axis=1) * one.rank_scale**2)
    score = score[np.ix_(back.ravel(), back.ravel())]
    np.fill_diagonal(score, -np.inf)
    return score


SIMILARITIES = [
    {},
    {"normalise": "none", "similarity": "euclidean"},
    {"normalise": "none", "similarity": "inner_product"},
    {"normalise": "centred_l2"},
]


@pytest.mark.parametrize("options", SIMILARITIES)
@pytest.mark.parametrize(("n", "distinct"), [(270, 90), (200, 2), (90, 85)])
def test_duplicates_tie_and_their_order_follows_from_content_and_query(options, n, distinct, tie_order):
    rng = np.random.default_rng(6)
    x = rng.standard_normal((distinct, 33)).astype(np.float32)[rng.permutation(np.arange(n) % distinct)]
    rows, preparation = rows_of(x, **options)
    score = distinct_scores(rows, preparation)
    found = nearest(rows, preparation, 12)
    np.testing.assert_array_equal(found.lists, tie_order(rows, score, 12))
    ordered = np.sort(score, axis=1)[:, ::-1]
    np.testing.assert_array_equal(found.tie_counts, (ordered[:, :12] == ordered[:, 1:13]).sum(axis=0))


@given(seed=st.integers(0, 10_000), n=st.integers(2, 40), levels=st.integers(1, 3))
@settings(deadline=None, max_examples=60)
def test_small_integers_tie_often_and_exactly(seed, n, levels, tie_order):
    x = np.random.default_rng(seed).integers(-levels, levels + 1, (n, 3)).astype(np.float32)
    rows, preparation = rows_of(x, normalise="none", similarity="euclidean", clamp_scope="none")
    found = nearest(rows, preparation, n - 1)
    _, score = sorted_neighbors(rows, preparation, 1)
    if not (x == x[0]).all():
        np.testing.assert_array_equal(found.lists, tie_order(rows, score, n - 1))
    ordered = np.sort(score, axis=1)[:, ::-1]
    assert found.tie_counts[-1] == 0
    np.testing.assert_array_equal(found.tie_counts[:-1], (ordered[:, : n - 2] == ordered[:, 1 : n - 1]).sum(axis=0))


@pytest.mark.parametrize("name", ["width 1", "parallel", "one-hot"])
def test_values_equal_but_for_rounding_are_ties(name, tie_order):
    """Cosines of exactly 1, 0 and -1, whatever rounding makes of them."""
    rng = np.random.default_rng(3)
    classes = rng.integers(0, 6, 150)
    lengths = rng.uniform(0.5, 3.0, (150, 1)).astype(np.float32)
    x, cosines = {
        "width 1": (signs := np.where(classes < 3, 1, -1)[:, None] * lengths, np.sign(signs) @ np.sign(signs).T),
        "parallel": (
            np.array([[3, 1, 4], [1, -5, 9]], np.float32)[classes % 2] * rng.choice([0.25, 1, 3, 7, 96], (150, 1)),
            np.equal.outer(classes % 2, classes % 2) * 1.0,
        ),
        "one-hot": (np.eye(6, dtype=np.float32)[classes] * lengths, np.equal.outer(classes, classes) * 1.0),
    }[name]
    rows, preparation = rows_of(x, clamp_scope="none")
    score = cosines.astype(float)
    np.fill_diagonal(score, -np.inf)
    found = nearest(rows, preparation, 149)
    if name != "parallel":  # of another class each row has its own rounding: only the first part is exact
        np.testing.assert_array_equal(found.lists, tie_order(rows, score, 149))
    own = np.minimum((score == 1).sum(axis=1), 20)
    expected = tie_order(rows, score, 20)
    assert all((a[:c] == b[:c]).all() for a, b, c in zip(found.lists[:, :20], expected, own, strict=True))


def test_narrow_cones_have_no_ties():
    x = np.random.default_rng(8).standard_normal((300, 64)) + 1000.0
    rows, preparation = rows_of(x, clamp_scope="none")
    expected, score = sorted_neighbors(rows, preparation, 10)
    assert 5e-7 < 1 - np.mean(score[np.isfinite(score)]) < 2e-6
    found = nearest(rows, preparation, 10)
    np.testing.assert_array_equal(found.lists, expected)
    assert not found.tie_counts.any()


@pytest.mark.parametrize("options", SIMILARITIES[:3])
def test_a_layer_of_one_sample_is_constant_and_has_lists_without_repeats(options):
    rows, preparation = rows_of(np.full((80, 5), 0.3), **options)
    assert centre(rows, preparation, ranking=True).constant
    found = nearest(rows, preparation, 3)
    assert found.tie_counts.tolist() == [80, 80, 80]
    assert all(len({i, *row}) == 4 for i, row in enumerate(found.lists.tolist()))
    assert np.bincount(found.lists.ravel(), minlength=80).max() < 15  # nobody is everybody's neighbour


def test_one_direction_is_constant_but_a_narrow_cone_is_not():
    rng = np.random.default_rng(2)
    lengths = rng.uniform(0.1, 9.0, (60, 1))
    parallel, preparation = rows_of(rng.standard_normal(40) * lengths, clamp_scope="none")
    assert centre(parallel, preparation, ranking=True).constant
    assert centre(rows_of(lengths, clamp_scope="none")[0], preparation, ranking=True).constant
    cone, _ = rows_of((1.0 + 2e-6 * rng.standard_normal((60, 40))) * lengths, clamp_scope="none")
    assert not centre(cone, preparation, ranking=True).constant


def test_products_are_the_cosines():
    x = np.random.default_rng(7).standard_normal((60, 9))
    rows, preparation = rows_of(x)
    found = nearest(rows, preparation, 5).lists
    v = rows.values.astype(float) * rows.scale[:, None]
    expected = np.take_along_axis(v @ v.T, found.astype(int), axis=1)
    np.testing.assert_allclose(neighbor_products(rows, found)[0], expected, atol=3e-8)


@pytest.mark.parametrize("k", [0, 10, 11, -1])
def test_k_out_of_range_says_n_and_k(k):
    rows, preparation = rows_of(np.random.default_rng(0).standard_normal((10, 4)))
    with pytest.raises(MetricError, match=rf"k = {k} neighbours of n = 10 samples"):
        nearest(rows, preparation, k)


def test_products_refuse_foreign_lists():
    rows, _ = rows_of(np.random.default_rng(0).standard_normal((10, 4)))
    with pytest.raises(MetricError, match="do not belong"):
        neighbor_products(rows, np.zeros((9, 2), np.int64))


_INDEX = """
import hashlib, numpy as np
from zooalign import metrics
from zooalign.alignment.inference import permutation_null
from zooalign.alignment.intervals import no_interval, split_half
from zooalign.indexes.build import build_index
from zooalign.indexes.index import NEEDS
rng = np.random.default_rng(0)
x = build_index([rng.standard_normal((700, d)) for d in (600, 333)], needs=NEEDS)
parts = [x.array(a).tobytes() for a in sorted(NEEDS)]
a, b = (build_index([rng.standard_normal((120, d)) for d in (90, 33)], needs=NEEDS, k_max=60) for _ in range(2))
for name in metrics.names():
    k = 5 if metrics.get(name).TAKES_K else None
    parts.append(metrics.get(name).matrix(a, b, k).tobytes())
    parts.append(permutation_null(a, b, name, k, permutations=5).null.tobytes())
    if no_interval(a, b, name, k) is None:
        parts.append(repr(split_half(a, b, name, k, splits=3)).encode())
print(hashlib.sha256(b"".join(parts)).hexdigest())
"""


def test_threads_do_not_change_a_bit():
    """Of indexes, scores, nulls and intervals."""
    seen = set()
    for threads in ("1", "2", "3"):
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        run = subprocess.run(
            [sys.executable, "-c", _INDEX], env=environment, capture_output=True, check=True, text=True
        )
        seen.add(run.stdout)
    assert len(seen) == 1
    assert len(seen.pop().strip()) == hashlib.sha256().digest_size * 2


@pytest.mark.parametrize("options", [*SIMILARITIES, {"normalise": "none", "similarity": "cosine"}])
@pytest.mark.parametrize("n", [5, 40, 63, 64, 65, 97, 200, 260])
def test_every_k_is_a_prefix_of_the_whole_order(options, n):
    """With k from 1 to n - 1, selection takes other ways through the same scores; half the rows are duplicates."""
    rng = np.random.default_rng(n)
    x = rng.standard_normal((n, 24)).astype(np.float16)
    x[n // 2 :] = x[rng.integers(0, n // 2, n - n // 2)]
    rows, preparation = rows_of(x, **options)
    whole = nearest(rows, preparation, n - 1)
    for k in {1, 2, 10, n // 4, n // 3, n // 2, n - 2} & set(range(1, n)):
        found = nearest(rows, preparation, k)
        np.testing.assert_array_equal(found.lists, whole.lists[:, :k])
        np.testing.assert_array_equal(found.tie_counts, whole.tie_counts[:k])


@given(data=st.data(), m=st.integers(2, 300), levels=st.sampled_from([1, 2, 5, 1000]))
@settings(deadline=None, max_examples=120)
def test_candidates_are_all_that_rounding_could_put_among_the_best(data, m, levels):
    from zooalign.kernels.nearest import best_candidates

    k = data.draw(st.integers(1, m - 1))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    scores = rng.integers(0, levels, m).astype(np.float32)
    offsets = rng.integers(0, 2, m).astype(np.float32)
    own, margin = int(rng.integers(-1, m)), np.float32(rng.choice([0.0, 0.5, 2.0]))
    value, where = np.empty(m + 1, np.float32), np.empty(m + 1, np.int64)
    c = best_candidates(
        scores, offsets, own, margin, k, np.empty(m, np.float32), np.empty(m, np.float32), value, where
    )
    keys = scores + offsets
    others = np.delete(np.arange(m), own) if own >= 0 else np.arange(m)
    ordered = np.sort(keys[others])[::-1]
    np.testing.assert_array_equal(value[:k], ordered[:k])
    assert set(where[:c]) == set(others[keys[others] >= ordered[k - 1] - 2 * margin])
    assert len(set(where[:c])) == c
    np.testing.assert_array_equal(value[:c], keys[where[:c]])


@pytest.mark.parametrize("d", [8256, 9000])
def test_products_of_wide_layers_are_bounded_by_their_blocks(d):
    """Beyond one block of columns: the float32 products are within the margins, and the lists exact."""
    x = np.random.default_rng(4).standard_normal((90, d)) + 0.5
    rows, preparation = rows_of(x)
    centred = centre(rows, preparation, ranking=True)
    exact = centred.rows[:90].astype(float) @ centred.rows[:90].astype(float).T
    error = np.abs(centred_gram(centred)[:90, :90] - exact)
    assert (error < centred.margins[:, None]).all()
    assert centred.margins.max() < 0.6 * (d + 16) * 2.0**-24
    expected, _ = sorted_neighbors(rows, preparation, 20)
    np.testing.assert_array_equal(nearest(rows, preparation, 20).lists, expected)


@pytest.mark.parametrize("options", [*SIMILARITIES, {"normalise": "none", "similarity": "cosine"}])
def test_products_do_not_depend_on_which_were_needed_before(options):
    """Those that settled the order, those of the other direction and all anew are the same bits."""
    rng = np.random.default_rng(9)
    x = (rng.standard_normal((120, 40)) + 3).astype(np.float16)
    x[60:] = x[rng.integers(0, 60, 60)]
    rows, preparation = rows_of(x, **options)
    found = nearest(rows, preparation, 12)
    euclidean = options.get("similarity") == "euclidean" and options.get("normalise") == "none"
    assert np.isnan(found.dots).any() or not euclidean
    assert euclidean or np.isfinite(found.dots).any()
    kept = found.dots.copy()
    for a, b in zip(
        neighbor_products(rows, found.lists, found.dots), neighbor_products(rows, found.lists), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(found.dots, kept)
