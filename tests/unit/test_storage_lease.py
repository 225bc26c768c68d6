"""The lease: at most one process writes an artefact, whichever are stopped, killed or slow, at whatever point."""

import json
import os
from types import SimpleNamespace

import pytest

from zooalign.errors import LeaseError, StoreError
from zooalign.storage import lease, lease_records
from zooalign.storage.lease import Lease, hold_lease

TIMEOUT_S = 8.0


def quiet(message):
    del message


def left_over(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on when told to; nobody is known to be dead, as on another machine."""
    time = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(lease, "now_s", lambda: time.now)
    monkeypatch.setattr(lease, "is_dead", lambda content: False)
    return time


def test_the_record_is_there_while_one_writes_and_gone_after(tmp_path):
    with hold_lease(tmp_path / "out", quiet) as lease:
        record = json.loads((tmp_path / "out.lease").read_text())
        assert (record["pid"], record["host"]) == (os.getpid(), os.uname().nodename)
        lease.staged.write_text("x")
        lease.check()
    assert left_over(tmp_path) == []


def inside(path, act):
    """Own an output and do something with it."""
    with hold_lease(path, quiet) as lease:
        act(lease)


def test_an_error_inside_gives_the_output_back(tmp_path):
    def fail(lease):
        lease.staged.mkdir()
        raise KeyError("ours")

    with pytest.raises(KeyError):
        inside(tmp_path / "out", fail)
    assert left_over(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*file/out"), hold_lease(tmp_path / "file" / "out", quiet):
        pass


def test_a_holder_that_beats_is_waited_for_however_long(tmp_path, clock):
    first, second = Lease(tmp_path / "out", TIMEOUT_S), Lease(tmp_path / "out", TIMEOUT_S)
    assert first.attempt()
    for _ in range(50):
        clock.now += TIMEOUT_S / 4
        first.beat()
        assert not second.attempt()
    first.check()
    first.release()
    assert second.attempt()
    second.release()
    assert left_over(tmp_path) == []


def wait_for(lease, clock, tries):
    """How many looks, a quarter of the timeout apart, until the output is ours."""
    for i in range(tries):
        if lease.attempt():
            return i
        clock.now += TIMEOUT_S / 4
    raise AssertionError("never got it")


def test_a_silent_holder_is_taken_over_and_notices(tmp_path, clock):
    first, second = Lease(tmp_path / "out", TIMEOUT_S), Lease(tmp_path / "out", TIMEOUT_S)
    assert first.attempt()
    first.staged.mkdir()
    assert wait_for(second, clock, 20) == 4  # the timeout, not sooner
    assert not first.staged.exists()
    with pytest.raises(LeaseError, match=rf"out was taken over by process {os.getpid()} on "):
        first.check()
    first.beat()
    first.release()
    second.check()
    second.release()
    assert left_over(tmp_path) == []


def test_a_holder_that_slept_but_was_not_taken_over_goes_on(tmp_path, clock):
    first, second = Lease(tmp_path / "out", TIMEOUT_S), Lease(tmp_path / "out", TIMEOUT_S)
    assert first.attempt()
    assert not second.attempt()
    clock.now += 100 * TIMEOUT_S
    first.check()
    assert not second.attempt()
    first.release()
    assert left_over(tmp_path) == []


def test_a_waiter_that_slept_itself_does_not_count_the_time(tmp_path, clock):
    first, second = Lease(tmp_path / "out", TIMEOUT_S), Lease(tmp_path / "out", TIMEOUT_S)
    assert first.attempt()
    assert not second.attempt()
    clock.now += 100 * TIMEOUT_S  # both were suspended; the holder has not been scheduled again yet
    assert not second.attempt()


def test_a_slow_holder_is_given_the_time_it_promised(tmp_path, clock):
    first, hasty = Lease(tmp_path / "out", TIMEOUT_S), Lease(tmp_path / "out", TIMEOUT_S / 100)
    assert first.attempt()
    for _ in range(4):
        assert not hasty.attempt()
        clock.now += TIMEOUT_S / 4
    assert not hasty.attempt() or clock.now >= 1000 + TIMEOUT_S


@pytest.mark.parametrize("content", [b"", b"{", b"\x00" * 1024, b"[]", b'{"token": "../../x"}', b'{"token": 3}'])
def test_a_record_that_cannot_be_read_is_taken_over_after_the_timeout(tmp_path, clock, content):
    (tmp_path / "out.lease").write_bytes(content)
    lease = Lease(tmp_path / "out", TIMEOUT_S)
    assert wait_for(lease, clock, 20) == 4
    assert lease.other.describe() == "somebody whose record cannot be read"
    lease.check()
    lease.release()
    assert left_over(tmp_path) == []


def test_a_record_removed_by_hand_is_noticed(tmp_path):
    def remove_and_check(lease):
        (tmp_path / "out.lease").unlink()
        lease.check()

    with pytest.raises(LeaseError, match=r"lost its record out\.lease"):
        inside(tmp_path / "out", remove_and_check)


def test_what_goes_wrong_after_losing_the_output_is_the_loss(tmp_path):
    def lose_and_fail(lease):
        (tmp_path / "out.lease").unlink()
        (lease.staged / "file").write_text("swept away")

    with pytest.raises(LeaseError):
        inside(tmp_path / "out", lose_and_fail)


@pytest.mark.parametrize(
    ("theirs", "ours", "taken"),
    [
        ({"SLURM_JOB_ID": "7"}, {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"}, True),
        ({"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"}, {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "2"}, True),
        ({"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"}, {"SLURM_JOB_ID": "7"}, False),
        ({"SLURM_JOB_ID": "7"}, {"SLURM_JOB_ID": "7"}, False),
        ({"SLURM_JOB_ID": "7"}, {"SLURM_JOB_ID": "8", "SLURM_RESTART_COUNT": "1"}, False),
        ({}, {"SLURM_JOB_ID": "8", "SLURM_RESTART_COUNT": "1"}, False),
        (
            {"SLURM_JOB_ID": "7", "SLURM_CLUSTER_NAME": "a"},
            {"SLURM_JOB_ID": "7", "SLURM_CLUSTER_NAME": "b", "SLURM_RESTART_COUNT": "1"},
            False,
        ),
    ],
)
def test_a_requeued_job_takes_over_from_its_former_run(tmp_path, monkeypatch, theirs, ours, taken):
    def become(variables):
        for name in ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_CLUSTER_NAME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    become(theirs)
    former = Lease(tmp_path / "out", TIMEOUT_S)
    assert former.attempt()
    become(ours)
    assert Lease(tmp_path / "out", TIMEOUT_S).attempt() is taken
    if taken:
        with pytest.raises(LeaseError):
            former.check()


def test_a_process_of_another_machine_is_never_taken_for_dead(monkeypatch):
    ended = {**lease_records.identity(), "pid": 2**22 + 1, "pid_start": "1"}
    assert lease_records.is_dead(ended)
    assert not lease_records.is_dead({**ended, "machine": "another"})
    assert not lease_records.is_dead(lease_records.identity())
    assert lease_records.is_dead({**lease_records.identity(), "pid_start": "1"})  # the number was given again
