"""The user's jobs in the queue: `squeue`, read once."""

from __future__ import annotations

import subprocess
from typing import NamedTuple


class Queued(NamedTuple):
    """A job that SLURM lists.

    Attributes
    ----------
    number, state, reason, partition, comment : str
        As squeue says them; the comment of our jobs names rule, dataset and model.
    """

    number: str
    state: str
    reason: str
    partition: str
    comment: str


def queued(prefix: str = "zooalign") -> list[Queued]:
    """The user's jobs whose name begins with a prefix; none where there is no SLURM, or it does not answer."""
    command = ["squeue", "--me", "--noheader", "--format=%j|%i|%T|%r|%P|%k"]
    try:
        done = subprocess.run(command, text=True, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [line.strip().split("|", 5) for line in done.stdout.splitlines() if not done.returncode]
    return [Queued(*row[1:]) for row in rows if len(row) == 6 and row[0].startswith(prefix)]


def waiting(jobs: list[Queued]) -> list[str]:
    """A line per job that waits, with SLURM's reason.

    Examples
    --------
    >>> waiting([Queued("7", "PENDING", "PartitionDown", "gpu", "rule_align_row_wildcards_emoji_e5")])
    ['job 7 in partition gpu waits: PartitionDown (rule_align_row_wildcards_emoji_e5)']
    """
    return [
        f"job {job.number} in partition {job.partition} waits: {job.reason} ({job.comment})"
        for job in jobs
        if job.state == "PENDING"
    ]
