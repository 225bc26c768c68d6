"""The live view: a line per job that says what it is, and the time that remains."""

import io
import logging
import os
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.progress import Progress
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_zooalign import LogHandler, Remaining

MESSAGE = "Features of vit_a on emoji"


@pytest.fixture
def view(monkeypatch):
    monkeypatch.setenv("ZOOALIGN_SCREEN", "1")
    settings = SimpleNamespace(
        stdout=False, dryrun=False, printshellcmds=False, show_failed_logs=False, verbose=False, nocolor=True,
        quiet=None, debug_dag=False,
    )  # fmt: skip
    handler = LogHandler(settings, None)
    handler.console = handler.progress.live.console = Console(file=io.StringIO(), width=100)
    return handler


def event(kind, **fields):
    record = logging.LogRecord("snakemake", logging.INFO, "", 0, "", None, None)
    record.__dict__.update(event=kind, **fields)
    return record


def started(view, job, rule="extract_features", message=MESSAGE):
    view.emit(event(LogEvent.JOB_INFO, jobid=job, rule_name=rule, rule_msg=message, wildcards={}, shellcmd=None,
                    input=[], output=[], log=[], benchmark=None, resources={}, reason="", threads=1, priority=0,
                    local=False, indent=False, is_checkpoint=False, is_handover=False))  # fmt: skip


def lines(view):
    return [line[9:] for line in view.console.file.getvalue().splitlines() if line[2:3] == ":"]


def test_every_job_is_named_when_it_starts_and_when_it_ends(view):
    started(view, 7)
    started(view, 8, "all", None)
    view.emit(event(LogEvent.JOB_FINISHED, job_id=7))
    view.emit(event(LogEvent.JOB_FINISHED, job_id=99))
    assert lines(view)[:2] == [f"started  {MESSAGE}", "started  all"]
    assert lines(view)[2].startswith(f"done     {MESSAGE} (")
    assert len(lines(view)) == 3


def test_jobs_leave_the_screen_to_the_view(view):
    assert os.environ["ZOOALIGN_SCREEN"] == "0"


def test_a_job_that_fails_is_named(view):
    started(view, 7)
    view.emit(event(LogEvent.JOB_ERROR, jobid=7, rule_name="extract_features", rule_msg=MESSAGE, wildcards={}, log=[],
                    shellcmd=None, input=[], output=[], aux={}, exception=None))  # fmt: skip
    assert any(line.startswith(f"FAILED   {MESSAGE} (") for line in lines(view))


def test_the_time_that_remains_follows_the_pace_of_a_rules_jobs_without_waiting(monkeypatch):
    now = 100.0
    monkeypatch.setattr("snakemake_logger_plugin_zooalign.time.monotonic", lambda: now)
    remaining = Remaining()
    progress = Progress(console=Console(file=io.StringIO()))
    rule, total = (progress.add_task(name, total=4) for name in ("extract features", "Total Progress"))
    task = progress.tasks[0]
    assert str(remaining.render(task)) == "…"
    remaining.begin("extract_features")
    remaining.begin("extract_features")
    assert str(remaining.render(task)) == "…"
    now = 130.0
    remaining.end("extract_features")
    progress.update(rule, completed=1)
    assert str(remaining.render(task)) == "1 min 30 s left"
    remaining.end("extract_features")
    now = 500.0  # nothing of this rule ran since
    progress.update(rule, completed=2)
    assert str(remaining.render(task)) == "30.0 s left"
    remaining.begin("index_features")
    progress.update(total, completed=3)
    now = 510.0
    assert str(remaining.render(progress.tasks[1])) == "13.3 s left"  # 40 s for three
    progress.update(rule, completed=4)
    assert str(remaining.render(progress.tasks[0])) == ""
