"""Inside a submitted job: what signals do."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from zooalign.submit.task import Task, TaskError


class _Stopped(BaseException):
    """Raised where a job was when it was told to end: it ends without a result, and what it had open is closed."""


class _GaveUp(BaseException):
    """Raised where a job was when it reached its time limit once too often; no handler of errors may swallow it."""


@dataclass(frozen=True)
class InJob:
    """A task inside its job: signals are for this process alone, and the last time limit is one clear message.

    Parameters
    ----------
    task : Task
        What to do.
    minutes : int
        Time limit of the job.
    max_requeues : int
        How often it may reach it and go on.
    """

    task: Task
    minutes: int
    max_requeues: int

    def __call__(self) -> Any:
        """Do the task; TaskError if this was one time limit too many."""
        try:
            with _signals() as received:
                try:
                    return self.task()
                except Exception:
                    if received:
                        # The job is being ended, and perhaps requeued: what failed for that is no result.
                        raise _Stopped from None
                    raise
        except _GaveUp:
            raise TaskError(
                f"{self.task.title}: reached its time limit of {self.minutes} min {self.max_requeues + 1} times and "
                "was not requeued again. What it finished is kept: run the same command again to go on, with a "
                f"higher --timeout-min or --max-requeues (log: {self.task.log})"
            ) from None

    def checkpoint(self) -> Any:
        """What submitit requeues."""
        from submitit.helpers import DelayedSubmission

        again = self.task.checkpoint()
        return None if again is None else DelayedSubmission(replace(self, task=again.function))


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Pass the signal before a time limit on to submitit, from this process only; yields signals to end that came.

    SLURM signals every process of the job, and a process that was forked to read images has inherited submitit's
    handlers: it would requeue the job a second time.
    """
    from submitit.core.utils import UncompletedJobError

    ours = os.getpid()
    received: list[int] = []
    requeue, bypass = signal.getsignal(signal.SIGUSR2), signal.getsignal(signal.SIGTERM)

    def before_limit(number: int, frame: Any) -> None:
        if os.getpid() != ours or not callable(requeue):
            return
        try:
            requeue(number, frame)
        except UncompletedJobError:
            raise _GaveUp from None

    def terminate(number: int, frame: Any) -> None:
        received.append(number)
        if os.getpid() != ours:
            # The first is SLURM's, to the whole job, which goes on until it is requeued or killed; the second is from
            # the process that forked this one.
            if len(received) > 1:
                os._exit(128 + number)
        elif os.environ.get("SUBMITIT_EXECUTOR") == "local":
            raise _Stopped
        elif callable(bypass):
            bypass(number, frame)

    signal.signal(signal.SIGUSR2, before_limit)
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield received
    finally:
        # The task has ended, and the process does so in a moment: a job that is done is not requeued, and Python,
        # which gives up handlers while it ends, is not killed by the signal (SLURM would call the job failed).
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
