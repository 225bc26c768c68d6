"""Merging shards and verifying stores: everything wrong, missing or damaged is named."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zooalign.errors import StoreError
from zooalign.features import chunks
from zooalign.features.chunks import make_grid, write_features
from zooalign.features.merge import Parts, merge_shards
from zooalign.features.shards import Shard, find_shards, shards_folder
from zooalign.features.store import FeatureStore, FeatureWriter, read_attributes
from zooalign.features.verify import verify_store
from zooalign.provenance import sealed


def quiet(message):
    del message


N, OF = 60, 4
LAYERS = {"a": 5, "b": 3}


def features(seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((N, width)).astype(np.float32) for width in LAYERS.values()]


def plan(seed=0, size=3):
    order = np.random.default_rng(seed + 1).permutation(N).tolist()
    return {
        "sample_ids": [f"s{i}" for i in range(N)],
        "order": order,
        "bounds": [*range(size, N, size), N],
        "layer_names": list(LAYERS),
        "widths": list(LAYERS.values()),
        "dtype": "float32",
    }


ABOUT = {
    "model": {"id": "some_model"},
    "dataset": {"name": "shapes", "digest": "c"},
    "extraction_version": 1,
    "reading": {"tokens": 12},
    "versions": {"torch": "2.13.0"},
    "device": "cpu",
    "elapsed_s": 1.5,
    "peak_mem_mb": 100,
    "stamp": {"time": "now"},
}


def write_shard(path, index, of=OF, whole="whole", layers=None, plans=None, **about):
    """One shard, by the writer that extraction uses."""
    shard = Shard(index, of)
    part = shard.cut(plans or plan(), [1] * N, whole)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = FeatureWriter.begin(path, {**part, "digest": shard.digest(whole)})
    for start, stop in writer.remaining():
        writer.append([layer[part["reads"][start:stop]] for layer in layers or features()])
    writer.finish({**ABOUT, **about, "shard": part["shard"]})
    return path


@pytest.fixture
def shards(tmp_path):
    """All shards of a store, and the store's path."""
    whole = tmp_path / "m.zarr"
    return [write_shard(Shard(i, OF).path(whole), i) for i in range(1, OF + 1)], whole


def test_merge_keeps_the_dataset_order_and_sums_provenance(shards):
    paths, whole = shards
    merge_shards([*paths[2:], *paths[:2]], whole, quiet)
    store = FeatureStore.open(whole)
    assert store.sample_ids == [f"s{i}" for i in range(N)]
    for i, layer in enumerate(features()):
        np.testing.assert_array_equal(store.layer(i), layer)
    kept = store.attributes
    assert kept["digest"] == "whole"
    assert kept["batches"] == 20
    assert kept["elapsed_s"] == 6.0
    assert kept["peak_mem_mb"] == 100
    assert "shard" not in kept
    assert sorted(p.name for p in whole.parent.iterdir()) == ["m.zarr", "m.zarr.shards"]


def test_merge_of_a_store_that_is_there_writes_nothing(shards):
    paths, whole = shards
    merge_shards(paths, whole, quiet)
    before = (whole / "zarr.json").stat().st_mtime_ns
    assert merge_shards(paths, whole, quiet) == 0
    assert (whole / "zarr.json").stat().st_mtime_ns == before


def test_a_stale_store_is_replaced(shards):
    paths, whole = shards
    write_features(whole, (1, 1, 1), "float32", lambda *_: np.ones((1, 1)),
                   {"digest": "old", "sample_ids": ["s"], "layer_names": ["a"], "widths": [1]})  # fmt: skip
    merge_shards(paths, whole, quiet)
    assert FeatureStore.open(whole).digest == "whole"


def test_shards_are_removed_only_after_the_store_was_read_back(shards):
    paths, whole = shards
    merge_shards(paths, whole, quiet)
    flip(next(whole.rglob("c/0/0/0")))
    with pytest.raises(StoreError, match=r"m.zarr: layer 'a' cannot be read"):
        merge_shards(paths, whole, quiet, remove=True)
    assert find_shards(whole) == paths
    shutil.rmtree(whole)
    merge_shards(paths, whole, quiet, remove=True)
    assert not shards_folder(whole).exists()
    assert FeatureStore.open(whole).n == N


