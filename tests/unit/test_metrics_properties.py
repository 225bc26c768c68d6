"""Every declared property of every metric, both ways, on random models; relations between metrics.

Nothing is listed here but tolerances: a metric that declares something untrue fails, and so does one whose
declaration says less than is true.
"""

from __future__ import annotations

import inspect
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zooalign import metrics
from zooalign.errors import MetricError
from zooalign.indexes.build import build_index
from zooalign.indexes.index import NEEDS
from zooalign.indexes.preparation import Preparation

NAMES = metrics.names()
DECLARED = ("VERSION", "NEEDS", "TAKES_K", "SYMMETRIC", "RANGE", "IDENTITY", "HAS_TERMS", "QUANTITY")
# float32 kernels and float64 sums; in rsa two ranks may swap when a distance is rounded
CLOSE = {"atol": 2e-5, "rtol": 0}
seeds = st.integers(0, 2**16)
quick = settings(deadline=None, max_examples=8, derandomize=True)


def layers_of(seed, n=48, widths=(12, 17), signal=1.0, shared=0):
    """A model: layers that see the same hidden causes (drawn from `shared`) through noise."""
    cause = np.random.default_rng(10_000 + shared).standard_normal((n, 5))
    rng = np.random.default_rng(seed)
    return [
        (signal * cause @ rng.standard_normal((5, d)) + rng.standard_normal((n, d))).astype(np.float32)
        for d in widths
    ]


def index_of(layers, k_max=47, **options):
    options = {"clamp_scope": "none", **options}
    return build_index(layers, Preparation(**options), k_max, NEEDS)


@cache
def model(seed, n=48):
    return index_of(layers_of(seed, n), n - 1)


def value(name, x, y, k=5):
    module = metrics.get(name)
    return module.matrix(x, y, k if module.TAKES_K else None)


def ends(name, k):
    module = metrics.get(name)
    return tuple(float(k) if e == "k" else e for e in module.RANGE)


@pytest.mark.parametrize("name", NAMES)
def test_declares_everything(name):
    module = metrics.get(name)
    for attribute in DECLARED:
        assert hasattr(module, attribute), f"{name} does not declare {attribute}"
    assert set(NEEDS) >= module.NEEDS
    assert isinstance(module.VERSION, int)
    assert hasattr(module, "terms") == module.HAS_TERMS
    if hasattr(module, "beyond_lists"):
        assert module.TAKES_K
        assert all(need in NEEDS or need == "sets@512" for need in module.beyond_lists(512))
        assert "sets@512" in module.beyond_lists(512)
    for function in ("matrix", "chance"):
        assert "References" in inspect.getdoc(module.matrix)
        assert inspect.getdoc(getattr(module, function))


@pytest.mark.parametrize("name", NAMES)
def test_the_axis_label_comes_from_the_metric(name):
    """It names k where there is one, and fits on the axis of the smallest figure."""
    module = metrics.get(name)
    assert ("{k}" in module.QUANTITY) == module.TAKES_K
    label = metrics.quantity(name, 17 if module.TAKES_K else None)
    assert ("17" in label) == module.TAKES_K
    assert "{" not in label
    assert 20 < len(label) < 80
    assert label[0].islower() or label[0].isdigit() or label.startswith("Gaussian")
    assert [other for other in NAMES if metrics.quantity(other, 17) == label] == [name]


def test_every_file_is_a_metric_and_documented():
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    for name in NAMES:
        assert f"`{name}`" in page, f"{name} is missing from docs/metrics.md"


