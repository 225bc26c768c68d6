"""Known answers: the values that the published code gives, and values by formula."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from zooalign import metrics
from zooalign.indexing import NEEDS, build_index
from zooalign.preparation import Preparation

DATA = Path(__file__).parents[1] / "data"
ANSWERS = json.loads((DATA / "layers_256.json").read_text())["scores"]
# What we call the published forms where the sound form is another.
NAMES = {"unbiased_cka": "unbiased_cka_published", "cka": "cka_published", "cka_rbf1": "cka_rbf_published"}
TOLERANCE = {"svcca": 0.03}


@pytest.fixture(scope="module")
def pair():
    with np.load(DATA / "layers_256.npz") as file:
        return [
            build_index(list(np.moveaxis(file[m], 1, 0)), k_max=255, needs=NEEDS, name=m) for m in ("A", "B")
        ]


@pytest.mark.parametrize("answer", ANSWERS)
def test_published_values(pair, answer):
    published, _, k = answer.partition("@")
    name = NAMES.get(published, published)
    if name not in metrics.names():
        pytest.skip(f"{name} does not exist yet")
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
    "unbiased_cka": (None, -0.02058163, 0.78384835, 0.78384835),
    "cknna": (10, 0.02106641, 0.67412176, 0.67449207),
}


@pytest.mark.parametrize("name", TABLE)
def test_values_by_formula(formula, name):
    if name not in metrics.names():
        pytest.skip(f"{name} does not exist yet")
    k, *expected = TABLE[name]
    metric = metrics.get(name)
    pairs = (("A", "B"), ("A", "C"), ("C", "A"))
    found = [metric.matrix(formula[x], formula[y], k)[0, 0] for x, y in pairs]
    # The table was made with 1e-6 in the denominators of the unbiased forms.
    tolerance = 2e-5 if name in ("unbiased_cka", "cknna") else 1e-6
    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)


def test_overlap_over_k_is_a_count(pair):
    found = metrics.get("mutual_knn").matrix(*pair, 7) * 7 * 256
    np.testing.assert_allclose(found, np.round(found), atol=1e-9)
