"""Progress of long loops: how far, how fast, how long still."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable

# Parameters called `report` take one line at a time for the log of a job; docstrings do not say it again.
Report = Callable[[str], None]


def report_to_stderr(message: str) -> None:
    """Print one line with the time of day; a job's stderr is its log."""
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """A span of time for people.

    Examples
    --------
    >>> duration(3.21), duration(75), duration(7320)
    ('3.2 s', '1 min 15 s', '2 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def peak_mem_mb() -> int:
    """Peak resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


class Progress:
    """Reports the state of a loop at most every few seconds, and at its end.

    Parameters
    ----------
    total : int
        Units that there are in all.
    unit : str
        What is counted ("images").
    report : callable
        Takes one line of text.
    done : int
        Units that an earlier run had finished already; they do not count for the rate.
    every_s : float
        Least time between two reports, seconds.
    """

    def __init__(self, total: int, unit: str, report: Report, done: int = 0, every_s: float = 10.0) -> None:
        self.total, self.unit, self.report, self.every_s = total, unit, report, every_s
        self.done = self._first = done
        self._start = self._last = time.monotonic()

    def advance(self, units: int) -> None:
        """Count units as done."""
        self.done += units
        now = time.monotonic()
        if now - self._last >= self.every_s and self.done < self.total:
            self._last = now
            rate = (self.done - self._first) / (now - self._start)
            left = duration((self.total - self.done) / rate) if rate > 0 else "unknown"
            self.report(f"{self.done:,}/{self.total:,} {self.unit}, {rate:.1f}/s, {left} left")

    @property
    def elapsed_s(self) -> float:
        """Seconds since the loop began."""
        return time.monotonic() - self._start

    @property
    def rate(self) -> float:
        """Units per second of this run."""
        return (self.done - self._first) / max(self.elapsed_s, 1e-9)

    def finish(self) -> None:
        """Report the total and the rate."""
        self.report(
            f"{self.done:,} {self.unit} in {duration(self.elapsed_s)} ({self.rate:.1f}/s), "
            f"peak memory {peak_mem_mb()} MB"
        )
