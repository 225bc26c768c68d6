"""Metrics against the same quantities of numpy and scipy."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.test_metrics_properties import index_of, layers_of, reference_kernel, value
from zooalign import metrics
from zooalign.errors import MetricError
from zooalign.indexes.build import build_index
from zooalign.indexes.index import Index


def test_svcca_is_numpys_svd():
    x, y = layers_of(4, widths=(30, 14)), layers_of(5, widths=(12, 33))

    def basis(v):
        v = v.astype(float) / np.linalg.norm(v.astype(float), axis=1, keepdims=True)
        v -= v.mean(axis=0)
        return np.linalg.svd(v / v.std(axis=0), full_matrices=False)[0][:, :10]

    expected = [[np.linalg.svd(basis(a).T @ basis(b), compute_uv=False).mean() for b in y] for a in x]
    np.testing.assert_allclose(value("svcca", index_of(x), index_of(y)), expected, atol=1e-6)


def test_krylov_subspace_is_the_full_decompositions():
    """Wide enough for the iterative path, with and without a gap behind the tenth value."""
    from zooalign.indexes.subspaces import leading_eigenpairs

    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.standard_normal((300, 300)))[0]
    for spectrum in (np.arange(1.0, 301.0) ** -0.7, 1.0 + 0.01 * rng.random(300)):
        spectrum = np.sort(spectrum)[::-1]
        values, vectors = leading_eigenpairs((q * spectrum) @ q.T, 10)
        np.testing.assert_allclose(values, spectrum[:10], rtol=1e-10)
        angles = np.linalg.svd(q[:, :10].T @ vectors, compute_uv=False)
        np.testing.assert_allclose(angles, 1.0, atol=1e-9)


def test_rsa_is_scipys_spearman():
    from scipy.stats import spearmanr

    x, y = layers_of(4), layers_of(5)
    upper = np.triu_indices(48, 1)
    expected = [[spearmanr(reference_kernel(a)[upper], reference_kernel(b)[upper])[0] for b in y] for a in x]
    np.testing.assert_allclose(value("rsa", index_of(x), index_of(y)), expected, atol=1e-5)


def test_procrustes_is_scipys_rotation():
    from scipy.linalg import orthogonal_procrustes

    x, y = (layers_of(s, widths=(9,)) for s in (4, 5))
    a, b = (v[0] / np.linalg.norm(v[0], axis=1, keepdims=True) for v in (x, y))
    a, b = ((v - v.mean(axis=0)) / np.linalg.norm(v - v.mean(axis=0)) for v in (a.astype(float), b.astype(float)))
    rotation, nuclear = orthogonal_procrustes(a, b)
    found = value("procrustes", index_of(x), index_of(y))[0, 0]
    assert found == pytest.approx(nuclear, abs=1e-6)
    assert 2 - 2 * found == pytest.approx(np.linalg.norm(a @ rotation - b) ** 2, abs=1e-6)


def test_rbf_kernels_against_scipy():
    from scipy.spatial.distance import pdist, squareform

    x, y = layers_of(4), layers_of(5)
    n = 48
    centring = np.eye(n) - 1 / n

    def kernel(v, median):
        v = v.astype(float) / np.linalg.norm(v.astype(float), axis=1, keepdims=True)
        d = pdist(v, "sqeuclidean")
        sigma2 = np.sort(d)[int(0.5 * d.size)] if median else 1.0
        return centring @ np.exp(-squareform(d) / (2 * sigma2)) @ centring

    for name, median in (("cka_rbf", False), ("cka_rbf_median", True)):
        expected = np.empty((2, 2))
        for i, a in enumerate(x):
            for j, b in enumerate(y):
                k, m = kernel(a, median), kernel(b, median)
                expected[i, j] = (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())
        np.testing.assert_allclose(value(name, index_of(x), index_of(y)), expected, atol=2e-6)


def test_published_constant_hurts_only_where_documented():
    """Mean cosine .997: the published unbiased CKA of a model with itself is far from 1, ours is 1."""
    rng = np.random.default_rng(0)
    x = index_of([(rng.standard_normal((200, 64)) + 18).astype(np.float32)], 10)
    assert value("unbiased_cka", x, x)[0, 0] == pytest.approx(1.0, abs=1e-9)
    assert value("unbiased_cka_published", x, x)[0, 0] < 0.9


def test_indexes_without_what_is_needed_say_so():
    bare = build_index(layers_of(1), k_max=5, name="bare")
    assert isinstance(bare, Index)
    with pytest.raises(MetricError, match="bare holds neighbors but not 'gram'"):
        metrics.get("cka").matrix(bare, bare)
