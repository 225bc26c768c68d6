"""Line, saturating curve and broken stick: found where they are true, and the line where nothing says otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zooalign.errors import MetricError
from zooalign.results.fits import BROKEN, LINE, SATURATING, shape

X = np.linspace(2, 12, 24)
FAMILIES = [f"family {i % 6}" for i in range(24)]


def test_a_line_is_a_line():
    found = shape(X, 0.1 + 0.02 * X, FAMILIES)
    assert found.chosen == LINE
    assert found.fit(LINE).coefficients == pytest.approx((0.1, 0.02))
    assert str(found).startswith("a straight line predicts as well as any: no sign of saturation (cross-validated")
    assert str(found).endswith("24 models, families left out one at a time)")


def test_a_saturating_curve_is_recovered():
    found = shape(X, 0.3 - 0.2 * np.exp(-0.4 * (X - 2)), FAMILIES)
    assert found.chosen == SATURATING
    assert found.fit(SATURATING).coefficients == pytest.approx((0.3, 0.2, 0.4), rel=1e-4)
    assert "alignment rises and levels off with capability" in str(found)
    assert "alignment falls and levels off" in str(shape(X, 0.2 * np.exp(-0.4 * X), FAMILIES))


@pytest.mark.parametrize(
    ("after", "said"), [(0.0, "is flatter above"), (-0.05, "turns at"), (0.15, "is steeper above")]
)
def test_a_broken_stick_is_recovered(after, said):
    y = 0.1 + 0.05 * X + (after - 0.05) * np.maximum(0, X - 6.2)
    found = shape(X, y, FAMILIES)
    assert found.chosen == BROKEN
    assert found.fit(BROKEN).coefficients == pytest.approx((0.1, 0.05, after - 0.05, 6.2), abs=1e-3)
    assert f"the trend {said} a capability of 6.2" in str(found)


@given(st.permutations(range(24)), st.floats(0.01, 100), st.floats(-5, 5))
@settings(max_examples=20, deadline=None)
def test_neither_order_nor_units_matter(order, scale, shift):
    y = np.sqrt(X) + 0.2 * np.random.default_rng(1).standard_normal(24)
    found = shape(X, y, FAMILIES)
    other = shape(scale * X[list(order)] + shift, 3 * y[list(order)], [FAMILIES[i] for i in order])
    assert other.chosen == found.chosen
    assert [f.error / 3 for f in other.fits] == pytest.approx([f.error for f in found.fits], rel=1e-4)


def test_errors_are_those_of_lines_fitted_without_a_family():
    y = np.random.default_rng(0).standard_normal(24)
    squared = 0.0
    for name in set(FAMILIES):
        out = np.array(FAMILIES) == name
        squared += ((y[out] - np.polyval(np.polyfit(X[~out], y[~out], 1), X[out])) ** 2).sum()
    found = shape(X, y, FAMILIES)
    assert found.fit(LINE).error == pytest.approx(np.sqrt(squared / 24))
    assert found.fit(LINE).explained == pytest.approx(np.corrcoef(X, y)[0, 1] ** 2)
    single = shape(X, y, ["a"] * 12 + ["b"] * 12)
    assert single.left_out == "models"
    assert single.families == 2


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        (np.arange(7), np.arange(7), "too few models to compare curves (7; at least 8)"),
        ([*range(7), np.nan], np.arange(8), "too few models to compare curves (7; at least 8)"),
        (np.arange(12) % 4, np.arange(12), "too few different capabilities to compare curves (at least 5)"),
        (np.arange(12), np.ones(12), "all 12 models have the same alignment"),
        ([], [], "too few models to compare curves (0; at least 8)"),
    ],
)
def test_what_cannot_be_compared_has_a_reason(x, y, reason):
    found = shape(x, y, [str(i) for i in range(len(x))])
    assert (str(found), found.fits, found.chosen) == (reason, (), "")


def test_lengths_must_agree():
    with pytest.raises(MetricError, match="families"):
        shape(X, X, FAMILIES[:-1])


def test_an_outlying_family_extrapolates_without_overflow():
    x = np.array([*np.linspace(100, 101, 12), 0.0, 1.0])
    y = np.random.default_rng(0).random(14)
    found = shape(x, y, [str(i % 4) for i in range(12)] + ["far", "far"])
    assert all(np.isfinite(fit.error) for fit in found.fits)


@pytest.mark.slow
def test_lines_are_seldom_taken_for_curves_and_curves_are_found():
    rng = np.random.default_rng(0)
    member = np.repeat(np.arange(8), 4)

    def chosen(curve, noise):
        x = 0.6 * rng.random(8)[member] + 0.4 * rng.random(32)
        error = np.sqrt(0.5) * (rng.standard_normal(8)[member] + rng.standard_normal(32))
        return shape(x, curve(x) + noise * error, member.astype(str)).chosen

    straight = [chosen(lambda x: x, 0.2) for _ in range(150)]
    assert straight.count(LINE) > 0.8 * 150
    bent = [chosen(lambda x: 1 - np.exp(-4 * x), 0.03) for _ in range(50)]
    assert bent.count(SATURATING) > 0.6 * 50
    assert bent.count(LINE) < 0.2 * 50
