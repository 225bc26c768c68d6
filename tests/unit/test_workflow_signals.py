"""SIGTERM reaches Snakemake's scheduler while it holds its own lock."""

import subprocess
import sys

SCRIPT = """\
import os, signal, threading, time
from types import SimpleNamespace
from snakemake.scheduling.job_scheduler import JobScheduler
from zooalign.workflow.start import let_sigterm_in

scheduler = SimpleNamespace(_lock=threading.Lock(), _user_kill=None, _open_jobs=threading.Semaphore(0))
let_sigterm_in(scheduler)
signal.signal(signal.SIGTERM, lambda *_: JobScheduler.exit_gracefully(scheduler))
with scheduler._lock:  # as while jobs are finished
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)
print(scheduler._user_kill, scheduler._open_jobs.acquire(blocking=False))
"""


def test_a_run_that_is_told_to_end_while_it_finishes_jobs_does_not_wait_for_itself():
    done = subprocess.run([sys.executable, "-c", SCRIPT], text=True, capture_output=True, timeout=120)
    assert done.stdout == "graceful True\n", done.stderr
