"""After jobs have failed for good: which items failed and why, and a second pass that finishes without them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from zooalign.storage.atomic import write_json
from zooalign.workflow.work import Item, Work

_SETTING = "failures="  # on the command line of a second pass


def last_attempt(log: Path) -> str:
    """What the last attempt wrote into an item's log; empty if there is none."""
    try:
        return log.read_text(encoding="utf-8", errors="replace").rsplit(": start, ", 1)[-1]
    except OSError:
        return ""


def reason(work: Work, item: Item, with_log: bool = True) -> str:
    """Why an item is not done, as far as its log tells, with the path of the log unless that stands elsewhere."""
    log = work.log(item)
    text = last_attempt(log)
    errors = [line.split("ERROR: ", 1)[1] for line in text.splitlines() if "ERROR: " in line]
    if errors:
        return f"{errors[-1]} (log: {log})" if with_log else errors[-1]
    if text and ": end, " not in text:
        return f"killed while it ran (memory, time limit, or from outside; log: {log})"
    return f"its job did not start, or ended before this item; see Snakemake's messages (logs of the item: {log})"


def find_failures(work: Work, failed: Iterable[Item]) -> dict[str, dict[str, str]]:
    """Items of failed jobs that are not done, with the reason, and those that the sweep did without already.

    Parameters
    ----------
    work : Work
        The sweep.
    failed : iterable of Item
        What jobs failed at after all attempts.

    Returns
    -------
    dict
        As `Sweep.failures`.
    """
    failures = {rule: dict(items) for rule, items in work.sweep.failures.items()}
    for item in failed:
        if not work.check(item).is_done:
            failures.setdefault(item.rule, {})[item.name] = reason(work, item)
    return failures


def find_refused(work: Work, failed: Iterable[Item], since: float) -> set[Item]:
    """Items of failed jobs that never started in this run.

    SLURM did not take their jobs (a limit, a controller that restarts), or they were put together with one that
    failed: they may run when the other jobs have ended. None in a second pass, so that each is submitted again once.

    Parameters
    ----------
    work : Work
        The sweep.
    failed : iterable of Item
        What jobs failed at after all attempts.
    since : float
        When the run began, seconds since 1970.
    """
    if not work.cluster or any(argument.startswith(_SETTING) for argument in sys.argv):
        return set()
    return {item for item in failed if not work.check(item).is_done and not _is_written(work.log(item), since)}


def _is_written(log: Path, since: float) -> bool:
    """Whether a job wrote into a log since a time; Snakemake makes empty ones itself."""
    try:
        status = log.stat()
    except OSError:
        return False
    return status.st_size > 0 and status.st_mtime >= since


def second_pass(
    work: Work, failures: dict[str, dict[str, str]], folder: str, refused: Collection[Item] = frozenset()
) -> bool:
    """Run the same command again without the failed items, so that all others are finished.

    Parameters
    ----------
    work : Work
        The sweep of the pass that ended.
    failures : dict
        As :func:`find_failures` gives them.
    folder : str
        Where the command was given.
    refused : collection of Item
        Items among the others that this pass failed to submit.

    Returns
    -------
    bool
        Whether there was something to finish, and it was finished.
    """
    known = {(rule, name) for rule, items in work.sweep.failures.items() for name in items}
    new = [(rule, name) for rule, items in failures.items() for name in items if (rule, name) not in known]
    without = Work(replace(work.sweep, failures=failures), work.layout)
    pairs = any(without.rows(item.parts[0])[item.parts[1]] for item in without.items("align_row"))
    if not (new or refused) or not pairs or any(rule.startswith("make_") for rule, _ in new):
        return False
    path = work.layout.results / "failures.json"
    write_json(path, failures)
    if new:
        _say(f"{_some(new)} failed for good; finishing everything that can be done without them.")
    if refused:
        names = _some([(item.rule, item.name) for item in sorted(refused)])
        _say(f"{names} did not start (refused by SLURM, or put together with what failed); submitting again.")
    try:
        return _run(again(sys.argv, os.path.abspath(path)), folder) == 0
    finally:
        path.unlink(missing_ok=True)


def _some(items: list[tuple[str, str]]) -> str:
    """Number and names of items, at most five."""
    names = ", ".join(name for _, name in items[:5]) + (", ..." if len(items) > 5 else "")
    return f"{len(items)} item{'s' * (len(items) > 1)} ({names})"


def _say(message: str) -> None:
    print(f"zooalign: {message}", file=sys.stderr, flush=True)


def again(argv: list[str], path: str) -> list[str]:
    """The command line of the second pass.

    Examples
    --------
    >>> again(["/bin/snakemake", "--cores", "2", "--config", "x=1"], "f.json")[1:]
    ['/bin/snakemake', '--cores', '2', '--config', 'failures=f.json', 'x=1', '--nolock']
    """
    program, arguments = argv[0], list(argv[1:])
    setting = f"{_SETTING}{path}"
    arguments = [a for a in arguments if not a.startswith(_SETTING)]
    for flag in ("--config", "-C"):
        if flag in arguments:
            # A second --config would replace the first.
            arguments.insert(arguments.index(flag) + 1, setting)
            break
    else:
        arguments += ["--config", setting]
    # The first pass holds the lock until the second has ended.
    start = ["-m", "snakemake"] if program.endswith("__main__.py") else [program]
    return [sys.executable, *start, *arguments, *([] if "--nolock" in arguments else ["--nolock"])]


def _run(command: list[str], folder: str) -> int:
    """Run it in a session of its own and pass signals on, so that each signal reaches it once.

    What the caller ignores (SIGHUP under nohup, SIGINT in a script's background) stays ignored in both.
    """
    child = subprocess.Popen(command, start_new_session=True, cwd=folder)

    def pass_on(number: int, frame: Any) -> None:
        del frame
        child.send_signal(number)

    heard = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
    former = {number: signal.signal(number, pass_on) for number in heard}
    try:
        return child.wait()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
