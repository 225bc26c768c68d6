"""Has a submitted job ended, and how: by its result, by its process, or because SLURM has it no more.

Without slurmdbd submitit knows nothing of a job that was cancelled from outside, and would wait for ever.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from zooalign.progress import Report
from zooalign.submit.task import Task

# How often squeue is asked, and how long a result may take to become visible on a shared file system after its job
# is gone.
LOOK_S = 10.0
VISIBLE_S = 20.0


class Sent(NamedTuple):
    """A submitted task: the task, submitit's job, and the cluster."""

    task: Task
    job: Any
    cluster: str


@dataclass(frozen=True)
class Outcome:
    """How a job ended: what the task returned, or why it failed."""

    good: bool
    value: Any = None
    reason: str = ""


def outcome(sent: Sent, queue: Queue) -> Outcome | None:
    """How a job ended, None while it has not."""
    _refresh(sent.job.paths.folder)
    if not sent.job.paths.result_pickle.exists():
        if not (queue.is_gone(sent) if sent.cluster == "slurm" else sent.job.done()):
            return None
        if not sent.job.paths.result_pickle.exists():
            ended = _slurm_ending(sent.job.job_id) if sent.cluster == "slurm" else _KILLED
            return Outcome(False, reason=f"{ended} (log: {sent.task.log}; the job's own: {sent.job.paths.stdout})")
    from submitit.core.utils import pickle_load

    kind, value = pickle_load(sent.job.paths.result_pickle)
    if kind == "success":
        return Outcome(True, value)
    known = re.search(r"TaskError: (.*)", str(value), re.S)
    said = known[1].strip() if known else f"{last_line(str(value))} (the job's log: {sent.job.paths.stdout})"
    return Outcome(False, reason=said)


def last_line(text: str) -> str:
    """The last line of a text that is not empty, without blanks around it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _refresh(folder: Path) -> None:
    """Make a network file system look at the folder again."""
    with contextlib.suppress(OSError):
        folder.chmod(folder.stat().st_mode)


class Queue:
    """Which of our jobs SLURM still has, asked at most every few seconds for all of them at once.

    Parameters
    ----------
    report : callable
        Told when a job waits for something that may never come.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._looked = float("-inf")
        self._listed: dict[str, tuple[str, str]] = {}
        self._gone_since: dict[str, float] = {}
        self._told: dict[str, str] = {}
        self._silent = False

    def is_gone(self, sent: Sent) -> bool:
        """Whether SLURM has a job no more, and its result had the time to become visible."""
        now = time.monotonic()
        if now - self._looked >= LOOK_S:
            self._looked = now
            self._look()
        number = sent.job.job_id
        if self._silent or number in self._listed:
            self._gone_since.pop(number, None)
            self._tell(number)
            return False
        return now - self._gone_since.setdefault(number, now) >= VISIBLE_S

    def _look(self) -> None:
        listing = _run("squeue", "--me", "--noheader", "--format=%i|%T|%r")
        if listing is None and not self._silent:
            self._report("squeue does not answer; waiting until it does")
        self._silent = listing is None
        rows = [line.strip().split("|", 2) for line in (listing or "").splitlines() if line.count("|") >= 2]
        self._listed = {number: (state, reason) for number, state, reason in rows}

    def _tell(self, number: str) -> None:
        state, reason = self._listed.get(number, ("", ""))
        if state == "PENDING" and reason not in _USUAL and self._told.get(number) != reason:
            self._told[number] = reason
            self._report(f"job {number} waits: {reason} (`scontrol show job {number}` says more)")


_KILLED = "its process ended without a result: killed, for its memory or from outside"
# Reasons to wait that pass by themselves.
_USUAL = ("None", "Priority", "Resources", "BeginTime", "Dependency", "Cleaning", "Prolog", "JobHoldMaxRequeue", "")


def _run(*command: str) -> str | None:
    try:
        done = subprocess.run(command, text=True, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _slurm_ending(number: str) -> str:
    """How a job ended that left no result, in words, as far as SLURM remembers it."""
    text = _run("scontrol", "-o", "show", "job", number) or ""
    fields = dict(re.findall(r"(JobState|ExitCode|Reason)=(\S+)", text))
    state, code = fields.get("JobState"), fields.get("ExitCode", "")
    if state is None:
        lines = (_run("sacct", "-nXP", "-j", number, "-o", "State,ExitCode") or "").split()
        state, _, code = (lines[-1] if lines else "").partition("|")
    if state.startswith("CANCELLED"):
        return "was cancelled from outside; what it finished is kept"
    if state == "TIMEOUT":
        return "was ended at its time limit before it could be requeued; ask for more time (--timeout-min)"
    if state == "OUT_OF_MEMORY" or code.endswith(":9") or code.startswith(("9:", "137:")):
        return "was killed, most likely for its memory; ask for more (--mem-gb)"
    return f"ended without a result (SLURM says {state or 'nothing'}{f', exit code {code}' if code else ''})"


def clean(folder: Path, jobs: Iterable[Any] = (), keep_log: bool = False, older_s: float | None = None) -> None:
    """Remove submitit's files: those of ended jobs, and those older than `older_s` that nobody waited for.

    Parameters
    ----------
    folder : Path
        Of submitit's files.
    jobs : iterable of submitit jobs
        Jobs that have ended.
    keep_log : bool
        Whether to keep what the jobs printed.
    older_s : float, optional
        Age in seconds.
    """
    scripts = set()
    for job in jobs:
        paths = [job.paths.submitted_pickle, job.paths.result_pickle, job.paths.submission_file]
        for path in [*paths, *([] if keep_log else [job.paths.stdout, job.paths.stderr])]:
            path.unlink(missing_ok=True)
        scripts.add(str(job.paths.submission_file))
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):  # another process cleans, too
            # submitit leaves a link to the script that it gave to sbatch.
            ours = entry.is_symlink() and os.readlink(entry.path) in scripts
            old = older_s is not None and time.time() - entry.stat(follow_symlinks=False).st_mtime > older_s
            if ours or (old and re.search(r"\.(pkl|sh|out|err)$", entry.name)):
                os.unlink(entry.path)
