"""What is refused before anything runs: files, settings and requests that cannot work, and a second run."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from zooalign.workflow.disk import check_bound as check_bound
from zooalign.workflow.work import Item, Work

_RUN = "ZOOALIGN_RUN"  # the results folder that this run, and its second pass, owns
RUNNING = ExitStack()  # holds it


def own_results(work: Work) -> None:
    """Be the only run in a results folder until this process ends: two would remove each other's models and scores.

    Raises
    ------
    ConfigError
        If another run is there; says who and since when.
    """
    from zooalign.errors import ConfigError
    from zooalign.storage.lease import hold_lease
    from zooalign.workflow.status import current_owner

    path = work.layout.results.absolute() / "run"
    if os.environ.get(_RUN) == str(path):
        return
    other = current_owner(path)
    if other is not None:
        raise ConfigError(
            f"another run of the workflow uses the results folder {path.parent}: {other}. Wait until it has ended, "
            "or choose another folder (results in config.yaml)."
        )
    RUNNING.enter_context(hold_lease(path, lambda line: None, work.sweep.config.jobs.lease_timeout_s))
    atexit.register(RUNNING.close)
    os.environ[_RUN] = str(path)


def check_files(configfiles: Iterable[Any]) -> None:
    """Refuse configuration files that Snakemake accepts: of a key that occurs twice, it takes the last.

    Raises
    ------
    ConfigError
        As `read_yaml`.
    """
    from zooalign.config.reading import read_yaml

    for file in configfiles:
        if Path(file).suffix in (".yaml", ".yml") and Path(file).is_file():
            read_yaml(Path(file))


def check_sizes(work: Work) -> None:
    """Refuse a k that a dataset has too few samples for, before features are extracted for nothing.

    Raises
    ------
    ConfigError
        Names metric, k, dataset and its number of samples.
    """
    from zooalign.errors import ConfigError

    config = work.sweep.config
    longest = {f"metrics.{name}": max(metric.k) for name, metric in config.metrics.items() if metric.k}
    if config.sensitivity.k:
        longest["sensitivity"] = max(config.sensitivity.k)
    for dataset in work.sweep.datasets():
        n = work.samples(dataset)
        for name, k in longest.items():
            if n is not None and k >= n:
                raise ConfigError(
                    f"config.yaml, {name}: k = {k} needs more than {k} samples, and {dataset} has {n}: "
                    "choose a smaller k or a larger dataset."
                )


def check_permissions(work: Work, folders: bool = False) -> None:
    """Refuse to make what the user may not write, before anything runs.

    Parameters
    ----------
    work : Work
        The sweep.
    folders : bool
        Whether folders count, too, that new files go to. Without, as for a dry run of somebody who only looks, what
        Snakemake refuses as well, but with the remedy.

    Raises
    ------
    ConfigError
        Names the first such file or folder and whose it is.
    """
    from zooalign.errors import ConfigError

    for item in filter(work.is_due, work.all_items()):
        for file in work.files(*item):
            there = next(path for path in (file, *file.parents) if path.exists())
            if (folders or there == file) and not os.access(there, os.W_OK):
                raise ConfigError(
                    f"{there} is {_owner(there)}'s, and you may not write it, which {item.rule} {item.name} must: "
                    "correct the permissions (several people: a common group and umask 002, see docs/cluster.md)."
                )


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:  # a number that the machine has no name for
        return f"user {path.stat().st_uid}"


def check_touch(work: Work) -> str:
    """Why `--touch` cannot do what it is asked for; empty if it can."""
    due = [item for item in work.all_items() if work.is_due(item)]
    if not due:
        return ""
    first = ", ".join(f"{item.rule} {item.name}" for item in due[:3]) + ", ..." * (len(due) > 3)
    return (
        f"--touch cannot make {len(due)} outputs what their digests say they are not ({first}): run without it. "
        "What digests prove fresh is touched at every start anyway."
    )


def let_sigterm_in(scheduler: Any) -> None:
    """Let Snakemake hear SIGTERM whatever it is doing.

    Its handler (9.27, `JobScheduler.exit_gracefully`) runs in the main thread and takes a lock that the same thread
    holds while it finishes jobs: a run that got the signal then waited for itself for ever.
    """
    if isinstance(getattr(scheduler, "_lock", None), type(threading.Lock())):
        scheduler._lock = threading.RLock()


def check_settings(status_command: str, jobs: int, resources: Mapping[str, Any]) -> None:
    """Refuse settings of the profile that this cluster does not go with; as `slurm.profile`."""
    from zooalign.slurm.profile import check_jobs_at_a_time, check_status_command

    check_status_command(status_command)
    qos = resources.get("qos") or resources.get("slurm_qos")
    check_jobs_at_a_time(jobs, resources.get("slurm_account"), qos)


def check_cluster(jobs: Iterable[tuple[Item | None, int, Mapping[str, Any]]], partitions: Path | None) -> list[Any]:
    """Ask SLURM once, before anything is submitted, whether it can ever run what jobs ask for.

    Parameters
    ----------
    jobs : iterable of (Item, int, dict)
        Jobs that will be submitted: what they do, their threads and resources.
    partitions : path, optional
        The profile's partition file.

    Returns
    -------
    list of preflight.Cluster
        What the cluster has, if there is anything to submit.

    Raises
    ------
    ConfigError
        As `preflight.check_cluster`.
    """
    from zooalign.slurm.preflight import check_cluster as check
    from zooalign.slurm.preflight import request

    requests = [request(item.rule, item.name, threads, asked) for item, threads, asked in jobs if item]
    cluster = check(requests, partitions)
    return [cluster] if cluster else []
