"""Work that is not a DAG: fan a few tasks out to SLURM, to local processes, or run them here, with submitit.

The workflow is the way to run a sweep. This is for a researcher who wants one model's features now, a row, or scores
of a checkpoint against stored models, from the shell or from a notebook::

    from zooalign.submit.submission import JobOptions, Score, submit

    stores = ["results/features/emoji/minilm_l6.zarr", "results/features/emoji/e5_small.zarr"]
    tasks = [Score("checkpoint.npy", store, Path(f"scores/{i}.json"), null=1000) for i, store in enumerate(stores)]
    files = submit(tasks, "slurm", JobOptions(partition="cpu", timeout_min=120))

A job that reaches its time limit is requeued and continues. Every task is a job of its own, never part of an array.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from zooalign.errors import ConfigError, ZooalignError
from zooalign.progress import Report, report_to_stderr
from zooalign.submit.options import JobOptions
from zooalign.submit.signals import InJob
from zooalign.submit.task import Task, TaskError
from zooalign.submit.tasks import Extraction, Merge, Row, Score, ShardExtraction
from zooalign.submit.watch import Outcome, Queue, Sent, clean, last_line, outcome

__all__ = [
    "Cluster",
    "Extraction",
    "FailedJobsError",
    "JobOptions",
    "Merge",
    "Row",
    "Score",
    "ShardExtraction",
    "Task",
    "TaskError",
    "submit",
]

Cluster = Literal["slurm", "local", "debug"]
CLUSTERS: tuple[Cluster, ...] = ("slurm", "local", "debug")
# As many as profiles/slurm submits at a time.
SLURM_JOBS = 50
_PAUSE_S = 1.0
_STOP_S = 10.0
# Files of jobs that nobody waited for are removed after this time.
_STALE_S = 7 * 24 * 3600


class FailedJobsError(ZooalignError):
    """Some jobs failed; `results` has the results of the others, None for those that failed."""

    def __init__(self, message: str, results: list[Any]) -> None:
        super().__init__(message)
        self.results = results


def submit(
    tasks: Sequence[Task],
    cluster: Cluster | None = None,
    options: JobOptions | None = None,
    *,
    wait: bool = True,
    log_folder: Path | None = None,
    report: Report = report_to_stderr,
) -> list[Any]:
    """Run tasks as jobs, each for itself, and wait for all of them.

    Parameters
    ----------
    tasks : sequence of Task
        `Extraction`, `ShardExtraction`, `Merge`, `Row`, `Score`, or a task of your own.
    cluster : {"slurm", "local", "debug"} or None
        SLURM, a process per task on this machine, or one after the other in this process; None: SLURM where it is.
    options : JobOptions, optional
        What jobs ask for, and how many there are at a time.
    wait : bool
        Whether to wait; otherwise the ids of the jobs are returned as soon as they are submitted.
    log_folder : Path, optional
        For submitit's own files; default logs/submit in the results folder. What a job says about its work is in the
        log of each item, as everywhere.

    Returns
    -------
    list
        What the tasks returned, in their order (paths of what they made); with `wait=False` ids of jobs.

    Raises
    ------
    FailedJobsError
        If jobs failed, after all have ended; names each with its id, the reason and its log.
    ConfigError
        For an unknown cluster, or options that it refuses.
    KeyboardInterrupt
        On Ctrl-C. SLURM jobs go on, and the report says how to cancel them; local processes are stopped, and keep
        what they have finished.
    """
    tasks, options = list(tasks), options or JobOptions()
    if not tasks:
        return []
    where = _cluster(cluster)
    folder = log_folder or tasks[0].results / "logs" / "submit"
    folder.mkdir(parents=True, exist_ok=True)
    clean(folder, older_s=_STALE_S)
    asked = [options.asked(task, where == "slurm") for task in tasks]
    at_a_time = options.max_jobs or (SLURM_JOBS if where == "slurm" else _local_jobs(asked))
    if not wait and where != "debug" and len(tasks) > at_a_time:
        raise ConfigError(
            f"{len(tasks)} jobs, and at most {at_a_time} at a time: somebody has to wait to submit the others. "
            "Wait (leave out --no-wait), or raise --max-jobs."
        )
    if where == "slurm":
        _check(tasks, asked, options)
    for task in tasks:
        task.prepare(report)
    if where == "debug":
        return _run_here(tasks, report)
    submission = _Submission(where, folder, options, report)
    report(f"{len(tasks)} jobs, at most {at_a_time} at a time, on {where}; logs of jobs in {folder}")
    if not wait:
        sent = [submission.send(i, task, needs) for i, (task, needs) in enumerate(zip(tasks, asked, strict=True))]
        return [one.job.job_id for one in sent]
    return submission.run(tasks, asked, at_a_time)


def _cluster(cluster: str | None) -> Cluster:
    from zooalign.errors import unknown

    if cluster is None:
        from shutil import which

        return "slurm" if which("srun") else "local"
    for known in CLUSTERS:
        if cluster == known:
            return known
    raise ConfigError(unknown("cluster", cluster, CLUSTERS))


def _local_jobs(asked: list[dict[str, Any]]) -> int:
    """Processes that this machine has CPUs and GPUs for."""
    jobs = max(1, len(os.sched_getaffinity(0)) // max(int(one.get("cpus_per_task", 1)) for one in asked))
    gpus = max(int(one.get("gpu", 0)) for one in asked)
    return min(jobs, max(1, len(_local_gpus()) // gpus)) if gpus else jobs


def _local_gpus() -> list[int]:
    """Numbers of the GPUs of this machine that we may use."""
    from zooalign.workflow.resources import GPU_FILES

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [int(name) for name in visible.split(",") if name.strip().isdigit()]
    try:
        return list(range(len(os.listdir(GPU_FILES))))
    except OSError:
        return []


def _check(tasks: Sequence[Task], asked: Sequence[dict[str, Any]], options: JobOptions) -> None:
    """Refuse what the cluster can never run: SLURM lets some of it wait for ever."""
    from zooalign.slurm.preflight import check_cluster, request

    account = {} if options.account is None else {"slurm_account": options.account}
    requests = [
        request(task.title.partition(" ")[0], task.title, 1, {**needs, **account})
        for task, needs in zip(tasks, asked, strict=True)
    ]
    try:
        check_cluster(requests)
    except ConfigError as error:
        own = "--partition, --gpus, --mem-gb, --cpus, --timeout-min, --account"
        raise ConfigError(f"{error}\nOr give other options to this command: {own}.") from None


def _run_here(tasks: Sequence[Task], report: Report) -> list[Any]:
    from submitit import DebugExecutor

    results: list[Any] = []
    failures: list[str] = []
    executor = DebugExecutor(folder=os.devnull)
    for i, task in enumerate(tasks, start=1):
        job = executor.submit(task)
        error = job.exception()  # runs it, and does not open a debugger on failure as `result` would
        results.append(None if error else job.result())
        report(f"{i}/{len(tasks)} {'FAILED' if error else 'done'}: {error or task.title}")
        if error:
            failures.append(f"{error}" if isinstance(error, ZooalignError) else f"{task.title}: {error!r}")
    _raise_if_any(failures, results)
    return results


def _raise_if_any(failures: list[str], results: list[Any]) -> None:
    if failures:
        listed = "\n".join(f"- {text}" for text in failures)
        count = f"{len(failures)} of {len(results)} jobs failed; what they finished is kept"
        raise FailedJobsError(f"{count}.\n{listed}", results)


class _Submission:
    """Jobs on their way: submitted a few at a time, watched until each has ended."""

    def __init__(self, cluster: Cluster, folder: Path, options: JobOptions, report: Report) -> None:
        self.cluster, self.folder, self.options, self.report = cluster, folder, options, report
        self.running: dict[int, Sent] = {}
        self._gpus_free = _local_gpus() if cluster == "local" else []
        self._gpus_of: dict[int, list[int]] = {}

    def run(self, tasks: Sequence[Task], asked: Sequence[dict[str, Any]], at_a_time: int) -> list[Any]:
        """Submit all and wait for all."""
        queue = Queue(self.report)
        ended: dict[int, Outcome] = {}
        waiting = list(range(len(tasks)))
        try:
            while waiting or self.running:
                while waiting and len(self.running) < at_a_time:
                    i = waiting[0]
                    try:
                        self.running[i] = self.send(i, tasks[i], asked[i])
                    except _Full as full:
                        at_a_time = len(self.running)
                        self.report(f"SLURM takes no more jobs of yours now ({full}); waiting until one has ended")
                        break
                    waiting.pop(0)
                time.sleep(_PAUSE_S)
                for i, sent in list(self.running.items()):
                    end = outcome(sent, queue)
                    if end is not None:
                        ended[i] = self._end(i, end, len(ended) + 1, len(tasks))
        except (KeyboardInterrupt, ConfigError):
            self._leave()
            raise
        results = [ended[i].value if ended[i].good else None for i in range(len(tasks))]
        _raise_if_any([ended[i].reason for i in range(len(tasks)) if not ended[i].good], results)
        return results

    def _end(self, i: int, end: Outcome, number: int, total: int) -> Outcome:
        sent = self.running.pop(i)
        self._gpus_free += self._gpus_of.pop(i, [])
        if end.good:
            self.report(f"{number}/{total} done: job {sent.job.job_id}, {sent.task.title}")
        else:
            reason = f"job {sent.job.job_id} ({sent.task.title}): {end.reason}"
            end = replace(end, reason=reason)
            self.report(f"{number}/{total} FAILED: {reason}")
        clean(self.folder, jobs=[sent.job], keep_log=not end.good)
        return end

    def send(self, i: int, task: Task, asked: dict[str, Any]) -> Sent:
        """Submit one task."""
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        minutes = int(asked["runtime"])
        gpus = int(asked.get("gpu", 0))
        warning_s = min(self.options.signal_s, 60 * minutes // 2)
        work = InJob(task, minutes, self.options.max_requeues, warning_s // 2)
        if self.cluster == "local":
            executor: Any = submitit.LocalExecutor(folder=self.folder, max_num_timeout=self.options.max_requeues)
            executor.update_parameters(
                timeout_min=minutes,
                signal_delay_s=warning_s,
                stderr_to_stdout=True,
            )
            mine = self._gpus_of[i] = [self._gpus_free.pop() for _ in range(min(gpus, len(self._gpus_free)))]
            executor.update_parameters(gpus_per_node=len(mine), visible_gpus=mine)
            with _shielded():
                job = executor.submit(work)
        else:
            executor = submitit.SlurmExecutor(folder=self.folder, max_num_timeout=self.options.max_requeues)
            executor.update_parameters(**self._slurm(task, asked))
            try:
                job = executor.submit(work)
            except (FailedJobError, FailedSubmissionError) as error:
                said = last_line(str(error)).removeprefix("sbatch: error: ")
                if self.running and any(word in said for word in _FULL_WORDS):
                    raise _Full(said) from None
                raise ConfigError(
                    f"sbatch refused the job {task.title!r}: {said}. Check --partition, --account, --qos, --gpus, "
                    "--mem-gb, --cpus and --timeout-min."
                ) from None
        what = f"{asked['mem_mb']} MB, {asked.get('cpus_per_task', 1)} CPUs, {gpus} GPUs, {minutes} min"
        self.report(f"job {job.job_id}: {task.title} ({what}; log: {task.log})")
        return Sent(task, job, self.cluster)

    def _slurm(self, task: Task, asked: dict[str, Any]) -> dict[str, Any]:
        cpus, gpus = int(asked.get("cpus_per_task", 1)), int(asked.get("gpu", 0))
        # Requeued after a time limit, preemption, or a dead node, also where that is not the cluster's default.
        further: dict[str, Any] = {"requeue": True}
        if gpus:
            further["gpus"] = f"{asked['gpu_model']}:{gpus}" if asked.get("gpu_model") else gpus
        chosen = {
            "partition": asked.get("slurm_partition"),
            "account": self.options.account,
            "qos": self.options.qos,
        }
        return {
            "job_name": f"zooalign-{task.title.partition(' ')[0]}",
            "comment": task.title,
            "time": int(asked["runtime"]),
            "mem": f"{asked['mem_mb']}MB",
            "cpus_per_task": cpus,
            "signal_delay_s": self.options.signal_s,
            "stderr_to_stdout": True,
            "additional_parameters": further,
            # srun takes neither from sbatch: the environment tells the job that it runs on a cluster, and its step
            # how many CPUs it has.
            "setup": ["export ZOOALIGN_CLUSTER=1", f"export SRUN_CPUS_PER_TASK={cpus}"],
            **{key: value for key, value in chosen.items() if value is not None},
        }

    def _leave(self) -> None:
        """Say what goes on without us, or stop it."""
        if not self.running:
            return
        ids = " ".join(sent.job.job_id for sent in self.running.values())
        if self.cluster == "slurm":
            self.report(
                f"{len(self.running)} jobs go on: {ids}. Cancel them with `scancel {ids}`; or run the same command "
                "again later: it waits for them and finds what they have finished."
            )
            return
        for sent in self.running.values():
            _signal(sent, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        for sent in self.running.values():
            while not sent.job.done() and time.monotonic() < deadline:
                time.sleep(0.1)
            if not sent.job.done():
                _signal(sent, signal.SIGKILL)
        clean(self.folder, jobs=[sent.job for sent in self.running.values()], keep_log=True)
        self.report(f"{len(self.running)} processes stopped; what they finished is kept, run the same command again")


class _Full(Exception):  # noqa: N818  (not an error: the queue is full for now)
    """SLURM takes no more jobs of this user for now."""


# What sbatch says when a limit on the number of jobs is reached.
_FULL_WORDS = ("SubmitJob", "job submit limit", "QOSMaxSubmit", "AssocMaxSubmit")


def _signal(sent: Sent, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(int(sent.job.job_id), number)  # the id of a local job is that of its process


@contextmanager
def _shielded() -> Iterator[None]:
    """Start a process that does not get the terminal's Ctrl-C: we stop it ourselves, without its tracebacks."""
    try:
        former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread: the terminal's signals do not come here
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
