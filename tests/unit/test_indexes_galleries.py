"""Streamed galleries: the neighbours of a float64 sort, whatever the precision, the block and the device."""

from __future__ import annotations

import numpy as np
import pytest

from zooalign.errors import FeatureError, MetricError
from zooalign.indexes.galleries import nearest_in_gallery
from zooalign.indexes.neighbors import nearest
from zooalign.indexes.preparation import Preparation, prepare_layers

pytest.importorskip("torch")

SIMILARITIES = {
    "cosine": Preparation(),
    "inner_product": Preparation(normalise="none", similarity="inner_product"),
    "euclidean": Preparation(normalise="none", similarity="euclidean"),
}


def features(shift, m=1500, d=40):
    x = (np.random.default_rng(0).standard_normal((m, d)) + shift).astype(np.float16)
    x[m - 100 :] = x[:100]  # duplicates tie
    return x


def scores(queries, gallery, own, similarity):
    q, x = queries.astype(float), gallery.astype(float)
    if similarity == "cosine":
        q, x = (v / np.sqrt((v * v).sum(axis=1, keepdims=True)) for v in (q, x))
    score = -((q[:, None] - x[None]) ** 2).sum(axis=-1) if similarity == "euclidean" else q @ x.T
    score = np.round(score, 10)  # duplicates must tie in the reference too
    if len(own):
        score[np.arange(len(q)), own] = -np.inf
    return score


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("shift", [0.0, 17.0])
@pytest.mark.parametrize(("scan", "block"), [("bfloat16", 16384), ("bfloat16", 257), ("float32", 640)])
def test_equal_to_a_float64_sort(similarity, shift, scan, block, tie_order):
    gallery = features(shift)
    own = np.arange(0, 1500, 23)
    names = [f"s{i}" for i in range(1500)]
    preparation = SIMILARITIES[similarity]
    found, values = nearest_in_gallery(
        gallery[own], gallery, 12, preparation, query_ids=[names[i] for i in own], gallery_ids=names,
        scan=scan, block=block,
    )  # fmt: skip
    plain = Preparation(clamp_scope="none", normalise=preparation.normalise, similarity=preparation.similarity)
    (rows,) = prepare_layers([gallery[own]], plain, ["queries"], [str(i) for i in own])
    expected = tie_order(rows, scores(gallery[own], gallery, own, similarity), 12)
    np.testing.assert_array_equal(found, expected)
    assert (np.diff(values, axis=1) <= 0).all()


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_few_distinct_rows_in_blocks_of_any_size(similarity, tie_order):
    """Every block holds rows that tie with the best of the others."""
    x = features(1.0, d=6)[:3][np.random.default_rng(1).integers(0, 3, 700)]
    x[:, :2] = 0.5  # a sample of the columns does not tell the rows apart by their first ones
    preparation = SIMILARITIES[similarity]
    first, values = nearest_in_gallery(x[:20], x, 9, preparation)
    for block, scan in ((1, "float32"), (13, "bfloat16"), (300, "float32"), (699, "bfloat16")):
        found, again = nearest_in_gallery(x[:20], x, 9, preparation, block=block, scan=scan)
        np.testing.assert_array_equal(found, first)
        np.testing.assert_array_equal(again, values)
    plain = Preparation(clamp_scope="none", normalise=preparation.normalise, similarity=preparation.similarity)
    (rows,) = prepare_layers([x[:20]], plain, ["queries"], [str(i) for i in range(20)])
    np.testing.assert_array_equal(first, tie_order(rows, np.round(scores(x[:20], x, [], similarity), 10), 9))


def test_one_row_a_hundred_thousand_times():
    found, values = nearest_in_gallery(np.ones((5, 8)), np.broadcast_to(np.ones(8, np.float32), (100_000, 8)), 4)
    assert all(len(set(row)) == 4 for row in found.tolist())
    assert 20_000 < found.mean() < 80_000  # drawn from the whole gallery
    np.testing.assert_array_equal(values, 1.0)


