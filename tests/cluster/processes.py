"""Processes that are safe to signal, and waiting for what they do."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class SlurmError(RuntimeError):
    """The test cluster cannot be started, or does not do what a test asks."""


@dataclass(frozen=True)
class Process:
    """A process that is safe to signal later: its id may be reused, its id with its start time is not."""

    name: str
    id: int
    start: str

    @classmethod
    def of(cls, name: str, pid: int) -> Process:
        """A process that runs now."""
        return cls(name, pid, _stat(pid)[1])

    @property
    def runs(self) -> bool:
        """Whether it is the same process and not a zombie."""
        try:
            state, start = _stat(self.id)
        except OSError:
            return False
        return start == self.start and state != "Z"

    def stop(self, seconds: float = 6.0) -> None:
        """Ask it to end, then kill it; nothing happens if it does not run."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.runs:
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.id, number)
            with contextlib.suppress(SlurmError):
                wait_for(lambda: not self.runs, self.name, seconds)


def _stat(pid: int) -> tuple[str, str]:
    """State and start time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], fields[19]


def wait_for(condition: Callable[[], object], what: str, seconds: float = 240.0, pause: float = 0.1) -> None:
    """Wait until a condition is true.

    Raises
    ------
    SlurmError
        After `seconds`; names what was waited for.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SlurmError(f"waited {seconds:g} s in vain: {what}")
        time.sleep(pause)
