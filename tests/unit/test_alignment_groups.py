"""Groups of samples: what a permutation and a half may do to them, files of them, and near-duplicates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zooalign.alignment.groups import as_groups, duplicate_warning, near_duplicates, read_groups, singletons
from zooalign.errors import MetricError, StoreError
from zooalign.indexes.build import build_index
from zooalign.indexes.preparation import Preparation

PLAIN = Preparation(clamp_scope="none")
labels = st.lists(st.integers(0, 6), min_size=4, max_size=40).filter(lambda values: len(set(values)) > 1)


@given(labels, st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_a_permutation_maps_groups_onto_groups_of_their_size_in_order(values, seed):
    groups = as_groups(values, len(values))
    order = groups.order(np.random.default_rng(seed))
    assert sorted(order) == list(range(len(values)))
    for group in range(groups.count):
        image = order[groups.codes == group]
        assert len(set(groups.codes[image])) == 1
        assert groups.sizes[groups.codes[image[0]]] == len(image)
        assert (np.diff(image) > 0).all()
    moved = groups.codes[order] != groups.codes
    lonely = np.isin(groups.sizes[groups.codes], [s for s in groups.sizes if (groups.sizes == s).sum() == 1])
    assert not moved[lonely].any()
    assert lonely.sum() == groups.fixed_samples()


@given(labels, st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_no_group_is_in_both_halves(values, seed):
    groups = as_groups(values, len(values))
    first, second = groups.halves(np.random.default_rng(seed))
    assert not set(groups.codes[first]) & set(groups.codes[second])
    assert len(set(first) | set(second)) == len(first) + len(second)
    left_out = len(values) - len(first) - len(second)
    if len(set(groups.sizes)) == 1:
        assert len(first) == len(second)
        assert left_out == (groups.count % 2) * groups.sizes[0]
    else:
        assert left_out == 0
        assert abs(len(first) - len(second)) <= groups.sizes.max()


def test_orders_of_equal_groups_are_uniform():
    counts: dict[tuple[int, ...], int] = {}
    generator = np.random.default_rng(0)
    for _ in range(600):
        order = tuple(as_groups("aabbcc", 6).order(generator))
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    assert min(counts.values()) > 60


def test_groups_that_cannot_reach_the_level_are_refused():
    with pytest.raises(MetricError, match=r"1 of 1, 2 of 2.*1 / alpha = 20"):
        as_groups("abbcc", 5).check_permutable(0.05)
    as_groups("abbccdde", 8).check_permutable(0.1)
    singletons(8).check_permutable(0.05)


@pytest.mark.parametrize(
    ("values", "message"),
    [("ab", "2 group labels for 3"), (["a", None, "b"], "sample 1 has no group"), ("aaa", "all samples are of one")],
)
def test_labels_that_are_no_groups(values, message):
    with pytest.raises(MetricError, match=message):
        as_groups(values, 3)


def test_files_of_groups(tmp_path):
    plain, table = tmp_path / "groups.txt", tmp_path / "groups.csv"
    plain.write_text("a\nb\na\n")
    table.write_text("id,group\nz,b\ny,a\nx,a\nw,c\n")
    ids = ["x", "z", "y"]
    assert read_groups(plain, ids) == ["a", "b", "a"]
    assert read_groups(table, ids) == ["a", "b", "a"]
    with pytest.raises(MetricError, match="no group for sample 'v'"):
        read_groups(table, ["v"])
    table.write_text("id,group\nx,b\nx,a\n")
    with pytest.raises(MetricError, match="sample 'x' twice"):
        read_groups(table, ids)
    table.write_text("id,cluster\nx,b\n")
    with pytest.raises(StoreError, match="no columns 'id' and 'group'"):
        read_groups(table, ids)
    with pytest.raises(StoreError, match="cannot read the groups"):
        read_groups(tmp_path / "none.txt", ids)


def _pair(make, widths=(20, 30)):
    rng = np.random.default_rng(0)
    return [build_index([make(rng, d)], PLAIN, 48, ("neighbors", "similarities")) for d in widths]


def test_tight_groups_and_frames_are_near_duplicates_and_ordinary_features_are_not():
    codes = np.repeat(np.arange(30), 10)
    tight = _pair(lambda rng, d: rng.standard_normal((30, d))[codes] + 0.05 * rng.standard_normal((300, d)))
    assert near_duplicates(*tight).all()
    assert "300 of 300 samples" in duplicate_warning(*tight)[0]
    frames = _pair(lambda rng, d: np.cumsum(rng.standard_normal((300, d)), axis=0))
    assert near_duplicates(*frames).mean() > 0.8
    cause = np.random.default_rng(1).standard_normal((300, 8))
    aligned = _pair(lambda rng, d: 2 * cause @ rng.standard_normal((8, d)) + rng.standard_normal((300, d)))
    assert near_duplicates(*aligned).mean() < 0.01
    narrow = _pair(lambda rng, d: rng.standard_normal((300, d)), (5, 6))
    assert not duplicate_warning(*narrow)
    # Duplicates in one model alone, such as a layer of few distinct rows, are not of the samples.
    assert not duplicate_warning(tight[0], aligned[1])


def test_without_similarities_nothing_is_claimed():
    x = np.random.default_rng(0).standard_normal((40, 5))
    assert near_duplicates(*(build_index([x], PLAIN, 10) for _ in range(2))) is None
    raw = Preparation(clamp_scope="none", normalise="none")
    assert near_duplicates(*(build_index([x], raw, 10, ("similarities",)) for _ in range(2))) is None
