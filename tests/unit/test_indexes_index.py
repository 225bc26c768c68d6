"""The index: built once, stored whole or not at all, read lazily."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from zooalign.errors import MetricError, StoreError
from zooalign.indexes.build import build_index
from zooalign.indexes.index import NEEDS, Index
from zooalign.indexes.preparation import Preparation


@pytest.fixture(scope="module")
def layers():
    rng = np.random.default_rng(0)
    return [rng.standard_normal((40, d)).astype(np.float32) for d in (8, 12, 5)]


@pytest.fixture(scope="module")
def index(layers):
    return build_index(layers, k_max=10, needs=NEEDS, layer_names=["a", "b", "c"], attributes={"digest": "x"})


def test_stored_and_opened_are_the_same(index, tmp_path):
    index.save(tmp_path / "model.zarr", {"digest": "y", "nested": {"k": [1, 2]}})
    opened = Index.open(tmp_path / "model.zarr")
    assert opened.holds == index.holds == set(NEEDS) | {"widths", "tie_counts", "constant"}
    for name in index.holds:
        np.testing.assert_array_equal(opened.array(name), index.array(name))
        assert opened.array(name).dtype == index.array(name).dtype
    assert opened.sample_ids == index.sample_ids
    assert opened.layer_names == ["a", "b", "c"]
    assert opened.attributes == {"digest": "y", "nested": {"k": [1, 2]}}
    assert opened.preparation == Preparation().settings()


def test_any_zarr_reader_reads_it(index, tmp_path):
    zarr = pytest.importorskip("zarr")
    index.save(tmp_path / "model.zarr")
    group = zarr.open_group(tmp_path / "model.zarr", mode="r")
    assert group.metadata.zarr_format == 3
    for name in NEEDS:
        np.testing.assert_array_equal(group[name][...], index.array(name))


def test_few_files(index, tmp_path):
    index.save(tmp_path / "model.zarr")
    files = [f for f in (tmp_path / "model.zarr").rglob("*") if f.is_file()]
    assert len(files) == 1 + 2 * len(index.holds)


def test_saving_replaces_and_leaves_nothing_beside(index, layers, tmp_path):
    path = tmp_path / "model.zarr"
    build_index(layers[:1], k_max=3).save(path)
    index.save(path)
    assert Index.open(path).n_layers == 3
    assert [f.name for f in tmp_path.iterdir()] == ["model.zarr"]


def test_failed_writing_leaves_nothing_and_keeps_the_old(index, layers, tmp_path, monkeypatch):
    path = tmp_path / "model.zarr"
    build_index(layers[:1], k_max=3).save(path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zooalign.storage.atomic.replace_folder", full)
    with pytest.raises(StoreError, match=r"model\.zarr.*No space left"):
        index.save(path)
    assert Index.open(path).n_layers == 1
    assert [f.name for f in tmp_path.iterdir()] == ["model.zarr"]


def test_missing_index_names_the_path(tmp_path):
    with pytest.raises(StoreError, match=r"no index at .*nowhere\.zarr"):
        Index.open(tmp_path / "nowhere.zarr")


def test_incomplete_index_is_refused(index, tmp_path):
    path = tmp_path / "model.zarr"
    index.save(path)
    header = json.loads((path / "zarr.json").read_text())
    del header["attributes"]["complete"]
    (path / "zarr.json").write_text(json.dumps(header))
    with pytest.raises(StoreError, match=r"model\.zarr is incomplete"):
        Index.open(path)


def test_foreign_folder_is_refused(tmp_path):
    (tmp_path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    with pytest.raises(StoreError, match="not an index"):
        Index.open(tmp_path)
    (tmp_path / "zarr.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        Index.open(tmp_path)


def test_truncated_array_is_refused(index, tmp_path):
    path = tmp_path / "model.zarr"
    index.save(path)
    chunk = next((path / "gram").glob("c.*"))
    chunk.write_bytes(chunk.read_bytes()[:-4])
    with pytest.raises(StoreError, match=r"'gram'.*truncated"):
        Index.open(path)
    shutil.rmtree(path / "gram")
    with pytest.raises(StoreError, match="model"):
        Index.open(path)


def test_an_index_of_another_version_is_refused(index, tmp_path):
    path = tmp_path / "model.zarr"
    index.save(path)
    header = json.loads((path / "zarr.json").read_text())
    header["attributes"]["version"] = 1
    (path / "zarr.json").write_text(json.dumps(header))
    with pytest.raises(StoreError, match=r"another version of zooalign \(index version 1"):
        Index.open(path)


def test_absent_need_says_what_to_build(layers):
    index = build_index(layers, k_max=3, name="tiny")
    with pytest.raises(MetricError, match=r"tiny holds neighbors but not 'gram'"):
        _ = index.gram


def test_unknown_need(layers):
    with pytest.raises(MetricError, match="did you mean 'neighbors'"):
        build_index(layers, needs=["neighbours"])


def test_list_length_is_cut_to_what_exists(layers):
    assert build_index(layers, k_max=1000).k_max == 39


def test_concatenation_is_layer_minus_one(layers):
    index = build_index(layers, Preparation(include_concat=True, clamp_scope="none"), k_max=5)
    alone = build_index([np.concatenate(layers, axis=1)], Preparation(clamp_scope="none"), k_max=5)
    assert index.layer_names[-1] == "concatenated"
    np.testing.assert_array_equal(index.neighbors[-1], alone.neighbors[0])


def test_packed_gram_is_the_centred_kernel(layers):
    index = build_index(layers, Preparation(clamp_scope="none"), needs=["gram"])
    x = layers[1].astype(float)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    x -= x.mean(axis=0)
    gram = x @ x.T
    packed = np.concatenate([np.diag(gram), np.sqrt(2) * gram[np.triu_indices(40, 1)]])
    np.testing.assert_allclose(index.gram[1], packed, atol=2e-7)


def test_layers_do_not_see_each_other(layers):
    together = build_index(layers, Preparation(clamp_scope="layer"), k_max=10, needs=NEEDS)
    for i, x in enumerate(layers):
        alone = build_index([x], Preparation(clamp_scope="layer"), k_max=10, needs=NEEDS)
        np.testing.assert_array_equal(together.features(i), alone.features(0))
        for name in set(NEEDS) - {"features"}:
            np.testing.assert_array_equal(together.array(name)[i], alone.array(name)[0])


def test_lazy_layers_are_read_one_by_one(layers):
    class Lazy:
        def __len__(self):
            return len(layers)

        def __getitem__(self, i):
            return layers[i]

    np.testing.assert_array_equal(build_index(Lazy(), k_max=4).neighbors, build_index(layers, k_max=4).neighbors)


@pytest.mark.parametrize("layers", [[], [np.ones((1, 3))]])
def test_too_little_to_index(layers):
    from zooalign.errors import ZooalignError

    with pytest.raises(ZooalignError, match=r"no layers|at least 2"):
        build_index(layers)
