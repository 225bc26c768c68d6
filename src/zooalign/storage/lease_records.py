"""Records of who holds a lease: how they are created, read and judged."""

from __future__ import annotations

import errno
import json
import os
import re
import time
from pathlib import Path
from typing import Any, NamedTuple

# A record is padded to this size and rewritten in place: a reader never finds it shorter or gone. Renaming a new
# version over it would be neater, but a process that was stopped just before the rename would wipe out its successor.
RECORD_BYTES = 1024
_TOKEN = re.compile(r"[0-9a-f]{16}")
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES)


class Record(NamedTuple):
    """One record as it was read.

    Attributes
    ----------
    token : str
        Names the record; a record that cannot be read has a token made of what is seen of its file.
    content : dict
        What it says; empty if it cannot be read (torn, empty, not ours).
    raw : bytes
        Its bytes, which change with every heartbeat.
    """

    token: str
    content: dict[str, Any]
    raw: bytes

    def describe(self) -> str:
        """Who the holder is, for people."""
        if not self.content:
            return "somebody whose record cannot be read"
        job = self.content.get("slurm_job")
        who = f"SLURM job {job}" if job else f"process {self.content.get('pid')}"
        return f"{who} on {self.content.get('host')} since {self.content.get('started')}"

    @property
    def writer(self) -> str | None:
        """Token of the `Lease` that wrote it, where it is one."""
        writer = self.content.get("writer")
        return writer if is_token(writer) else None

    def timeout_s(self, ours: float) -> float:
        """Silence after which the holder may be taken for dead: what it promised, if that is longer than `ours`."""
        promised = self.content.get("timeout_s")
        return max(ours, promised) if isinstance(promised, int | float) else ours


def is_token(text: Any) -> bool:
    """Whether a value can be part of the name of a record."""
    return isinstance(text, str) and _TOKEN.fullmatch(text) is not None


def write_record(content: dict[str, Any]) -> bytes:
    """Bytes of a record."""
    return json.dumps(content).encode().ljust(RECORD_BYTES - 1) + b"\n"


def parse_record(raw: bytes) -> dict[str, Any]:
    """Content of a record, empty if it is torn or not ours."""
    try:
        content = json.loads(raw)
    except ValueError:
        return {}
    return content if isinstance(content, dict) and is_token(content.get("token")) else {}


def read_record(file: Path) -> Record | None:
    """The record in a file, None if there is no such file."""
    for _ in range(3):
        try:
            with open(file, "rb") as source:
                raw = source.read(2 * RECORD_BYTES)
                about = os.fstat(source.fileno())
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.ESTALE:  # replaced on the server since our node looked the name up: look again
                raise
            continue
        content = parse_record(raw)
        seen = f"{about.st_ino:x}-{about.st_mtime_ns:x}-{len(raw)}"
        return Record(content["token"] if content else seen, content, raw)
    return None


def create_record(file: Path, raw: bytes, draft: Path) -> bool:
    """Create a record in one step, unless there is one of that name.

    Parameters
    ----------
    file : Path
        Name of the record.
    raw : bytes
        From :func:`write_record`.
    draft : Path
        A name in the same folder that nobody else uses.

    Returns
    -------
    bool
        Whether it is ours. Of several processes on several machines that try, one gets True.
    """
    try:
        draft.write_bytes(raw)
        os.link(draft, file)
    except FileExistsError:
        # The answer of a file server may get lost, and the repeated request then fails.
        return draft.stat().st_nlink == 2
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _create_exclusively(file, raw)
    finally:
        draft.unlink(missing_ok=True)
    return True


def _create_exclusively(file: Path, raw: bytes) -> bool:
    """For file systems without hard links; a reader may find the record empty for a moment."""
    try:
        with open(file, "xb") as target:
            target.write(raw)
    except FileExistsError:
        return False
    return True


def now_s() -> float:
    """Seconds of this machine's own clock, which goes on while the process is stopped or the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def identity() -> dict[str, Any]:
    """Who this process is, as far as others need it to know whether it lives."""
    pid = os.getpid()
    restarts = os.environ.get("SLURM_RESTART_COUNT", "")
    return {
        "host": os.uname().nodename,
        "machine": _machine(),
        "pid": pid,
        "pid_start": _process_start(pid),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "slurm_cluster": os.environ.get("SLURM_CLUSTER_NAME"),
        "slurm_restarts": int(restarts) if restarts.isdigit() else 0,
    }


def _machine() -> str | None:
    """The running system, by boot, and the space in which process ids count (a container has its own)."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _process_start(pid: int) -> str | None:
    """When a process began, in ticks since the machine did; "ended" if it is no more, None if nobody can tell."""
    try:
        # The name, in brackets, may hold anything; after it the state is the first field and the start the 20th.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "ended" if fields[0] in "ZX" else fields[19]
    except ProcessLookupError:  # it ended while we read
        return "ended"
    except FileNotFoundError:
        pass
    except OSError:
        return None
    try:
        os.kill(pid, 0)  # other people's processes may be hidden from us in /proc
    except ProcessLookupError:
        return "ended"
    except OSError:
        pass
    return None


def is_dead(content: dict[str, Any]) -> bool:
    """Whether the writer of a record is known to have ended: a process of this machine, or this job's former run."""
    ours = identity()
    job = ours["slurm_job"]
    if job is not None and (content.get("slurm_job"), content.get("slurm_cluster")) == (job, ours["slurm_cluster"]):
        restarts = content.get("slurm_restarts")
        if isinstance(restarts, int) and restarts < ours["slurm_restarts"]:
            return True  # SLURM has requeued the job, so it has ended its former run
    pid, start = content.get("pid"), content.get("pid_start")
    if ours["machine"] is None or content.get("machine") != ours["machine"] or not isinstance(pid, int):
        return False
    return start is not None and _process_start(pid) not in (start, None)
