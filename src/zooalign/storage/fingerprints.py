"""Digests of the user's own files: read once, and again only when a name, size or time changed."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

# A file that changed so lately may change again within the same tick of the file system's clock.
_SETTLED_S = 2.0


def content_digest(files: Iterable[str | Path]) -> str:
    """SHA-256 over the content of files, in order; a file that occurs several times counts once.

    Parameters
    ----------
    files : iterable of path
        Existing files.

    Returns
    -------
    str
        64 hexadecimal digits. Names do not count.

    Raises
    ------
    OSError
        If a file is missing or cannot be read.

    Notes
    -----
    What was read is kept in the user's cache folder ($XDG_CACHE_HOME/zooalign, or ~/.cache/zooalign) under the names,
    sizes and times of the files, so that planning a sweep does not read a million images. The cache may be deleted.
    """
    paths = list(dict.fromkeys(os.path.abspath(file) for file in files))
    key, latest = hashlib.sha256(), 0.0
    for path in paths:
        stat = os.stat(path)
        key.update(
            f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}\n".encode(errors="surrogateescape")
        )
        latest = max(latest, stat.st_mtime, stat.st_ctime)
    kept = _cache() / key.hexdigest()
    with suppress(OSError, ValueError):
        known = kept.read_text(encoding="ascii")
        if len(bytes.fromhex(known)) == hashlib.sha256().digest_size:
            return known
    content = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            content.update(hashlib.file_digest(file, "sha256").digest())
    if time.time() - latest > _SETTLED_S:
        # A cache that cannot be written only costs time.
        with suppress(OSError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            staged = kept.with_name(f"{kept.name}.{os.getpid()}")
            staged.write_text(content.hexdigest(), encoding="ascii")
            staged.replace(kept)
    return content.hexdigest()


def _cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(root) / "zooalign" / "fingerprints"
