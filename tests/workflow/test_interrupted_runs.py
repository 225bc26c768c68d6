"""What Ctrl-C does to a run in which a job has failed: nothing more is started."""

import os
import signal
import subprocess
import sys

import pytest

from ..terminal import default_signals
from .conftest import ROOT, packaged, tiny_vit

pytestmark = pytest.mark.workflow


def _with_failing_model(sweep):
    """A model whose weights cannot be made, and a real one."""
    broken = tiny_vit("vit_broken", 5)
    broken["options"]["architecture"] = "no_such_vit"
    sweep.models += [broken, packaged("smollm2_135m")[0]]
    sweep.write()


def test_a_failing_job_in_a_run_that_was_interrupted_starts_no_second_pass(sweep):
    """Ctrl-C: what has failed by then is named, and nothing more is started."""
    # The job must be at work until the interrupt comes, and that is after `zooalign status`.
    sweep.config["extraction"] = {"workers": 0, "max_batch": 4}
    _with_failing_model(sweep)
    drill = sweep.folder / "drill"
    drill.mkdir()
    (drill / "pause").write_text("5")
    environment = {**os.environ, "ZOOALIGN_DRILL": str(drill), "PYTHONPATH": str(ROOT / "tests/cluster/instrumented")}
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--cores", "2",
               "--workflow-profile", ROOT / "profiles/default"]  # fmt: skip
    child = subprocess.Popen(command, cwd=sweep.folder, env=environment, text=True, stderr=subprocess.PIPE,
                             preexec_fn=default_signals)  # fmt: skip
    said = []
    for line in child.stderr:
        said.append(line)
        # The broken model has failed, the other one is at work.
        if "smollm2_135m on synthetic: " in line:
            status = sweep.cli("status").stdout
            child.send_signal(signal.SIGINT)
            (drill / "pause").write_text("0")
    assert child.wait(timeout=400) != 0
    text = "".join(said)
    assert "FAILED fetch_weights vit_broken" in text
    assert "finishing everything that can be done without them" not in text
    (running,) = [line for line in status.splitlines() if line.startswith("running")]
    assert "features   smollm2_135m on synthetic: process " in running
    assert "(log: results/logs/extract_features/synthetic/smollm2_135m.log)" in running


def test_an_interrupt_while_jobs_are_selected_starts_no_second_pass(sweep):
    """No job runs at that moment, but some could."""
    _with_failing_model(sweep)
    script = """
import os, signal
from snakemake.cli import main
from snakemake.scheduling.job_scheduler import JobScheduler

select = JobScheduler.job_selector

def interrupted(self, jobs):
    if self.failed and not self.running:
        os.kill(os.getpid(), signal.SIGINT)
    return select(self, jobs)

JobScheduler.job_selector = interrupted
main()
"""
    command = [sys.executable, "-c", script, "--snakefile", ROOT / "Snakefile", "--cores", "2",
               "--workflow-profile", ROOT / "profiles/default"]  # fmt: skip
    done = subprocess.run(command, cwd=sweep.folder, text=True, capture_output=True, check=False, timeout=400,
                          preexec_fn=default_signals)  # fmt: skip
    assert done.returncode != 0
    assert "Terminating processes on user request" in done.stderr
    assert "FAILED fetch_weights vit_broken" in done.stderr
    assert "finishing everything that can be done without them" not in done.stderr
