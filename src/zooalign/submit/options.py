"""What submitted jobs ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zooalign.submit.task import Task


@dataclass(frozen=True)
class JobOptions:
    """What jobs ask for; what is None follows from the manifest, task by task.

    Parameters
    ----------
    timeout_min : int, optional
        Time limit of a job, minutes.
    mem_gb : float, optional
        Memory, GB.
    cpus, gpus : int, optional
        Of a job.
    partition, account, qos : str, optional
        Of SLURM.
    max_jobs : int, optional
        Most jobs at a time, waiting ones included: 50 on SLURM; local: as many as the machine has CPUs or GPUs for.
    max_requeues : int
        How often a job may reach its time limit and go on.
    signal_s : int
        Seconds before the time limit at which a job saves what it has and is requeued. SLURM may be a minute early.
    """

    timeout_min: int | None = None
    mem_gb: float | None = None
    cpus: int | None = None
    gpus: int | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    max_jobs: int | None = None
    max_requeues: int = 20
    signal_s: int = 120

    def asked(self, task: Task, cluster: bool) -> dict[str, Any]:
        """What the job of a task asks for, by the names of `resources.job_resources`."""
        asked: dict[str, Any] = dict(task.needs(cluster))
        if self.gpus is not None:
            asked.pop("gpu_model", None)
        given = {
            "runtime": self.timeout_min,
            "mem_mb": None if self.mem_gb is None else round(self.mem_gb * 1024),
            "cpus_per_task": self.cpus,
            "gpu": self.gpus,
            "slurm_partition": self.partition,
        }
        return {**asked, **{key: value for key, value in given.items() if value is not None}}
