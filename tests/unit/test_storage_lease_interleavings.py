"""The lease under every interleaving of simulated processes that are slow, stopped or killed."""

import os
import threading
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_storage_lease import TIMEOUT_S
from zooalign.errors import LeaseError
from zooalign.storage import lease, lease_records
from zooalign.storage.lease import Lease


class Killed(BaseException):
    """Ends a simulated process at its next operation, as SIGKILL does."""


class Process:
    """A process that takes, checks and gives back an output for ever; it pauses before every file operation."""

    def __init__(self, world, number):
        self.world, self.number = world, number
        self.go, self.paused = threading.Semaphore(0), threading.Semaphore(0)
        self.killed = self.ended = self.releasing = self.closing = False
        self.error, self.last_step = None, world.now
        self.lease = Lease(world.path, TIMEOUT_S)
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
        self.world.killed.add(self.lease._writer)
        self.paused.release()

    def _live(self):
        world = self.world
        while True:
            self.lease = Lease(world.path, TIMEOUT_S)
            while not self.lease.attempt():
                self.pause()
            world.turn += 1
            world.current = self.number
            try:
                for _ in range(3):
                    self.lease.beat()
                    turn = world.turn
                    self.lease.check()
                    # The process that became the holder before this check began has the lease now, and nobody else.
                    assert world.turn > turn or world.current == self.number
                    world.passed += 1
            except LeaseError:
                # Nobody loses an output who was not silent for as long as agreed.
                assert world.now - self.lease._confirmed >= TIMEOUT_S or world.stalled
                world.lost += 1
            self.releasing = True
            self.lease.release()
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
        if cached and not known and process.lease._token is not None and file.name.startswith("."):
            return None
        record = lease_records.read_record(file)
        if record is not None and process is not None:
            world.known.add((process.number, file))
        return record

    def create(file, raw, draft):
        process = world.by_thread.get(threading.current_thread())
        made = lease_records.create_record(file, raw, draft)
        if made and process is not None:
            world.known.add((process.number, file))
            process.closing = process.releasing
        return made

    def no_links(*arguments):
        raise PermissionError(1, "no hard links here")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease, "now_s", lambda: world.now)
        patch.setattr(lease, "is_dead", lambda content: content.get("writer") in world.killed)
        patch.setattr(lease, "read_record", pausing(read))
        patch.setattr(lease, "create_record", create)
        patch.setattr(Path, "unlink", pausing(Path.unlink))
        patch.setattr(os, "pwrite", pausing(os.pwrite))
        patch.setattr(os, "link", pausing(os.link if links else no_links))
        yield world


@given(random=st.randoms(use_true_random=False), links=st.booleans(), cached=st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_interleaving_gives_two_holders_and_none_blocks_the_output(tmp_path_factory, random, links, cached):
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
        last = Lease(world.path, TIMEOUT_S)
        for _ in range(10):
            if last.attempt():
                break
            world.now += TIMEOUT_S / 4
        last.check()
        last.release()
        assert not (folder / "out.lease").exists()


@pytest.mark.parametrize("cached", [False, True])
def test_the_simulation_reaches_holders_losses_and_takeovers(tmp_path, cached):
    """A property over runs in which nothing happens would hold, too."""
    with simulated(tmp_path, True, cached) as world:
        processes = [Process(world, i) for i in range(2)]
        while world.passed < 10 or processes[0].lease._token is None or processes[0].releasing:
            processes[0].step()
        while world.current != 1:
            world.now += TIMEOUT_S / 4
            processes[1].step()
        for _ in range(60):
            processes[0].step()
        assert world.lost == 1
        for process in processes:
            process.kill()
