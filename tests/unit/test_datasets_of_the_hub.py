"""Labelled pictures and texts of a hub on this machine: its commit, its refusals, transfers that break."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.test_datasets_hub_labels import (
    SIZES,
    build,
    content,
    expected,
    web,
    write,
)
from zooalign.config.manifest import DatasetSpec
from zooalign.data.build import build_dataset

from .hub_server import serve

BUILD = """\
import json, sys
from pathlib import Path
from zooalign.config.manifest import DatasetSpec
from zooalign.data.build import build_dataset
from zooalign.errors import ZooalignError

spec = DatasetSpec.model_validate(json.loads(sys.argv[1]))
try:
    samples = build_dataset(spec, Path(sys.argv[2]), print, anew=True)
except ZooalignError as error:
    sys.exit(f"{type(error).__name__}: {error}")
print(json.dumps({"digest": samples.digest, "n": len(samples), "packages": samples.about["packages"]}))
"""


@pytest.fixture
def hub():
    with serve() as served:
        served.first = served.commit("owner/labels", {**web(3), "README.md": b"# labels"})
        yield served


@pytest.fixture
def fetch(hub, tmp_path):
    """Function that builds from the hub in a process of its own, as the rule does; (status, what it said)."""

    def call(revision=None, repository="owner/labels", row=None, **environment):
        options = {"repository": repository, "n_train": 15, **({"revision": revision} if revision else {})}
        row = row or {"id": "mine", "family": "hub_labels", "options": options}
        surroundings = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0",
                        "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1", **environment}  # fmt: skip
        surroundings.pop("HF_TOKEN", None)
        done = subprocess.run([sys.executable, "-c", BUILD, json.dumps(row), str(tmp_path / "datasets/mine")],
                              text=True, capture_output=True, env=surroundings, timeout=300)  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return call


def last(said):
    return json.loads(said.splitlines()[-1])


def test_a_repository_is_built_at_its_newest_commit_which_is_kept(hub, fetch, tmp_path):
    status, said = fetch()
    assert status == 0, said
    assert last(said)["packages"] == {"owner/labels": hub.first}
    local = build(web(1), tmp_path / "local", n_train=15)
    assert last(said)["n"] == len(local) == 27
    recorded = tmp_path / "datasets/mine.revision.json"
    assert json.loads(recorded.read_text()) == {"repository": "owner/labels", "revision": hub.first}
    # No file of the hub stays.
    assert sorted(p.name for p in (tmp_path / "datasets").rglob("*") if p.suffix == ".tar") == []
    # The repository moves on; the same commit is asked for, and the same dataset comes.
    newer = hub.commit("owner/labels", {**web(3), "train/0.tar": web(1)["train/0.tar"]})
    status, said_again = fetch()
    assert status == 0, said_again
    assert last(said_again) == last(said)
    recorded.unlink()
    status, said = fetch(newer)
    assert status != 0
    assert "is in train/0.tar already" in said


def test_only_what_the_splits_need_is_fetched(hub, fetch):
    hub.commit("owner/labels", {**web(2), "huge.bin": b"x" * 1000, "validation/0.tar": b"y"})
    status, said = fetch()
    assert status == 0, said
    wanted = {"classnames.txt"} | {f"{split}/{name}" for split in SIZES for name in ("nshards.txt", "0.tar", "1.tar")}
    assert {name for _, name, _ in hub.asked} == wanted


def test_a_damaged_transfer_is_repeated_and_twice_is_an_error(hub, fetch):
    hub.damaged["train/1.tar"] = 1
    status, said = fetch()
    assert status == 0, said
    hub.damaged["train/1.tar"] = 2
    status, said = fetch()
    assert status != 0
    assert "train/1.tar arrived damaged twice (SHA-256 or size differs from the hub's)" in said


def test_a_transfer_that_breaks_off_is_asked_for_again(hub, fetch):
    hub.broken["train/1.tar"] = 1000
    status, said = fetch()
    assert status == 0, said
    assert [method for method, name, _ in hub.asked if name == "train/1.tar"].count("GET") == 2


def test_a_damaged_record_of_the_commit_is_named(fetch, tmp_path):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/mine.revision.json").write_text("{")
    status, said = fetch()
    assert status != 0
    assert "mine.revision.json cannot be read: delete it, then the newest is fetched" in said


def test_refusals_of_the_hub_name_the_remedy(hub, fetch):
    status, said = fetch(revision="0" * 40)
    assert status != 0
    assert f"owner/labels has no commit {'0' * 40}, or no longer: give another `revision`" in said
    assert "delete results/datasets/DATASET.revision.json" in said
    status, said = fetch(repository="owner/nothing")
    assert "the hub has no repository owner/nothing, or it is private: correct the row's id" in said
    hub.gated.add("owner/labels")
    status, said = fetch()
    assert status != 0
    assert "owner/labels is gated: accept its terms at https://huggingface.co/datasets/owner/labels" in said


def test_without_a_network_the_cache_is_read_and_else_the_remedy_named(hub, fetch, tmp_path):
    status, said = fetch(HF_HUB_OFFLINE="1")
    assert status != 0
    assert "files of owner/labels at its newest commit are not here: run `snakemake --until build_dataset`" in said
    write(tmp_path / f"hub/hub/datasets--owner--labels/snapshots/{hub.first}", web(3))
    status, said = fetch(revision=hub.first, HF_HUB_OFFLINE="1")
    assert status == 0, said
    asked = len(hub.asked)
    offline = last(said)
    status, said = fetch(revision=hub.first)
    assert status == 0, said
    assert last(said)["digest"] == offline["digest"]
    # What the cache has is not asked for again.
    assert len(hub.asked) == asked


def test_a_repository_that_lists_a_file_outside_itself_is_refused(hub, fetch):
    hub.commit("owner/labels", {**web(1), "../evil.tar": b"x"})
    status, said = fetch()
    assert status != 0
    assert "owner/labels lists a file outside itself, '../evil.tar': nothing of it was fetched" in said


def test_one_file_of_the_hub_is_on_the_disk_at_a_time(tmp_path, monkeypatch):
    """And a file that the hub's cache has, but damaged, is fetched all the same."""
    from types import SimpleNamespace

    import huggingface_hub

    files, here, most = web(6), tmp_path / "datasets/.cache/mine.files", []
    cached = write(tmp_path / "cached", {"test/0.tar": b"damaged"}) / "test/0.tar"

    def download(repository, name, *, repo_type, revision, local_dir):
        assert (repository, repo_type, revision) == ("owner/labels", "dataset", "c" * 40)
        write(Path(local_dir), {name: files[name]})
        most.append(sorted(p.name for p in here.rglob("*.tar")))
        return str(Path(local_dir) / name)

    listed = [SimpleNamespace(rfilename=name, size=len(data), lfs=None) for name, data in files.items()]
    info = SimpleNamespace(sha="c" * 40, siblings=listed)
    monkeypatch.setattr(huggingface_hub, "is_offline_mode", lambda: False)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: SimpleNamespace(dataset_info=lambda *_, **__: info))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda _, name, **__: str(cached) if name == "test/0.tar" else None
    )
    spec = DatasetSpec(id="mine", family="hub_labels", options={"repository": "owner/labels", "n_train": 15})
    samples = build_dataset(spec, tmp_path / "datasets/mine", lambda line: None)
    assert content(samples) == expected({"train": 15, "test": 12})
    assert max(map(len, most)) == 1
    assert len(most) == len(files) + 1  # the names of the classes once per split
    assert not here.exists()


def test_documents_of_the_hub_are_fetched_up_to_the_budget(hub, fetch, tmp_path):
    """Whole texts of parquet files, one file at a time; the second file lies beyond the budget."""

    def table(texts):
        file = io.BytesIO()
        pq.write_table(pa.table({"text": texts}), file)
        return file.getvalue()

    parts = {
        f"plain_text/train-0000{i}-of-00003.parquet": table([f"{i}-{j} " * 5 for j in range(3)]) for i in range(3)
    }
    hub.commit("owner/texts", {**parts, "README.md": b"# texts"})
    options = {"repository": "owner/texts", "byte_budget": 100}
    status, said = fetch(row={"id": "mine", "family": "documents", "options": options})
    assert status == 0, said
    assert last(said)["n"] == 5
    assert {name for _, name, _ in hub.asked if name.endswith(".parquet")} == set(list(parts)[:2])
