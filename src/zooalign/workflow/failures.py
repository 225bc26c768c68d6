"""After jobs have failed for good: which items failed and why, and a second pass that finishes without them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from zooalign.storage.atomic import write_json
from zooalign.workflow.work import Item, Work


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


def second_pass(work: Work, failures: dict[str, dict[str, str]], folder: str) -> bool:
    """Run the same command again without the failed items, so that all others are finished.

    Parameters
    ----------
    work : Work
        The sweep of the pass that ended.
    failures : dict
        As :func:`find_failures` gives them.
    folder : str
        Where the command was given.

    Returns
    -------
    bool
        Whether there was something to finish, and it was finished.
    """
    known = {(rule, name) for rule, items in work.sweep.failures.items() for name in items}
    new = [(rule, name) for rule, items in failures.items() for name in items if (rule, name) not in known]
    without = Work(replace(work.sweep, failures=failures), work.layout)
    pairs = any(without.rows(item.parts[0])[item.parts[1]] for item in without.items("align_row"))
    if not new or not pairs or any(rule.startswith("make_") for rule, _ in new):
        return False
    path = work.layout.results / "failures.json"
    write_json(path, failures)
    print(
        f"zooalign: {len(new)} items failed for good ({', '.join(name for _, name in new[:5])}"
        f"{', ...' if len(new) > 5 else ''}); finishing everything that can be done without them.",
        file=sys.stderr,
        flush=True,
    )
    try:
        return _run(again(sys.argv, os.path.abspath(path)), folder) == 0
    finally:
        path.unlink(missing_ok=True)


def again(argv: list[str], path: str) -> list[str]:
    """The command line of the second pass.

    Examples
    --------
    >>> again(["/bin/snakemake", "--cores", "2", "--config", "x=1"], "f.json")[1:]
    ['/bin/snakemake', '--cores', '2', '--config', 'failures=f.json', 'x=1', '--nolock']
    """
    program, arguments = argv[0], list(argv[1:])
    setting = f"failures={path}"
    arguments = [a for a in arguments if not a.startswith("failures=")]
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
