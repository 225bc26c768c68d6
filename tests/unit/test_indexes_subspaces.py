"""Subspaces: those of numpy's full decomposition and of the published algorithm, whatever the spectrum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zooalign.indexes import subspaces
from zooalign.indexes.preparation import Preparation, prepare_layers

PLAIN = Preparation(clamp_scope="none", normalise="none", similarity="euclidean")


def rows_of(x):
    (rows,) = prepare_layers([x], PLAIN, ["layer"], [str(i) for i in range(len(x))])
    return rows


def z_scored(x):
    """As documented, by numpy in float64."""
    x = np.asarray(x, np.float32).astype(float)
    size = np.abs(x).max(axis=0)
    x = x - x.mean(axis=0)
    spread = x.std(axis=0)
    flat = spread <= 1e-6 * size
    return np.where(flat, 0.0, x / np.where(flat, 1.0, spread))


def smallest_cosine(a, b):
    """Of the angles between two subspaces of one dimension."""
    return np.linalg.svd(a.T @ b, compute_uv=False).min()


def spectrum(n, d, values, seed=0):
    """A layer whose centred columns have these singular values, about; the rest is zero."""
    rng = np.random.default_rng(seed)
    u = rng.standard_normal((n, len(values)))
    u = np.linalg.qr(u - u.mean(axis=0))[0]
    return (u * values) @ np.linalg.qr(rng.standard_normal((d, len(values))))[0].T


@pytest.mark.parametrize("shape", [(90, 40), (300, 700), (64, 64), (65, 1), (2, 300), (200, 513)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_columns_are_z_scored(shape, dtype):
    x = (np.random.default_rng(1).standard_normal(shape) * 3 + 5).astype(dtype)
    x[:, 0] = 7.0
    x[:, -1] = np.where(np.arange(len(x)) % 2, 1.0, 1.0 + 1e-7)  # nothing but the rounding of float32
    columns = subspaces.standardise(rows_of(x))
    n, d = shape
    np.testing.assert_allclose(columns.z[:n, :d], z_scored(x), rtol=0, atol=1e-12)
    assert not columns.z[:, [0, d - 1]].any()
    assert not columns.z[n:].any()
    assert not columns.z[:, d:].any()


SPECTRA = {
    "falling": np.arange(1.0, 61.0) ** -0.5,
    "steep": 10.0 ** -np.arange(0.0, 6.0, 0.5),
    "near-degenerate": np.concatenate([np.full(9, 2.0), 1.0 + 1e-5 * np.arange(40)[::-1]]),
    "rank 10": np.linspace(2, 1, 10),
    "rank 3": np.array([3.0, 2.0, 1.0]),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize(("n", "d"), [(400, 150), (150, 400)])
def test_leading_subspace_is_the_full_decompositions(name, n, d):
    x = spectrum(n, d, SPECTRA[name])
    u, s, _ = np.linalg.svd(z_scored(x), full_matrices=False)
    found = subspaces.leading_subspace(subspaces.standardise(rows_of(x)))
    rank = min(10, int((s > 1e-6 * s[0]).sum()))
    np.testing.assert_allclose(found[:, :rank].T @ found[:, :rank], np.eye(rank), atol=1e-7)
    # Directions above the last large gap are fixed; within a cluster any basis is as good.
    gaps = np.flatnonzero(s[:rank] - s[1 : rank + 1] > 1e-4 * s[0])
    for r in gaps + 1:
        assert smallest_cosine(u[:, :r], found[:, :r]) > 1 - 1e-9, r
    if name == "rank 3":
        assert len(gaps) >= 1


@given(seed=st.integers(0, 10_000), n=st.integers(2, 40), d=st.integers(1, 40), levels=st.integers(1, 3))
@settings(deadline=None, max_examples=40)
def test_small_integers_give_orthonormal_columns_or_zeros(seed, n, d, levels):
    """Duplicates, constant columns and low ranks."""
    x = np.random.default_rng(seed).integers(0, levels + 1, (n, d)).astype(np.float32)
    columns = subspaces.standardise(rows_of(x))
    found = subspaces.leading_subspace(columns)
    z = z_scored(x)
    rank = min(10, np.linalg.matrix_rank(z))
    product = found.T @ found
    np.testing.assert_allclose(np.diag(product)[:rank], 1.0, atol=1e-6)
    np.testing.assert_allclose(product[:rank, :rank], np.eye(rank), atol=1e-6)
    # What the directions carry of z is what the leading singular values say.
    s = np.linalg.svd(z, compute_uv=False)[:rank]
    np.testing.assert_allclose(np.linalg.norm(z.T @ found[:, :rank], axis=0), s, atol=1e-5 * (1 + s.sum()))


def drawn_as_published(x, draw):
    """The range finder as it is published: orthonormal columns after every product."""
    z = z_scored(x)
    start = np.random.default_rng(draw).standard_normal((z.shape[1], 10))
    basis = np.linalg.qr(z @ start)[0]
    for _ in range(2):
        basis = np.linalg.qr(z @ np.linalg.qr(z.T @ basis)[0])[0]
    return basis


@pytest.mark.parametrize("name", ["falling", "steep", "near-degenerate", "rank 10"])
@pytest.mark.parametrize(("n", "d"), [(300, 120), (120, 300), (100, 100)])
def test_sketches_are_the_published_draws(name, n, d):
    x = spectrum(n, d, SPECTRA[name], seed=3)
    found = subspaces.sketches(subspaces.standardise(rows_of(x)))
    for draw in range(4):
        np.testing.assert_allclose(found[draw].T @ found[draw], np.eye(10), atol=1e-10)
        assert smallest_cosine(drawn_as_published(x, draw), found[draw]) > 1 - 1e-9


@pytest.mark.parametrize("values", [np.array([1.0, 1e-5]), np.geomspace(1, 1e-5, 12), np.array([1.0])])
@pytest.mark.parametrize(("n", "d"), [(300, 120), (120, 300)])
def test_sketches_keep_what_the_gram_matrix_would_lose(values, n, d, monkeypatch):
    """Equal columns leave few directions; the sketch is then that of the columns, bit for bit."""
    rng = np.random.default_rng(0)
    u = np.linalg.qr(rng.standard_normal((n, len(values))))[0] * values
    x = u[:, [0]] + np.repeat(u, -(-d // len(values)), axis=1)[:, :d]
    columns = subspaces.standardise(rows_of(x))
    found = subspaces.sketches(columns)
    monkeypatch.setattr(subspaces, "_SHRUNK", np.inf)
    np.testing.assert_array_equal(found, subspaces.sketches(columns))
    assert np.isfinite(found).all()


@pytest.mark.parametrize(("n", "d"), [(30, 4), (6, 30)])
def test_sketches_of_narrow_layers_say_what_they_lack(n, d):
    found = subspaces.sketches(subspaces.standardise(rows_of(np.random.default_rng(0).standard_normal((n, d)))))
    width = min(n, d)
    assert np.isfinite(found[:, :, :width]).all()
    assert np.isnan(found[:, :, width:]).all()


def test_a_constant_layer_has_no_subspace():
    columns = subspaces.standardise(rows_of(np.full((80, 200), 0.3)))
    assert not columns.z.any()
    assert not subspaces.leading_subspace(columns).any()
    assert not subspaces.sketches(columns).any()
