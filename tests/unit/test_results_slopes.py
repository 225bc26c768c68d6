"""Slopes within families: scipy's values, and what levels of families do not change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from zooalign.errors import MetricError
from zooalign.results.slopes import family_slopes, pooled_slope


@given(st.integers(0, 1000), st.integers(3, 8))
@settings(max_examples=50, deadline=None)
def test_slopes_are_those_of_scipy(seed, size):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, 3 * size))
    families = np.repeat(["c", "a", "b"], size)
    found = family_slopes(x, y, families)
    assert [s.family for s in found] == ["a", "b", "c"]
    for slope in found:
        own = families == slope.family
        expected = stats.linregress(x[own], y[own])
        assert (slope.n, slope.reason) == (size, "")
        assert slope.slope == pytest.approx(expected.slope, rel=1e-9, abs=1e-12)
        assert slope.standard_error == pytest.approx(expected.stderr, rel=1e-6, abs=1e-9)
        assert slope.standardised == pytest.approx(slope.slope * x.std() / y.std())


def test_families_without_a_slope_say_why():
    x = [1, 1, 1, 1, 2, 3, 1, 2, np.nan]
    found = family_slopes(x, np.arange(9), list("aaabbbccc"))
    assert [(s.family, s.n, s.reason) for s in found] == [("a", 3, "all have the same capability"), ("b", 3, "")]
    assert np.isnan(found[0].slope)
    assert family_slopes([], [], []) == []
    assert np.isnan(family_slopes([1, 2, 3], [1, 1, 1], "aaa")[0].standardised)
    with pytest.raises(MetricError, match="families"):
        family_slopes([1, 2], [1, 2, 3], "aa")


def test_the_pooled_slope_knows_no_differences_between_families():
    """Within families alignment rises by 2, between them it falls."""
    rng = np.random.default_rng(0)
    member = np.repeat(np.arange(6), 4)
    x = 10 * member + rng.standard_normal(24)
    y = 2 * (x - 10 * member) - 50 * member + 0.1 * rng.standard_normal(24)
    found = pooled_slope(x, y, member.astype(str))
    dummies = (member[:, None] == np.arange(6)).astype(float)
    expected = np.linalg.lstsq(np.column_stack([x, dummies]), y)[0][0]
    assert found.slope == pytest.approx(expected)
    assert found.low < 2 < found.high < 2.3
    assert (found.n, found.families, found.reason) == (24, 6, "")
    moved = pooled_slope(x, y + 1000 * member, member.astype(str))
    assert moved.slope == pytest.approx(found.slope)
    order = rng.permutation(24)
    assert pooled_slope(x[order], y[order], member[order].astype(str)) == found


def test_few_families_have_no_pooled_interval():
    few = pooled_slope([1, 2, 1, 2, 5], [1, 3, 4, 6, 0], list("aabbc"))
    assert (few.n, few.families, few.slope) == (4, 2, 2.0)
    assert few.reason == "too few families for an interval (at least 5)"
    assert np.isnan(few.low)
    none = pooled_slope([1, 1, 2], [1, 2, 3], list("aab"))
    assert (none.n, none.reason) == (0, "no family has two models of different capability")
    assert np.isnan(none.slope)


@pytest.mark.slow
def test_pooled_intervals_hold_the_truth():
    rng, inside = np.random.default_rng(0), 0
    member = np.repeat(np.arange(8), [2, 3, 4, 5, 2, 3, 4, 9])
    for _ in range(1000):
        x, e = rng.standard_normal((2, len(member)))
        slopes = 1 + 0.5 * rng.standard_normal(8)  # a family has a slope of its own, about 1
        found = pooled_slope(x, slopes[member] * x + rng.standard_normal(8)[member] + 0.5 * e, member.astype(str))
        inside += found.low <= 1 <= found.high
    assert 900 <= inside <= 980
