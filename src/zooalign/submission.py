"""Work that is not a DAG: fan a few jobs out to SLURM, to local processes, or run them here, with submitit.

The workflow is the way to run a sweep. This is for a researcher who wants one model's features now, or scores of a
checkpoint against stored models, from Python or the shell. A job that reaches its time limit is requeued and
continues: extraction keeps every finished batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zooalign.config import Sweep
from zooalign.layout import Layout
from zooalign.progress import Report, report_to_stderr

Cluster = Literal["slurm", "local", "debug"]


@dataclass(frozen=True)
class Extraction:
    """Features of one model on one dataset, as a job: weights, dataset and store are those of the sweep.

    Parameters
    ----------
    sweep : Sweep
        The checked configuration.
    layout : Layout
        Where artefacts lie.
    model, dataset : str
        Ids.
    """

    sweep: Sweep
    layout: Layout
    model: str
    dataset: str

    def __call__(self) -> str:
        """Do what is missing of dataset, weights and features; return the path of the store."""
        from zooalign.datasets import build_dataset
        from zooalign.extraction import extract_features
        from zooalign.sources import fetch_weights

        spec = self.sweep.model(self.model)
        folders = self.layout.dataset(self.dataset), self.layout.weights(self.model)
        if not (folders[0] / "dataset.json").exists():
            build_dataset(self.sweep.dataset(self.dataset), folders[0], report_to_stderr)
        if not (folders[1] / "weights.json").exists():
            fetch_weights(spec, folders[1])
        path = self.layout.features(self.dataset, self.model)
        path.parent.mkdir(parents=True, exist_ok=True)
        extract_features(spec, folders[1], folders[0], path, self.sweep.config.extraction, report_to_stderr)
        return str(path)

    def checkpoint(self) -> Any:
        """What submitit requeues before a time limit: the same job, which continues after the last whole batch."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def submit(
    tasks: Sequence[Callable[[], Any]],
    cluster: Cluster | None,
    log_folder: Path,
    report: Report,
    timeout_min: int = 60,
    mem_gb: float = 4.0,
    cpus: int = 1,
    gpus: int = 0,
    partition: str | None = None,
) -> list[Any]:
    """Run tasks as jobs and wait for all of them.

    Parameters
    ----------
    tasks : sequence of callable
        Picklable; each takes nothing. A `checkpoint` method makes a task survive its time limit on SLURM.
    cluster : {"slurm", "local", "debug"} or None
        SLURM, a process per task on this machine, or one after the other in this process; None: SLURM where it is.
    log_folder : Path
        Gets a log of every job.
    report : callable
        Takes lines about progress.
    timeout_min : int
        Time limit of a job, minutes.
    mem_gb : float
        Memory of a job, GB.
    cpus, gpus : int
        Of a job.
    partition : str, optional
        SLURM partition.

    Returns
    -------
    list
        Results, in the order of `tasks`.

    Raises
    ------
    Exception
        What the first failed task raised, after all have ended; its log is named in the report.
    """
    import submitit

    executor = submitit.AutoExecutor(folder=log_folder, cluster=cluster)
    settings: dict[str, Any] = {"timeout_min": timeout_min, "mem_gb": mem_gb, "cpus_per_task": cpus}
    if gpus:
        settings["gpus_per_node"] = gpus
    if partition and executor.cluster == "slurm":
        settings["slurm_partition"] = partition
    executor.update_parameters(name="zooalign", **settings)
    jobs = [executor.submit(task) for task in tasks]
    report(f"{len(jobs)} jobs on {executor.cluster}, logs in {log_folder}")
    results, failure = [], None
    for i, job in enumerate(jobs, start=1):
        error = job.exception()
        if error is None:
            results.append(job.result())
            report(f"{i}/{len(jobs)} done: job {job.job_id}")
        else:
            failure = failure or error
            report(f"{i}/{len(jobs)} FAILED: job {job.job_id}, log {job.paths.stderr}")
    if failure is not None:
        raise failure
    return results
