"""A null that was interrupted goes on, and is bit for bit the one that was not."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import zooalign
from zooalign import metrics
from zooalign.storage.journal import resumable_values


@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(1, 12))
def test_whatever_calls_were_interrupted_each_value_is_computed_once(tmp_path_factory, stops, n):
    path = tmp_path_factory.mktemp("kept") / "null.json"
    seen = []

    def function(item):
        if len(seen) in stops and not retried[0]:
            retried[0] = True
            raise KeyboardInterrupt
        seen.append(item)
        return item / 3

    retried = [False]
    for _ in range(20):
        retried[0] = False
        try:
            values = resumable_values(function, iter(range(n)), path, "key")
            break
        except KeyboardInterrupt:
            stops = [s for s in stops if s > len(seen)]
    assert values == [i / 3 for i in range(n)]
    assert seen == list(range(n))


def test_fewer_more_and_other_values(tmp_path):
    path = tmp_path / "null.json"
    assert resumable_values(float, range(5), path, "a") == [0, 1, 2, 3, 4]
    assert resumable_values(lambda i: pytest.fail("computed again"), range(3), path, "a") == [0, 1, 2]
    assert resumable_values(lambda i: -i, range(3), path, "b") == [0, -1, -2]
    assert resumable_values(float, range(7), path, "a")[-1] == 6
    path.write_text("{torn")
    assert resumable_values(float, range(2), path, "a") == [0, 1]


def keys(journal):
    """Key of every value in a journal."""
    return [json.loads(line)[0] for line in journal.read_text().splitlines()]


@pytest.fixture
def sides():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 2, 8)).astype(np.float32)
    return x, x[:, 0] + rng.standard_normal((60, 8)).astype(np.float32)


def test_an_interrupted_score_goes_on_and_is_the_same(tmp_path, sides, monkeypatch):
    keep = tmp_path / ".scores.null"
    options = {"metric": "mutual_knn,cka", "k": 5, "null": 30, "seed": 4}
    whole = zooalign.score(*sides, **options)
    module = metrics.get("cka")
    matrix, calls = module.matrix, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return matrix(*arguments)

    monkeypatch.setattr(module, "matrix", interrupted)
    with pytest.raises(KeyboardInterrupt):
        zooalign.score(*sides, **options, keep=keep)
    assert sorted(Counter(keys(keep)).values()) == [9, 30]
    calls.clear()
    calls += [1] * 100
    again = zooalign.score(*sides, **options, keep=keep)
    # The best layer pair twice (for itself and for the null), and the permutations that were left.
    assert len(calls) - 100 == 2 + 30 - 9
    assert again.as_dict() == whole.as_dict()


def test_other_features_or_another_seed_are_another_null(tmp_path, sides):
    keep = tmp_path / ".scores.null"
    x, y = sides
    for one, seed in ((y, 0), (y, 1), (y + 1e-3 * x[:, 1], 0)):
        kept = zooalign.score(x, one, null=10, seed=seed, keep=keep)
        assert kept.as_dict() == zooalign.score(x, one, null=10, seed=seed).as_dict()
    assert len(set(keys(keep))) == 3
