"""The user's jobs in the queue: `squeue`, read once."""

from __future__ import annotations

import subprocess
from typing import NamedTuple


class Queued(NamedTuple):
    """A job that SLURM lists.

    Attributes
    ----------
    number, state, reason, partition, folder, comment : str
        As squeue says them. The folder is where the job was submitted; the comment of our jobs names rule, dataset
        and model.
    """

    number: str
    state: str
    reason: str
    partition: str
    folder: str
    comment: str


def queued(prefix: str = "zooalign") -> list[Queued]:
    """The user's jobs whose name begins with a prefix; none where there is no SLURM, or it does not answer."""
    command = ["squeue", "--me", "--noheader", "--format=%j|%i|%T|%r|%P|%Z|%k"]
    try:
        done = subprocess.run(command, text=True, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [line.strip().split("|", 6) for line in done.stdout.splitlines() if not done.returncode]
    return [Queued(*row[1:]) for row in rows if len(row) == 7 and row[0].startswith(prefix)]


def waiting(jobs: list[Queued]) -> list[str]:
    """A line per job that waits, with SLURM's reason.

    Examples
    --------
    >>> waiting([Queued("7", "PENDING", "PartitionDown", "gpu", "/lab", "rule_align_row_wildcards_emoji_e5")])
    ['job 7 in partition gpu waits: PartitionDown (rule_align_row_wildcards_emoji_e5)']
    """
    return [
        f"job {job.number} in partition {job.partition} waits: {job.reason} ({job.comment})"
        for job in jobs
        if job.state == "PENDING"
    ]


def left_in(folder: str, jobs: list[Queued]) -> str:
    """What to say of a run's jobs that are in the queue after it has ended; empty if there are none.

    Snakemake cancels its jobs on Ctrl-C, except one whose state it is just asking for.

    Examples
    --------
    >>> left_in("/lab", [Queued("7", "RUNNING", "None", "gpu", "/lab", "rule_align_row_wildcards_emoji_e5")])
    '1 job of this run is still in the queue: the next run waits for what it writes; to cancel it: scancel 7'
    """
    left = [job.number for job in jobs if job.folder == folder and job.state in ("RUNNING", "PENDING", "CONFIGURING")]
    if not left:
        return ""
    some, one, them = ("jobs", "are", "them") if len(left) > 1 else ("job", "is", "it")
    they = "they write" if len(left) > 1 else "it writes"
    return (
        f"{len(left)} {some} of this run {one} still in the queue: the next run waits for what {they}; "
        f"to cancel {them}: scancel {' '.join(left)}"
    )
