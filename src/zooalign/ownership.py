"""Ownership: of two processes that would write the same output, one waits, wherever on the cluster they run.

Beside an output lies a record of its owner (`{output}.owner`): who it is, and a counter that grows every few seconds.
Who wants to write looks at the record and waits until it is gone, or until its owner is known to be dead, or until
the counter has stood still for long enough; then it takes the output over. An owner that slept through this notices
before it writes again.

A record never changes hands. It is created under its name by a hard link, which on a shared file system, too, only
one process can do; it is followed by a record under the name `.{output}.owner.{token of the former record}`, created
in the same way. So of two that take over one wins, and nobody can take over from a successor by mistake, however
long it was stopped between looking and acting. The owner is the last record of this chain: always exactly one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from zooalign.errors import OwnershipError, StoreError
from zooalign.owner_records import (
    RECORD_BYTES,
    Record,
    create_record,
    identity,
    is_dead,
    now_s,
    parse_record,
    read_record,
    write_record,
)
from zooalign.progress import Report, duration

_LONGEST_PAUSE_S = 2.0


class Owner:
    """One process's claim on one output; made by :func:`own`.

    Attributes
    ----------
    path : Path
        The output.
    staged : Path
        Beside it, a name that nobody else uses: for a file or folder that is to be renamed to `path`. What lies there
        is removed at the end, or by whoever takes over.
    other : Record or None
        Who was seen to be the owner last, before we were.
    """

    def __init__(self, path: Path, timeout_s: float) -> None:
        self.path, self.timeout_s = path, timeout_s
        self.other: Record | None = None
        self._writer = secrets.token_hex(8)
        self.staged = self._staged_of(self._writer)
        self._head = path.with_name(f"{path.name}.owner")
        self._lock = threading.RLock()
        self._files: list[Path] = []  # records from the first to our own
        self._token: str | None = None
        self._beats = 0
        self._confirmed = 0.0
        self._lost = False
        self._started = time.strftime("%Y-%m-%d %H:%M:%S")
        self._seen: Record | None = None
        self._quiet = self._looked = 0.0

    # --- becoming the owner ---

    def attempt(self) -> bool:
        """Look once, and take what can be taken; whether the output is ours now (if not, see `other`)."""
        begin = now_s()
        chain = self._chain()
        if not chain:
            return self._enter(self._head, [], begin)
        self.other = chain[-1]
        if not self._is_gone(self.other):
            return False
        files = [self._head, *(self._follower(record.token) for record in chain[:-1])]
        if not self._enter(self._follower(self.other.token), files, begin):
            return False
        for record in chain:
            if record.writer is not None:
                self._sweep(record.writer)
        return True

    def _enter(self, file: Path, files: list[Path], begin: float) -> bool:
        """Create our record; whether we are the owner by it."""
        token = secrets.token_hex(8)
        if not self._create(file, token):
            return False
        if self._last_token() != token:
            # The chain that we joined was given up in the same moment: its former owner had just finished.
            if file != self._head:
                file.unlink(missing_ok=True)
            return False
        self._token, self._files, self._confirmed = token, [*files, file], begin
        return True

    def _is_gone(self, record: Record) -> bool:
        """Whether the owner of a record is dead, or has been silent for as long as it promised not to be."""
        timeout, now = record.timeout_s(self.timeout_s), now_s()
        if self._seen is None or (self._seen.token, self._seen.raw) != (record.token, record.raw):
            self._seen, self._quiet = record, 0.0
        else:
            # Clocks of nodes differ, so only our own counts, and of it only what we were awake for.
            self._quiet += min(now - self._looked, timeout / 4)
        self._looked = now
        return self._quiet >= timeout or is_dead(record.content)

    # --- being the owner ---

    def check(self) -> None:
        """Make sure that the output is still ours; called before every append, finish and rename.

        Raises
        ------
        OwnershipError
            If somebody took it over.
        """
        with self._lock:
            if not self._lost and self._is_overdue():
                self.beat()
            elif not self._lost:
                self._lost = self._last_token() != self._token
            if self._lost:
                chain = self._chain()
                by = f"was taken over by {chain[-1].describe()}" if chain else f"lost its record {self._head.name}"
                raise OwnershipError(
                    f"{self.path} {by}: this process had stood still for {duration(self.timeout_s)}, or was taken "
                    "for dead. It wrote nothing after that; if no other job goes on with it, run the sweep again."
                )

    def beat(self) -> None:
        """Show that we live."""
        with self._lock:
            if self._lost or self._token is None:
                return
            # If we are stopped from here on, the silence counts from before the beat.
            begin = now_s()
            if self._is_overdue():
                # Somebody may be taking over right now. What we read may be a copy that our node keeps; that a name
                # can be created only once is true everywhere. So succeed ourselves, or learn that it is done.
                self._lost = not self._enter(self._follower(self._token), self._files, begin)
                return
            self._lost = self._last_token() != self._token
            if self._lost:
                return
            self._beats += 1
            with open(self._files[-1], "r+b", buffering=0) as file:
                if parse_record(file.read(2 * RECORD_BYTES)).get("token") == self._token:
                    os.pwrite(file.fileno(), self._text(self._token), 0)
                    self._confirmed = begin

    def _is_overdue(self) -> bool:
        return now_s() - self._confirmed > self.timeout_s / 2

    def release(self) -> None:
        """Give the output back, if it is still ours, and remove what is staged."""
        with self._lock:
            if self._token is None:
                return
            if not self._lost:
                self._remove_records(self._token)
            self._token = None
        self._sweep(self._writer)

    def _remove_records(self, ours: str) -> None:
        last, closing = self._follower(ours), secrets.token_hex(8)
        try:
            # With a follower of our own in place nobody else can take over while the records go.
            if not self._create(last, closing):
                return
        except OSError:  # the disk is full
            if self._is_overdue():
                return
            closing = ours
        if self._last_token() == closing:
            for file in [*self._files, last]:
                file.unlink(missing_ok=True)

    # --- records ---

    def _staged_of(self, writer: str) -> Path:
        return self.path.with_name(f".{self.path.name}.{writer}.tmp")

    def _sweep(self, writer: str) -> None:
        """Remove what a writer has staged, and the former output that it was about to remove."""
        staged = self._staged_of(writer)
        remove(staged)
        remove(staged.with_name(f"{staged.name}.old"))

    def _follower(self, token: str) -> Path:
        return self.path.with_name(f".{self._head.name}.{token}")

    def _chain(self) -> list[Record]:
        """Records that lie there, from the first to the one that counts."""
        found: list[Record] = []
        file = self._head
        while (record := read_record(file)) is not None and record.token not in [r.token for r in found]:
            found.append(record)
            file = self._follower(record.token)
        return found

    def _last_token(self) -> str | None:
        chain = self._chain()
        return chain[-1].token if chain else None

    def _text(self, token: str) -> bytes:
        ours = {"token": token, "writer": self._writer, "beat": self._beats, "timeout_s": self.timeout_s}
        return write_record({**ours, "started": self._started, **identity()})

    def _create(self, file: Path, token: str) -> bool:
        draft = file.with_name(f".{self._head.name}.{token}.new")
        return create_record(file, self._text(token), draft)


@contextlib.contextmanager
def own(path: Path, report: Report, timeout_s: float = 60.0) -> Iterator[Owner]:
    """Be the only one who writes an output, waiting for whoever does so already.

    Parameters
    ----------
    path : Path
        The output: a file or folder.
    report : callable
        Takes lines for the log.
    timeout_s : float
        Seconds without a sign of life after which an owner is taken for dead. Where nodes keep copies of files that
        another node has changed for longer than this (NFS mounted with `nocto`), it must be raised above that.

    Yields
    ------
    Owner
        Call its `check()` before everything that is written. It may have waited: look again what is left to do.

    Raises
    ------
    OwnershipError
        If the output was taken over in between, whatever else went wrong then.
    StoreError
        If the folder cannot be written.

    Notes
    -----
    After kill -9 the record stays; the next one on the same machine, or the same SLURM job when it is requeued, takes
    over at once, anybody else after `timeout_s`.
    """
    path = Path(path)
    owner = Owner(path, timeout_s)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _wait(owner, report)
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}. Free disk space, or mend the permissions of its folder."
        ) from error
    ended = threading.Event()
    heart = threading.Thread(target=_keep_beating, args=(owner, ended), daemon=True, name=f"owner of {path.name}")
    heart.start()
    try:
        yield owner
    except OwnershipError:
        raise
    except Exception:
        with contextlib.suppress(OSError):
            owner.check()  # what went wrong may be that our files were swept away with the ownership
        raise
    finally:
        ended.set()
        heart.join()
        with contextlib.suppress(OSError):  # the folder is gone or not ours any more: nothing to give back
            owner.release()


def _wait(owner: Owner, report: Report) -> None:
    pause, told = 0.02, None
    while not owner.attempt():
        if owner.other is not None and (told is None or now_s() - told >= 60):
            told = now_s()
            report(f"waiting: {owner.path.name} is being written by {owner.other.describe()}")
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S, owner.timeout_s / 8)


def _keep_beating(owner: Owner, ended: threading.Event) -> None:
    while not ended.wait(owner.timeout_s / 4):
        # A file server that is away for a moment: the next beat, or the next check, sees what became of us.
        with contextlib.suppress(OSError):
            owner.beat()


def remove(path: Path) -> None:
    """Remove a file or a folder, or nothing; a link is removed, not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
