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
from zooalign.neighbors import nearest, neighbor_products
from zooalign.preparation import Preparation, prepare_layers


def rows_of(x, **options):
    preparation = Preparation(**options)
    (rows,) = prepare_layers([x], preparation, ["layer"], [str(i) for i in range(len(x))])
    return rows, preparation


def sorted_neighbors(rows, preparation, k):
    """Full float64 scores, self masked, stable sort: ties by lower index."""
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
    np.testing.assert_array_equal(nearest(rows, preparation, 20), expected)


def test_nearly_parallel_rows_keep_their_order():
    rng = np.random.default_rng(5)
    x = (rng.standard_normal((300, 64)) + 18.0).astype(np.float16)
    rows, preparation = rows_of(x, clamp_scope="none")
    expected, score = sorted_neighbors(rows, preparation, 10)
    assert np.mean(score[np.isfinite(score)]) > 0.996
    np.testing.assert_array_equal(nearest(rows, preparation, 10), expected)


@pytest.mark.parametrize("options", [{}, {"normalise": "none", "similarity": "euclidean"}])
def test_duplicates_tie_and_the_lower_index_wins(options):
    rng = np.random.default_rng(6)
    x = rng.standard_normal((90, 33)).astype(np.float32)[np.arange(270) % 90]
    rows, preparation = rows_of(x, **options)
    found = nearest(rows, preparation, 12).astype(int)
    for i in range(270):
        assert list(found[i, :2]) == sorted({i % 90, i % 90 + 90, i % 90 + 180} - {i})
        others = found[i, 2:11].reshape(3, 3)  # every further row comes three times, in order
        assert (np.diff(others, axis=1) == 90).all()


def test_equal_rows_everywhere_give_the_first_indices():
    rows, preparation = rows_of(np.ones((80, 5)))
    found = nearest(rows, preparation, 3)
    assert found[0].tolist() == [1, 2, 3]
    assert found[1].tolist() == [0, 2, 3]
    assert found[79].tolist() == [0, 1, 2]


@given(seed=st.integers(0, 10_000), n=st.integers(2, 40), levels=st.integers(1, 3))
@settings(deadline=None, max_examples=60)
def test_small_integers_tie_often_and_exactly(seed, n, levels):
    x = np.random.default_rng(seed).integers(-levels, levels + 1, (n, 3)).astype(np.float32)
    rows, preparation = rows_of(x, normalise="none", similarity="euclidean", clamp_scope="none")
    expected, _ = sorted_neighbors(rows, preparation, n - 1)
    np.testing.assert_array_equal(nearest(rows, preparation, n - 1), expected)


def test_products_are_the_cosines():
    x = np.random.default_rng(7).standard_normal((60, 9))
    rows, preparation = rows_of(x)
    found = nearest(rows, preparation, 5)
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
from zooalign.indexing import NEEDS, build_index
rng = np.random.default_rng(0)
index = build_index([rng.standard_normal((n, d)) for n, d in ((700, 600), (700, 333))], needs=NEEDS)
print(hashlib.sha256(b"".join(index.array(a).tobytes() for a in sorted(NEEDS))).hexdigest())
"""


def test_threads_do_not_change_a_bit():
    seen = set()
    for threads in ("1", "2", "3"):
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        run = subprocess.run(
            [sys.executable, "-c", _INDEX], env=environment, capture_output=True, check=True, text=True
        )
        seen.add(run.stdout)
    assert len(seen) == 1
    assert len(seen.pop().strip()) == hashlib.sha256().digest_size * 2
