"""Ownership: at most one process writes an output, whichever are stopped, killed or slow, at whatever point."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zooalign import owner_records, ownership
from zooalign.errors import OwnershipError, StoreError
from zooalign.ownership import Owner, own

TIMEOUT_S = 8.0


def quiet(message):
    del message


def left_over(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on when told to; nobody is known to be dead, as on another machine."""
    time = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(ownership, "now_s", lambda: time.now)
    monkeypatch.setattr(ownership, "is_dead", lambda content: False)
    return time


def test_the_record_is_there_while_one_writes_and_gone_after(tmp_path):
    with own(tmp_path / "out", quiet) as owner:
        record = json.loads((tmp_path / "out.owner").read_text())
        assert (record["pid"], record["host"]) == (os.getpid(), os.uname().nodename)
        owner.staged.write_text("x")
        owner.check()
    assert left_over(tmp_path) == []


def inside(path, act):
    """Own an output and do something with it."""
    with own(path, quiet) as owner:
        act(owner)


def test_an_error_inside_gives_the_output_back(tmp_path):
    def fail(owner):
        owner.staged.mkdir()
        raise KeyError("ours")

    with pytest.raises(KeyError):
        inside(tmp_path / "out", fail)
    assert left_over(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*file/out"), own(tmp_path / "file" / "out", quiet):
        pass


def test_an_owner_that_beats_is_waited_for_however_long(tmp_path, clock):
    first, second = Owner(tmp_path / "out", TIMEOUT_S), Owner(tmp_path / "out", TIMEOUT_S)
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


def wait_for(owner, clock, tries):
    """How many looks, a quarter of the timeout apart, until the output is ours."""
    for i in range(tries):
        if owner.attempt():
            return i
        clock.now += TIMEOUT_S / 4
    raise AssertionError("never got it")


def test_a_silent_owner_is_taken_over_and_notices(tmp_path, clock):
    first, second = Owner(tmp_path / "out", TIMEOUT_S), Owner(tmp_path / "out", TIMEOUT_S)
    assert first.attempt()
    first.staged.mkdir()
    assert wait_for(second, clock, 20) == 4  # the timeout, not sooner
    assert not first.staged.exists()
    with pytest.raises(OwnershipError, match=rf"out was taken over by process {os.getpid()} on "):
        first.check()
    first.beat()
    first.release()
    second.check()
    second.release()
    assert left_over(tmp_path) == []


def test_an_owner_that_slept_but_was_not_taken_over_goes_on(tmp_path, clock):
    first, second = Owner(tmp_path / "out", TIMEOUT_S), Owner(tmp_path / "out", TIMEOUT_S)
    assert first.attempt()
    assert not second.attempt()
    clock.now += 100 * TIMEOUT_S
    first.check()
    assert not second.attempt()
    first.release()
    assert left_over(tmp_path) == []


def test_a_waiter_that_slept_itself_does_not_count_the_time(tmp_path, clock):
    first, second = Owner(tmp_path / "out", TIMEOUT_S), Owner(tmp_path / "out", TIMEOUT_S)
    assert first.attempt()
    assert not second.attempt()
    clock.now += 100 * TIMEOUT_S  # both were suspended; the owner has not been scheduled again yet
    assert not second.attempt()


def test_a_slow_owner_is_given_the_time_it_promised(tmp_path, clock):
    first, hasty = Owner(tmp_path / "out", TIMEOUT_S), Owner(tmp_path / "out", TIMEOUT_S / 100)
    assert first.attempt()
    for _ in range(4):
        assert not hasty.attempt()
        clock.now += TIMEOUT_S / 4
    assert not hasty.attempt() or clock.now >= 1000 + TIMEOUT_S


@pytest.mark.parametrize("content", [b"", b"{", b"\x00" * 1024, b"[]", b'{"token": "../../x"}', b'{"token": 3}'])
def test_a_record_that_cannot_be_read_is_taken_over_after_the_timeout(tmp_path, clock, content):
    (tmp_path / "out.owner").write_bytes(content)
    owner = Owner(tmp_path / "out", TIMEOUT_S)
    assert wait_for(owner, clock, 20) == 4
    assert owner.other.describe() == "somebody whose record cannot be read"
    owner.check()
    owner.release()
    assert left_over(tmp_path) == []


def test_a_record_removed_by_hand_is_noticed(tmp_path):
    def remove_and_check(owner):
        (tmp_path / "out.owner").unlink()
        owner.check()

    with pytest.raises(OwnershipError, match=r"lost its record out\.owner"):
        inside(tmp_path / "out", remove_and_check)


def test_what_goes_wrong_after_losing_the_output_is_the_loss(tmp_path):
    def lose_and_fail(owner):
        (tmp_path / "out.owner").unlink()
        (owner.staged / "file").write_text("swept away")

    with pytest.raises(OwnershipError):
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
    former = Owner(tmp_path / "out", TIMEOUT_S)
    assert former.attempt()
    become(ours)
    assert Owner(tmp_path / "out", TIMEOUT_S).attempt() is taken
    if taken:
        with pytest.raises(OwnershipError):
            former.check()


def test_a_process_of_another_machine_is_never_taken_for_dead(monkeypatch):
    ended = {**owner_records.identity(), "pid": 2**22 + 1, "pid_start": "1"}
    assert owner_records.is_dead(ended)
    assert not owner_records.is_dead({**ended, "machine": "another"})
    assert not owner_records.is_dead(owner_records.identity())
    assert owner_records.is_dead({**owner_records.identity(), "pid_start": "1"})  # the number was given again


# --- every interleaving ---


class Killed(BaseException):
    """Ends a simulated process at its next operation, as SIGKILL does."""


class Process:
    """A process that takes, checks and gives back an output for ever; it pauses before every file operation."""

    def __init__(self, world, number):
        self.world, self.number = world, number
        self.go, self.paused = threading.Semaphore(0), threading.Semaphore(0)
        self.killed = self.ended = self.releasing = self.closing = False
        self.error, self.last_step = None, world.now
        self.owner = Owner(world.path, TIMEOUT_S)
        self.thread = threading.Thread(target=self._run, daemon=True)
        world.by_thread[self.thread] = self
        self.thread.start()

    def _run(self):
        self.go.acquire()
        try:
            self._live()
        except Killed:
            pass
        except BaseException as error:  # raised again by the test
            self.error = error
        self.ended = True
        self.world.killed.add(self.owner._writer)
        self.paused.release()

    def _live(self):
        world = self.world
        while True:
            self.owner = Owner(world.path, TIMEOUT_S)
            while not self.owner.attempt():
                self.pause()
            world.turn += 1
            world.current = self.number
            try:
                for _ in range(3):
                    self.owner.beat()
                    turn = world.turn
                    self.owner.check()
                    # Whoever became the owner before this check began has the output now, and nobody else.
                    assert world.turn > turn or world.current == self.number
                    world.passed += 1
            except OwnershipError:
                # Nobody loses an output who was not silent for as long as agreed.
                assert world.now - self.owner._confirmed >= TIMEOUT_S or world.stalled
                world.lost += 1
            self.releasing = True
            self.owner.release()
            self.releasing = self.closing = False

    def pause(self):
        self.paused.release()
        self.go.acquire()
        if self.killed:
            raise Killed

    def step(self):
        """Run up to the next file operation."""
        # Stopped for so long while it removed its records, a process may remove its successor's: the successor
        # then loses the output without need, which is safe.
        self.world.stalled |= self.closing and self.world.now - self.last_step >= TIMEOUT_S
        self.last_step = self.world.now
        if not self.ended:
            self.go.release()
            assert self.paused.acquire(timeout=60)
        assert self.error is None, repr(self.error)

    def kill(self):
        self.killed = True
        self.step()


@contextmanager
def simulated(folder, links, cached):
    """Processes in this one, with a common clock, that stop before every operation on files.

    Without `links` the file system has no hard links. With `cached` every process is on a node of its own that has
    noted that a name is free and does not see what others create there later, as NFS does for a while.
    """
    world = SimpleNamespace(
        path=Path(folder) / "out", by_thread={}, killed=set(), now=0.0, turn=0, current=None, passed=0, lost=0,
        stalled=False, known=set(),
    )  # fmt: skip

    def pausing(function):
        def run(*arguments, **settings):
            process = world.by_thread.get(threading.current_thread())
            if process is not None:
                process.pause()
            return function(*arguments, **settings)

        return run

    def read(file):
        process = world.by_thread.get(threading.current_thread())
        known = process is None or (process.number, file) in world.known
        if cached and not known and process.owner._token is not None and file.name.startswith("."):
            return None
        record = owner_records.read_record(file)
        if record is not None and process is not None:
            world.known.add((process.number, file))
        return record

    def create(file, raw, draft):
        process = world.by_thread.get(threading.current_thread())
        made = owner_records.create_record(file, raw, draft)
        if made and process is not None:
            world.known.add((process.number, file))
            process.closing = process.releasing
        return made

    def no_links(*arguments):
        raise PermissionError(1, "no hard links here")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ownership, "now_s", lambda: world.now)
        patch.setattr(ownership, "is_dead", lambda content: content.get("writer") in world.killed)
        patch.setattr(ownership, "read_record", pausing(read))
        patch.setattr(ownership, "create_record", create)
        patch.setattr(Path, "unlink", pausing(Path.unlink))
        patch.setattr(os, "pwrite", pausing(os.pwrite))
        patch.setattr(os, "link", pausing(os.link if links else no_links))
        yield world