def test_a_store_that_differs_from_its_shards_is_no_reason_to_remove_them(shards):
    paths, whole = shards
    values = features()
    values[1][7, 2] += 1
    attributes = Parts(paths).attributes()
    write_features(whole, (2, N, 5), "float32", lambda i, a, b: values[i][a:b], attributes)
    with pytest.raises(StoreError, match=r"layer 'b' differs from the shards"):
        merge_shards(paths, whole, quiet, remove=True)
    assert find_shards(whole) == paths


def test_missing_shards_are_listed_with_the_command_that_makes_them(shards):
    paths, whole = shards
    with pytest.raises(StoreError, match=r"2 of 4 shards are missing: 1, 3\. Run `zooalign submit extract some_model "
                       r"--dataset shapes --shards 4`"):  # fmt: skip
        merge_shards([paths[1], paths[3]], whole, quiet)
    with pytest.raises(StoreError, match="no shards to join"):
        merge_shards([], whole, quiet)
    assert not whole.exists()


def test_a_shard_twice_is_named(shards, tmp_path):
    paths, whole = shards
    copy = tmp_path / "copy.zarr"
    shutil.copytree(paths[1], copy)
    with pytest.raises(StoreError, match=r"(2-of-4|copy)\.zarr and .*(2-of-4|copy)\.zarr are the same shard"):
        merge_shards([*paths, copy], whole, quiet)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": {"id": "other_model"}}, r"one is of model 'some_model', the other of 'other_model'"),
        ({"dataset": {"name": "emoji", "digest": "c"}}, r"one is of dataset 'shapes', the other of 'emoji'"),
        ({"versions": {"torch": "2.12.0"}}, r"versions of libraries differ \(torch: '2.13.0' and '2.12.0'\)"),
        ({"reading": {"tokens": 13}}, r"ways of reading samples differ \(tokens: 12 and 13\)"),
        ({"whole": "stale"}, r"the model's row, the dataset or a setting changed in between"),
        ({"of": 5}, r"one is of 4 shards, the other of 5|one is of 5 shards, the other of 4"),
        ({"plans": plan(size=4)}, r"their batches were cut differently \(extraction.max_batch"),
        ({"plans": plan() | {"dtype": "float16"}}, r"storage dtypes differ"),
        ({"plans": plan() | {"layer_names": ["a", "c"]}}, r"their layers differ"),
    ],
)  # fmt: skip
def test_a_foreign_shard_is_named_with_what_differs(shards, change, said):
    paths, whole = shards
    shutil.rmtree(paths[2])
    write_shard(paths[2], 3, **change)
    with pytest.raises(StoreError, match=rf"3-of-4.zarr.* are not shards of one store: .*{said}"):
        merge_shards(paths, whole, quiet)
    assert not whole.exists()


def edit(store, change):
    """What a faulty writer would leave: a header that is whole, but does not say what was stored."""
    meta = json.loads((store / "zarr.json").read_text())
    change(meta["attributes"])
    meta["attributes"] = sealed(meta["attributes"])
    (store / "zarr.json").write_text(json.dumps(meta))


def test_ids_that_overlap_or_are_not_the_datasets_are_named(shards):
    paths, whole = shards
    runs = read_attributes(paths[0])["shard"]["runs"]
    edit(paths[1], lambda a: a["shard"].update(runs=runs))
    with pytest.raises(StoreError, match=r"1-of-4.zarr and .*2-of-4.zarr both hold sample 's\d+'"):
        merge_shards(paths, whole, quiet)
    write = read_attributes(paths[2])["sample_ids"]
    shutil.rmtree(paths[1])
    write_shard(paths[1], 2)
    edit(paths[2], lambda a: a.update(sample_ids=["x", *write[1:]]))
    with pytest.raises(StoreError, match="sample ids are not those of the dataset"):
        merge_shards(paths, whole, quiet)


