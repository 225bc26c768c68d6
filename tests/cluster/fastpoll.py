"""Snakemake with a short pause between the checks of SLURM jobs, for tests only.

The SLURM plugin waits 10 s longer after every check in which no job ended, up to 180 s, and has no setting for it.
"""

import asyncio

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

LONGEST_S = 1.0


async def _sleep(self: RemoteExecutor) -> None:
    await asyncio.sleep(min(self.next_seconds_between_status_checks or LONGEST_S, LONGEST_S))


RemoteExecutor.sleep = _sleep

if __name__ == "__main__":
    main()