def test_equal_to_the_neighbours_of_a_small_set():
    x = features(3.0, m=400)
    names = [str(i) for i in range(400)]
    (rows,) = prepare_layers([x], Preparation(clamp_scope="none"), ["layer"], names)
    found, _ = nearest_in_gallery(x, x, 48, query_ids=names, gallery_ids=names)
    np.testing.assert_array_equal(found, nearest(rows, Preparation(clamp_scope="none"), 48).lists)


def test_queries_without_ids_may_find_themselves():
    x = features(0.0)[:300]
    found, values = nearest_in_gallery(x[:9], x, 1)
    assert found[:, 0].tolist() == list(range(9))
    np.testing.assert_allclose(values, 1.0, atol=1e-12)


def test_the_device_path_finds_the_same(monkeypatch):
    """What a GPU does, run on the CPU: select by mask, settle in float64."""
    import zooalign.indexes.galleries as galleries

    x = features(5.0)
    expected = nearest_in_gallery(x[:40], x, 7)[0]
    original = galleries._offer

    class Elsewhere:
        type = "elsewhere"

    def offered(search, block, factor, some, part, first, margin, known, scan, place):
        original(search, block, factor, some, part, first, margin, known, scan, _Like(place))

    class _Like:
        def __init__(self, place):
            self.type, self.place = Elsewhere.type, place

    import torch

    to = torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", lambda t, p, *a, **k: t if isinstance(p, _Like) else to(t, p, *a, **k))
    monkeypatch.setattr(galleries, "_offer", offered)
    for block in (16384, 333, 5):
        np.testing.assert_array_equal(galleries.nearest_in_gallery(x[:40], x, 7, block=block)[0], expected)


def test_a_store_is_read_in_order_and_in_blocks():
    x = features(0.0)
    asked = []

    class Stored:
        shape = x.shape

        def __getitem__(self, rows):
            asked.append((rows.start, rows.stop))
            return x[rows]

    found, _ = nearest_in_gallery(x[:5], Stored(), 3, block=400)
    assert asked == [(0, 400), (400, 800), (800, 1200), (1200, 1600)]
    np.testing.assert_array_equal(found, nearest_in_gallery(x[:5], x, 3)[0])


def test_clamp_is_applied_to_both_sides():
    x = features(0.0)
    clipped = np.clip(x.astype(np.float32), -0.7, 0.7)
    np.testing.assert_array_equal(
        nearest_in_gallery(x[:9], x, 5, clamp=0.7)[0], nearest_in_gallery(clipped[:9], clipped, 5)[0]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k = 0 neighbours"),
        ({"k": 61}, "gallery of 60 rows"),
        ({"k": 60, "query_ids": list("abcde"), "gallery_ids": [*"abcde", *map(str, range(55))]}, "below 60"),
        ({"queries": np.ones((5, 3))}, r"expected \(q, d\) and \(m, d\)"),
        ({"query_ids": ["a"] * 5, "gallery_ids": list(range(60))}, "twice among the queries"),
        ({"query_ids": list("abcde"), "gallery_ids": ["a"] * 60}, "'a' occurs twice in the gallery, at rows 0 and 1"),
        ({"query_ids": list("abc"), "gallery_ids": list(range(60))}, "3 ids for 5 queries"),
        ({"scan": "fp8"}, "unknown scan"),
        ({"block": 0}, "at least one gallery row"),
        ({"preparation": Preparation(normalise="centred_l2")}, "cannot be centred"),
        ({"preparation": Preparation(precision="float16")}, "is not rounded"),
    ],
)
def test_bad_input(change, message):
    x = features(1.0, m=160)[:60]
    options = {"queries": x[:5], "gallery": x, "k": 3, **change}
    with pytest.raises(MetricError, match=message):
        nearest_in_gallery(**options)


def test_bad_features_name_the_sample():
    x = features(1.0).astype(np.float32)
    names = [f"s{i}" for i in range(1500)]
    x[1203, 4] = np.nan
    with pytest.raises(FeatureError, match=r"'gallery'.*'s1203'"):
        nearest_in_gallery(x[:5], x, 3, gallery_ids=names, query_ids=names[:5], block=500)
    with pytest.raises(FeatureError, match="clamp is -1"):
        nearest_in_gallery(x[:5], x[:100], 3, clamp=-1)
