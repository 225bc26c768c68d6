"""Known answers: the values that the published code gives, and values by formula."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from zooalign import metrics
from zooalign.indexes.build import build_index
from zooalign.indexes.index import NEEDS
from zooalign.indexes.preparation import Preparation

DATA = Path(__file__).parents[1] / "data"
ANSWERS = json.loads((DATA / "layers_256.json").read_text())["scores"]
# What we call the published forms where the sound form is another.
NAMES = {
    "unbiased_cka": "unbiased_cka_published",
    "cka": "cka_published",
    "cka_rbf1": "cka_rbf_published",
    "svcca": "svcca_published",
}
# The answer is a single draw of a randomised method; 200 draws of it have a standard deviation of .02 and a mean
# that lies up to .038 (2.0 standard deviations) from it. The deterministic svcca is tested against numpy's SVD.
TOLERANCE = {"svcca": 0.045}


@pytest.fixture(scope="module")
def pair():
    with np.load(DATA / "layers_256.npz") as file:
        return [build_index(list(np.moveaxis(file[m], 1, 0)), k_max=255, needs=NEEDS, name=m) for m in ("A", "B")]


@pytest.mark.parametrize("answer", ANSWERS)
def test_published_values(pair, answer):
    published, _, k = answer.partition("@")
    name = NAMES.get(published, published)
    found = metrics.get(name).matrix(*pair, int(k) if k else None)
    np.testing.assert_allclose(found, ANSWERS[answer], atol=TOLERANCE.get(published, 1e-6), rtol=0)


@pytest.fixture(scope="module")
def formula():
    i, j, m = np.arange(256)[:, None], np.arange(16)[None, :], np.arange(24)[None, :]
    a = np.sin(0.37 * i * (1 + j) + 0.11 * j)
    b = np.cos(0.53 * i * (1 + m) + 0.07 * m)
    c = np.concatenate([a + 0.5 * np.sin(1.7 * i * (1 + j)), b[:, :4]], axis=1)
    plain = Preparation(clamp_scope="none")
    return {n: build_index([x], plain, 255, NEEDS, name=n) for n, x in (("A", a), ("B", b), ("C", c))}


TABLE = {
    "mutual_knn": (10, 0.02421875, 0.76015627, 0.76015627),
    "cycle_knn": (10, 0.23828125, 0.984375, 0.98828125),
    "lcs_knn": (10, 0.2421875, 3.3046875, 3.3046875),
    "edit_distance_knn": (10, 0.003125, 0.09453125, 0.09453125),
    "cka": (None, 0.04430065, 0.79430438, 0.79430438),
    "cka_rbf": (None, 0.07404717, 0.82001720, 0.82001720),
    "unbiased_cka_published": (None, -0.02058163, 0.78384835, 0.78384835),
    "cknna": (10, 0.02106641, 0.67412176, 0.67449207),
}


@pytest.mark.parametrize("name", TABLE)
def test_values_by_formula(formula, name):
    k, *expected = TABLE[name]
    metric = metrics.get(name)
    pairs = (("A", "B"), ("A", "C"), ("C", "A"))
    found = [metric.matrix(formula[x], formula[y], k)[0, 0] for x, y in pairs]
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("k", "expected"), [(2, 0.09891635), (50, 0.86507999), (128, 0.84677102), (255, 0.78384835)])
def test_cknna_by_formula(formula, k, expected):
    found = metrics.get("cknna").matrix(formula["A"], formula["C"], k)[0, 0]
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("sound", "published", "k"),
    [("cka", "cka_published", None), ("unbiased_cka", "unbiased_cka_published", None), ("cknna_exact", "cknna", 10)],
)
def test_sound_forms_differ_by_the_constant_alone(pair, sound, published, k):
    exact, with_constant = (metrics.get(name).matrix(*pair, k) for name in (sound, published))
    np.testing.assert_allclose(exact, with_constant, atol=6e-5, rtol=0)
    assert (np.abs(exact) > np.abs(with_constant)).all()


def test_overlap_over_k_is_a_count(pair):
    found = metrics.get("mutual_knn").matrix(*pair, 7) * 7 * 256
    np.testing.assert_allclose(found, np.round(found), atol=1e-9)


def test_cycle_knn_reverse_is_the_other_direction():
    rng = np.random.default_rng(3)
    x, y = (build_index([rng.standard_normal((50, 6)) for _ in range(layers)]) for layers in (2, 3))
    forward, reverse = metrics.get("cycle_knn"), metrics.get("cycle_knn_reverse")
    np.testing.assert_array_equal(reverse.matrix(x, y, 4), forward.matrix(y, x, 4).T)
    assert (reverse.matrix(x, y, 4) != forward.matrix(x, y, 4)).any()
    assert reverse.terms(x, y, 1, 2, 4).mean() == pytest.approx(reverse.matrix(x, y, 4)[1, 2])
