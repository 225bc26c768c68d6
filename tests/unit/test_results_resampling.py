"""Samples resampled for all models at once, and terms averaged over partners."""

from __future__ import annotations

import numpy as np
import pytest

from zooalign.errors import MetricError
from zooalign.results.resampling import alignment_draws, drawn_families, families_left_out, mean_terms


def test_draws_have_the_covariance_of_means_of_samples():
    rng = np.random.default_rng(0)
    terms = np.array([[1, 0.5], [0.5, 1], [1, -1]]) @ rng.standard_normal((2, 300))
    draws = alignment_draws(terms, 20_000, seed=1)
    assert draws.shape == (20_000, 3)
    np.testing.assert_allclose(draws.mean(axis=0), terms.mean(axis=1), atol=0.003)
    np.testing.assert_allclose(np.cov(draws.T), np.cov(terms, ddof=0) / 300, atol=2e-4)
    np.testing.assert_array_equal(draws, alignment_draws(terms, 20_000, seed=1))
    assert (draws != alignment_draws(terms, 20_000, seed=2)).any()


def test_groups_are_drawn_as_wholes():
    """Ten copies of a sample say no more than one: the spread is that of the groups."""
    once = np.random.default_rng(0).standard_normal((2, 40))
    together = alignment_draws(np.repeat(once, 10, axis=1), 20_000, groups=np.repeat(np.arange(40), 10))
    np.testing.assert_allclose(together.var(axis=0), once.var(axis=1) / 40, rtol=0.05)
    apart = alignment_draws(np.repeat(once, 10, axis=1), 20_000)
    np.testing.assert_allclose(apart.var(axis=0), once.var(axis=1) / 400, rtol=0.05)
    # A mean of samples, not of groups: a group counts by its size.
    uneven = alignment_draws(np.array([[1.0, 1, 1, 0]]), 5000, groups=["a", "a", "a", "b"])
    assert set(np.unique(uneven)) == {0.0, 0.75, 1.0}


def test_terms_are_means_over_partners():
    pair_terms = {("a", "x"): np.array([1.0, 0]), ("a", "y"): np.array([0.0, 0]), ("x", "y"): np.array([1.0, 1])}
    np.testing.assert_array_equal(mean_terms(pair_terms, ["a", "x"], ["y", "x"]), [[0.5, 0], [1, 1]])
    assert mean_terms(pair_terms, ["a", "y"], ["x"]) is None
    assert mean_terms(pair_terms, [], ["x"]) is None
    with pytest.raises(MetricError, match="same samples"):
        mean_terms({**pair_terms, ("b", "x"): np.ones(3)}, ["a", "b"], ["x"])


@pytest.mark.parametrize(
    ("terms", "groups", "match"),
    [
        (np.array([[np.nan, 1]]), None, "finite"),
        (np.ones(3), None, "shape"),
        (np.ones((2, 3)), [0, 1], "2 values for 3 samples"),
        (np.ones((2, 3)), [0, 0, 0], "at least 2"),
    ],
)
def test_bad_terms_are_refused(terms, groups, match):
    with pytest.raises(MetricError, match=match):
        alignment_draws(terms, groups=groups)


def test_families_are_taken_as_wholes():
    member = np.array([0, 0, 1, 2, 2, 2])
    drawn = drawn_families(member, 500, seed=0)
    assert (drawn[:, 0] == drawn[:, 1]).all()
    assert (drawn[:, [0, 2, 3]].sum(axis=1) == 3).all()
    np.testing.assert_array_equal(
        families_left_out(member), [[0, 0, 1, 1, 1, 1], [1, 1, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0]]
    )
    pairs = np.array([[0, 1], [1, 1], [2, 0]])
    np.testing.assert_array_equal(families_left_out(pairs), [[0, 1, 0], [0, 0, 1], [1, 1, 0]])
