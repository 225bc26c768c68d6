"""From features to an index: done once, done again only where what is there does not cover what is asked for."""

import json
import os

import numpy as np
import pytest

from zooalign.errors import LeaseError, StoreError
from zooalign.features.store import write_store
from zooalign.indexes.build import build_index
from zooalign.indexes.from_features import index_features
from zooalign.indexes.index import Index

PREPARATION = {
    "clamp_quantile": 0.95,
    "clamp_scope": "model",
    "normalise": "l2",
    "include_concat": False,
    "similarity": "cosine",
}
N = 30


@pytest.fixture
def index(tmp_path):
    """Function that indexes the features at hand and returns what was said."""

    def features(seed=0):
        values = np.random.default_rng(seed).standard_normal((2, N, 6)).astype(np.float16)
        attributes = {
            "digest": f"features-{seed}", "sample_ids": [str(i) for i in range(N)], "layer_names": ["a", "b"],
            "widths": [6, 6], "dtype": "float16", "model": {"id": "m"}, "dataset": {"name": "toy", "digest": "d"},
        }  # fmt: skip
        import shutil

        shutil.rmtree(tmp_path / "features.zarr", ignore_errors=True)
        write_store(tmp_path / "features.zarr", values, attributes)

    def run(k_max=8, needs=("neighbors",), preparation=PREPARATION):
        lines = []
        index_features(tmp_path / "features.zarr", run.path, preparation, k_max, needs, lines.append)
        return lines[-1]

    features()
    run.features, run.path = features, tmp_path / "index.zarr"
    return run


def test_an_index_that_covers_what_is_asked_is_not_touched(index):
    assert "wrote" in index(needs=("neighbors", "gram"))
    before = {f: f.stat().st_mtime_ns for f in index.path.rglob("*")}
    for k_max, needs in ((8, ("neighbors", "gram")), (5, ("neighbors",)), (8, ("gram",))):
        assert index(k_max, needs) == f"already there: {index.path}"
    assert {f: f.stat().st_mtime_ns for f in index.path.rglob("*")} == before
    assert not list(index.path.parent.glob("*.lease"))


def test_lists_of_all_samples_cover_any_k(index):
    index(k_max=48)
    assert Index.open(index.path).k_max == N - 1
    assert "already there" in index(k_max=100)


def test_what_is_not_covered_is_built_again(index):
    index()
    assert "wrote" in index(k_max=9)
    assert Index.open(index.path).k_max == 9
    assert "wrote" in index(k_max=9, needs=("neighbors", "gram"))
    assert "wrote" in index(k_max=9, preparation=PREPARATION | {"normalise": "none"})
    index.features(seed=1)
    assert "wrote" in index(k_max=9, preparation=PREPARATION | {"normalise": "none"})


def test_sets_are_asked_for_where_lists_are_shorter_and_samples_more(index):
    assert "wrote" in index(k_max=4)
    for k in (4, N - 1, N + 100):
        assert "already there" in index(k_max=4, needs=("neighbors", f"sets@{k}"))
    assert "wrote" in index(k_max=4, needs=("neighbors", "sets@7", "sets@9"))
    assert {"sets@7", "ties@7", "sets@9", "ties@9"} < Index.open(index.path).holds
    assert "already there" in index(k_max=4, needs=("neighbors", "sets@9"))
    assert "wrote" in index(k_max=4, needs=("neighbors", "sets@8"))


@pytest.mark.parametrize("damage", ["array", "missing array", "header", "attributes", "unfinished"])
def test_a_damaged_index_is_never_taken_for_done(index, damage):
    index()
    whole = Index.open(index.path).neighbors.copy()
    header = index.path / "zarr.json"
    chunk = index.path / "neighbors" / "c.0.0.0"
    if damage == "array":
        os.truncate(chunk, chunk.stat().st_size - 2)
    elif damage == "missing array":
        chunk.unlink()
    elif damage == "header":
        header.write_text(header.read_text()[:80])
    else:
        content = json.loads(header.read_text())
        key, value = {"attributes": ("attributes", None), "unfinished": ("complete", False)}[damage]
        content["attributes"][key] = value
        header.write_text(json.dumps(content))
    assert "wrote" in index()
    np.testing.assert_array_equal(Index.open(index.path).neighbors, whole)
    assert sorted(p.name for p in index.path.parent.iterdir()) == ["features.zarr", "index.zarr"]


def test_without_features_there_is_no_index(index, tmp_path):
    index()
    (tmp_path / "features.zarr" / "zarr.json").unlink()
    with pytest.raises(StoreError, match=r"features\.zarr: no feature store"):
        index()


def test_an_index_that_was_taken_over_stays_that_of_the_other(index, monkeypatch):
    index()
    before = (index.path / "zarr.json").read_bytes()
    build = build_index

    def lose(*arguments, **settings):
        (index.path.parent / "index.zarr.lease").unlink()
        return build(*arguments, **settings)

    monkeypatch.setattr("zooalign.indexes.build.build_index", lose)
    with pytest.raises(LeaseError):
        index(k_max=9)
    assert (index.path / "zarr.json").read_bytes() == before
    assert sorted(p.name for p in index.path.parent.iterdir()) == ["features.zarr", "index.zarr"]
