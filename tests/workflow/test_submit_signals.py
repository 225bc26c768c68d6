"""Submitted jobs that are signalled, stopped or killed go on where they were."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest

from zooalign.features.store import FeatureStore

from ..terminal import default_signals
from .test_submit import forget

pytestmark = pytest.mark.workflow


class Slow:
    """A `zooalign submit extract` on one machine whose batches take a while and are noted."""

    def __init__(self, checkout, *arguments, workers=0):
        self.checkout, self.folder = checkout, checkout.folder / "drill"
        self.folder.mkdir(exist_ok=True)
        self.pause(0.15)
        checkout.config["extraction"] = {"workers": workers, "max_batch": 1}
        checkout.write()
        forget(checkout, "features", "vit_a")
        self.arguments = arguments
        self.start()

    def start(self):
        tests = Path(__file__).parents[1]
        environment = {**os.environ, "ZOOALIGN_DRILL": str(self.folder),
                       "PYTHONPATH": str(tests / "cluster/instrumented")}  # fmt: skip
        command = [sys.executable, "-m", "zooalign.cli", "submit", "extract", "vit_a", "--dataset", "synthetic",
                   "--cluster", "local", *self.arguments]  # fmt: skip
        self.output = open(self.folder / "output", "w+")  # noqa: SIM115
        self.process = subprocess.Popen(command, cwd=self.checkout.folder, env=environment, text=True,
                                        stdout=self.output, stderr=self.output, start_new_session=True,
                                        preexec_fn=default_signals)  # fmt: skip

    def pause(self, seconds):
        (self.folder / "pause.new").write_text(str(seconds))
        (self.folder / "pause.new").replace(self.folder / "pause")

    def batches(self):
        with contextlib.suppress(FileNotFoundError):
            return [json.loads(line) for line in (self.folder / "batches.jsonl").read_text().splitlines()]
        return []

    def wait_for(self, condition, what):
        end = time.monotonic() + 300
        while not (found := condition()):
            assert time.monotonic() < end, f"{what}: {self.text}"
            assert self.process.poll() is None, self.text
            time.sleep(0.05)
        return found

    def job_processes(self, after=0):
        """Processes of the job once it has stored more batches than `after`."""
        self.wait_for(lambda: sum(b["event"] == "end" for b in self.batches()) > after + 3, "batches")
        return psutil.Process(self.batches()[-1]["pid"])

    def finish(self):
        self.pause(0)
        return self.process.wait(300)

    @property
    def text(self):
        return (self.folder / "output").read_text()

    def done_twice(self):
        """Batches that were stored and computed again."""
        stored, again = Counter(), 0
        for line in self.batches():
            again += line["event"] == "begin" and stored[line["start"]] > 0
            stored[line["start"]] += line["event"] == "end"
        return again


def test_the_signal_before_a_time_limit_requeues_once_and_the_job_goes_on(finished, sweep):
    """Sent as SLURM sends it, to every process of the job; one of them was forked to read images."""
    slow = Slow(sweep, "--timeout-min", "5", "--max-requeues", "5", workers=1)
    for stop in range(2):
        task = slow.job_processes(after=8 * stop)
        job = [task, *task.children(recursive=True)]
        assert len(job) >= 2
        for one in job:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGUSR2)
        slow.wait_for(lambda pid=task.pid: slow.batches()[-1]["pid"] != pid, "a new process")
    log = next((sweep.folder / "results/logs/submit").glob("*_log.out")).read_text()
    assert log.count("Requeued job") == 2, log
    assert "Traceback" not in log, log
    assert slow.finish() == 0, slow.text
    assert slow.done_twice() == 0
    assert len({b["pid"] for b in slow.batches()}) == 3
    ours, theirs = (FeatureStore.open(c.folder / "results/features/synthetic/vit_a.zarr") for c in (sweep, finished))
    assert ours.sample_ids == theirs.sample_ids
    np.testing.assert_allclose(ours.layer(-1).astype(np.float32), theirs.layer(-1).astype(np.float32), atol=2e-3)


def test_one_time_limit_too_many_is_one_message_and_finished_work_is_kept(sweep):
    slow = Slow(sweep, "--timeout-min", "5", "--max-requeues", "0")
    slow.job_processes().send_signal(signal.SIGUSR2)
    assert slow.process.wait(300) == 1
    assert "reached its time limit of 5 min 1 times and was not requeued again" in slow.text
    assert "--timeout-min" in slow.text
    assert "Traceback" not in slow.text
    stored = sum(b["event"] == "end" for b in slow.batches())
    slow.start()
    assert slow.finish() == 0, slow.text
    assert slow.done_twice() == 0
    assert stored >= 4


def test_a_killed_process_is_noticed(sweep):
    slow = Slow(sweep)
    slow.job_processes().send_signal(signal.SIGKILL)
    assert slow.process.wait(300) == 1
    assert "its process ended without a result: killed" in slow.text
    assert "log: results/logs/extract_features/synthetic/vit_a.log" in slow.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_stops_local_jobs_and_the_same_command_goes_on(sweep, number):
    slow = Slow(sweep, workers=1)
    task = slow.job_processes()
    job = [task, *task.children(recursive=True), task.parent()]
    # As a terminal does: to every process of the session.
    os.killpg(slow.process.pid, number) if number == signal.SIGINT else slow.process.send_signal(number)
    assert slow.process.wait(200) == 130
    assert "1 processes stopped; what they finished is kept" in slow.text
    assert "Traceback" not in slow.text
    _, alive = psutil.wait_procs(job, timeout=60)
    assert not alive
    slow.start()
    assert slow.finish() == 0, slow.text
    assert slow.done_twice() == 0


@pytest.mark.parametrize("when", ["at once", "while Python ends"])
@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_signal_after_the_task_has_ended_changes_nothing(tmp_path, when, number):
    """The warning of a time limit may come when the result is stored: the job has not failed, and is not requeued."""
    script = textwrap.dedent(f"""
        import os, signal, sys
        from zooalign.submit.signals import InJob

        class Signals:  # deleted when Python clears modules: handlers are gone by then
            def __del__(self, kill=os.kill, pid=os.getpid(), number={int(number)}):
                kill(pid, number)

        signal.signal(signal.SIGUSR2, lambda *_: sys.exit("requeued"))
        signal.signal(signal.SIGTERM, lambda *_: None)
        assert InJob(lambda: 7, 1, 3, 60)() == 7
        if {when == "at once"}:
            os.kill(os.getpid(), {int(number)})
        else:
            sys.signals = Signals()
    """)
    done = subprocess.run([sys.executable, "-c", script], text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


LIMIT = """
import os, signal, sys, time
from submitit.core.utils import UncompletedJobError
from zooalign.submit.signals import InJob
from zooalign.submit.task import TaskError

