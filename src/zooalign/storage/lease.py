"""The lease: of two processes that would write the same artefact, one waits, wherever on the cluster they run.

Beside an artefact lies a record of who holds its lease (`{artefact}.lease`): who it is, and a counter that grows
every few seconds. A process that wants to write waits until the record is gone, or its holder is known to be dead, or
the counter has stood still for long enough; then it takes the lease over. A holder that slept through this notices
before it writes again.

A record never changes hands. It is created under its name by a hard link, which on a shared file system, too, only
one process can do; it is followed by a record under the name `.{artefact}.lease.{token of the former record}`,
created in the same way. So of two processes that take over one wins, and nobody can take over from a successor by
mistake, however long it was stopped between looking and acting. The holder is the last record of this chain: always
exactly one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from zooalign.errors import LeaseError, StoreError
from zooalign.progress import Report, duration
from zooalign.storage.atomic import cannot_write, remove
from zooalign.storage.lease_records import (
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

_LONGEST_PAUSE_S = 2.0

T = TypeVar("T")


class Lease:
    """One process's lease on one artefact; made by :func:`hold_lease`.

    Attributes
    ----------
    path : Path
        The artefact.
    staged : Path
        Beside it, a name that nobody else uses: for a file or folder that is to be renamed to `path`. What lies there
        is removed at the end, or by the process that takes over.
    other : Record or None
        The holder that was seen last, before this one.
    """

    def __init__(self, path: Path, timeout_s: float) -> None:
        self.path, self.timeout_s = path, timeout_s
        self.other: Record | None = None
        self._writer = secrets.token_hex(8)
        self.staged = self._staged_of(self._writer)
        self._head = path.with_name(f"{path.name}.lease")
        self._lock = threading.RLock()
        self._files: list[Path] = []  # records from the first to our own
        self._token: str | None = None
        self._beats = 0
        self._confirmed = 0.0
        self._lost = False
        self._started = time.strftime("%Y-%m-%d %H:%M:%S")
        self._seen: Record | None = None
        self._quiet = self._looked = 0.0

    # --- taking the lease ---

    def attempt(self) -> bool:
        """Look once, and take what can be taken; whether the lease is ours now (if not, see `other`)."""
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
        """Create our record; whether it makes us the holder."""
        token = secrets.token_hex(8)
        if not self._create(file, token):
            return False
        if self._last_token() != token:
            # The chain that we joined was given up in the same moment: its former holder had just finished.
            if file != self._head:
                file.unlink(missing_ok=True)
            return False
        self._token, self._files, self._confirmed = token, [*files, file], begin
        return True

    def _is_gone(self, record: Record) -> bool:
        """Whether the holder of a record is dead, or has been silent for as long as it promised not to be."""
        timeout, now = record.timeout_s(self.timeout_s), now_s()
        if self._seen is None or (self._seen.token, self._seen.raw) != (record.token, record.raw):
            self._seen, self._quiet = record, 0.0
        else:
            # Clocks of nodes differ, so only our own counts, and of it only what we were awake for.
            self._quiet += min(now - self._looked, timeout / 4)
        self._looked = now
        return self._quiet >= timeout or is_dead(record.content)

    # --- holding it ---

    def check(self) -> None:
        """Make sure that the lease is still ours; called before every append, finish and rename.

        Raises
        ------
        LeaseError
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
                raise LeaseError(
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
        """Give the lease back, if it is still ours, and remove what is staged."""
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
        """Records on the disk, from the first to the one that counts."""
        chain: list[Record] = []
        file = self._head
        while (record := read_record(file)) is not None and record.token not in [r.token for r in chain]:
            chain.append(record)
            file = self._follower(record.token)
        return chain

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
def hold_lease(path: Path, report: Report, timeout_s: float = 60.0) -> Iterator[Lease]:
    """Be the only process that writes an artefact, after waiting for another one that does.

    Parameters
    ----------
    path : Path
        The artefact: a file or folder.
    timeout_s : float
        Seconds without a sign of life after which a holder is taken for dead. Where nodes keep copies of files that
        another node has changed for longer than this (NFS mounted with `nocto`), it must be raised above that.

    Yields
    ------
    Lease
        Call its `check()` before everything that is written. It may have waited: look again what is left to do.

    Raises
    ------
    LeaseError
        If the lease was taken over in between, whatever else went wrong then.
    StoreError
        If the folder cannot be written.

    Notes
    -----
    After kill -9 the record stays; the next one on the same machine, or the same SLURM job when it is requeued, takes
    over at once, anybody else after `timeout_s`.
    """
    path = Path(path)
    lease = Lease(path, timeout_s)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _wait(lease, report)
    except OSError as error:
        raise StoreError(
            f"{cannot_write(path, error)}. Free disk space, or correct the permissions of "
            "its folder (several people: a common group and umask 002, see docs/cluster.md)."
        ) from error
    ended = threading.Event()
    heart = threading.Thread(target=_keep_beating, args=(lease, ended), daemon=True, name=f"lease of {path.name}")
    heart.start()
    try:
        yield lease
    except LeaseError:
        raise
    except Exception:
        with contextlib.suppress(OSError):
            lease.check()  # what went wrong may be that our files were swept away with the lease
        raise
    finally:
        ended.set()
        heart.join()
        with contextlib.suppress(OSError):  # the folder is gone or not ours any more: nothing to give back
            lease.release()


def _wait(lease: Lease, report: Report) -> None:
    pause, reported_at = 0.02, None
    while not lease.attempt():
        if lease.other is not None and (reported_at is None or now_s() - reported_at >= 60):
            reported_at = now_s()
            report(f"waiting: {lease.path.name} is being written by {lease.other.describe()}")
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S, lease.timeout_s / 8)


def _keep_beating(lease: Lease, ended: threading.Event) -> None:
    while not ended.wait(lease.timeout_s / 4):
        # A file server that is away for a moment: the next beat, or the next check, sees what became of us.
        with contextlib.suppress(OSError):
            lease.beat()


def make_once(
    path: Path,
    current: Callable[[], T | None],
    make: Callable[[Lease], T],
    report: Report,
    timeout_s: float = 60.0,
    *,
    anew: bool = False,
) -> T:
    """Make an artefact, unless a whole one of the same inputs is there now or after waiting for its lease.

    Parameters
    ----------
    path : Path
        The artefact.
    current : callable
        Describes the artefact on disk; None where it is missing, damaged or made from something else.
    make : callable
        Makes it under the lease and describes it.
    timeout_s : float
        As in :func:`hold_lease`.
    anew : bool
        Make it whatever is there; `current` is not asked.

    Returns
    -------
    object
        What `current` or `make` returned.
    """
    present = None if anew else current()
    if present is None:
        with hold_lease(path, report, timeout_s) as lease:
            present = None if anew else current()
            if present is None:
                return make(lease)
    report(f"already there: {path}")
    return present