def test_a_whole_store_among_shards_is_named(shards, tmp_path):
    paths, whole = shards
    merge_shards(paths, tmp_path / "other.zarr", quiet)
    with pytest.raises(StoreError, match=r"other.zarr: a whole store, no shard"):
        merge_shards([*paths, tmp_path / "other.zarr"], whole, quiet)


def flip(file, at=5):
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def test_a_damaged_shard_is_named_and_nothing_half_written_is_left(shards):
    paths, whole = shards
    flip(next(paths[2].rglob("c/0/0/0")))
    with pytest.raises(StoreError, match=r"3-of-4.zarr: layer 'a' cannot be read .*Delete the shard that is wrong"):
        merge_shards(paths, whole, quiet)
    assert not whole.exists()
    shutil.rmtree(paths[2])
    write_shard(paths[2], 3)
    merge_shards(paths, whole, quiet)
    np.testing.assert_array_equal(FeatureStore.open(whole).layer(0), features()[0])


MERGE = """
    import sys, time
    from pathlib import Path
    from zooalign.features import chunks
    from zooalign.features.merge import merge_shards
    from zooalign.features.shards import find_shards
    chunks.MAX_CHUNK_BYTES, chunks.MAX_SHARD_BYTES = 60, 600
    append = chunks._Placed.append
    def slowly(self, data):
        append(self, data)
        print("chunk", flush=True)
        time.sleep(0.01)
    chunks._Placed.append = slowly
    whole = Path(sys.argv[1])
    merge_shards(find_shards(whole), whole, print)
"""


def test_killed_merge_goes_on_where_it_was(shards):
    """SIGKILL in the middle, again and again; no chunk is written twice beyond the one in flight."""
    _, whole = shards
    script = whole.with_name("merge.py")
    script.write_text(textwrap.dedent(MERGE))
    written, kills, rng = 0, 0, np.random.default_rng(3)
    while True:
        process = subprocess.Popen([sys.executable, script, whole], stdout=subprocess.PIPE, text=True)
        stop_after, seen = int(rng.integers(1, 9)), 0
        for line in process.stdout:
            seen += line == "chunk\n"
            if seen == stop_after:
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
        process.stdout.close()
        process.wait()
        written += seen
        if process.returncode == 0:
            break
        assert kills < 40
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "MAX_CHUNK_BYTES", 60)
        total = len(make_grid(2, N, 5, 4).chunks())
    assert kills >= 3
    # Every line stands for a chunk that is kept; those whose line we did not see any more are not written again.
    assert written <= total
    store = FeatureStore.open(whole)
    for i, layer in enumerate(features()):
        np.testing.assert_array_equal(store.layer(i), layer)
    leftovers = {p.name for p in whole.parent.iterdir()} - {"merge.py", "m.zarr", "m.zarr.shards"}
    assert not leftovers


def test_a_merge_of_other_shards_starts_afresh(shards):
    """What an interrupted merge left is of no use once a shard was made anew."""
    paths, whole = shards
    parts = Parts(paths)

    def interrupted(layer, start, stop):
        if layer == 1:
            raise KeyboardInterrupt
        return parts.rows(layer, start, stop)

    staged = whole.with_name("m.zarr.merging")
    with pytest.raises(KeyboardInterrupt):
        write_features(staged, (2, N, 5), "float32", interrupted, parts.attributes(), source=parts.identity)
    shutil.rmtree(paths[0])
    write_shard(paths[0], 1, stamp={"time": "later"})
    assert merge_shards(paths, whole, quiet) == 2
    assert not staged.exists()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="mounting a small disk needs root")