@pytest.mark.parametrize("name", NAMES)
@given(a=seeds, b=seeds)
@quick
def test_symmetry(name, a, b):
    x, y = model(a % 20), model(20 + b % 20)
    forth, back = value(name, x, y), value(name, y, x).T
    if metrics.get(name).SYMMETRIC:
        np.testing.assert_allclose(forth, back, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", [n for n in NAMES if not metrics.get(n).SYMMETRIC])
def test_declared_asymmetry_is_real(name):
    gaps = [
        np.abs(value(name, model(i), model(20 + i)) - value(name, model(20 + i), model(i)).T).max() for i in range(5)
    ]
    assert max(gaps) > 1e-6


@pytest.mark.parametrize("name", NAMES)
@given(a=seeds, b=seeds, k=st.integers(2, 47))
@quick
def test_range(name, a, b, k):
    module = metrics.get(name)
    found = value(name, model(a % 20), model(b % 20), k)
    assert np.isfinite(found).all()
    if module.RANGE is not None:
        low, high = ends(name, k)
        assert (found >= low - 1e-9).all()
        assert (found <= high + 1e-9).all()


# Where no bound is declared, the natural one is broken: by what is said in the docstring.
@pytest.mark.parametrize("name", [n for n in NAMES if metrics.get(n).RANGE is None])
def test_undeclared_range_is_no_oversight(name):
    found = [
        value(name, index_of(layers_of(s, signal=0.0)), index_of(layers_of(50 + s, signal=0.0)), 3) for s in range(12)
    ]
    assert min(f.min() for f in found) < 0 or name.startswith("cknna")
    if name in ("cknna", "cknna_exact"):
        assert cknna_excess(name) > 1


def cknna_excess(name):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((48, 4))
    x, y = (index_of([(z + 0.3 * rng.standard_normal((48, 4)) + 30).astype(np.float32)]) for _ in range(2))
    return max(float(value(name, x, y, k)[0, 0]) for k in range(20, 46))


@pytest.mark.parametrize("name", NAMES)
@given(a=seeds, k=st.integers(2, 47))
@quick
def test_identity(name, a, k):
    declared = metrics.get(name).IDENTITY
    own = np.diagonal(value(name, model(a % 20), model(a % 20), k))
    if declared is not None:
        np.testing.assert_allclose(own, float(k) if declared == "k" else declared, atol=1e-6)


@pytest.mark.parametrize("name", [n for n in NAMES if metrics.get(n).IDENTITY is None])
def test_undeclared_identity_is_no_oversight(name):
    own = [np.diagonal(value(name, model(s), model(s), 2)) for s in range(5)]
    assert np.abs(np.array(own) - 1.0).max() > 1e-12


@pytest.mark.parametrize("name", [n for n in NAMES if metrics.get(n).HAS_TERMS])
@given(a=seeds, b=seeds, k=st.integers(2, 47))
@quick
def test_terms_average_to_the_score(name, a, b, k):
    x, y = model(a % 20), model(b % 20)
    module = metrics.get(name)
    k = k if module.TAKES_K else None
    found = module.matrix(x, y, k)
    for i, j in ((0, 0), (1, 0), (-1, -1)):
        terms = module.terms(x, y, i, j, k)
        assert terms.shape == (48,)
        assert terms.dtype == np.float32
        np.testing.assert_allclose(terms.mean(dtype=float), found[i, j], atol=1e-5 * max(1.0, abs(found[i, j])))


@pytest.mark.parametrize("name", NAMES)
@given(a=seeds, b=seeds)
@quick
def test_one_permutation_of_all_samples_changes_nothing(name, a, b):
    order = np.random.default_rng(a).permutation(48)
    x, y = layers_of(a % 20), layers_of(20 + b % 20)
    moved = [index_of([v[order] for v in side]) for side in (x, y)]
    # Sketches are drawn over features, so even the randomised one keeps its value.
    np.testing.assert_allclose(value(name, *moved), value(name, index_of(x), index_of(y)), **CLOSE)


@pytest.mark.parametrize("name", NAMES)
@given(a=seeds, scale=st.sampled_from([0.25, 3.0, 1000.0]))
@quick
def test_rotation_and_scaling_of_one_side_change_nothing(name, a, scale):
    if name.startswith("svcca"):
        pytest.skip("z-scoring the columns depends on the axes: svcca is invariant to scaling alone, tested below")
    if name == "pwcca":
        pytest.skip("its weights are sums over the columns: invariant to scaling alone, tested below")
    rng = np.random.default_rng(a)
    x, y = layers_of(a % 20), model(20 + a % 20)
    turned = [scale * v.astype(float) @ np.linalg.qr(rng.standard_normal((v.shape[1],) * 2))[0] for v in x]
    np.testing.assert_allclose(value(name, index_of(turned), y), value(name, index_of(x), y), **CLOSE)


@pytest.mark.parametrize("name", NAMES)
def test_scaling_of_one_side_changes_nothing(name):
    x, y = layers_of(3), model(23)
    np.testing.assert_allclose(value(name, index_of([4 * v for v in x]), y), value(name, index_of(x), y), atol=1e-12)


@pytest.mark.parametrize("name", [n for n in NAMES if metrics.get(n).chance(48, 5) is not None])
def test_chance_level(name):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(60):
        x, y = (index_of([rng.standard_normal((48, 20))]) for _ in range(2))
        found.append(value(name, x, y)[0, 0])
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - metrics.get(name).chance(48, 5)) < 4 * error + 0.01


