"""`zooalign submit` on a real SLURM: time limits and requeues lose nothing, and no job is waited for in vain."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from zooalign.features.store import FeatureStore

from ..terminal import default_signals
from ..workflow.conftest import Checkout, tiny_vit
from .slurm import GPU_NODES, STATE, wait_for

# A module that holds the cluster may take minutes; waiting for it counts as setup.
pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(3600)]
INSTRUMENTED = Path(__file__).with_name("instrumented_pairs")
FEATURES = "results/features/synthetic"


class Submission:
    """A running `zooalign submit`, whose batches and pairs take a while and are noted."""

    def __init__(self, checkout, *arguments):
        self.checkout, self.folder = checkout, checkout.folder / "drill"
        self.folder.mkdir(exist_ok=True)
        self.after = max((job.id for job in checkout.slurm.jobs()), default=0)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "SLURM_CONF": str(STATE / "slurm.conf"),
                       "ZOOALIGN_DRILL": str(self.folder), "PYTHONPATH": str(INSTRUMENTED)}  # fmt: skip
        with open(self.folder / "output", "w") as output:
            self.process = subprocess.Popen([sys.executable, "-m", "zooalign.cli", "submit", *arguments],
                                            cwd=checkout.folder, env=environment, stdin=subprocess.DEVNULL,
                                            stdout=output, stderr=output, start_new_session=True,
                                            preexec_fn=default_signals)  # fmt: skip

    @property
    def text(self):
        return (self.folder / "output").read_text()

    def jobs(self):
        return self.checkout.slurm.jobs(self.checkout.folder, self.after)

    def ended(self):
        """Its jobs, once SLURM is done with them, which is a moment after their results are there."""
        wait_for(lambda: all(job.is_over for job in self.jobs()), "the end of all jobs")
        return self.jobs()

    def running(self, n=1):
        """Its jobs, once n of them run."""
        found = []

        def look():
            assert self.process.poll() is None, self.text
            found[:] = [job for job in self.jobs() if job.state == "RUNNING"]
            return len(found) >= n

        wait_for(look, f"{n} running jobs")
        return found

    def wait(self, seconds=1200):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise AssertionError(f"still waits after {seconds} s:\n{self.text}") from None

    def notes(self, kind):
        with contextlib.suppress(FileNotFoundError):
            return [json.loads(line) for line in (self.folder / f"{kind}.jsonl").read_text().splitlines()]
        return []

    def stored(self):
        return sum(line["event"] == "end" for line in self.notes("batches"))

    def done_twice(self, kind, *keys):
        """How often something was begun that had been finished before."""
        finished, again = Counter(), 0
        for line in self.notes(kind):
            key = tuple(line[k] for k in keys)
            again += line["event"] == "begin" and finished[key] > 0
            finished[key] += line["event"] == "end"
        return again


class SubmitCheckout(Checkout):
    """A small zoo of fast models in batches of one sample, so that there is something to interrupt."""

    def __init__(self, folder, slurm, models=2):
        super().__init__(folder)
        self.slurm = slurm
        self.models = [tiny_vit(f"vit_{i}", i) for i in range(models)]
        self.config |= {"capabilities": [], "figures": [], "tables": ["alignment"]}
        self.config["extraction"] = {"workers": 1, "max_batch": 1}
        self.config["resources"] = {"extract_features": {"partition": "gpu"}}
        self.write()

    def submit(self, *arguments, batch_s=0.0, pair_s=0.0):
        drill = self.folder / "drill"
        drill.mkdir(exist_ok=True)
        for name, seconds in (("pause", batch_s), ("pair_pause", pair_s)):
            (drill / f"{name}.new").write_text(str(seconds))
            (drill / f"{name}.new").replace(drill / name)
        return Submission(self, *arguments)

    def features(self, model):
        store = FeatureStore.open(self.folder / FEATURES / f"{model}.zarr")
        return [store.layer(i).tobytes() for i in range(len(store.widths))]

    def row(self, model):
        table = pq.read_table(self.folder / f"results/alignment/synthetic/{model}.parquet").to_pylist()
        return sorted(table, key=lambda line: (line["model_x"], line["model_y"], line["metric"], line["k"]))


@pytest.fixture
def checkout(slurm, tmp_path):
    return SubmitCheckout(tmp_path / "checkout", slurm)


def here(checkout, *arguments):
    done = checkout.cli("submit", *arguments, "--dataset", "synthetic", "--cluster", "debug")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def limited(slurm, tmp_path_factory):
    """An extraction and a row that reach their time limits, side by side: SLURM takes minutes to requeue a job.

    64 batches of 1.8 s, and features, index and seven pairs of six seconds, each in a job that may take one minute.
    SLURM looks every 30 s and may send its signal that much earlier: 20 to 50 s after the start, when the slowest job
    has begun.
    """
    folder = tmp_path_factory.mktemp("limited")
    extracting, aligning = (
        SubmitCheckout(folder / "extract", slurm),
        SubmitCheckout(folder / "align", slurm, models=8),
    )
    here(aligning, "align", "vit_6")
    limits = ("--dataset", "synthetic", "--timeout-min", "1", "--signal-s", "10")
    extraction = extracting.submit("extract", "vit_0", *limits, batch_s=1.8)
    row = aligning.submit("align", "vit_7", *limits, batch_s=0.4, pair_s=6)
    return extraction, row


def test_an_extraction_survives_its_time_limit(limited, tmp_path):
    job, checkout = limited[0], limited[0].checkout
    assert job.wait() == 0, job.text
    [record] = job.ended()
    assert record.restarts >= 2
    assert record.state == "COMPLETED"
    assert (record.limit, record.partition, record.gpus) == ("00:01:00", "gpu", 1)
    assert record.node in GPU_NODES
    said = checkout.slurm.run("scontrol", "-o", "show", "job", str(record.id))
    assert "Comment=extract_features vit_0 on synthetic" in said
    assert len(job.notes("batches")) >= 128
    assert job.done_twice("batches", "store", "start") == 0
    # Beyond what is stored, one batch per run was in flight at most.
    begun = sum(line["event"] == "begin" for line in job.notes("batches"))
    assert begun <= 64 + record.restarts
    whole = SubmitCheckout(tmp_path / "whole", checkout.slurm)
    here(whole, "extract", "vit_0")
    assert checkout.features("vit_0") == whole.features("vit_0")
    assert list((checkout.folder / "results/logs/submit").iterdir()) == []


def test_a_row_survives_its_time_limit(limited, tmp_path):
    row, checkout = limited[1], limited[1].checkout
    whole = SubmitCheckout(tmp_path / "whole", checkout.slurm, models=8)
    for model in ("vit_6", "vit_7"):
        here(whole, "align", model)
    assert row.wait() == 0, row.text
    [record] = row.ended()
    assert record.restarts >= 1
    assert record.state == "COMPLETED"
    assert row.done_twice("batches", "store", "start") == 0
    # A pair is saved when it is finished; one per run was in flight at most.
    begun = sum(line["event"] == "begin" for line in row.notes("pairs"))
    assert row.done_twice("pairs", "x", "y") == 0
    assert 7 <= begun <= 7 + record.restarts
    assert checkout.row("vit_7") == whole.row("vit_7")


def test_admins_may_requeue_and_signal_jobs(checkout, tmp_path):
    """`scontrol requeue` without warning, and the signal alone, which the process that reads images gets as well."""
    job = checkout.submit("extract", "vit_0", "vit_1", "--dataset", "synthetic", batch_s=0.4)
    first, second = sorted(job.running(2), key=lambda record: record.id)
    wait_for(lambda: len({line["store"] for line in job.notes("batches")}) == 2, "batches of both")
    checkout.slurm.requeue(first.id)
    checkout.slurm.run("scancel", "--signal=USR2", str(second.id))
    wait_for(lambda: all(record.restarts >= 1 for record in job.jobs()), "both requeued")
    assert job.wait() == 0, job.text
    assert [record.restarts for record in job.ended()] == [1, 1]
    assert job.done_twice("batches", "store", "start") == 0
    whole = SubmitCheckout(tmp_path / "whole", checkout.slurm)
    here(whole, "extract", "vit_0", "vit_1")
    for model in ("vit_0", "vit_1"):
        assert checkout.features(model) == whole.features(model)


def test_a_job_that_is_cancelled_from_outside_is_noticed(checkout):
    job = checkout.submit("extract", "vit_0", "vit_1", "--dataset", "synthetic", batch_s=0.3)
    victim, other = sorted(job.running(2), key=lambda record: record.id)
    checkout.slurm.cancel(victim.id)
    assert job.wait() == 1
    assert f"job {victim.id} (extract_features vit_0 on synthetic): was cancelled from outside" in job.text
    assert "log: results/logs/extract_features/synthetic/vit_0.log" in job.text
    assert f"job {other.id}, extract_features vit_1 on synthetic" in job.text
    assert checkout.features("vit_1")
    assert "Traceback" not in job.text


def test_too_many_time_limits_are_one_message(checkout):
    # 20 to 50 s before the warning: on a busy machine a job needs long to start.
    job = checkout.submit("extract", "vit_0", "--dataset", "synthetic", "--timeout-min", "1", "--signal-s", "10",
                          "--max-requeues", "0", batch_s=1)  # fmt: skip
    assert job.wait() == 1
    assert "reached its time limit of 1 min 1 times and was not requeued again" in job.text
    assert "--timeout-min" in job.text
    [record] = job.ended()
    assert (record.state, record.restarts) == ("FAILED", 0)
    stored = job.stored()
    assert stored > 0
    again = checkout.submit("extract", "vit_0", "--dataset", "synthetic")
    assert again.wait() == 0, again.text
    assert again.done_twice("batches", "store", "start") == 0


def test_ctrl_c_leaves_the_jobs_and_says_how_to_cancel_them(checkout):
    job = checkout.submit("extract", "vit_0", "vit_1", "--dataset", "synthetic", batch_s=0.3)
    numbers = [record.id for record in job.running(2)]
    os.killpg(job.process.pid, signal.SIGINT)
    assert job.wait(60) == 130
    said = re.search(r"2 jobs go on: (\d+) (\d+)\. Cancel them with `scancel \1 \2`", job.text)
    assert said, job.text
    assert sorted(map(int, said.groups())) == sorted(numbers)
    assert "Traceback" not in job.text
    # The same command again: its jobs wait for the others, and nothing is done twice.
    again = checkout.submit("extract", "vit_0", "vit_1", "--dataset", "synthetic", batch_s=0.3)
    assert again.wait() == 0, again.text
    assert {record.state for record in job.ended()} == {"COMPLETED"}
    assert again.done_twice("batches", "store", "start") == 0
    checkout.features("vit_0")


def test_no_more_jobs_at_a_time_than_asked_and_shards_are_joined(checkout, tmp_path):
    job = checkout.submit("extract", "vit_0", "--dataset", "synthetic", "--shards", "5", "--max-jobs", "2",
                          "--gpus", "0", "--partition", "cpu")  # fmt: skip
    most = 0
    while job.process.poll() is None:
        most = max(most, sum(not record.is_over for record in job.jobs()))
        time.sleep(0.2)
    assert job.process.returncode == 0, job.text
    # Five shards and the job that joins them; one that has left its result may not be over yet.
    assert len(job.jobs()) == 6
    assert 2 <= most <= 4
    assert {record.gpus for record in job.jobs()} == {0}
    assert {record.state for record in job.ended()} == {"COMPLETED"}
    assert job.done_twice("batches", "store", "start") == 0
    whole = SubmitCheckout(tmp_path / "whole", checkout.slurm)
    here(whole, "extract", "vit_0")
    assert checkout.features("vit_0") == whole.features("vit_0")
    assert sorted(p.name for p in (checkout.folder / FEATURES).iterdir()) == ["vit_0.zarr"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--partition", "cpuu"), "unknown partition 'cpuu': did you mean 'cpu'?"),
        (("--account", "nobody"), "account 'nobody'"),
        (("--gpus", "9"), "9 GPUs asked for, 4 on a node"),
        (("--mem-gb", "999"), "MB asked for, 16000 on a node"),
        (("--timeout-min", "99999"), "minutes asked for, its limit is"),
    ],
)
def test_what_the_cluster_cannot_do_is_one_message_and_nothing_is_submitted(checkout, options, said):
    job = checkout.submit("extract", "vit_0", "--dataset", "synthetic", *options)
    assert job.wait(60) == 1
    assert said in job.text
    assert options[0] in job.text
    assert "Traceback" not in job.text
    assert job.jobs() == []
