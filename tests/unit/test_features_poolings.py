"""Several poolings in one pass: each store as a separate extraction writes it, also after an interruption."""

import shutil

import numpy as np
import pytest

from zooalign.config.manifest import DatasetSpec
from zooalign.config.schema import ExtractionConfig
from zooalign.errors import FeatureError
from zooalign.features import extract as extraction
from zooalign.features.extract import extract_features
from zooalign.features.poolings import PooledStore, begin_writers, pooled_path
from zooalign.features.store import FeatureStore, FeatureWriter, staging_folder


def quiet(message):
    del message


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    from zooalign.data.build import build_dataset

    folder = tmp_path_factory.mktemp("datasets") / "shapes"
    build_dataset(DatasetSpec(id="shapes", family="synthetic"), folder, quiet)
    return folder


@pytest.fixture
def extract(zoo, fetched, shapes, tmp_path):
    """Function that extracts minilm_l6 and returns the path of its own store."""

    def run(name, poolings=(), report=quiet, pooling="mean", **options):
        path = tmp_path / f"{name}.zarr"
        spec = zoo["minilm_l6"].model_copy(update={"pooling": pooling})
        settings = ExtractionConfig(workers=0, max_batch=16)
        extract_features(spec, fetched("minilm_l6"), shapes, path, settings, report, poolings=poolings, **options)
        return path

    return run


def same(a, b):
    a, b = FeatureStore.open(a), FeatureStore.open(b)
    return a.digest == b.digest and all(np.array_equal(x, y) for x, y in zip(a.layers(), b.layers(), strict=True))


def test_one_pass_gives_what_separate_extractions_give(extract):
    both = extract("both", ["last"])
    assert same(both, extract("mean"))
    assert same(pooled_path(both, "last"), extract("last", pooling="last"))
    assert FeatureStore.open(pooled_path(both, "last")).attributes["model"]["pooling"] == "last"
    assert not np.array_equal(FeatureStore.open(both).layer(3), FeatureStore.open(pooled_path(both, "last")).layer(3))


def test_a_pooling_asked_for_later_leaves_the_others_as_they_are(extract, monkeypatch):
    path = extract("store")
    before = (path / "zarr.json").stat().st_mtime_ns
    taken = []
    plain = extraction._forward
    monkeypatch.setattr(extraction, "_forward", lambda m, b, how: taken.append(tuple(how)) or plain(m, b, how))
    extract("store", ["last"])
    assert set(taken) == {("last",)}
    assert (path / "zarr.json").stat().st_mtime_ns == before
    taken.clear()
    extract("store", ["last"])
    extract("store")
    assert taken == []
    shutil.rmtree(pooled_path(path, "last"))
    extract("store", ["last"])
    assert set(taken) == {("last",)}


@pytest.mark.parametrize("left", [(), ("last",)])
def test_an_interrupted_pass_goes_on_and_gives_the_same(extract, monkeypatch, left):
    """Killed after two batches, between the two stores of one of them; begun with both poolings or with one."""
    appended = []
    append = FeatureWriter.append

    def killed(self, layers):
        if len(appended) == 3:
            raise KeyboardInterrupt
        append(self, layers)
        appended.append(self)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureWriter, "append", killed)
        with pytest.raises(KeyboardInterrupt):
            extract("cut", left)
    assert (staging_folder(appended[0].path) / "rows.bin").stat().st_size > 0
    said = []
    cut = extract("cut", ["last"], report=said.append)
    assert any("continuing after" in line for line in said) is bool(left)
    whole = extract("whole", ["last"])
    assert same(cut, whole)
    assert same(pooled_path(cut, "last"), pooled_path(whole, "last"))
    assert not staging_folder(cut).exists()
    assert not staging_folder(pooled_path(cut, "last")).exists()


def test_writers_at_different_places_are_cut_at_the_same_bounds(tmp_path):
    values = np.arange(24, dtype=np.float32).reshape(12, 2)
    plan = {"sample_ids": [f"s{i}" for i in range(12)], "order": list(range(12)), "bounds": [4, 8, 12],
            "layer_names": ["a"], "widths": [2], "dtype": "float32"}  # fmt: skip
    ahead = FeatureWriter.begin(tmp_path / "a.zarr", {**plan, "digest": "a"})
    ahead.append([values[:4]])
    ahead.halve()
    ahead.append([values[4:6]])
    stores = [PooledStore(None, tmp_path / f"{name}.zarr", name) for name in "ab"]
    both = begin_writers(stores, lambda: plan)
    assert both.remaining()[:3] == [(0, 4), (4, 6), (6, 8)]
    both.halve()
    while both.remaining():
        start, stop = both.remaining()[0]
        both.append([[values[start:stop]], [-values[start:stop]]])
    both.finish([{}, {}])
    np.testing.assert_array_equal(FeatureStore.open(tmp_path / "a.zarr").layer(0), values)
    np.testing.assert_array_equal(FeatureStore.open(tmp_path / "b.zarr").layer(0), -values)


def test_a_model_that_reads_a_prompt_has_one_pooling(extract):
    with pytest.raises(FeatureError, match="minilm_l6: prompt_last reads a prompt"):
        extract("store", ["mean"], pooling="prompt_last")