@pytest.mark.parametrize("name", NAMES)
def test_layers_do_not_see_each_other(name):
    """A score has the same bits whatever other layers are scored with it."""
    x, y = layers_of(1, widths=(10, 16, 17, 18, 19)), layers_of(2, widths=(14, 11, 16))
    whole = value(name, index_of(x), index_of(y))
    for i, a in enumerate(x):
        for j, b in enumerate(y):
            assert value(name, index_of([a]), index_of([b]))[0, 0] == whole[i, j]


@pytest.mark.parametrize("name", NAMES)
def test_many_layers_cross_every_block(name):
    """More layers than the kernels hold in one group, unevenly."""
    x = layers_of(1, n=20, widths=(10,) * 35)
    y = layers_of(2, n=20, widths=(10,) * 3)
    whole = value(name, index_of(x, 19), index_of(y, 19))
    last = value(name, index_of(x[-1:], 19), index_of(y, 19))
    np.testing.assert_array_equal(whole[-1:], last)


@pytest.mark.parametrize("name", NAMES)
def test_constant_layer_is_undefined_and_never_invented(name):
    x = index_of([np.ones((20, 12), np.float32), layers_of(1, n=20)[0]], 19)
    y = index_of(layers_of(2, n=20), 19)
    found = value(name, x, y)
    assert np.isfinite(found[1]).all()
    assert np.isnan(found[0]).all()
    assert metrics.best(found)[0] == np.nanmax(found)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [4, 10])
