"""SLURM's own account of jobs: what `sacct` says, where the cluster keeps accounts."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from typing import Any

COLUMNS = ("JobIDRaw", "State", "Start", "ElapsedRaw", "CPUTimeRAW", "TotalCPU", "MaxRSS", "AllocTRES")
_UNITS = {"": 1 / 2**20, "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}


def ask_sacct(ids: Sequence[str]) -> str:
    """What sacct says about jobs; "" where there is no SLURM or it keeps no accounts."""
    command = ["sacct", "--parsable2", "--noheader", "--duplicates", f"--format={','.join(COLUMNS)}"]
    try:
        done = subprocess.run([*command, "--jobs", ",".join(ids)], text=True, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def parse_sacct(text: str) -> list[dict[str, Any]]:
    r"""Jobs from the output of `sacct --parsable2 --noheader --duplicates` with these `COLUMNS`.

    Returns
    -------
    list of dict
        "job", "state", "started" (seconds since 1970), "seconds", "cpus", "cpu_s", "gpus" (None: not said), and
        "peak_mem_mb": of the batch step and the largest other step together, because both count against the limit.

    Examples
    --------
    >>> job, = parse_sacct(
    ...     "7|COMPLETED|2030-01-02T03:04:05|60|120|01:30.5||cpu=2,gres/gpu:a100=1,gres/gpu=1,mem=4G,node=1\n"
    ...     "7.batch|COMPLETED|2030-01-02T03:04:05|60|120|00:01.0|200M|cpu=2\n"
    ...     "7.0|COMPLETED|2030-01-02T03:04:05|60|120|01:29.5|1024000K|cpu=2"
    ... )
    >>> job["seconds"], job["cpus"], job["cpu_s"], job["gpus"], job["peak_mem_mb"]
    (60, 2, 90.5, 1, 1200)
    """
    jobs: list[dict[str, Any]] = []
    steps: dict[str, float] = {}
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) != len(COLUMNS):
            continue
        row = dict(zip(COLUMNS, (field.strip() for field in fields), strict=True))
        job, _, step = row["JobIDRaw"].partition(".")
        if not step:
            started = _timestamp(row["Start"])
            if started is None or not row["ElapsedRaw"].isdigit():
                continue  # never started
            seconds = int(row["ElapsedRaw"])
            cpu_time = int(row["CPUTimeRAW"]) if row["CPUTimeRAW"].isdigit() else 0
            steps = {}
            jobs.append(
                {
                    "job": job,
                    "state": (row["State"].split() or [""])[0],  # "CANCELLED by 1000"
                    "started": started,
                    "seconds": seconds,
                    "cpus": round(cpu_time / seconds) if seconds else 0,
                    "cpu_s": _seconds(row["TotalCPU"]),
                    "gpus": _gpus(row["AllocTRES"]),
                    "peak_mem_mb": 0,
                }
            )
        elif jobs and jobs[-1]["job"] == job and step != "extern":
            # With --duplicates the steps of a requeued job follow the line of their own run.
            kind = "batch" if step == "batch" else "step"
            steps[kind] = max(steps.get(kind, 0.0), _megabytes(row["MaxRSS"]))
            jobs[-1]["peak_mem_mb"] = round(sum(steps.values()))
    return jobs


def _timestamp(text: str) -> float | None:
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return None


def _seconds(text: str) -> float:
    """A time of sacct: [days-][hours:]minutes:seconds[.fraction]."""
    parts = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", text)
    if not parts:
        return 0.0
    days, hours, minutes, seconds = (float(part or 0) for part in parts.groups())
    return 86400 * days + 3600 * hours + 60 * minutes + seconds


def _megabytes(text: str) -> float:
    size = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text)
    return float(size[1]) * _UNITS[size[2]] if size else 0.0


def _gpus(text: str) -> int | None:
    """GPUs of an AllocTRES; it has "gres/gpu=2", "gres/gpu:a100=2", or both."""
    if not text:
        return None
    counts = re.findall(r"(?:^|,)gres/gpu(:[^=,]+)?=(\d+)", text)
    total = [int(n) for model, n in counts if not model]
    return total[0] if total else sum(int(n) for _, n in counts)
