"""The one way in which artefacts are written: beside their place, then renamed into it, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from zooalign.errors import StoreError


class Guard(Protocol):
    """What a :class:`zooalign.storage.lease.Lease` gives to the writer of an artefact."""

    staged: Path

    def check(self) -> None:
        """Raise where another process has taken the artefact over."""


@contextmanager
def replacing(path: Path | str, lease: Guard | None = None) -> Iterator[Path]:
    """Write a file or a folder that takes the place of `path` when the block ends without an error.

    Parameters
    ----------
    path : Path
        The artefact; missing folders above it are made.
    lease : Lease, optional
        Checked last before anything changes; its staged name is used.

    Yields
    ------
    Path
        A name beside `path` that nobody else uses, with nothing there yet: write a file or make a folder. After an
        error it is removed, and `path` is as it was.

    Raises
    ------
    StoreError
        If it cannot be written (a full or read-only disk); names the path.
    """
    path = Path(path)
    # Process numbers count by machine; the folder may be shared.
    free = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.tmp")
    staged = lease.staged if lease is not None else free
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(staged)
        yield staged
        if staged.is_dir():
            replace_folder(staged, path, lease.check if lease is not None else None)
        else:
            _flush(staged)
            if lease is not None:
                lease.check()
            os.replace(staged, path)
    except OSError as error:
        if error.filename is not None and not str(error.filename).startswith((str(staged), str(path))):
            raise  # something that the block reads
        raise StoreError(
            f"{cannot_write(path, error)}. Free disk space or choose another results folder and "
            "run again; the former content, if there was any, is untouched."
        ) from error
    finally:
        remove(staged)


def replace_folder(staged: Path, folder: Path, check: Callable[[], None] | None = None) -> None:
    """Put a finished folder in place of a former one; readers see the old one, none, or the whole new one.

    Parameters
    ----------
    staged : Path
        Finished; its name beside `folder` is used by this process only.
    folder : Path
        Where it goes; a former one is removed once the new one is there.
    check : callable, optional
        `Lease.check`: called last before anything changes.
    """
    old = staged.with_name(f"{staged.name}.old")
    if check is not None:
        check()
    try:
        os.rename(folder, old)
    except FileNotFoundError:
        os.rename(staged, folder)
        return
    os.rename(staged, folder)
    shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON in one step; otherwise as :func:`write_bytes`."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path | str, text: str) -> None:
    """Write a text file in one step; otherwise as :func:`write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write a file in one step: beside the target, flushed to the disk, then renamed over it.

    Raises
    ------
    StoreError
        If the disk is full; names the path.
    """
    with replacing(path) as staged:
        staged.write_bytes(data)


def append(path: Path, data: bytes, artefact: Path | None = None) -> None:
    """Add to the end of a file and flush it to the disk.

    Raises
    ------
    StoreError
        If the disk is full; names the `artefact` that the file is part of.
    """
    with writing(artefact or path), open(path, "ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def cannot_write(path: Path, error: OSError) -> str:
    """What a message about a file that could not be written begins with; of a full disk, that it is full."""
    said = f"cannot write {path}: {error.strerror or error}"
    return f"the disk is full: {said}" if is_disk_full(error) else said


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what a full or read-only disk answers into one message that names the artefact."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{cannot_write(path, error)}. Free disk space or choose another results folder and "
            "run again; finished batches are kept."
        ) from error


def remove(path: Path) -> None:
    """Remove a file or a folder, or nothing; a link is removed, not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush(file: Path) -> None:
    with open(file, "rb") as written:
        os.fsync(written.fileno())


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