def test_a_full_disk_is_one_message_and_the_merge_continues(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    layers = [rng.standard_normal((N, 500)).astype(np.float32), rng.standard_normal((N, 300)).astype(np.float32)]
    paths = [
        write_shard(tmp_path / f"{i}.zarr", i, layers=layers, plans={**plan(), "widths": [500, 300]})
        for i in range(1, OF + 1)
    ]
    monkeypatch.setattr(chunks, "MAX_CHUNK_BYTES", 10_000)
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"this machine does not mount: {mounted.stderr.decode().strip()}")
    try:
        with pytest.raises(StoreError, match=r"cannot write .*m.zarr: No space left on device\. Free disk space"):
            merge_shards(paths, disk / "m.zarr", quiet)
        subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
        left = merge_shards(paths, disk / "m.zarr", quiet)
        assert 0 < left < len(make_grid(2, N, 500, 4).chunks())
        np.testing.assert_array_equal(FeatureStore.open(disk / "m.zarr").layer(1), layers[1])
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.fixture
def stored(tmp_path):
    values = features()
    attributes = {**ABOUT, **{k: plan()[k] for k in ("sample_ids", "layer_names", "widths", "dtype")}, "digest": "d"}
    write_features(tmp_path / "m.zarr", (2, N, 5), "float32", lambda i, a, b: values[i][a:b], attributes)
    return tmp_path / "m.zarr"


def test_a_whole_store_and_a_shard_verify(stored, shards):
    found = verify_store(stored)
    assert found.problem is None
    assert (found.model, found.samples, found.layers, found.manifest) == ("some_model", N, 2, "no configuration")
    assert verify_store(shards[0][1]).problem is None


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_any_flipped_bit_of_the_values_is_found(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flipped") / "m.zarr"
    values = features()
    attributes = {**ABOUT, **{k: plan()[k] for k in ("sample_ids", "layer_names", "widths", "dtype")}, "digest": "d"}
    write_features(folder, (2, N, 5), "float32", lambda i, a, b: values[i][a:b], attributes)
    file = folder / "features/c/0/0/0"
    content = bytearray(file.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    problem = verify_store(folder).problem
    assert problem is not None
    assert "m.zarr: features/c/0/0/0: layer 'a'" in problem or "layer 'b', samples 's0' to 's59': damaged" in problem
    assert "Delete the store and run the sweep again" in problem


def test_truncated_and_missing_files_are_named(stored):
    file = stored / "features/c/0/0/0"
    os.truncate(file, file.stat().st_size - 3)
    assert "m.zarr: truncated store: features/c/0/0/0 has" in verify_store(stored).problem
    file.unlink()
    assert "features/c/0/0/0 is missing" in verify_store(stored).problem
    shutil.rmtree(stored)
    assert "no feature store" in verify_store(stored).problem


def test_a_nan_names_layer_and_sample(tmp_path):
    values = features()
    values[1][17, 2] = np.nan
    attributes = {**ABOUT, **{k: plan()[k] for k in ("sample_ids", "layer_names", "widths", "dtype")}, "digest": "d"}
    write_features(tmp_path / "m.zarr", (2, N, 5), "float32", lambda i, a, b: values[i][a:b], attributes)
    assert "m.zarr: layer 'b', sample 's17': NaN or infinite" in verify_store(tmp_path / "m.zarr").problem


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a.update(sample_ids=["s0", *a["sample_ids"][:-1]]), "sample 's0' occurs 2 times"),
        (lambda a: a["sample_ids"].pop(), r"an array of shape [2, 60, 5] instead of [2, 59, 5]"),
        (lambda a: a.update(dtype="float16"), "values are float32 instead of float16"),
        (lambda a: a.pop("model"), "zarr.json is damaged (KeyError('model'))"),
    ],
)
def test_a_header_that_contradicts_the_values_is_found(stored, change, said):
    edit(stored, change)
    assert said in verify_store(stored).problem


def test_a_header_edited_by_hand_is_found(stored):
    meta = json.loads((stored / "zarr.json").read_text())
    meta["attributes"]["model"]["id"] = "another"
    (stored / "zarr.json").write_text(json.dumps(meta))
    assert "zarr.json is damaged (it was edited or cut off)" in verify_store(stored).problem
