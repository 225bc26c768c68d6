"""Inputs that another node has just written: a file server may be a few seconds late in showing them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from zooalign.progress import Report

# How long a node may take to see what another one has written, seconds; above the 3 s for which NFS keeps what it
# knows of a file at least, and short enough to bear where the file is really missing.
PATIENCE_S = 8.0


def wait_until_visible(markers: Iterable[Path], report: Report) -> None:
    """Give the file server a few seconds to show what another job has written.

    Parameters
    ----------
    markers : iterable of Path
        Files written last (zarr.json, dataset.json, weights.json) of inputs that the workflow says are finished.

    Notes
    -----
    Only in jobs of a cluster (ZOOALIGN_CLUSTER=1): elsewhere a file that cannot be
    seen is missing. One that is still missing after `PATIENCE_S` is for the reader of the file to name.
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
