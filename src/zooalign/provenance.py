"""Digests and provenance: what determines an artefact, and what made it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

# Versions recorded with features: the libraries whose arithmetic or data the values depend on.
FEATURE_PACKAGES = (
    "zooalign",
    "torch",
    "timm",
    "transformers",
    "tokenizers",
    "onnx2torch",
    "numpy",
    "pillow",
    "zarr",
)


def digest(*parts: Any) -> str:
    """SHA-256 of JSON-able parts, independent of the order of keys.

    Parameters
    ----------
    *parts
        Anything `json.dumps` takes; dicts are sorted, tuples are lists.

    Returns
    -------
    str
        32 hexadecimal digits (128 bits).

    Examples
    --------
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def file_sha256(path: Path | str) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits, read in blocks of 1 MiB."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def package_versions(packages: Iterable[str] = FEATURE_PACKAGES) -> dict[str, str]:
    """Installed versions of packages; a package that is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def stamp() -> dict[str, str]:
    """Who made an artefact, when and where: command, time (UTC, ISO 8601), host, process id."""
    return {
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "host": platform.node(),
        "process_id": str(os.getpid()),
    }


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON in one step: beside the target, flushed to the disk, then renamed over it.

    Raises
    ------
    StoreError
        If the disk is full; names the path.
    """
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path | str, text: str) -> None:
    """Write a text file as :func:`write_json` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write a file as :func:`write_json` does."""
    from zooalign.errors import StoreError

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Process numbers count by machine; the folder may be shared.
    staged = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.tmp")
    try:
        with open(staged, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(staged, path)
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise StoreError(
            f"cannot write {path}: {error.strerror}. Free disk space or choose another results folder; "
            "the former file, if there was one, is untouched."
        ) from error
