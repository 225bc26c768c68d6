"""The lease between real processes."""

import signal
import subprocess
import sys
import textwrap
from contextlib import suppress

import pytest

from tests.unit.test_storage_lease import left_over

WRITER = """
    import os, signal, sys, time
    from pathlib import Path
    from zooalign.errors import LeaseError
    from zooalign.storage.lease import hold_lease

    path, timeout_s, rounds, hold_s = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    witness, lines = path.with_name("witness"), path.with_name("lines")

    def alive(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False

    for _ in range(rounds):
        with hold_lease(path, lambda line: print(line, flush=True), timeout_s) as lease:
            lease.check()
            try:
                os.close(os.open(witness.with_name(f"witness.{os.getpid()}"), os.O_CREAT | os.O_EXCL))
                others = [p for p in witness.parent.glob("witness.*") if p.name != f"witness.{os.getpid()}"]
                for other in others:
                    if alive(other.suffix[1:]):
                        sys.exit(f"{os.getpid()} and {other.suffix[1:]} both write")
                    other.unlink()
                print("holder", flush=True)
                time.sleep(hold_s)
                lease.check()
                with open(lines, "a") as file:
                    file.write(f"{os.getpid()}\\n")
            finally:
                witness.with_name(f"witness.{os.getpid()}").unlink(missing_ok=True)
"""


@pytest.fixture
def writer(tmp_path):
    """Function that starts a process which takes the output `rounds` times and adds a line each time."""
    script = tmp_path / "writer.py"
    script.write_text(textwrap.dedent(WRITER))
    started = []

    def start(timeout_s=60.0, rounds=1, hold_s=0.0):
        (tmp_path / "results").mkdir(exist_ok=True)
        command = [sys.executable, script, tmp_path / "results" / "out", str(timeout_s), str(rounds), str(hold_s)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    start.folder = tmp_path / "results"
    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def lines(folder):
    return (folder / "lines").read_text().split() if (folder / "lines").exists() else []


def test_many_processes_race_and_one_writes_at_a_time(writer):
    processes = [writer(rounds=6, hold_s=0.002) for _ in range(8)]
    for process in processes:
        _, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
    assert sorted(lines(writer.folder)) == sorted(str(p.pid) for p in processes for _ in range(6))
    assert left_over(writer.folder) == ["lines"]


def test_processes_killed_at_any_point_block_nobody(writer):
    """SIGKILL after moments that grow, from before the first record to long after."""
    for turn in range(12):
        victims = [writer(rounds=200, hold_s=0.001) for _ in range(2)]
        if turn % 3:
            victims[0].stdout.readline()  # it has been the holder
        with suppress(subprocess.TimeoutExpired):
            victims[1].wait(timeout=0.005 * turn)
        for victim in victims:
            victim.kill()
        for victim in victims:
            assert "both write" not in victim.communicate()[1]
        heir = writer()
        _, err = heir.communicate(timeout=60)  # at once: the timeout of 60 s would be 12 minutes for all
        assert heir.returncode == 0, err
        assert lines(writer.folder)[-1] == str(heir.pid)
    assert not (writer.folder / "out.lease").exists()


def test_a_stopped_holder_is_taken_over_and_writes_nothing_when_continued(writer):
    stopped = writer(timeout_s=1.0, hold_s=1.0)
    assert stopped.stdout.readline() == "holder\n"
    stopped.send_signal(signal.SIGSTOP)
    heir = writer(timeout_s=1.0)
    out, err = heir.communicate(timeout=60)
    # The witness says that two are alive in the critical section: this is what a lease cannot prevent, ...
    assert f"{stopped.pid} both write" in err
    assert f"waiting: out is being written by process {stopped.pid} on " in out
    # ... but the stopped one learns of it before it writes.
    stopped.send_signal(signal.SIGCONT)
    _, err = stopped.communicate(timeout=60)
    assert "LeaseError" in err
    assert lines(writer.folder) == []


def test_a_stopped_holder_that_nobody_missed_goes_on(writer):
    stopped = writer(timeout_s=0.2, hold_s=0.2)
    assert stopped.stdout.readline() == "holder\n"
    stopped.send_signal(signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        stopped.wait(timeout=1)
    stopped.send_signal(signal.SIGCONT)
    _, err = stopped.communicate(timeout=60)
    assert stopped.returncode == 0, err
    assert lines(writer.folder) == [str(stopped.pid)]
    assert left_over(writer.folder) == ["lines"]
