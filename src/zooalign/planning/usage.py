"""What jobs took: a record of each, joined with SLURM's own numbers, against what had been predicted.

One file per machine, `results/logs/accounting/{host}.jsonl`, a line per job. Appending one line with O_APPEND is safe
between processes of one machine, on network file systems too; between machines it is not on NFS, where the client
looks up the end of the file before it writes, so no two machines share a file. A file per job would be thousands of
inodes. Every line starts with a newline of its own: a line that was cut off spoils only itself.
"""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from zooalign.slurm.sacct import ask_sacct, parse_sacct

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from zooalign.layout import Layout

VERSION = 1
# How many jobs sacct is asked for at a time: a command line has a longest length.
SACCT_JOBS = 500
# Job ids start again when a cluster is set up again: a job of that id at another time is another job.
SAME_JOB_S = 12 * 3600


def folder(layout: Layout) -> Path:
    """Folder of the records."""
    return layout.results / "logs" / "accounting"


def record_job(layout: Layout, record: Mapping[str, Any]) -> bool:
    """Append the record of one job, finished or failed.

    Parameters
    ----------
    layout : Layout
        Where artefacts lie.
    record : dict
        JSON-able; see :func:`job_record`.

    Returns
    -------
    bool
        False if it could not be written (a full disk): no job fails for that.
    """
    host = re.sub(r"[^A-Za-z0-9._-]", "_", str(record.get("host") or platform.node())) or "host"
    line = "\n" + json.dumps({"version": VERSION, **record}, ensure_ascii=False, separators=(",", ":")) + "\n"
    path = folder(layout) / f"{host}.jsonl"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            # One write, so that lines of jobs that end together do not mix.
            return os.write(file, line.encode()) == len(line.encode())
        finally:
            os.close(file)
    except OSError:
        return False


