"""Snakemake with a short pause between the checks of SLURM jobs, for tests only.

The SLURM plugin waits 10 s longer after every check in which no job ended, up to 180 s, and has no setting for it.
While a check runs, the executor's list of jobs is empty, and Ctrl-C cancels none of them: with checks once a second
that would happen often, so Ctrl-C waits here for the end of the check.
"""

import asyncio
import time

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

LONGEST_S = 1.0
CHECK_S = 20.0  # longest that a check may take


async def _sleep(self: RemoteExecutor) -> None:
    await asyncio.sleep(min(self.next_seconds_between_status_checks or LONGEST_S, LONGEST_S))


_cancel = RemoteExecutor.cancel


def _cancel_after_check(self: RemoteExecutor) -> None:
    end = time.monotonic() + CHECK_S
    while not self.active_jobs and time.monotonic() < end:
        time.sleep(0.02)
    _cancel(self)


RemoteExecutor.sleep = _sleep
RemoteExecutor.cancel = _cancel_after_check

if __name__ == "__main__":
    main()
