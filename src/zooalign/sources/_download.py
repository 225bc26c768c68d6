"""One file from a web server: resumed where it broke off, whole or not there."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path

from zooalign.errors import WeightsError
from zooalign.network import is_offline, remedy
from zooalign.progress import report_to_stderr
from zooalign.provenance import file_sha256
from zooalign.storage.atomic import write_json
from zooalign.storage.lease import hold_lease

_BLOCK, _TIMEOUT_S, _ATTEMPTS, _PAUSE_S = 2**20, 60.0, 4, 1.0


def fetch_file(url: str, folder: Path) -> Path:
    """Bring a file into a folder, by way of a cache.

    Parameters
    ----------
    url : str
        Where it lies, http or https.
    folder : Path
        Existing folder; the file has the last part of the address as its name.

    Returns
    -------
    Path
        The file; its SHA-256 is in revision.json beside it.

    Raises
    ------
    WeightsError
        If the server or the file is missing, the transfer breaks off again and again, or space is short.
    """
    whole = _cached(url)
    if not whole.is_file():
        if is_offline():
            raise WeightsError(f"{url} is not here: {remedy('fetch_weights')}")
        with hold_lease(whole, report_to_stderr):  # another row may name the same file
            if not whole.is_file():
                _fetch(url, whole)
    file = folder / url.rpartition("/")[2]
    try:
        os.link(whole, file)
    except OSError:
        shutil.copyfile(whole, file)
    write_json(folder / "revision.json", {"repository": url, "revision": file_sha256(file)})
    return file


def forget(url: str) -> None:
    """Remove a file from the cache."""
    _cached(url).unlink(missing_ok=True)


def _cached(url: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zooalign"
    return cache / hashlib.sha256(url.encode()).hexdigest()[:32]


def _fetch(url: str, whole: Path) -> None:
    """Bring a file to its place in the cache, in several attempts."""
    partial = whole.with_suffix(".partial")
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _continue(url, partial)
            break
        except (OSError, urllib.error.URLError) as error:
            gone = isinstance(error, urllib.error.HTTPError) and error.code in (401, 403, 404, 410)
            if gone or attempt == _ATTEMPTS:
                raise WeightsError(
                    f"{url} cannot be fetched ({error}): try again where there is a network; what has arrived is kept"
                ) from error
            time.sleep(_PAUSE_S * attempt)
    os.replace(partial, whole)
    _version_of(partial).unlink(missing_ok=True)


def _version_of(partial: Path) -> Path:
    """Holds what the server calls the version of a file that has not arrived whole."""
    return partial.with_suffix(".version")


def _continue(url: str, partial: Path) -> None:
    """Append what is missing; OSError if the transfer ends before its time."""
    have = partial.stat().st_size if partial.exists() else 0
    version = _version_of(partial)
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and version.exists():
        headers["If-Range"] = version.read_text(encoding="utf-8")  # another file by now comes whole
    # The row's schema allows http and https only.
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        partial.unlink()  # longer than the file is now: another file
        raise OSError("the file changed while it was fetched") from error
    with answer, open(partial, "ab" if answer.status == 206 else "wb") as file:
        length = int(answer.headers.get("Content-Length") or 0)
        free = shutil.disk_usage(partial.parent).free
        if length > free:
            raise WeightsError(
                f"{url} has {length / 2**30:.1f} GiB, {partial.parent} has {free / 2**30:.1f} GiB free"
            )
        if tag := answer.headers.get("ETag") or answer.headers.get("Last-Modified"):
            version.write_text(tag, encoding="utf-8")
        before = file.tell()
        shutil.copyfileobj(answer, file, _BLOCK)
        if length and file.tell() - before != length:
            raise OSError(f"the transfer ended after {file.tell() - before:,} of {length:,} bytes")
