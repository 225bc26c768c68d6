"""The checkpoint journal: what a long computation has finished, a line each, so that the next run goes on there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from zooalign.provenance import digest
from zooalign.storage.atomic import Guard, append, write_bytes

_EVERY_S = 20.0


class Journal:
    """Finished parts of one computation, in order, on disk as soon as `append` returns.

    Parameters
    ----------
    artefact : Path
        What the computation will write; named in messages.
    key : str
        Digest of what determines the parts; those of another key are not continued.
    lease : Lease, optional
        Checked before anything is written; see `lease.hold_lease`.
    path : Path, optional
        File of the journal, `{artefact}.partial` unless given.
    shared : bool
        Whether parts of other keys stay in the file.

    Examples
    --------
    >>> import tempfile
    >>> journal = Journal(Path(tempfile.mkdtemp()) / "m.json", "d")
    >>> journal.resume("three parts")
    []
    >>> journal.append([0.1, 0.2])
    >>> Journal(journal.artefact, "d").resume("three parts")
    [[0.1, 0.2]]
    """

    def __init__(
        self, artefact: Path, key: str, lease: Guard | None = None, path: Path | None = None, shared: bool = False
    ) -> None:
        self.artefact, self._key, self._lease, self._shared = artefact, key, lease, shared
        self.path = path or artefact.with_name(f"{artefact.name}.partial")
        self._line_key, self._n = key, 0

    def resume(self, cut: str = "", accept: Callable[[Any], bool] | None = None) -> list[Any]:
        """Parts that an interrupted computation finished; what is torn or does not fit is dropped from the file.

        Parameters
        ----------
        cut : str
            Digest of how the work is cut into parts; a journal of other parts is not continued.
        accept : callable, optional
            Takes the next part; whether it can be trusted. A part after one that is not accepted is not, either,
            unless the file holds the same part again.

        Returns
        -------
        list
            Parts 0, 1, 2, ... as they were given to :meth:`append`.
        """
        self._line_key = digest(self._key, cut) if cut else self._key
        before = self.path.read_bytes() if self.path.exists() else b""
        parts: list[Any] = []
        kept: list[bytes] = []
        for line in before.splitlines():
            try:
                key, number, part = json.loads(line)
                # A writer that was taken over may have left a line between those of its successor.
                ours = key == self._line_key
                fits = ours and number == len(parts) and (accept is None or accept(part))
            except (ValueError, TypeError):  # torn, or not a line of a journal
                continue
            if fits:
                parts.append(part)
            if fits or (self._shared and not ours):
                kept.append(line)
        after = b"".join(line + b"\n" for line in kept)
        if after != before or not self.path.exists():
            self._check()
            write_bytes(self.path, after)
        self._n = len(parts)
        return parts

    def append(self, *parts: Any) -> None:
        """Keep the next parts, JSON-able each; a float comes back as the same float.

        Raises
        ------
        StoreError
            If the disk is full.
        LeaseError
            If another process took the artefact over; nothing is written then.
        """
        lines = [json.dumps([self._line_key, number, part]) for number, part in enumerate(parts, self._n)]
        self._check()
        append(self.path, "".join(f"{line}\n" for line in lines).encode(), self.artefact)
        self._n += len(parts)

    def remove(self) -> None:
        """Remove the journal: the artefact is written."""
        self.path.unlink(missing_ok=True)

    def _check(self) -> None:
        if self._lease is not None:
            self._lease.check()


def last_part(path: Path) -> Any:
    """The last whole part of a journal, whatever its key, for those who only look on; None where there is none."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        with suppress(ValueError, TypeError):  # torn
            _, _, part = json.loads(line)
            return part
    return None


def resumable_values(function: Callable[[Any], float], items: Iterable[Any], path: Path, key: str) -> list[float]:
    """Values of a function, of which those that an interrupted call had finished are not computed again.

    Parameters
    ----------
    function : callable
        Takes an item, returns a number.
    items : iterable
        The same ones in the same order for the same key; another call may want more or fewer of them.
    path : Path
        Journal; holds the values of several loops, by key.
    key : str
        Digest of everything that determines the values.

    Returns
    -------
    list of float
        A value per item.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    journal = Journal(path, key, path=path, shared=True)
    values = journal.resume(accept=lambda value: isinstance(value, float))
    n_kept = len(values)
    n_items = 0
    saved = time.monotonic()
    try:
        for n_items, item in enumerate(items, 1):
            if n_items > len(values):
                values.append(float(function(item)))
                if time.monotonic() - saved >= _EVERY_S:
                    journal.append(*values[n_kept:])
                    n_kept, saved = len(values), time.monotonic()
    finally:
        if len(values) > n_kept:
            journal.append(*values[n_kept:])
    return values[:n_items]
