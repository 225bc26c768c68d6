"""`zooalign store`: verify and merge."""

import pytest

pytestmark = pytest.mark.workflow


def test_verify_names_the_first_problem_and_shows_all(sweep):
    folder = "results/features/synthetic"
    done = sweep.cli("store", "verify", *(f"{folder}/{m}.zarr" for m in ("vit_a", "vit_b", "wordllama")))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("whole") == done.stdout.count("fresh") == 3
    file = sweep.folder / folder / "vit_b.zarr/features/c/0/0/0"
    data = bytearray(file.read_bytes())
    data[20] ^= 4
    file.write_bytes(data)
    done = sweep.cli("store", "verify", *(f"{folder}/{m}.zarr" for m in ("vit_a", "vit_b", "wordllama")))
    assert done.returncode == 1
    assert done.stdout.count("whole") == 2
    assert "vit_b.zarr: features/c/0/0/0: layer 'blocks.0', samples" in done.stderr
    assert "Delete the store and run the sweep again" in done.stderr


def test_verify_compares_with_the_manifest(sweep):
    path = "results/features/synthetic/vit_a.zarr"
    sweep.models[0]["pooling"] = "mean"
    done = sweep.cli("store", "verify", path)
    assert done.returncode == 1
    assert "made for another row of 'vit_a', other weights or other settings" in done.stderr
    del sweep.models[0]
    done = sweep.cli("store", "verify", path)
    assert done.returncode == 0
    assert "not in the" in done.stdout


def test_merge_says_what_it_needs(sweep):
    done = sweep.cli("store", "merge")
    assert done.returncode == 1
    assert "say which shards" in done.stderr
    done = sweep.cli("store", "merge", "results/features/synthetic/vit_a.zarr")
    assert done.returncode == 1
    assert "no shards of it in results/features/synthetic/vit_a.zarr.shards" in done.stderr
