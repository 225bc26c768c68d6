"""The live view of a sweep: that of snakemake-logger-plugin-rich, with the time that remains and a line per job.

Snakemake finds logger plugins by the name of their package; `--logger zooalign` chooses this one.
"""

from __future__ import annotations

import os
import time
from logging import LogRecord

from rich.progress import ProgressColumn, Task
from rich.text import Text
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_logger_plugin_rich import LogHandler as RichLogHandler

from zooalign.progress import duration


class LogHandler(RichLogHandler):
    """Shows progress per rule and overall; every job is named by its message when it starts and when it ends."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # Lines that jobs print themselves would tear the view; their logs have them.
        os.environ["ZOOALIGN_SCREEN"] = "0"
        self._remaining = Remaining()
        self.progress.columns = (*self.progress.columns[:-1], self._remaining)
        self._jobs: dict[int, tuple[str, str, float]] = {}  # rule, message, start

    def emit(self, record: LogRecord) -> None:
        """Show an event of Snakemake."""
        event, fields = getattr(record, "event", None), record.__dict__
        if event == LogEvent.JOB_INFO:
            rule = fields["rule_name"]
            text = fields.get("rule_msg") or rule
            self._jobs[fields["jobid"]] = rule, text, time.monotonic()
            self._remaining.begin(rule)
            self._line("started", text)
        super().emit(record)
        if event in (LogEvent.JOB_FINISHED, LogEvent.JOB_ERROR):
            job = fields["job_id"] if event == LogEvent.JOB_FINISHED else fields["jobid"]
            if job in self._jobs:
                rule, text, begun = self._jobs.pop(job)
                self._remaining.end(rule)
                state = "done" if event == LogEvent.JOB_FINISHED else "FAILED"
                self._line(state, f"{text} ({duration(time.monotonic() - begun)})")

    def _line(self, state: str, text: str) -> None:
        self.console.print(Text(f"{time.strftime('%H:%M:%S')} {state:8} {text}"), soft_wrap=True)


class Remaining(ProgressColumn):
    """Time that a rule's jobs still take at their pace so far, waiting for others not counted; of all, the total."""

    TOTAL = "Total Progress"  # what rich's view calls the bar of everything

    def __init__(self) -> None:
        super().__init__()
        self._busy: dict[str, float] = {}  # seconds in which a job ran, without those that run now
        self._running: dict[str, tuple[int, float]] = {}  # jobs now, and since when there has been one

    def begin(self, rule: str) -> None:
        """Note that a job of a rule starts."""
        for bar in (rule.replace("_", " "), self.TOTAL):
            count, since = self._running.get(bar, (0, 0.0))
            self._running[bar] = count + 1, since if count else time.monotonic()

    def end(self, rule: str) -> None:
        """Note that a job of a rule has ended."""
        for bar in (rule.replace("_", " "), self.TOTAL):
            count, since = self._running[bar]
            if count == 1:
                self._busy[bar] = self._busy.get(bar, 0.0) + time.monotonic() - since
            self._running[bar] = count - 1, since

    def render(self, task: Task) -> Text:
        """The column of one bar."""
        count, since = self._running.get(task.description, (0, 0.0))
        busy = self._busy.get(task.description, 0.0) + (time.monotonic() - since if count else 0.0)
        if task.finished or not busy or not task.completed or task.total is None:
            return Text("" if task.finished else "…")
        left = busy * (task.total - task.completed) / task.completed
        return Text(f"{duration(left)} left", style="progress.remaining")
