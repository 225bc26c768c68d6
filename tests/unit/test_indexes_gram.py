"""Distances and their ranks: those of scipy, with the ties that rounding hides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform
from scipy.stats import rankdata

from zooalign.indexes.gram import dissimilarity_ranks, packed_rbf, squared_distances
from zooalign.indexes.preparation import Preparation, prepare_layers
from zooalign.kernels.ranks import mean_ranks, sort_positive

PLAIN = Preparation(clamp_scope="none", normalise="none", similarity="euclidean")


def rows_of(x, preparation=PLAIN):
    (rows,) = prepare_layers([x], preparation, ["layer"], [str(i) for i in range(len(x))])
    return rows


def order_of(values):
    order = np.empty(len(values), np.uint32)
    sort_positive(values, np.empty(len(values), np.uint64), order)
    return order


@given(
    st.lists(
        st.one_of(
            st.floats(0, 1e300, allow_nan=False).map(abs),
            st.sampled_from([0.0, 5e-324, 1.0, np.nextafter(1.0, 2.0), 1.7976931348623157e308]),
        ),
        min_size=1,
        max_size=200,
    )
)
@settings(deadline=None, max_examples=150)
def test_radix_sort_is_a_stable_sort(values):
    values = np.array(values)
    np.testing.assert_array_equal(order_of(values), np.argsort(values, kind="stable"))


@pytest.mark.parametrize("low", [0.0, 1.0, 1.0 - 2**-40])
def test_radix_sort_of_many_values(low):
    """One pass to six, an odd and an even number of them."""
    rng = np.random.default_rng(0)
    for spread in (0.0, 2.0**-52, 2.0**-45, 2.0**-30, 1.0, 1e9):
        values = low + spread * rng.random(5000)
        np.testing.assert_array_equal(order_of(values), np.argsort(values, kind="stable"))


@given(seed=st.integers(0, 10_000), n=st.integers(3, 30), levels=st.integers(1, 4), width=st.integers(1, 4))
@settings(deadline=None, max_examples=80)
def test_ranks_of_small_integers_are_scipys(seed, n, levels, width):
    """Ties everywhere, duplicates among them."""
    x = np.random.default_rng(seed).integers(0, levels + 1, (n, width)).astype(np.float32)
    found = dissimilarity_ranks(squared_distances(rows_of(x)))
    expected = rankdata(pdist(x, "sqeuclidean").round())
    expected -= expected.mean()
    length = np.linalg.norm(expected)
    np.testing.assert_allclose(found, expected / length if length > 0 else 0.0, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(("n", "d"), [(97, 300), (130, 17), (64, 64)])
def test_distances_are_scipys(dtype, n, d):
    x = (np.random.default_rng(2).standard_normal((n, d)) + 4).astype(dtype)
    x[5] = x[70 % n]
    rows = rows_of(x, Preparation())
    prepared = rows.values.astype(float) * rows.scale[:, None]
    found = squared_distances(rows)
    np.testing.assert_allclose(found.squares, pdist(prepared, "sqeuclidean"), rtol=1e-11, atol=1e-15)
    assert squareform(found.squares)[5, 70 % n] == 0.0
    assert found.n == n
    assert found.length == pytest.approx(1.0)


@pytest.mark.parametrize("n", [2, 3, 33, 65])
@pytest.mark.parametrize("sigma", [1.0, 0.3, None])
def test_gaussian_kernels_are_centred_and_packed(n, sigma):
    x = np.random.default_rng(n).standard_normal((n, 7)).astype(np.float32)
    x[-1] = x[0] + np.float32(n == 2)
    squares = squareform(pdist(x.astype(float), "sqeuclidean"))
    ordered = np.sort(squares[np.triu_indices(n, 1)])
    kernel = np.exp(-squares / (2 * (ordered[len(ordered) // 2] if sigma is None else sigma**2)))
    centring = np.eye(n) - 1 / n
    kernel = centring @ kernel @ centring
    expected = np.concatenate([np.diag(kernel), kernel[np.triu_indices(n, 1)] * np.sqrt(2)])
    np.testing.assert_allclose(packed_rbf(squared_distances(rows_of(x)), sigma), expected, atol=2e-7)


def test_a_chain_of_values_equal_but_for_rounding_is_one_tie():
    values = np.array([3.0, 1.0 + 2e-13, 1.0, 2.0, 1.0 + 1e-13])
    ranks = np.empty(5)
    mean_ranks(values, order_of(values), 1.5e-13, 0.0, ranks)
    assert ranks.tolist() == [4.0, 1.0, 1.0, 3.0, 1.0]


def test_ranks_of_a_constant_layer_are_zero():
    assert not dissimilarity_ranks(squared_distances(rows_of(np.full((20, 3), 0.1)))).any()
