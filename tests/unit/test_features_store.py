"""FeatureStore: what is written is read back, and nothing half-written is taken for real."""

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

from zooalign.errors import FeatureError, LeaseError, StoreError
from zooalign.features.store import FeatureStore, FeatureWriter, staged_samples, staging_folder
from zooalign.storage.lease import hold_lease

WIDTHS = [3, 5, 2]


def plan(n=10, batch=4, digest="d", dtype="float32"):
    rng = np.random.default_rng(0)
    return {
        "digest": digest,
        "sample_ids": [f"s{i}" for i in range(n)],
        "order": rng.permutation(n).tolist(),
        "bounds": [*range(batch, n, batch), n],
        "layer_names": ["a", "b", "c"],
        "widths": WIDTHS,
        "dtype": dtype,
    }


def features(n=10):
    rng = np.random.default_rng(1)
    return [rng.standard_normal((n, w)).astype(np.float32) for w in WIDTHS]


def fill(writer, layers, batches=None):
    for start, stop in writer.remaining()[:batches]:
        rows = writer.plan["order"][start:stop]
        writer.append([layer[rows] for layer in layers])


def test_store_returns_layers_in_dataset_order(tmp_path):
    layers = features()
    writer = FeatureWriter.begin(tmp_path / "m.zarr", plan())
    fill(writer, layers)
    writer.finish({"note": "x"})
    store = FeatureStore.open(tmp_path / "m.zarr")
    assert store.sample_ids == [f"s{i}" for i in range(10)]
    assert store.widths == WIDTHS
    assert store.layer_names == ["a", "b", "c"]
    assert store.attributes["note"] == "x"
    for i, layer in enumerate(layers):
        np.testing.assert_array_equal(store.layer(i), layer)
    np.testing.assert_array_equal(store.layer(-1), layers[-1])
    assert not staging_folder(tmp_path / "m.zarr").exists()


def test_store_is_one_shard_file(tmp_path):
    writer = FeatureWriter.begin(tmp_path / "m.zarr", plan())
    fill(writer, features())
    writer.finish({})
    assert len([f for f in (tmp_path / "m.zarr").rglob("c/**/*") if f.is_file()]) == 1


@given(done=st.integers(0, 3), torn=st.integers(0, 60), journal_torn=st.booleans())
@settings(max_examples=40, deadline=None)
def test_resume_after_a_torn_write_equals_an_uninterrupted_run(tmp_path_factory, done, torn, journal_torn):
    folder = tmp_path_factory.mktemp("resume")
    layers = features()
    whole = FeatureWriter.begin(folder / "whole.zarr", plan())
    fill(whole, layers)
    whole.finish({})

    path = folder / "torn.zarr"
    writer = FeatureWriter.begin(path, plan())
    fill(writer, layers, done)
    with open(staging_folder(path) / "rows.bin", "ab") as file:
        file.write(b"x" * torn)
    if journal_torn:
        with open(staging_folder(path) / "journal.jsonl", "a") as file:
            file.write('{"end": 9, "crc')
    resumed = FeatureWriter.resume(path, "d")
    assert resumed.done == min(4 * done, 10)
    fill(resumed, layers)
    resumed.finish({})
    for i in range(3):
        np.testing.assert_array_equal(
            FeatureStore.open(path).layer(i), FeatureStore.open(folder / "whole.zarr").layer(i)
        )


def test_journalled_batch_with_wrong_bytes_is_computed_again(tmp_path):
    path = tmp_path / "m.zarr"
    writer = FeatureWriter.begin(path, plan())
    assert staged_samples(path) == 0
    fill(writer, features(), 2)
    with open(staging_folder(path) / "journal.jsonl", "a") as torn:
        torn.write('["d", 2, [1')
    assert staged_samples(path) == 8
    with open(staging_folder(path) / "rows.bin", "r+b") as file:
        file.seek(4 * sum(WIDTHS) * 4 + 1)  # inside the second batch
        file.write(b"\xff\xff")
    assert FeatureWriter.resume(path, "d").done == 4


