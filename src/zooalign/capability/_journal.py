"""What a long measurement has finished so far, kept beside its record until that is written."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.folders import writing

if TYPE_CHECKING:
    from zooalign.ownership import Owner


class Journal:
    """Lists of numbers, one for each finished part, in `{record}.partial`.

    Parameters
    ----------
    record : Path
        Where the record of the measurement will be written.
    digest : str
        Digest of what determines the value; a journal of another digest is not continued.
    owner : Owner, optional
        Checked before anything is written; see `ownership.own`.

    Examples
    --------
    >>> import tempfile
    >>> journal = Journal(Path(tempfile.mkdtemp()) / "m.json", "d")
    >>> journal.resume("three parts")
    []
    >>> journal.append([0.1, 0.2])
    >>> Journal(journal.record, "d").resume("three parts")
    [[0.1, 0.2]]
    """

    def __init__(self, record: Path, digest: str, owner: Owner | None = None) -> None:
        self.record, self._digest, self._owner = record, digest, owner
        self.path = record.with_name(f"{record.name}.partial")

    def resume(self, parts: str) -> list[list[float]]:
        """Finished parts of an interrupted measurement, in order; what is torn is cut off.

        Parameters
        ----------
        parts : str
            Digest of how the work is cut into parts; a journal of other parts is not continued.
        """
        head = json.dumps([self._digest, parts])
        try:
            first, *lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except (FileNotFoundError, ValueError):
            first, lines = "", []
        finished: list[list[float]] = []
        for line in lines if first == head else []:
            entry = _entry(line, len(finished))
            if entry is not None:
                finished.append(entry)
        whole = [head, *(_line(number, values) for number, values in enumerate(finished))]
        self._write("w", "".join(f"{line}\n" for line in whole))
        self._n = len(finished)
        return finished

    def append(self, values: list[float]) -> None:
        """Keep the next part."""
        self._write("a", f"{_line(self._n, values)}\n")
        self._n += 1

    def remove(self) -> None:
        """Remove the journal: the record is written."""
        self.path.unlink(missing_ok=True)

    def _write(self, mode: str, text: str) -> None:
        if self._owner is not None:
            self._owner.check()
        with writing(self.record), open(self.path, mode, encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def _line(number: int, values: list[float]) -> str:
    return json.dumps([number, values])  # repr of a float gives the same float back


def _entry(line: str, number: int) -> list[float] | None:
    """Values of the part of that number; None if the line is torn or another's."""
    try:
        found, values = json.loads(line)
    except (ValueError, TypeError):
        return None
    good = found == number and isinstance(values, list) and all(_is_finite(v) for v in values)
    return values if good else None


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)
