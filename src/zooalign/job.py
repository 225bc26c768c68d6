"""What every job does around its work: a log, progress on the screen, one clear message on failure."""

from __future__ import annotations

import errno
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zooalign.errors import ZooalignError
from zooalign.progress import Report, duration, peak_mem_mb


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, says that a disk or a quota is full.

    Examples
    --------
    >>> is_disk_full(OSError(28, "No space left on device")), is_disk_full(ValueError("no"))
    (True, False)
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error) or "Disk quota exceeded" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


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
    A ZooalignError, and a full disk whoever reports it, ends the process with status 1 and one message; any other
    exception keeps its traceback, because it is ours to mend.
    """
    # One thread per job unless its own settings say otherwise; spinning threads starve their neighbours.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    screen = sys.stderr
    begin = time.monotonic()
    with open(log, "a", buffering=1, encoding="utf-8") as file:
        sys.stderr = file

        def report(message: str) -> None:
            line = f"{time.strftime('%H:%M:%S')} {message}"
            print(line, file=file)
            print(f"{line}  [{title}]", file=screen, flush=True)

        where = f"process {os.getpid()} on {os.uname().nodename}"
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {title}: start, {where}", file=file)
        try:
            yield report
        except ZooalignError as error:
            report(f"ERROR: {error}")
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