class Task:
    title, log = "align vit_a", "vit_a.log"
    def __init__(self, do): self.do = do
    def __call__(self): return self.do()

def warned():
    os.kill(os.getpid(), signal.SIGUSR2)
    time.sleep(60)

def requeue(number, frame):
    print("requeued")
    sys.exit(0)

signal.signal(signal.SIGUSR2, requeue)
"""


@pytest.mark.parametrize(
    ("work", "said"),
    [
        # SLURM kills a requeued job after its KillWait: what saves afterwards may never have saved.
        ("""
def work():
    try:
        warned()
    finally:
        os.kill(os.getpid(), signal.SIGUSR2)  # an admin sends another one
        time.sleep(0.5)
        print("saved")
""", ["saved", "requeued"]),
        ("""
def work():
    try:
        warned()
    finally:
        raise OSError("the disk is full")
""", ["requeued"]),
        # Exceptions in what Python calls on its own are lost; the job must be requeued all the same.
        ("""
class Swallows:
    def __del__(self): warned()

def work():
    Swallows()
    time.sleep(60)
    print("never")
""", ["requeued"]),
        ("""
def refuse(number, frame):
    raise UncompletedJobError("timed out too many times")

signal.signal(signal.SIGUSR2, refuse)

def work():
    try:
        warned()
    except Exception:
        print("never")
    finally:
        print("saved")
""", ["saved", "align vit_a: reached its time limit of 5 min 3 times and was not requeued again."]),
    ],
    ids=["saves first", "fails to save", "swallows", "too often"],
)  # fmt: skip
def test_a_job_is_requeued_when_it_has_saved(work, said):
    script = (
        f"{LIMIT}\n{work}\ntry:\n    InJob(Task(work), 5, 2, 1)()\nexcept TaskError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], text=True, capture_output=True, check=False, timeout=50)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(said)
    assert all(line.startswith(start) for line, start in zip(lines, said, strict=True)), lines