@given(
    done=st.integers(0, 3),
    stray=st.lists(
        st.sampled_from(
            ['["d", 0, [4, 1]]', '["d", 1, [8, 2]]', '["d", 2, 7]', '["e", 0, [4, 1]]', '["d", 0', "[]", "7"]
        )
    ),
    at=st.integers(0, 3),
)
@settings(max_examples=40, deadline=None)
def test_lines_that_a_former_holder_left_behind_are_passed_over(tmp_path_factory, done, stray, at):
    """Its last append may come after those of the process that took over."""
    path = tmp_path_factory.mktemp("stray") / "m.zarr"
    fill(FeatureWriter.begin(path, plan()), features(), done)
    journal = staging_folder(path) / "journal.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("".join(f"{line}\n" for line in [*lines[:at], *stray, *lines[at:]]))
    resumed = FeatureWriter.resume(path, "d")
    assert resumed.done == min(4 * done, 10)
    assert journal.read_text().splitlines() == lines


def test_a_batch_written_twice_lies_in_its_place_once(tmp_path):
    """A writer that was taken over in the middle of an append, and its successor, write the same batch."""
    layers, path = features(), tmp_path / "m.zarr"
    first = FeatureWriter.begin(path, plan())
    fill(first, layers, 1)
    second = FeatureWriter.resume(path, "d")
    fill(second, layers, 1)
    fill(first, layers, 1)
    fill(second, layers)
    second.finish({})
    for i, layer in enumerate(layers):
        np.testing.assert_array_equal(FeatureStore.open(path).layer(i), layer)


def test_a_finished_batch_that_changed_on_the_disk_never_gets_into_a_store(tmp_path):
    path, layers = tmp_path / "m.zarr", features()
    writer = FeatureWriter.begin(path, plan())
    fill(writer, layers)
    with open(staging_folder(path) / "rows.bin", "r+b") as file:
        file.seek(4 * sum(WIDTHS) * 4 + 1)  # inside the second batch
        file.write(b"\xff\xff")
    with pytest.raises(StoreError, match=r"m.zarr.partial: a finished batch has changed .* \(samples 4 and on\)"):
        writer.finish({})
    assert not path.exists()
    resumed = FeatureWriter.resume(path, "d")
    fill(resumed, layers)
    resumed.finish({})
    np.testing.assert_array_equal(FeatureStore.open(path).layer(1), layers[1])


@pytest.mark.parametrize("when", ["append", "halve", "finish"])
def test_a_writer_that_lost_the_store_writes_nothing(tmp_path, when):
    path, layers = tmp_path / "m.zarr", features()

    def everything():
        return {p: p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()}

    with hold_lease(path, print) as lease:
        writer = FeatureWriter.begin(path, plan(), lease)
        fill(writer, layers, None if when == "finish" else 1)
        (tmp_path / "m.zarr.lease").unlink()
        before = everything()
        act = {"append": lambda: fill(writer, layers), "halve": writer.halve, "finish": lambda: writer.finish({})}
        with pytest.raises(LeaseError, match=r"m\.zarr lost its record"):
            act[when]()
        assert everything() == before


def test_staging_of_another_digest_is_not_continued(tmp_path):
    fill(FeatureWriter.begin(tmp_path / "m.zarr", plan()), features(), 1)
    assert FeatureWriter.resume(tmp_path / "m.zarr", "other") is None
    assert not staging_folder(tmp_path / "m.zarr").exists()


def test_halving_keeps_what_is_done_and_covers_the_rest(tmp_path):
    layers = features()
    writer = FeatureWriter.begin(tmp_path / "m.zarr", plan())
    fill(writer, layers, 1)
    writer.halve()
    assert writer.remaining() == [(4, 6), (6, 8), (8, 10)]
    assert FeatureWriter.resume(tmp_path / "m.zarr", "d").remaining() == writer.remaining()
    fill(writer, layers)
    writer.finish({})
    np.testing.assert_array_equal(FeatureStore.open(tmp_path / "m.zarr").layer(1), layers[1])


def test_a_single_sample_that_does_not_fit_names_it(tmp_path):
    writer = FeatureWriter.begin(tmp_path / "m.zarr", plan(n=2, batch=1))
    first = writer.plan["order"][0]
    with pytest.raises(FeatureError, match=rf"out of memory with a batch of one \(sample 's{first}', m.zarr\)"):
        writer.halve()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_feature_names_layer_and_sample(tmp_path, value):
    layers = features()
    writer = FeatureWriter.begin(tmp_path / "m.zarr", plan())
    layers[1][writer.plan["order"][2], 4] = value
    with pytest.raises(FeatureError, match=rf"m, layer 'b', sample 's{writer.plan['order'][2]}': NaN or infinite"):
        fill(writer, layers)
    assert writer.done == 0


