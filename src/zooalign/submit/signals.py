"""Inside a submitted job: what signals do."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from zooalign.submit.task import Task, TaskError


class _Stopped(BaseException):
    """Raised where a job was when it was told to end: it ends without a result, and what it had open is closed."""


class _TimeLimit(BaseException):
    """Raised where a job was when it was warned of its time limit; no handler of errors may swallow it."""


@dataclass
class _Signals:
    """Submitit's handler of the warning before a time limit, and what has come so far."""

    requeue: Any
    at_limit: bool = False
    n_terminations: int = 0


@dataclass(frozen=True)
class InJob:
    """A task inside its job: signals are for this process alone, and the last time limit is one clear message.

    Before a time limit the task is interrupted, so that it saves what it has, and then the job is requeued: SLURM
    kills a requeued job after its KillWait, which may be shorter than saving takes.

    Parameters
    ----------
    task : Task
        What to do.
    minutes : int
        Time limit of the job.
    max_requeues : int
        How often it may reach it and go on.
    patience_s : int
        Seconds after the warning at which the job is requeued even if the task has not ended by then.
    """

    task: Task
    minutes: int
    max_requeues: int
    patience_s: int

    def __call__(self) -> Any:
        """Do the task; TaskError if this was one time limit too many."""
        from submitit.core.utils import UncompletedJobError

        signals = _Signals(signal.getsignal(signal.SIGUSR2))
        try:
            with _handlers(signals, self.patience_s):
                try:
                    return self.task()
                except Exception:
                    # What fails because the job is being interrupted is no result.
                    if signals.at_limit:
                        raise _TimeLimit from None
                    if signals.n_terminations:
                        raise _Stopped from None
                    raise
        except _TimeLimit:
            try:
                signals.requeue(signal.SIGUSR2, None)
            except UncompletedJobError:
                raise TaskError(
                    f"{self.task.title}: reached its time limit of {self.minutes} min {self.max_requeues + 1} times "
                    "and was not requeued again. What it finished is kept: run the same command again to go on, with "
                    f"a higher --timeout-min or --max-requeues (log: {self.task.log})"
                ) from None
            raise _Stopped from None  # another process of the job requeues it

    def checkpoint(self) -> Any:
        """What submitit requeues."""
        from submitit.helpers import DelayedSubmission

        again = self.task.checkpoint()
        return None if again is None else DelayedSubmission(replace(self, task=again.function))


@contextmanager
def _handlers(signals: _Signals, patience_s: int) -> Iterator[None]:
    """Interrupt this process, and no other of the job, before its time limit, and note what comes.

    SLURM signals every process of the job, and a process that was forked to read images has inherited submitit's
    handlers: it would requeue the job a second time.
    """
    from submitit.core.utils import UncompletedJobError

    ours = os.getpid()
    bypass = signal.getsignal(signal.SIGTERM)

    def before_limit(number: int, frame: Any) -> None:
        if os.getpid() != ours or signals.at_limit or not callable(signals.requeue):
            return
        signals.at_limit = True
        # A library may swallow what is raised here, and saving may take longer than there is time.
        signal.alarm(max(1, patience_s))
        raise _TimeLimit

    def out_of_patience(number: int, frame: Any) -> None:
        with suppress(UncompletedJobError):
            signals.requeue(number, frame)

    def terminate(number: int, frame: Any) -> None:
        signals.n_terminations += 1
        if os.getpid() != ours:
            # The first is SLURM's, to the whole job, which goes on until it is requeued or killed; the second is from
            # the process that forked this one.
            if signals.n_terminations > 1:
                os._exit(128 + number)
        elif os.environ.get("SUBMITIT_EXECUTOR") == "local":
            raise _Stopped
        elif callable(bypass):
            bypass(number, frame)

    signal.signal(signal.SIGALRM, out_of_patience)
    signal.signal(signal.SIGUSR2, before_limit)
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        # The task has ended, and the process does so in a moment: a job that is done is not requeued, and Python,
        # which gives up handlers while it ends, is not killed by the signal (SLURM would call the job failed).
        signal.alarm(0)
        for number in (signal.SIGALRM, signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