def job_record(
    about: Mapping[str, Any], started: float, state: str, attempt: int, requested: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything about a job that ends now, for :func:`record_job`.

    Parameters
    ----------
    about : dict
        "rule", "parts", "predicted_s", "predicted_mem_mb", "cluster" (whether it ran on one).
    started : float
        When it began, seconds since 1970.
    state : str
        "done"; "kept" if it was there already or was only continued, which says nothing about its size; "failed".
    attempt : int
        From 1.
    requested : dict
        "mem_mb", "runtime", "gpu", "cpus_per_task", as Snakemake gave them.

    Returns
    -------
    dict
        With what was predicted, what this process and its children used, host, SLURM job id and restarts.
    """
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    seconds = time.time() - started
    gpus = int(requested.get("gpu") or 0)
    item = {"parts": list(about["parts"]), "state": state, "seconds": round(seconds, 3)}
    return {
        "rule": about["rule"],
        "items": [{**item, "predicted_s": about["predicted_s"]}],
        "started": round(started, 3),
        "seconds": round(seconds, 3),
        "cpu_s": round(sum(u.ru_utime + u.ru_stime for u in (own, children)), 3),
        "peak_mem_mb": max(own.ru_maxrss, children.ru_maxrss) // 1024,
        "gpus": gpus,
        "gpu_s": round(gpus * seconds, 3),
        "gpu_peak_mem_mb": _gpu_peak_mem_mb(),
        "cpus": int(requested.get("cpus_per_task") or requested.get("_cores") or 1),
        "requested_mem_mb": requested.get("mem_mb"),
        "requested_runtime_min": requested.get("runtime"),
        "predicted_s": about["predicted_s"],
        "predicted_mem_mb": about["predicted_mem_mb"],
        "cluster": about["cluster"],
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "slurm_restarts": int(os.environ.get("SLURM_RESTART_COUNT") or 0),
        "attempt": attempt,
        "host": platform.node(),
        "state": "failed" if state == "failed" else "done",
    }


def _gpu_peak_mem_mb() -> int | None:
    """Most memory that torch had on a GPU, MB; None where it used none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return max((torch.cuda.max_memory_reserved(i) for i in range(torch.cuda.device_count())), default=0) // 2**20


def read_records(layout: Layout) -> list[dict[str, Any]]:
    """Every readable record, oldest first; lines that were cut off, or are of another version, are left out."""
    records = []
    try:
        files = sorted(entry.path for entry in os.scandir(folder(layout)) if entry.name.endswith(".jsonl"))
    except OSError:
        return []
    for path in files:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                records += [record for line in file if (record := _parsed(line)) is not None]
        except OSError:
            continue
    return sorted(records, key=lambda record: record["started"])


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    wanted = {"rule": str, "seconds": int | float, "started": int | float, "state": str, "items": list}
    if not isinstance(record, dict) or record.get("version") != VERSION:
        return None
    return record if all(isinstance(record.get(key), kind) for key, kind in wanted.items()) else None


def with_slurm(records: Iterable[Mapping[str, Any]], ask: Any = None) -> list[dict[str, Any]]:
    """Records whose numbers are SLURM's where it keeps accounts.

    Parameters
    ----------
    records : iterable of dict
        As :func:`read_records` gives them.
    ask : callable, optional
        Takes job ids, returns sacct's output; for tests.

    Returns
    -------
    list of dict
        "source" says whose numbers they are: "slurm" or "own".
    """
    joined = [{**record, "source": "own"} for record in records]
    ids = list(dict.fromkeys(str(r["slurm_job"]) for r in joined if r.get("slurm_job")))
    known: dict[str, list[dict[str, Any]]] = {}
    for i in range(0, len(ids), SACCT_JOBS):
        for job in parse_sacct((ask or ask_sacct)(ids[i : i + SACCT_JOBS])):
            known.setdefault(job["job"], []).append(job)
    for record in joined:
        begun = record["started"]
        jobs = [j for j in known.get(str(record.get("slurm_job")), ()) if abs(j["started"] - begun) < SAME_JOB_S]
        if not jobs:
            continue
        # A requeued job has several runs: this record is of the one that began last before it.
        job = min(jobs, key=lambda j: (j["started"] > begun + 1, abs(begun - j["started"])))
        gpus = job["gpus"] if job["gpus"] is not None else record.get("gpus", 0)
        record.update(source="slurm", seconds=job["seconds"], slurm_state=job["state"], gpus=gpus)
        record["gpu_s"] = gpus * job["seconds"]
        for key in ("cpu_s", "peak_mem_mb", "cpus"):
            record[key] = job[key] or record.get(key)
    return joined


@dataclass(frozen=True)
class RuleUse:
    """What the jobs of a rule took, against what was predicted.

    Attributes
    ----------
    rule : str
        Name of the rule.
    jobs, failed : int
        Jobs on record, and those of them that failed.
    predicted_hours, hours : float
        Work predicted for all jobs together, and time that they ran; failed jobs count in the second only.
    predicted_mem_mb, mem_mb, requested_mem_mb : int
        Largest predicted, used and requested memory of a job.
    gpu_hours : float
        GPUs times hours.
    utilisation : float or None
        CPU time over CPUs times hours, 0 to 1 (above 1 where a job took more CPUs than it asked for).
    source : str
        "slurm", "own", or "slurm, own".
    """

    rule: str
    jobs: int
    failed: int
    predicted_hours: float
    hours: float
    predicted_mem_mb: int
    mem_mb: int
    requested_mem_mb: int
    gpu_hours: float
    utilisation: float | None
    source: str


def summary(layout: Layout, since: float = 0.0, ask: Any = None) -> list[RuleUse]:
    """Use of every rule that has records, in the order in which they first ran.

    Parameters
    ----------
    layout : Layout
        Where artefacts lie.
    since : float
        Only jobs that began then or later, seconds since 1970.
    ask : callable, optional
        As in :func:`with_slurm`.
    """
    records = with_slurm([r for r in read_records(layout) if r["started"] >= since], ask)
    rules: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        rules.setdefault(record["rule"], []).append(record)
    return [_rule_use(rule, of_rule) for rule, of_rule in rules.items()]


def _rule_use(rule: str, records: list[dict[str, Any]]) -> RuleUse:
    def total(key: str) -> float:
        return sum(_number(r.get(key)) for r in records)

    def largest(key: str) -> int:
        return round(max(_number(r.get(key)) for r in records))

    available = sum(_number(r.get("cpus")) * r["seconds"] for r in records)
    return RuleUse(
        rule=rule,
        jobs=len(records),
        failed=sum(r["state"] != "done" for r in records),
        predicted_hours=total("predicted_s") / 3600,
        hours=total("seconds") / 3600,
        predicted_mem_mb=largest("predicted_mem_mb"),
        mem_mb=largest("peak_mem_mb"),
        requested_mem_mb=largest("requested_mem_mb"),
        gpu_hours=total("gpu_s") / 3600,
        utilisation=total("cpu_s") / available if available else None,
        source=", ".join(sorted({r["source"] for r in records}, reverse=True)),
    )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


@dataclass(frozen=True)
class Measured:
    """What items took in earlier jobs, for plans.

    Attributes
    ----------
    items : dict
        Seconds by (rule, parts, whether on a GPU).
    models, rules : dict
        Measured over predicted seconds by (rule, model, GPU) and by (rule, GPU): medians.
    mem_mb : dict
        Largest peak memory of a job by rule, MB.
    """

    items: Mapping[tuple[str, tuple[str, ...], bool], float]
    models: Mapping[tuple[str, str, bool], float]
    rules: Mapping[tuple[str, bool], float]
    mem_mb: Mapping[str, int]

    def seconds(self, rule: str, parts: tuple[str, ...], gpu: bool, predicted: float) -> tuple[float, bool]:
        """Seconds of an item, and whether they rest on records: its own, else its model's, else its rule's."""
        if (rule, parts, gpu) in self.items:
            return self.items[rule, parts, gpu], True
        factor = self.models.get((rule, parts[-1] if len(parts) > 1 else "", gpu)) or self.rules.get((rule, gpu))
        return (predicted * factor, True) if factor else (predicted, False)


def measured_factors(layout: Layout) -> Measured:
    """What items took so far, from our own records: they tell the items of a job apart, SLURM does not.

    Only items that were done from beginning to end count, not those that failed, were continued or were there
    already. Of several runs of an item the longest counts.
    """
    items: dict[tuple[str, tuple[str, ...], bool], float] = {}
    ratios: dict[tuple[str, tuple[str, ...], bool], float] = {}
    mem_mb: dict[str, int] = {}
    for record in read_records(layout):
        rule, gpu = record["rule"], _number(record.get("gpus")) > 0
        mem_mb[rule] = max(mem_mb.get(rule, 0), round(_number(record.get("peak_mem_mb"))))
        for item in record["items"]:
            if not isinstance(item, dict) or item.get("state") != "done" or not isinstance(item.get("parts"), list):
                continue
            key = (rule, tuple(map(str, item["parts"])), gpu)
            seconds, predicted = _number(item.get("seconds")), _number(item.get("predicted_s"))
            if seconds > items.get(key, 0.0):
                items[key] = seconds
                ratios[key] = seconds / predicted if predicted else 0.0
    models: dict[tuple[str, str, bool], list[float]] = {}
    rules: dict[tuple[str, bool], list[float]] = {}
    for (rule, parts, gpu), ratio in ratios.items():
        if ratio:
            rules.setdefault((rule, gpu), []).append(ratio)
        if ratio and len(parts) > 1:
            models.setdefault((rule, parts[-1], gpu), []).append(ratio)
    return Measured(
        items,
        {key: median(values) for key, values in models.items()},
        {key: median(values) for key, values in rules.items()},
        mem_mb,
    )


def print_accounting(layout: Layout, console: Console, since: float = 0.0) -> None:
    """Print predicted against actual use per rule; nothing where there are no records."""
    from rich.table import Table

    used = summary(layout, since)
    if not used:
        return
    table = Table(title="What the jobs took (predicted → actual)")
    columns = ("rule", "jobs", "failed", "hours", "peak MB", "asked MB", "GPU hours", "CPU use", "numbers of")
    for column in columns:
        table.add_column(column, justify="left" if column in ("rule", "numbers of") else "right")
    for u in used:
        table.add_row(
            u.rule,
            f"{u.jobs:,}",
            f"{u.failed:,}" if u.failed else "",
            f"{u.predicted_hours:.3f} → {u.hours:.3f}",
            f"{u.predicted_mem_mb:,} → {u.mem_mb:,}",
            f"{u.requested_mem_mb:,}" if u.requested_mem_mb else "",
            f"{u.gpu_hours:.3f}" if u.gpu_hours else "",
            "" if u.utilisation is None else f"{u.utilisation:.0%}",
            {"own": "own records", "slurm": "SLURM", "slurm, own": "SLURM, own records"}[u.source],
        )
    console.print(table)