def test_overflow_of_the_storage_dtype_is_named(tmp_path):
    layers = features()
    layers[0][:] = 70_000
    with np.errstate(over="ignore"), pytest.raises(FeatureError, match=r"70000 does not fit into float16.*float32"):
        fill(FeatureWriter.begin(tmp_path / "m.zarr", plan(dtype="float16")), layers)


def finished(tmp_path):
    writer = FeatureWriter.begin(tmp_path / "m.zarr", plan())
    fill(writer, features())
    writer.finish({})
    return tmp_path / "m.zarr"


def test_truncated_store_is_refused(tmp_path):
    path = finished(tmp_path)
    shard = next(f for f in path.rglob("c/**/*") if f.is_file())
    os.truncate(shard, shard.stat().st_size - 1)
    with pytest.raises(StoreError, match=r"m.zarr: truncated store: features/c/0/0/0 has .* instead of"):
        FeatureStore.open(path)


def test_flipped_bit_is_refused(tmp_path):
    path = finished(tmp_path)
    shard = next(f for f in path.rglob("c/**/*") if f.is_file())
    data = bytearray(shard.read_bytes())
    data[5] ^= 1
    shard.write_bytes(data)
    with pytest.raises(StoreError, match="layer 'a' cannot be read"):
        FeatureStore.open(path).layer(0)


def test_unfinished_store_is_refused(tmp_path):
    path = finished(tmp_path)
    meta = json.loads((path / "zarr.json").read_text())
    del meta["attributes"]["complete"]
    (path / "zarr.json").write_text(json.dumps(meta))
    with pytest.raises(StoreError, match="unfinished store"):
        FeatureStore.open(path)


def test_missing_store_says_that_staging_lies_there(tmp_path):
    fill(FeatureWriter.begin(tmp_path / "m.zarr", plan()), features(), 1)
    with pytest.raises(StoreError, match=r"no feature store\. A partial one is beside it"):
        FeatureStore.open(tmp_path / "m.zarr")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="mounting a small disk needs root")
def test_full_disk_is_one_message_and_keeps_batches(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"this machine does not mount: {mounted.stderr.decode().strip()}")
    try:
        n = 4000
        writer = FeatureWriter.begin(
            disk / "m.zarr",
            {
                **plan(1),
                "sample_ids": [str(i) for i in range(n)][:1] * n,
                "order": list(range(n)),
                "bounds": [*range(100, n, 100), n],
            },
        )
        with pytest.raises(StoreError, match=r"cannot write .*m.zarr: No space left on device"):
            fill(writer, features(n))
        done = writer.done
        assert done > 0
        assert FeatureWriter.resume(disk / "m.zarr", "d").done == done
    finally:
        subprocess.run(["umount", disk], check=True)


def test_killed_writer_resumes_to_the_same_store(tmp_path):
    """SIGKILL at whatever point the writer has reached; every resumption goes on from the last whole batch."""
    script = tmp_path / "write.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            from pathlib import Path
            import numpy as np
            from zooalign.features.store import FeatureWriter
            path, n = Path(sys.argv[1]), 400
            rng = np.random.default_rng(0)
            layer = rng.standard_normal((n, 64)).astype(np.float32)
            order = rng.permutation(n).tolist()
            plan = dict(digest="d", sample_ids=[str(i) for i in range(n)], order=order,
                        bounds=list(range(2, n + 1, 2)), layer_names=["l"], widths=[64], dtype="float16")
            writer = FeatureWriter.resume(path, "d") or FeatureWriter.begin(path, plan)
            print(writer.done, flush=True)
            for start, stop in writer.remaining():
                writer.append([layer[order[start:stop]]])
            writer.finish({})
            """
        )
    )
    target, rng = tmp_path / "m.zarr", np.random.default_rng(2)
    progress = [0]
    for _ in range(8):
        process = subprocess.Popen([sys.executable, script, target], stdout=subprocess.PIPE, text=True)
        progress.append(int(process.stdout.readline()))
        try:
            process.wait(timeout=rng.uniform(0.0, 0.05))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        process.stdout.close()
        if target.exists():
            break
    assert progress == sorted(progress)
    subprocess.run([sys.executable, script, target], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([sys.executable, script, tmp_path / "whole.zarr"], check=True, stdout=subprocess.DEVNULL)
    np.testing.assert_array_equal(
        FeatureStore.open(target).layer(0), FeatureStore.open(tmp_path / "whole.zarr").layer(0)
    )
