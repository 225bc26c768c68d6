"""Folders on a shared file system: replaced whole, waited for where a server is late."""

import threading

import pytest

from zooalign import folders
from zooalign.errors import StoreError
from zooalign.folders import replace_folder, wait_until_visible, writing


def folder(path, content):
    path.mkdir()
    (path / "file").write_text(content)
    return path


@pytest.mark.parametrize("former", [True, False])
def test_a_folder_is_replaced_and_nothing_is_left_beside_it(tmp_path, former):
    if former:
        folder(tmp_path / "out", "former")
    replace_folder(folder(tmp_path / "new", "new"), tmp_path / "out")
    assert (tmp_path / "out" / "file").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_nothing_changes_where_the_check_fails(tmp_path):
    def lost():
        raise StoreError("not ours")

    folder(tmp_path / "out", "former")
    with pytest.raises(StoreError):
        replace_folder(folder(tmp_path / "new", "new"), tmp_path / "out", lost)
    assert (tmp_path / "out" / "file").read_text() == "former"
    assert (tmp_path / "new" / "file").read_text() == "new"


def test_a_job_of_a_cluster_waits_for_a_file_that_is_late(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOOALIGN_CLUSTER", "1")
    monkeypatch.setattr(folders, "PATIENCE_S", 60.0)
    lines, marker = [], tmp_path / "m.zarr" / "zarr.json"

    def appear(line):
        lines.append(line)
        marker.parent.mkdir()
        threading.Timer(0.1, marker.touch).start()

    wait_until_visible([tmp_path, marker, tmp_path], appear)
    assert marker.exists()
    assert lines == [f"waiting up to 60 s for the file server to show {marker}"]


def test_what_never_comes_is_left_to_its_reader(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOOALIGN_CLUSTER", "1")
    monkeypatch.setattr(folders, "PATIENCE_S", 0.3)
    lines = []
    wait_until_visible([tmp_path / "a" / "weights.json"], lines.append)
    assert len(lines) == 1


def test_on_one_machine_what_is_not_there_is_missing(tmp_path, monkeypatch):
    monkeypatch.delenv("ZOOALIGN_CLUSTER", raising=False)
    wait_until_visible([tmp_path / "zarr.json"], pytest.fail)


def test_a_disk_that_refuses_is_one_message(tmp_path):
    with pytest.raises(StoreError, match=r"cannot write out: No such file"), writing("out"):
        (tmp_path / "missing" / "file").write_text("")
