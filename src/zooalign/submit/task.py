"""What every submitted task has in common, and how it runs with a log of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zooalign.errors import ZooalignError
from zooalign.progress import Report


class TaskError(ZooalignError):
    """A task failed; says which item of it, why, and where the log is."""


@dataclass(frozen=True)
class Task(ABC):
    """Base of everything that can be submitted: called without arguments, it returns the path of what it made."""

    @property
    def title(self) -> str:
        """What it is, for people: rule, model, dataset."""
        return self._title()

    @property
    def log(self) -> Path:
        """Log of its main item."""
        return self._log()

    @property
    def results(self) -> Path:
        """Results folder; submitit's own files go to its logs/submit."""
        return Path("results")

    def prepare(self, report: Report) -> None:  # noqa: B027  (most tasks that read stores need nothing)
        """Do what has to be done where the network is, before the task is submitted."""

    def needs(self, cluster: bool) -> dict[str, int | str]:
        """What a job asks for unless given.

        Returns
        -------
        dict
            "mem_mb", "runtime" (minutes), "cpus_per_task"; "gpu", "gpu_model", "slurm_partition" where they apply.
        """
        return self._needs(cluster)

    @abstractmethod
    def __call__(self) -> str:
        """Do it, or what is left of it."""

    def checkpoint(self) -> Any:
        """What submitit requeues before a time limit: the same task, which continues where it was."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    @abstractmethod
    def _title(self) -> str: ...

    @abstractmethod
    def _log(self) -> Path: ...

    @abstractmethod
    def _needs(self, cluster: bool) -> dict[str, int | str]: ...


def run_logged(log: Path, title: str, work: Callable[[Report], Any]) -> None:
    """Run a function of a report with a log of its own.

    Raises
    ------
    TaskError
        With what the user has to know, if it fails in whatever way.
    """
    from zooalign.workflow.job import job

    said = ""
    try:
        with job(log, title) as report:
            try:
                work(report)
            except Exception as error:
                said = str(error) if isinstance(error, ZooalignError) else f"{type(error).__name__}: {error}"
                raise
    except SystemExit as error:
        if error.code != 1:  # submitit ends the process so when it has requeued the job
            raise
        raise TaskError(f"{title}: {said} (log: {log})") from None
    except Exception as error:
        raise TaskError(f"{title}: {said} (log: {log})") from error
