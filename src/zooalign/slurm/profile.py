"""Settings of the profile that a cluster does not go with, found before anything is submitted."""

from __future__ import annotations

import getpass
import re
import subprocess

from zooalign.errors import ConfigError
from zooalign.slurm.preflight import PROFILE
from zooalign.slurm.sinfo import ask


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


def most_jobs(account: str | None = None, qos: str | None = None) -> int | None:
    """Most jobs that the user may have submitted at a time; None where there is no limit, or nobody says.

    Parameters
    ----------
    account : str, optional
        Account that is charged; None: the smallest limit of all of the user's.
    qos : str, optional
        Quality of service that jobs name; None: the default one of the account.
    """
    rows = _sacctmgr(
        "associations", f"user={getpass.getuser()}", "format=account,defaultqos,maxsubmitjobs,grpsubmitjobs"
    )
    wanted = [row for row in rows if account is None or row[0].lower() == account.lower()]
    names = sorted({qos} if qos else {row[1] for row in wanted if row[1:] and row[1]})
    of_qos = _sacctmgr("qos", ",".join(names), "format=maxsubmitjobsperuser,grpsubmitjobs") if names else []
    limits = [value for row in wanted for value in row[2:]] + [value for row in of_qos for value in row]
    return min((int(value) for value in limits if value.isdigit()), default=None)


def _sacctmgr(what: str, which: str, columns: str) -> list[list[str]]:
    """Rows that sacctmgr lists; none where there is no database, or it does not answer."""
    command = ["sacctmgr", "--noheader", "--parsable2", "show", what, which, columns]
    try:
        done = subprocess.run(command, text=True, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.split("|") for line in done.stdout.splitlines() if not done.returncode]


def check_jobs_at_a_time(jobs: int, account: str | None = None, qos: str | None = None) -> None:
    """Refuse to submit more at a time than SLURM takes: it would refuse the rest, and they would count as failed.

    Parameters
    ----------
    jobs : int
        `jobs` of the profile.
    account, qos : str, optional
        As in :func:`most_jobs`.

    Raises
    ------
    ConfigError
        Says what to set.
    """
    most = most_jobs(account, qos)
    if most is not None and jobs > most:
        raise ConfigError(
            f"SLURM takes at most {most} jobs of yours at a time (sacctmgr: limits of the account and its QOS), this "
            f"run would submit up to {jobs}: set jobs: {most} in {PROFILE}, or less if you have others."
        )
