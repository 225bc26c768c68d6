"""Layers that leave a metric little to measure: equal distances, narrow cones, one large column, full spaces.

Expected values come from float64 on the differences of rows; what is undefined is NaN, never a number of rounding.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import rankdata, spearmanr

from zooalign import metrics
from zooalign.alignment.inference import calibrate, permutation_null
from zooalign.errors import MetricError
from zooalign.indexes.build import build_index
from zooalign.indexes.preparation import Preparation

PLAIN = Preparation(clamp_scope="none")
N = 60


def index_of(*layers, name="index"):
    needs = ("gram", "gram_rbf", "gram_rbf_median", "ranks", "features", "subspace", "sketches", "similarities")
    return build_index([np.asarray(x, np.float32) for x in layers], PLAIN, 20, needs, name=name)


def value(name, x, y):
    module = metrics.get(name)
    return module.matrix(index_of(x), index_of(y), 5 if module.TAKES_K else None)[0, 0]


def normal(seed, n=N, d=30):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def unit(x):
    x = np.asarray(x, np.float32).astype(float)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def equally_far():
    """Layers whose samples are all at one distance, up to the rounding of float32."""
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((N, N)))[0]
    return {"one-hot": np.eye(N), "shifted": np.eye(N) + 3, "far": np.eye(N) + 30, "rotated": rotation}


@pytest.mark.parametrize("which", equally_far())
@pytest.mark.parametrize("name", ["rsa", "unbiased_cka", "unbiased_cka_published"])
def test_equal_distances_leave_nothing_to_compare(name, which):
    layer = equally_far()[which]
    assert np.isnan(value(name, layer, normal(1)))
    assert np.isnan(value(name, normal(1), layer))
    assert np.isnan(value(name, layer, layer))


def test_terms_of_an_undefined_score_are_undefined():
    terms = metrics.get("unbiased_cka").terms(index_of(np.eye(N)), index_of(normal(1)), 0, 0)
    assert np.isnan(terms).all()


def test_masked_kernel_that_cancels_is_undefined():
    """Under a mask of all pairs, equal similarities have no HSIC."""
    x, y = (build_index([v], PLAIN, N - 1, ["similarities"]) for v in (np.eye(N) + 3, normal(1)))
    assert np.isnan(metrics.get("cknna_exact").matrix(x, y, N - 1)).all()


@pytest.mark.parametrize("factor", [1e2, 1e3, 1e4])
def test_rsa_with_one_large_column(factor):
    x, noise = normal(2), normal(3)
    y = x @ normal(4, 30, 30) + noise
    x[:, 0] *= factor
    y[:, 5] *= factor
    expected = spearmanr(pdist(unit(x), "sqeuclidean"), pdist(unit(y), "sqeuclidean"))[0]
    assert value("rsa", x, y) == pytest.approx(expected, abs=2e-6)


def cone(seed, spread, cause):
    rng = np.random.default_rng(seed)
    axis = rng.standard_normal(30)
    return axis / np.linalg.norm(axis) + spread * (cause + 0.3 * rng.standard_normal((N, 30))) / np.sqrt(30)


@pytest.mark.parametrize("spread", [1e-2, 1e-3, 1e-4, 1e-5])
@pytest.mark.parametrize("name", ["cka_rbf", "cka_rbf_median", "rsa"])
def test_narrow_cones(name, spread):
    """Mean cosines 1 - 1e-4 to 1 - 1e-10, against float64."""
    x, y = (cone(seed, spread, normal(5)) for seed in (6, 7))
    squares = [pdist(unit(v), "sqeuclidean") for v in (x, y)]
    if name == "rsa":
        expected = spearmanr(*squares)[0]
    else:
        kernels = []
        for s in squares:
            kernel = np.expm1(-squareform(s) / (2 * (np.sort(s)[s.size // 2] if name.endswith("median") else 1.0)))
            kernel -= kernel.mean(axis=0)
            kernels.append(kernel - kernel.mean(axis=1, keepdims=True))
        a, b = kernels
        expected = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
    assert value(name, x, y) == pytest.approx(expected, abs=1e-6)


def test_distances_equal_but_for_rounding_share_their_rank():
    """Points of a lattice scaled by thirds: float64 distances differ in their last bits, exact ones do not."""
    from zooalign.indexes.gram import dissimilarity_ranks, squared_distances
    from zooalign.indexes.preparation import prepare_layers

    lattice = np.random.default_rng(8).integers(0, 4, (40, 6))
    exact = pdist(lattice, "sqeuclidean").round()
    options = Preparation(clamp_scope="none", normalise="none", similarity="euclidean")
    (rows,) = prepare_layers([lattice.astype(np.float32)], options, ["layer"], [str(i) for i in range(40)])
    rows = type(rows)(rows.name, rows.values, rows.scale / 3.0, rows.rank_scale)
    distances = squared_distances(rows)
    assert len(np.unique(distances.squares)) > len(np.unique(exact)) + 1
    expected = rankdata(exact) - (exact.size + 1) / 2
    np.testing.assert_allclose(dissimilarity_ranks(distances), expected / np.linalg.norm(expected), atol=1e-8)


def test_parallel_rows_are_constant_under_gaussian_kernels():
    """Multiples of one row differ by float32 rounding alone once they have unit length."""
    layer = np.outer(np.arange(1, N + 1), normal(9, 1)[0]).astype(np.float32)
    for name in ("cka_rbf", "cka_rbf_median", "rsa"):
        assert np.isnan(value(name, layer, normal(1))), name


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("name", "n"), [("pwcca", 40), ("pwcca", 11), ("svcca", 11), ("svcca_published", 10)])
def test_what_fills_the_space_has_p_1(name, n, seed):
    x, y = index_of(normal(seed, n, 60)), index_of(normal(100 + seed, n, 60))
    found = permutation_null(x, y, name, permutations=49, seed=seed)
    assert found.observed == 1.0
    np.testing.assert_array_equal(found.null, 1.0)
    assert found.p_value == 1.0
    assert found.calibrated == 0.0


@pytest.mark.parametrize("name", ["procrustes", "cka", "cka_rbf"])
def test_what_no_permutation_changes_has_p_1(name):
    """A flat spectrum: every pairing has the same score, below 1, and the null differs by rounding alone."""
    for other in (normal(1), np.eye(N)):
        found = permutation_null(index_of(np.eye(N)), index_of(other), name, permutations=49)
        assert np.ptp(found.null) < 1e-7
        assert found.p_value == 1.0


def test_a_real_difference_is_no_rounding():
    assert calibrate(0.5, np.full(99, 0.4999))[1] == 0.01


def test_svcca_published_refuses_what_the_published_code_refuses():
    module = metrics.get("svcca_published")
    narrow, wide = normal(1, d=4), normal(2, d=12)
    mixed = index_of(narrow, wide, name="mixed")
    with pytest.warns(UserWarning, match=r"at least 10 features.*mixed, layer '0' \(4 wide\).*Use svcca"):
        found = module.matrix(mixed, index_of(wide))
    np.testing.assert_array_equal(np.isnan(found), [[True], [False]])
    with pytest.raises(MetricError, match=r"at least 10 features.*thin, layer '0' \(4 wide\)"):
        module.matrix(index_of(narrow, name="thin"), index_of(wide))
    with pytest.raises(MetricError, match="at least 10 samples; index has 9"):
        module.matrix(index_of(wide[:9]), index_of(wide[:9]))
    np.testing.assert_array_equal(found[1], module.matrix(index_of(wide), index_of(wide))[0])
