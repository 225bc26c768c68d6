"""Interruptions of a running sweep at random moments; after each it goes on as the documentation says."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from .checkouts import ClusterCheckout, Controller
from .processes import SlurmError, wait_for
from .slurm import Job, Slurm

RETRIES = 2  # as in the profile
INSTRUMENTED = Path(__file__).with_name("instrumented")


class Drill:
    """A sweep that is being interrupted.

    Parameters
    ----------
    checkout : ClusterCheckout
        Where it runs.
    seed : int
        Of everything that is left to chance.
    pause : float
        Seconds that every batch takes besides its own work, so that there is something to interrupt.
    """

    def __init__(self, checkout: ClusterCheckout, seed: int, pause: float) -> None:
        self.checkout, self.slurm = checkout, checkout.slurm
        self.random = random.Random(seed)
        self.folder = checkout.folder / "drill"
        self.folder.mkdir(parents=True)
        self.pause = pause
        self.set_pause(pause)
        self.done: list[str] = []
        self.left_alone: set[int] = set()
        self.restart()

    def __enter__(self) -> Drill:
        return self

    def __exit__(self, *error: object) -> None:
        if self.controller.runs:
            self.controller.send(signal.SIGKILL)
            self.cancel()

    def cancel(self) -> None:
        """Cancel what a controller that was killed left running."""
        for job in self.checkout.jobs():
            if not job.is_over:
                self.slurm.cancel(job.id)

    def restart(self) -> None:
        """Run the documented command (again)."""
        self._failures: Counter = Counter()
        self.controller: Controller = self.checkout.start(
            ZOOALIGN_DRILL=str(self.folder), PYTHONPATH=str(INSTRUMENTED)
        )

    def set_pause(self, seconds: float) -> None:
        """How long every batch takes from now on; a job reads it before each."""
        staged = self.folder / "pause.new"
        staged.write_text(str(seconds))
        staged.replace(self.folder / "pause")

    def inject(self, drill: Callable[[Drill], str]) -> None:
        """Do one interruption, unless the sweep has come to its end."""
        begin = time.monotonic()
        what = drill(self)
        self.done.append(f"{drill.__name__} {what} ({time.monotonic() - begin:.0f} s)")
        print(self.done[-1])  # pytest shows it when the test fails

    def finish(self) -> None:
        """Let the sweep run to its end without further interruptions; it must succeed."""
        self.set_pause(0)
        self.controller.wait()

    # What is going on -----------------------------------------------------------------------------

    def batches(self) -> list[dict]:
        """Every batch whose writing began or ended so far."""
        try:
            return [json.loads(line) for line in (self.folder / "batches.jsonl").read_text().splitlines()]
        except FileNotFoundError:
            return []

    def victim(self, fails: bool = False, model: str = "", partition: str = "") -> Job:
        """A job that is in the middle of its batches, at a random moment; any running job when none has batches left.

        Parameters
        ----------
        fails : bool
            Whether the job will fail by it; no job does so more often than the profile has retries.
        model, partition : str
            Only a job of this model, in this partition.

        Raises
        ------
        SlurmError
            If no job runs for a long time.
        """
        found: list[Job] = []

        def choose() -> bool:
            jobs = [j for j in self.checkout.jobs() if not j.is_over and j.id not in self.left_alone]
            jobs = [j for j in jobs if f"_{model}" in j.comment and partition in ("", j.partition)]
            usable = [j for j in jobs if not fails or self._failures[j.comment] < RETRIES]
            if any(j.rule == "extract_features" for j in usable):
                alive = {b["job"] for b in self.batches() if _runs(b["pid"])}
                usable = [j for j in usable if str(j.id) in alive]
            found[:] = [j for j in usable if j.state == "RUNNING"]
            return bool(found) or not self.controller.runs

        wait_for(choose, f"a job to interrupt\n{self.controller.text[-3000:]}", 400)
        if not found:
            raise SlurmError(f"the sweep ended before the interruption:\n{self.controller.text[-5000:]}")
        job = self.random.choice(found)
        self._failures[job.comment] += fails
        time.sleep(self.random.uniform(0, 1))
        return job

    def recomputed(self) -> dict[tuple[str, int, int], int]:
        """Batches that were stored and later computed again."""
        stored: Counter = Counter()
        again: dict[tuple[str, int, int], int] = {}
        for line in self.batches():
            key = (line["store"], line["start"], line["stop"])
            if line["event"] == "end":
                stored[key] += 1
            elif stored[key]:
                again[key] = again.get(key, 0) + 1
        return again

    def stored(self, store: str) -> list[tuple[int, int]]:
        """Batches of a store in the order in which they were stored."""
        return [(b["start"], b["stop"]) for b in self.batches() if b["event"] == "end" and b["store"] == store]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


# Interruptions that the controlling Snakemake lives through --------------------------------------


def scancel(drill: Drill) -> str:
    """Somebody cancels a job; Snakemake submits it again."""
    job = drill.victim(fails=True)
    drill.slurm.cancel(job.id)
    _wait_over(drill.slurm, job)
    return f"{job.rule} {job.id}"


def requeue(drill: Drill) -> str:
    """An admin requeues a job; it starts again under its number."""
    job = drill.victim()
    with _may_have_ended(drill.slurm, job):
        drill.slurm.requeue(job.id)
    _wait_restarted(drill.slurm, job)
    return f"{job.rule} {job.id}"


def preempt(drill: Drill) -> str:
    """A job of higher priority takes the whole node."""
    job = drill.victim(partition="preempt")
    intruder = drill.slurm.preempt(job.node)
    _wait_restarted(drill.slurm, job)
    wait_for(lambda: drill.slurm.job(intruder).is_over, "the end of the job of higher priority")
    return f"{job.rule} {job.id} on {job.node}"


def node_failure(drill: Drill) -> str:
    """A node goes down under its jobs and comes back."""
    job = drill.victim(partition="preempt")
    drill.slurm.node_down(job.node)
    try:
        _wait_restarted(drill.slurm, job)
    finally:
        drill.slurm.node_up(job.node)
    return f"{job.rule} {job.id} on {job.node}"


def kill(drill: Drill) -> str:
    """The kernel kills the largest process of a job, as when a node's memory is full."""
    job = drill.victim(fails=True)
    worker = _largest(drill.slurm.job_processes(job.id))
    if worker is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
    _wait_over(drill.slurm, job)
    return f"{job.rule} {job.id}"


