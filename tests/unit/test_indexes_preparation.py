"""Preparation: exact thresholds, unit rows, and errors that name the layer and the sample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zooalign.errors import ConfigError, FeatureError
from zooalign.indexes.preparation import Preparation, order_statistic, prepare_layers


def prepared(layers, **options):
    n = len(layers[0])
    names = [f"block{i}" for i in range(len(layers))]
    return list(prepare_layers(layers, Preparation(**options), names, [f"s{i}" for i in range(n)]))


@given(
    x=hnp.arrays(
        st.sampled_from([np.float16, np.float32]),
        hnp.array_shapes(min_dims=2, max_dims=3, max_side=9),
        elements=st.floats(-100, 100, width=16),
    ),
    quantile=st.floats(0.01, 0.999),
)
@settings(deadline=None, max_examples=60)
def test_order_statistic_is_the_sorted_value(x, quantile):
    expected = np.sort(np.abs(x).astype(np.float32), axis=None)[int(quantile * x.size)]
    assert order_statistic([x], quantile) == expected


def test_order_statistic_spans_arrays_and_types():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 4)).astype(np.float32), rng.standard_normal((50, 3)).astype(np.float16)
    joined = np.sort(np.abs(np.concatenate([x.ravel(), y.ravel().astype(np.float32)])))
    assert order_statistic([x, y], 0.95) == joined[int(0.95 * joined.size)]


def test_clamp_scopes_differ_and_none_keeps_everything():
    rng = np.random.default_rng(1)
    layers = [rng.standard_normal((40, 6)), 100 * rng.standard_normal((40, 5))]
    tops = {
        scope: [np.abs(r.values).max() for r in prepared(layers, clamp_scope=scope)]
        for scope in ("model", "layer", "none")
    }
    everything = np.sort(np.abs(np.concatenate([x.ravel() for x in layers]).astype(np.float32)))
    assert tops["model"][1] == everything[int(0.95 * everything.size)]
    assert tops["model"][0] == np.float32(np.abs(layers[0]).max())
    assert tops["layer"][0] == np.sort(np.abs(layers[0].astype(np.float32)), axis=None)[int(0.95 * 240)]
    assert tops["none"] == [np.float32(np.abs(x).max()) for x in layers]


def published_list_path(layers, quantile=0.95):
    """What the published code does with a list of layers: a full sort and clip of each, then rows of unit length."""
    found = []
    for x in layers:
        flat = np.sort(np.abs(x.astype(np.float32)).ravel())
        top = flat[int(quantile * flat.size)]
        clipped = np.clip(x.astype(np.float32), -top, top).astype(float)
        found.append(clipped / np.linalg.norm(clipped, axis=1, keepdims=True))
    return found


def test_clamp_scope_published_is_per_layer_where_widths_differ_and_per_model_otherwise():
    rng = np.random.default_rng(1)
    ragged = [scale * rng.standard_t(3, (40, d)) for scale, d in ((1, 6), (5, 5), (0.2, 9))]
    square = [scale * rng.standard_t(3, (40, 6)) for scale in (1, 5, 0.2)]
    for layers, scope in ((ragged, "layer"), (square, "model")):
        as_published, expected = prepared(layers, clamp_scope="published"), prepared(layers, clamp_scope=scope)
        for a, b in zip(as_published, expected, strict=True):
            np.testing.assert_array_equal(a.values, b.values)
    for a, b in zip(prepared(ragged, clamp_scope="published"), published_list_path(ragged), strict=True):
        np.testing.assert_allclose(a.values * a.scale[:, None], b, rtol=0, atol=1e-15)
    other = prepared(ragged)
    assert any(
        (a.values != b.values).any() for a, b in zip(prepared(ragged, clamp_scope="layer"), other, strict=True)
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("scope", ["model", "layer", "published"])
def test_sparse_features_are_refused_by_name_of_the_clamp(dtype, scope):
    rng = np.random.default_rng(5)
    sparse = np.where(rng.random((50, 40)) < 0.04, rng.standard_normal((50, 40)), 0).astype(dtype)
    sparse[:, 0] = 1  # no row is zero
    with pytest.raises(
        FeatureError, match=r"clamp: more than 90 % of the values of .*are zero.*clamp_scope to 'none'"
    ):
        prepared([sparse], clamp_scope=scope, clamp_quantile=0.9)
    assert prepared([sparse], clamp_scope="none")
    assert prepared([sparse], clamp_scope=scope, clamp_quantile=0.99)


def test_a_clamp_that_leaves_noise_or_signs_is_refused():
    rng = np.random.default_rng(6)
    signal, mask = rng.standard_normal((50, 40)), rng.random((50, 40)) < 0.97
    with pytest.raises(FeatureError, match=r"over the model is 1e-12, below the rounding.*only noise"):
        prepared([np.where(mask, 1e-12, signal)])
    with pytest.raises(FeatureError, match=r"over layer 'block0' is .*only noise"):
        prepared([np.where(mask, 1e-12 * rng.standard_normal((50, 40)), signal)], clamp_scope="layer")
    with pytest.raises(FeatureError, match=r"100 % of the values of the model are as large as .* but their signs"):
        prepared([np.where(mask, 1e-3, signal)])


def test_a_clamp_that_clips_little_or_few_is_no_fault():
    rng = np.random.default_rng(7)
    for features in (
        np.sign(rng.standard_normal((50, 40))),  # one magnitude: nothing lies above the threshold
        rng.integers(0, 3, (50, 40)) + 1,
        np.where(rng.random((50, 40)) < 0.01, 1e5, rng.standard_normal((50, 40))),  # a few massive values
        np.maximum(rng.standard_normal((50, 40)), 0),
    ):
        assert prepared([features.astype(np.float32)])


@pytest.mark.parametrize("normalise", ["l2", "centred_l2"])
def test_rows_have_unit_length(normalise):
    (rows,) = prepared([np.random.default_rng(2).standard_normal((30, 7)) + 3], normalise=normalise)
    lengths = np.linalg.norm(rows.values.astype(float) * rows.scale[:, None], axis=1)
    np.testing.assert_allclose(lengths, 1.0, rtol=1e-14)


def test_centred_rows_have_no_mean_before_scaling():
    (rows,) = prepared([np.random.default_rng(2).standard_normal((30, 7)) + 3], normalise="centred_l2")
    assert np.abs(rows.values.astype(float).mean(axis=0)).max() < 1e-6


def test_concatenation_comes_last_and_has_every_column():
    rng = np.random.default_rng(3)
    layers = [rng.standard_normal((20, 4)), rng.standard_normal((20, 6))]
    rows = prepared(layers, include_concat=True, clamp_scope="none")
    assert [r.name for r in rows] == ["block0", "block1", "concatenated"]
    np.testing.assert_array_equal(rows[2].values, np.concatenate(layers, axis=1).astype(np.float32))


def test_input_is_left_alone():
    x = np.random.default_rng(4).standard_normal((20, 4)).astype(np.float32)
    before = x.copy()
    prepared([x], normalise="centred_l2")
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_bad_number_names_layer_and_sample(bad, dtype):
    layers = [np.ones((5, 3), dtype), np.ones((5, 3), dtype)]
    layers[1][3, 2] = bad
    with pytest.raises(FeatureError, match=r"'block1'.*feature 2 of sample 's3'"):
        prepared(layers)


def test_overflow_of_float64_is_named_too():
    x = np.ones((5, 3))
    x[2, 1] = 1e300
    with pytest.raises(FeatureError, match=r"'block0'.*sample 's2'"):
        prepared([x])


def test_zero_row_is_named_unless_rows_are_not_scaled():
    x = np.ones((5, 3), np.float32)
    x[4] = 0
    with pytest.raises(FeatureError, match=r"'block0'.*sample 's4'.*all zero"):
        prepared([x])
    with pytest.raises(FeatureError, match="s4"):
        prepared([x], normalise="none")  # cosine still needs a direction
    assert len(prepared([x], normalise="none", similarity="euclidean")) == 1


@pytest.mark.parametrize("shape", [(5,), (5, 3, 2), (4, 3), (5, 0)])
def test_wrong_shape_says_both(shape):
    with pytest.raises(FeatureError, match=r"shape.*n = 5"):
        list(prepare_layers([np.ones(shape)], Preparation(), ["a"], list("abcde")))


def test_text_is_not_features():
    with pytest.raises(FeatureError, match="type"):
        prepared([np.array([["a", "b"]] * 3)])


def test_settings_are_closed():
    with pytest.raises(ConfigError, match="did you mean 'centred_l2'"):
        Preparation(normalise="centered_l2")
    with pytest.raises(ConfigError, match=r"clamp_quantile is 1\.5"):
        Preparation(clamp_quantile=1.5)


def test_digest_tells_settings_apart():
    digests = {
        Preparation().digest(),
        Preparation(clamp_quantile=0.9).digest(),
        Preparation(normalise="none").digest(),
    }
    assert len(digests) == 3
    assert Preparation().digest() == Preparation(clamp_quantile=0.95).digest()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("clamp", [0.9, 1.0])
def test_layers_are_cast_and_clipped_as_by_numpy(dtype, clamp):
    """Subnormal halves, both zeros, extremes, a transposed layer."""
    some = np.array([0.0, -0.0, 6e-8, -6e-8, 6.1e-5, 1.0, -1.0, 65504.0, -65504.0, 0.333], dtype)
    x = np.random.default_rng(0).permutation(np.tile(some, 13)).reshape(10, 13).T
    x[:, 0] = 0.5
    (rows,) = prepare_layers(
        [x], Preparation(clamp_quantile=clamp, normalise="none"), ["a"], [str(i) for i in range(13)]
    )
    expected = x.astype(np.float32)
    if clamp < 1:
        t = np.float32(order_statistic([expected], clamp))
        expected = np.clip(expected, -t, t)
    assert rows.values.flags.c_contiguous
    assert rows.values.dtype == np.float32
    np.testing.assert_array_equal(rows.values.view(np.uint32), np.ascontiguousarray(expected).view(np.uint32))
    assert not np.shares_memory(rows.values, x)
