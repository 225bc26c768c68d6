"""Artefacts are written whole or not at all, made once, and waited for where a file server is late."""

import errno
import threading
from contextlib import nullcontext

import pytest

from zooalign.errors import LeaseError, StoreError
from zooalign.storage import visibility
from zooalign.storage.atomic import replace_folder, replacing, writing
from zooalign.storage.lease import make_once
from zooalign.storage.visibility import wait_until_visible


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
    monkeypatch.setattr(visibility, "PATIENCE_S", 60.0)
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
    monkeypatch.setattr(visibility, "PATIENCE_S", 0.3)
    lines = []
    wait_until_visible([tmp_path / "a" / "weights.json"], lines.append)
    assert len(lines) == 1


def test_on_one_machine_what_is_not_there_is_missing(tmp_path, monkeypatch):
    monkeypatch.delenv("ZOOALIGN_CLUSTER", raising=False)
    wait_until_visible([tmp_path / "zarr.json"], pytest.fail)


def test_a_disk_that_refuses_is_one_message(tmp_path):
    with pytest.raises(StoreError, match=r"cannot write out: No such file"), writing("out"):
        (tmp_path / "missing" / "file").write_text("")


class Lost:
    """A lease that another process has taken over."""

    def __init__(self, path):
        self.staged = path.with_name(f".{path.name}.staged.tmp")

    def check(self):
        raise LeaseError("taken over")


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("former", [True, False])
@pytest.mark.parametrize("ends", ["well", "error", "lost", "full"])
def test_an_artefact_is_replaced_whole_or_not_at_all(tmp_path, kind, former, ends):
    path = tmp_path / "above" / "out"

    def write(place, text):
        if kind == "folder":
            place.mkdir()
        (place / "file" if kind == "folder" else place).write_text(text)

    def read():
        return (path / "file" if kind == "folder" else path).read_text()

    if former:
        path.parent.mkdir()
        write(path, "former")
    problem = {"error": KeyError, "lost": LeaseError, "full": StoreError}.get(ends)
    expected = nullcontext() if problem is None else pytest.raises(problem)
    with expected, replacing(path, Lost(path) if ends == "lost" else None) as staged:
        write(staged, "new")
        if ends == "error":
            raise KeyError
        if ends == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
    if ends == "well" or former:
        assert read() == ("new" if ends == "well" else "former")
    else:
        assert not path.exists()
    assert {p.name for p in path.parent.iterdir()} <= {"out"}


def test_what_a_block_fails_to_read_is_not_blamed_on_the_disk(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "out"):
        (tmp_path / "input").read_text()


def test_made_once_looks_again_after_waiting(tmp_path):
    lines, made = [], []

    def current():
        return made[-1] if len(made) > 1 else None

    def make(lease):
        made.append(lease.path.name)
        return "made"

    assert make_once(tmp_path / "out", current, make, lines.append) == "made"
    made.append("by another process")
    assert make_once(tmp_path / "out", current, make, lines.append) == "by another process"
    assert lines == [f"already there: {tmp_path / 'out'}"]


def test_made_anew_whatever_is_there(tmp_path):
    made = make_once(tmp_path / "out", lambda: "there", lambda lease: lease.path.name, print, anew=True)
    assert made == "out"
