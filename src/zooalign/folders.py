"""Folders on a shared file system: replaced whole, and waited for where a server is late in showing them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from zooalign.errors import StoreError
from zooalign.progress import Report

# How long a node may take to see what another one has written, seconds; above the 3 s for which NFS keeps what it
# knows of a file at least, and short enough to bear where the file is really missing.
PATIENCE_S = 8.0


def replace_folder(staging: Path, folder: Path, check: Callable[[], None] | None = None) -> None:
    """Put a finished folder in place of whatever was there; readers see the old one, none, or the whole new one.

    Parameters
    ----------
    staging : Path
        Finished; its name beside `folder` is used by this process only.
    folder : Path
        Where it goes; a former one is removed once the new one is there.
    check : callable, optional
        `Owner.check`: called last before anything changes.
    """
    old = staging.with_name(f"{staging.name}.old")
    if check is not None:
        check()
    try:
        os.rename(folder, old)
    except FileNotFoundError:
        os.rename(staging, folder)
        return
    os.rename(staging, folder)
    shutil.rmtree(old, ignore_errors=True)


def wait_until_visible(markers: Iterable[Path], report: Report) -> None:
    """Give the file server a few seconds to show what another job has written.

    Parameters
    ----------
    markers : iterable of Path
        Files written last (zarr.json, dataset.json, weights.json) of inputs that the workflow says are there.
    report : callable
        Takes lines for the log.

    Notes
    -----
    Only in jobs of a cluster (ZOOALIGN_CLUSTER=1): elsewhere what is not there is missing. What is still not there
    after `PATIENCE_S` is for the reader of the file to name.
    """
    if os.environ.get("ZOOALIGN_CLUSTER") != "1":
        return
    end = time.monotonic() + PATIENCE_S
    for marker in markers:
        if marker.exists():
            continue
        report(f"waiting up to {PATIENCE_S:.0f} s for the file server to show {marker}")
        while not marker.exists() and time.monotonic() < end:
            time.sleep(0.25)
            # A node may have noted that the name does not exist; opening a folder above makes it look again.
            for above in (marker.parent, marker.parent.parent):
                if above.is_dir():
                    os.scandir(above).close()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what a full or read-only disk answers into one message that names the artefact."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}. Free disk space or choose another results folder and "
            "run again; finished batches are kept."
        ) from error
