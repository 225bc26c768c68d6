"""SIGKILLs at random moments: of workers, of Snakemake, of the whole process group. Nothing is lost.

Ten kills in an ordinary run of the suite, thirty with --full.
"""

import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest

from ..sampled import repetitions
from ..terminal import default_signals
from .conftest import ROOT, Checkout

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.timeout(1500)]

SWEEPS, KILLS = 3, 10
TABLES = ("tables/alignment.parquet", "tables/alignment.csv")


class Run:
    """A run of Snakemake as a user starts it, in a process group of its own."""

    def __init__(self, checkout):
        command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--cores", "2", "--nolock",
                   "--workflow-profile", ROOT / "profiles/default"]  # fmt: skip
        self.process = subprocess.Popen(command, cwd=checkout.folder, env={**os.environ, "OMP_NUM_THREADS": "1"},
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        start_new_session=True, preexec_fn=default_signals)  # fmt: skip

    def kill(self, what):
        """Kill a random worker, the controller, or everything; what is left of a run ends before the next begins."""
        controller = psutil.Process(self.process.pid)
        workers = controller.children(recursive=True)
        if what == "worker" and workers:
            random.choice(workers).kill()
            return
        if what == "controller":
            controller.kill()
            psutil.wait_procs(workers, timeout=60)
        os.killpg(self.process.pid, signal.SIGKILL)
        psutil.wait_procs(workers, timeout=60)
        self.process.wait(60)


@pytest.mark.parametrize("sweep_number", repetitions(SWEEPS))
def test_random_kills_lose_nothing(finished, tmp_path, sweep_number):
    rng = random.Random(sweep_number)
    random.seed(sweep_number)
    checkout = Checkout(tmp_path / "checkout")
    checkout.write()
    kills, run = 0, Run(checkout)
    while kills < KILLS:
        time.sleep(rng.uniform(0.3, 6.0))
        if run.process.poll() is None:
            run.kill(rng.choice(["worker", "controller", "group"]))
            kills += 1
        if run.process.poll() is not None:
            if (checkout.folder / "results" / TABLES[1]).exists():
                # Done between two kills: the rest falls on a run that computes the rows again.
                for row in (checkout.folder / "results/alignment/synthetic").glob("*.parquet"):
                    row.unlink()
            run = Run(checkout)
    run.process.wait(600)
    checkout.snakemake("--nolock")
    assert checkout.bytes(*TABLES) == finished.bytes(*TABLES)
    assert checkout.due() == {}
    whole = finished.folder / "results/features/synthetic"
    for store in sorted(whole.glob("*.zarr/features/c/*/*/*")):
        mine = checkout.folder / "results/features/synthetic" / store.relative_to(whole)
        assert mine.read_bytes() == store.read_bytes(), store
    left = [
        path for path in (checkout.folder / "results").rglob("*") if ".partial" in path.name or ".lease" in path.name
    ]
    assert left == []
