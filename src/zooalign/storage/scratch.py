"""Node-local scratch: weights and images are copied once per node, so that its jobs do not all read a file server."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import time
from pathlib import Path, PurePosixPath

from zooalign.errors import ConfigError, LeaseError, StoreError
from zooalign.progress import Report, duration
from zooalign.provenance import file_sha256, read_object
from zooalign.storage.atomic import replace_folder
from zooalign.storage.lease import Lease, hold_lease

# What a folder's record is called, and where in it the files are listed with their sizes.
_RECORDS = ("weights.json", "dataset.json")
# Left free on the scratch disk, so that a job's own temporary files still find room, bytes.
_HEADROOM = 512 * 2**20


def local_copy(folder: Path, scratch: str | None, report: Report, timeout_s: float = 60.0) -> Path:
    """Copy a weights or dataset folder to this node, once for all jobs that run there.

    Parameters
    ----------
    folder : Path
        Has a weights.json or dataset.json that lists its files and their sizes ("sizes").
    scratch : str or None
        Folder of the node (config.yaml, jobs.scratch); $VARIABLES are expanded. None: nothing is copied.
    timeout_s : float
        As in `lease.hold_lease`: several jobs of one node copy once.

    Returns
    -------
    Path
        The copy, {scratch}/zooalign-{uid}/{name}-{digest of the record}; or `folder` itself where there is nothing to
        copy, or where scratch is missing, full or not safe, which is one line in the log.

    Raises
    ------
    ConfigError
        If scratch names a variable that is not set.

    Notes
    -----
    Only the files that the record lists are copied: plain files inside the folder, no links. A copy is never changed;
    other content has another name. Nothing is removed: cleaning scratch is the cluster's habit.
    """
    if scratch is None:
        return folder
    root = _expand(scratch)
    record = next((folder / name for name in _RECORDS if (folder / name).is_file()), None)
    if record is None:
        return folder  # its reader says what is missing
    try:
        sizes = _sizes(record)
        if not sizes:
            return folder
        base = _base(root)
        target = base / f"{folder.name}-{file_sha256(record)[:16]}"
        if not _is_whole(target, record.name, sizes):
            with hold_lease(target, report, timeout_s) as lease:
                if not _is_whole(target, record.name, sizes):
                    _copy(folder, record.name, sizes, target, lease, report)
    except _NotUsable as error:
        report(f"scratch is not used: {error}; {folder} is read in place")
    except (StoreError, LeaseError) as error:
        report(f"scratch is not used: {error} {folder} is read in place")
    else:
        return target
    return folder


class _NotUsable(Exception):  # noqa: N818  (no error: the job goes on without a copy)
    """Why scratch cannot be used."""


def _expand(scratch: str) -> Path:
    for name in re.findall(r"\$(?:(\w+)|\{([^}]*)\})", scratch):
        variable = name[0] or name[1]
        if not os.environ.get(variable):
            raise ConfigError(
                f"config.yaml, jobs.scratch: {scratch!r} names the variable {variable}, which is not set here "
                f"({os.uname().nodename}). Choose one that jobs have on every node, or a folder."
            )
    path = Path(os.path.expandvars(scratch))
    if not path.is_absolute():
        raise ConfigError(f"config.yaml, jobs.scratch: {scratch!r} is {str(path)!r} here; give an absolute folder.")
    return path


def _sizes(record: Path) -> dict[str, int]:
    """Bytes of the files that a record lists, by name below the folder."""
    try:
        sizes = read_object(record).get("sizes", {})
        if not isinstance(sizes, dict):
            raise ValueError("its sizes are no JSON object")
    except (OSError, ValueError) as error:
        raise _NotUsable(f"{record} cannot be read ({error})") from error
    for name in sizes:
        parts = PurePosixPath(name).parts
        if not parts or PurePosixPath(name).is_absolute() or ".." in parts:
            raise _NotUsable(f"{record} lists {name!r}, which may lie outside the folder")
    return sizes


def _base(root: Path) -> Path:
    """Our own folder in scratch, which nobody else can write to."""
    if not root.is_dir():
        raise _NotUsable(f"{root} is no folder of {os.uname().nodename}")
    base = root / f"zooalign-{os.getuid()}"
    try:
        base.mkdir(mode=0o700, exist_ok=True)
        about = base.lstat()
    except OSError as error:
        raise _NotUsable(f"{base}: {error.strerror}") from error
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o022:
        raise _NotUsable(f"{base} is a link, or others can write there")
    return base


def _is_whole(target: Path, record: str, sizes: dict[str, int]) -> bool:
    """Whether a copy is complete; its name says which content it has."""
    try:
        return (target / record).is_file() and all(
            (target / name).stat(follow_symlinks=False).st_size == size for name, size in sizes.items()
        )
    except OSError:
        return False


def _copy(folder: Path, record: str, sizes: dict[str, int], target: Path, lease: Lease, report: Report) -> None:
    needed = sum(sizes.values())
    free = shutil.disk_usage(target.parent).free
    if free < needed + _HEADROOM:
        raise _NotUsable(f"{target.parent} has {free / 2**30:.1f} GiB free, {needed / 2**30:.1f} GiB are needed")
    begin = time.monotonic()
    # The record last: without it a folder is no copy.
    for name, size in [*sizes.items(), (record, None)]:
        lease.check()
        copied = lease.staged / name
        try:
            copied.parent.mkdir(parents=True, exist_ok=True)
            _copy_file(folder, name, copied)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _NotUsable(f"{target.parent} is full") from error
            raise _NotUsable(f"{error.filename or name}: {error.strerror}") from error
        if size is not None and copied.stat().st_size != size:
            raise _NotUsable(f"{folder / name} has another size than its record says")
    replace_folder(lease.staged, target, lease.check)
    took = time.monotonic() - begin
    report(f"copied {folder} to {target}: {needed / 2**20:.1f} MiB in {duration(took)}")


def _copy_file(folder: Path, name: str, copied: Path) -> None:
    """Copy one plain file; links, and whatever lies outside the folder, are not followed."""
    source = folder / name
    if source.parent.resolve() != folder.resolve().joinpath(*PurePosixPath(name).parts[:-1]):
        raise _NotUsable(f"{source} is behind a link")
    try:
        handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _NotUsable(f"{source} is a link") from error
        raise
    with open(handle, "rb") as read:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise _NotUsable(f"{source} is no plain file")
        with open(copied, "xb") as written:
            shutil.copyfileobj(read, written, 16 * 2**20)