def test_smallest_sets_and_k_at_half(name, n):
    if name == "svcca_published" and n < 10:
        pytest.skip("as the published code, it refuses fewer than ten samples: tested in test_metrics_degenerate")
    x, y = (index_of(layers_of(s, n=n, widths=(3 if n < 10 else 10,)), n - 1) for s in (1, 2))
    assert np.isfinite(value(name, x, y, n // 2)).all()
    assert np.isfinite(value(name, x, x, n - 1)).all()


@pytest.mark.parametrize("name", NAMES)
def test_duplicates_half_precision_and_narrow_cones(name):
    rng = np.random.default_rng(9)
    cone = (rng.standard_normal((48, 12)) + 18).astype(np.float16)
    cone[24:] = cone[:24]
    unit = cone.astype(float) / np.linalg.norm(cone.astype(float), axis=1, keepdims=True)
    assert (unit @ unit.T).mean() > 0.995
    x, y = index_of([cone]), index_of(layers_of(3))
    assert np.isfinite(value(name, x, y)).all()
    declared = metrics.get(name).IDENTITY
    if declared is not None:
        assert value(name, x, x)[0, 0] == pytest.approx(5 if declared == "k" else declared, abs=1e-6)


@given(a=seeds, b=seeds, k=st.integers(1, 47))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_order_of_the_neighbour_metrics(a, b, k):
    x, y = model(a % 20), model(b % 20)
    edit, lcs = value("edit_distance_knn", x, y, k), value("lcs_knn", x, y, k) / k
    mutual, jaccard = value("mutual_knn", x, y, k), value("jaccard_knn", x, y, k)
    for lower, upper in ((edit, lcs), (lcs, mutual), (jaccard, mutual)):
        assert (lower <= upper + 1e-12).all()
    np.testing.assert_allclose(mutual * k * 48, np.round(mutual * k * 48), atol=1e-9)


@given(a=seeds, b=seeds, c=seeds, k=st.integers(1, 47))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_overlap_with_a_third_model_bounds_that_of_two(a, b, c, k):
    """Of k neighbours, those shared by A and B and those shared by B and C cannot avoid each other beyond k."""
    x, y, z = model(a % 20), model(20 + b % 20), model(c % 40)
    first, second, direct = (value("mutual_knn", *pair, k) for pair in ((x, y), (y, z), (x, z)))
    assert (direct[:, None, :] >= first[:, :, None] + second[None, :, :] - 1 - 1e-12).all()


def test_all_neighbours_are_common_in_the_end():
    np.testing.assert_array_equal(value("mutual_knn", model(1), model(2), 47), 1.0)


def test_masked_forms_end_in_cka():
    x, y = model(1), model(2)
    np.testing.assert_allclose(value("cknna_exact", x, y, 47), value("unbiased_cka", x, y), atol=1e-6)
    np.testing.assert_allclose(value("cknna", x, y, 47), value("unbiased_cka_published", x, y), atol=1e-6)
    a, b = (reference_kernel(layers_of(s)[0], centre=True) for s in (1, 2))
    np.fill_diagonal(a, 0), np.fill_diagonal(b, 0)
    expected = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
    assert value("cknna_centered", x, y, 47)[0, 0] == pytest.approx(expected, abs=1e-6)


def reference_kernel(x, centre=False):
    v = x.astype(float)
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    return (v - v.mean(axis=0)) @ (v - v.mean(axis=0)).T if centre else v @ v.T


@pytest.mark.parametrize("k", [3, 64, 65, 100])
def test_long_lists_equal_short_code(k):
    """Beyond a machine word the list metrics change their algorithm."""
    from zooalign.metrics import _lists

    x, y = (index_of(layers_of(s, n=130), 129) for s in (1, 2))
    for name, which in (("lcs_knn", 0), ("edit_distance_knn", 1)):
        found = value(name, x, y, k)
        terms = _lists.sequence_terms(x, y, 1, 0, k)[which].mean()
        assert found[1, 0] == pytest.approx(terms if which == 0 else 1 - terms / k, abs=1e-12)


def test_wide_lists_equal_narrow_code():
    x, y = (index_of(layers_of(s, n=300), 299) for s in (1, 2))
    for k in (255, 256, 280):
        sets = [[set(row[:k].tolist()) for row in s.neighbors[0]] for s in (x, y)]
        overlaps = np.array([len(a & b) for a, b in zip(*sets, strict=True)])
        assert value("mutual_knn", x, y, k)[0, 0] == pytest.approx(overlaps.mean() / k, abs=1e-12)
        assert value("jaccard_knn", x, y, k)[0, 0] == pytest.approx((overlaps / (2 * k - overlaps)).mean(), abs=1e-12)


@pytest.mark.parametrize("name", [n for n in NAMES if metrics.get(n).TAKES_K])
@pytest.mark.parametrize(
    ("k", "message"), [(0, "at least"), (48, "k = 48 with n = 48"), (2.5, "whole number"), (True, "whole")]
)
def test_k_out_of_range(name, k, message):
    with pytest.raises(MetricError, match=message):
        metrics.get(name).matrix(model(1), model(2), k)


def test_k_beyond_the_stored_lists_says_how_to_get_them():
    short = build_index(layers_of(1), k_max=5, name="tiny")
    with pytest.raises(MetricError, match=r"tiny keeps 5 neighbours.*k_max of at least 6"):
        metrics.get("mutual_knn").matrix(short, short, 6)


@pytest.mark.parametrize("name", NAMES)
def test_different_samples_are_refused(name):
    module = metrics.get(name)
    k = 5 if module.TAKES_K else None
    layers = layers_of(1)
    x = build_index(layers, k_max=10, needs=NEEDS, name="left")
    other = build_index([v[:40] for v in layers], k_max=10, needs=NEEDS, name="right")
    with pytest.raises(MetricError, match="left has 48 samples and right has 40"):
        module.matrix(x, other, k)
    ids = [str(i) for i in range(48)]
    ids[7] = "seven"
    renamed = build_index(layers, k_max=10, needs=NEEDS, name="right", sample_ids=ids)
    with pytest.raises(MetricError, match="sample 7 is '7' in the first and 'seven' in the second"):
        module.matrix(x, renamed, k)


def test_absent_layer_is_refused():
    with pytest.raises(MetricError, match="2 layers: there is no layer 2"):
        metrics.get("mutual_knn").terms(model(1), model(2), 0, 2, 5)


def test_unknown_metric_names_the_nearest():
    with pytest.raises(MetricError, match="did you mean 'mutual_knn'"):
        metrics.get("mutal_knn")
