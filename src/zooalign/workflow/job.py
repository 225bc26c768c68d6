"""What every job does around its work: a log, progress on the screen, one clear message on failure, a record."""

from __future__ import annotations

import atexit
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from zooalign.errors import ZooalignError
from zooalign.progress import Report, duration, peak_mem_mb
from zooalign.storage.atomic import is_disk_full

_done = False  # whether this process is a script of Snakemake whose work is stored and recorded


@atexit.register
def _leave() -> None:
    """End a job that is done without taking Python apart.

    Threads of native libraries can abort the process while Python ends ("terminate called without an active
    exception", signal 6): a job whose results are stored would count as failed. This module is imported first, so
    every other function that runs at the end has run.
    """
    if _done:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _keep_attempts(log: Path) -> None:
    """Give a log a second, hidden name: Snakemake removes the first when it starts the job again."""
    log.parent.mkdir(parents=True, exist_ok=True)
    hidden = log.with_name(f".{log.name}")
    with suppress(OSError):  # a file system without hard links, or another attempt that starts now
        hidden.touch()
        os.link(hidden, log)


def _forget(error: ZooalignError) -> str:
    """Remove what lets a damaged artefact count as made, so that the next run makes it; what to say about it."""
    if error.record is None:
        return ""
    with suppress(OSError):
        error.record.unlink()
        return f" {error.record} was removed, so the same command makes it again."
    return ""


@contextmanager
def job(log: Path | str, title: str) -> Iterator[Report]:
    """Run a job with stderr in its log and its progress also on the screen.

    Parameters
    ----------
    log : path
        The rule's log; its folder is made if needed.
    title : str
        "extract_features minilm_l6 on emoji".

    Yields
    ------
    callable
        Takes one line of text: it goes to the log, and with the title to the screen.

    Notes
    -----
    A ZooalignError, and a full disk whichever library reports it, ends the process with status 1 and one message; any
    other exception keeps its traceback, because it is a bug of ours.
    """
    # One thread per job unless its own settings say otherwise; spinning threads starve their neighbours.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _keep_attempts(Path(log))
    screen = sys.stderr
    # Lines of several jobs would tear up a live view of the whole run.
    shown = os.environ.get("ZOOALIGN_SCREEN") != "0"
    begin = time.monotonic()
    with open(log, "a", buffering=1, encoding="utf-8") as file:
        sys.stderr = file

        def report(message: str) -> None:
            line = f"{time.strftime('%H:%M:%S')} {message}"
            print(line, file=file)
            if shown:
                print(f"{line}  [{title}]", file=screen, flush=True)

        where = f"process {os.getpid()} on {os.uname().nodename}"
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {title}: start, {where}", file=file)
        try:
            yield report
        except ZooalignError as error:
            report(f"ERROR: {error}{_forget(error)}")
            raise SystemExit(1) from None
        except Exception as error:
            if is_disk_full(error):
                # Every library words it differently; for the user it is one thing.
                said = " ".join(str(error).split())
                report(
                    f"ERROR: the disk is full ({said}). Free space there, or choose another results folder "
                    "in config.yaml, and run again; finished work is kept."
                )
                raise SystemExit(1) from None
            traceback.print_exc(file=file)
            report(f"ERROR: unexpected {type(error).__name__}: {error}; the log has the traceback")
            raise
        finally:
            sys.stderr = screen
            took = f"{duration(time.monotonic() - begin)}, peak memory {peak_mem_mb()} MB"
            print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {title}: end, {took}", file=file)


@contextmanager
def workflow_job(log: str, about: Mapping[str, Any], resources: Mapping[str, Any]) -> Iterator[Report]:
    """Run a job with stderr in its log, and record what it took.

    Parameters
    ----------
    log : str
        The rule's log.
    about : dict
        As `Work.about` gives it.
    resources : dict
        What the job asked for, by Snakemake's names, with "attempt".

    Yields
    ------
    callable
        Takes lines for the log and the screen.
    """
    global _done
    begin, state = time.time(), "failed"
    traces = [Path(path) for path in about["traces"]]
    with job(log, f"{about['rule']} {'/'.join(about['parts'])}") as report:
        begun = any(path.exists() and (path.is_file() or any(path.iterdir())) for path in traces)
        # Imported when the log is open: what they print belongs there.
        import psutil

        from zooalign.layout import Layout
        from zooalign.network import offline
        from zooalign.planning.usage import job_record, record_job

        try:
            with nullcontext() if about["fetches"] else offline():
                yield report
            state = "kept" if begun else "done"
        finally:
            record = job_record(about, begin, state, int(resources.get("attempt") or 1), resources)
            since = psutil.Process().create_time()
            record_job(Layout(Path(about["results"])), {**record, "process_started": since})
            for folder in {path.parent for path in traces}:
                # Snakemake makes the folder of an output before the job; it is no artefact.
                with suppress(OSError):
                    os.rmdir(folder)
    _done = hasattr(sys.modules["__main__"], "snakemake")  # only where nothing follows
