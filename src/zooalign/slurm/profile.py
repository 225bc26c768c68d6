"""Settings of the profile that a cluster does not go with, found before anything is submitted."""

from __future__ import annotations

import getpass
import re
import subprocess

from zooalign.errors import ConfigError
from zooalign.slurm.preflight import PROFILE, ask


def check_status_command(command: str) -> None:
    """Refuse to ask `sacct` for the states of jobs where SLURM keeps no accounts: the run would wait for ever.

    Parameters
    ----------
    command : str
        slurm-status-command of the profile.

    Raises
    ------
    ConfigError
        Says what to set; also if SLURM does not answer.
    """
    if command != "sacct":
        return
    found = re.search(r"^AccountingStorageType\s*=\s*(\S+)", ask("scontrol", "show", "config"), re.M)
    storage = found[1] if found else "(null)"
    if storage in ("(null)", "accounting_storage/none"):
        raise ConfigError(
            f"slurm-status-command is sacct, and this cluster keeps no accounts (AccountingStorageType = {storage}): "
            f"set slurm-status-command: squeue in {PROFILE}."
        )


def most_jobs(account: str | None = None) -> int | None:
    """Most jobs that the user may have submitted at a time; None where there is no limit, or nobody says.

    Parameters
    ----------
    account : str, optional
        Account that is charged; None: the smallest limit of all of the user's.
    """
    command = ["sacctmgr", "--noheader", "--parsable2", "show", "associations", f"user={getpass.getuser()}",
               "format=account,maxsubmitjobs,grpsubmitjobs"]  # fmt: skip
    try:
        done = subprocess.run(command, text=True, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    rows = [line.split("|") for line in done.stdout.splitlines() if not done.returncode]
    wanted = [row for row in rows if account is None or row[0].lower() == account.lower()]
    limits = [int(value) for _, *values in wanted for value in values if value.isdigit()]
    return min(limits, default=None)


def check_jobs_at_a_time(jobs: int, account: str | None = None) -> None:
    """Refuse to submit more at a time than SLURM takes: it would refuse the rest, and they would count as failed.

    Parameters
    ----------
    jobs : int
        `jobs` of the profile.
    account : str, optional
        As in :func:`most_jobs`.

    Raises
    ------
    ConfigError
        Says what to set.
    """
    most = most_jobs(account)
    if most is not None and jobs > most:
        raise ConfigError(
            f"SLURM takes at most {most} jobs of yours at a time (sacctmgr: MaxSubmitJobs), this run would submit up "
            f"to {jobs}: set jobs: {most} in {PROFILE}, or less if you have others."
        )