@given(random=st.randoms(use_true_random=False), links=st.booleans(), cached=st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_interleaving_gives_two_owners_and_none_blocks_the_output(tmp_path_factory, random, links, cached):
    folder = tmp_path_factory.mktemp("race")
    with simulated(folder, links, cached) as world:
        processes = [Process(world, i) for i in range(4)]
        for _ in range(150):
            action, number = random.random(), random.randrange(4)
            if action < 0.25:
                world.now += random.choice([0.1, 0.3, 1.1]) * TIMEOUT_S
            elif action < 0.3:
                processes[number].kill()
                processes[number] = Process(world, processes[number].number + 10)
            else:
                for _ in range(random.choice([1, 2, 5, 30])):
                    processes[number].step()
        for process in processes:
            process.kill()
        # Whatever the dead left behind: the next one gets the output, and nothing is left of the former records.
        last = Owner(world.path, TIMEOUT_S)
        for _ in range(10):
            if last.attempt():
                break
            world.now += TIMEOUT_S / 4
        last.check()
        last.release()
        assert not (folder / "out.owner").exists()


@pytest.mark.parametrize("cached", [False, True])
def test_the_simulation_reaches_owners_losses_and_takeovers(tmp_path, cached):
    """A property over runs in which nothing happens would hold, too."""
    with simulated(tmp_path, True, cached) as world:
        processes = [Process(world, i) for i in range(2)]
        while world.passed < 10 or processes[0].owner._token is None or processes[0].releasing:
            processes[0].step()
        while world.current != 1:
            world.now += TIMEOUT_S / 4
            processes[1].step()
        for _ in range(60):
            processes[0].step()
        assert world.lost == 1
        for process in processes:
            process.kill()


# --- real processes ---

WRITER = """
    import os, signal, sys, time
    from pathlib import Path
    from zooalign.errors import OwnershipError
    from zooalign.ownership import own

    path, timeout_s, rounds, hold_s = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    witness, lines = path.with_name("witness"), path.with_name("lines")

    def alive(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False

    for _ in range(rounds):
        with own(path, lambda line: print(line, flush=True), timeout_s) as owner:
            owner.check()
            try:
                os.close(os.open(witness.with_name(f"witness.{os.getpid()}"), os.O_CREAT | os.O_EXCL))
                others = [p for p in witness.parent.glob("witness.*") if p.name != f"witness.{os.getpid()}"]
                for other in others:
                    if alive(other.suffix[1:]):
                        sys.exit(f"{os.getpid()} and {other.suffix[1:]} both write")
                    other.unlink()
                print("owner", flush=True)
                time.sleep(hold_s)
                owner.check()
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
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    assert sorted(lines(writer.folder)) == sorted(str(p.pid) for p in processes for _ in range(6))
    assert left_over(writer.folder) == ["lines"]


def test_processes_killed_at_any_point_block_nobody(writer):
    """SIGKILL after moments that grow, from before the first record to long after."""
    for turn in range(12):
        victims = [writer(rounds=200, hold_s=0.001) for _ in range(2)]
        if turn % 3:
            victims[0].stdout.readline()  # it has been the owner
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
    assert not (writer.folder / "out.owner").exists()


def test_a_stopped_owner_is_taken_over_and_writes_nothing_when_continued(writer):
    stopped = writer(timeout_s=1.0, hold_s=1.0)
    assert stopped.stdout.readline() == "owner\n"
    stopped.send_signal(signal.SIGSTOP)
    heir = writer(timeout_s=1.0)
    out, err = heir.communicate(timeout=60)
    # The witness says that two are alive in the critical section: this is what ownership cannot prevent, ...
    assert f"{stopped.pid} both write" in err
    assert f"waiting: out is being written by process {stopped.pid} on " in out
    # ... but the stopped one learns of it before it writes.
    stopped.send_signal(signal.SIGCONT)
    _, err = stopped.communicate(timeout=60)
    assert "OwnershipError" in err
    assert lines(writer.folder) == []


def test_a_stopped_owner_that_nobody_missed_goes_on(writer):
    stopped = writer(timeout_s=0.2, hold_s=0.2)
    assert stopped.stdout.readline() == "owner\n"
    stopped.send_signal(signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        stopped.wait(timeout=1)
    stopped.send_signal(signal.SIGCONT)
    _, err = stopped.communicate(timeout=60)
    assert stopped.returncode == 0, err
    assert lines(writer.folder) == [str(stopped.pid)]
    assert left_over(writer.folder) == ["lines"]