def gpu_out_of_memory(drill: Drill) -> str:
    """A batch of one sample does not fit into the GPU's memory."""
    job = drill.victim(fails=True, partition="preempt")
    model = _model(drill, job)
    (drill.folder / f"gpu_oom.{model}").touch()
    _wait_over(drill.slurm, job)
    return f"{model} {job.id}"


def time_limit(drill: Drill, model: str) -> int:
    """A job stands still until its time limit; returns its number at once, because SLURM takes up to 90 s."""
    job = drill.victim(fails=True, model=model)
    drill.left_alone.add(job.id)
    drill.slurm.set_time_limit(job.id, 1)
    worker = _largest(drill.slurm.job_processes(job.id))
    assert worker is not None
    os.kill(worker, signal.SIGSTOP)
    return job.id


# Interruptions of the controlling Snakemake ------------------------------------------------------


def interrupt(drill: Drill) -> str:
    """Ctrl-C: SLURM's jobs are cancelled; the same command continues."""
    job = drill.victim()
    drill.controller.send(signal.SIGINT)
    assert drill.controller.wait(check=False) != 0
    drill.checkout.wait_until_quiet()
    drill.restart()
    return f"during {job.rule}"


def terminate(drill: Drill) -> str:
    """SIGTERM: Snakemake submits nothing more and waits for the jobs that run; the same command continues."""
    job = drill.victim()
    os.kill(drill.controller.process.pid, signal.SIGTERM)
    drill.controller.wait(check=False)
    drill.restart()
    return f"during {job.rule}"


def kill_controller(drill: Drill) -> str:
    """Kill -9 of Snakemake; then, as documented: cancel its jobs, unlock, the same command."""
    job = drill.victim()
    _kill_controller(drill)
    drill.cancel()
    drill.restart()
    return f"during {job.rule}"


def kill_controller_only(drill: Drill) -> str:
    """The same without cancelling: old and new jobs want to write the same outputs, and one of them has to wait."""
    job = drill.victim()
    drill.set_pause(2)  # so that the old job still runs when the new one starts
    _kill_controller(drill)
    drill.restart()

    def both_run() -> bool:
        return any(j.id > job.id and j.comment == job.comment and j.state == "RUNNING" for j in drill.checkout.jobs())

    wait_for(both_run, "a second job for the same output")
    assert drill.slurm.job(job.id).state == "RUNNING"
    log = drill.checkout.folder / "results/logs/extract_features/synthetic" / f"{_model(drill, job)}.log"
    # Snakemake removes a job's log when it starts it again.
    wait_for(lambda: log.exists() and "waiting: " in log.read_text(), "the second job to wait for the first")
    drill.set_pause(drill.pause)
    return f"during {job.rule}"


def _kill_controller(drill: Drill) -> None:
    drill.controller.send(signal.SIGKILL)
    drill.controller.wait(check=False)
    drill.checkout.run("--unlock")


# Helpers of the drills -----------------------------------------------------------------------------


def _model(drill: Drill, job: Job) -> str:
    """Model whose batches a job computes now."""
    return next(b["store"].removesuffix(".zarr") for b in reversed(drill.batches()) if b["job"] == str(job.id))


def _wait_over(slurm: Slurm, job: Job) -> None:
    wait_for(lambda: slurm.job(job.id).is_over, f"the end of job {job.id}")


def _wait_restarted(slurm: Slurm, job: Job) -> None:
    """Wait until a requeue has taken hold; a job may have ended in the moment before."""
    wait_for(
        lambda: slurm.job(job.id).restarts > job.restarts or slurm.job(job.id).is_over, f"requeue of job {job.id}"
    )


@contextlib.contextmanager
def _may_have_ended(slurm: Slurm, job: Job):
    try:
        yield
    except SlurmError:
        if not slurm.job(job.id).is_over:
            raise


def _largest(processes: list[int]) -> int | None:
    """The process with the most memory, which is the one that an out-of-memory killer takes."""

    def resident(pid: int) -> int:
        try:
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            return -1

    return max(processes, key=resident, default=None)
