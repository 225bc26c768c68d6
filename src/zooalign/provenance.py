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


def file_xxh3(path: Path | str) -> str:
    """XXH3 of a file's content, 32 hexadecimal digits: finds damage, at the speed of memory."""
    import xxhash

    content = xxhash.xxh3_128()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            content.update(block)
    return content.hexdigest()


def package_versions(packages: Iterable[str] = FEATURE_PACKAGES) -> dict[str, str]:
    """Installed versions of packages; a package that is not installed is left out."""
    versions = {"python": platform.python_version()}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def stamp() -> dict[str, str]:
    """Who made an artefact, when and where: command, time (UTC, ISO 8601), host, process id."""
    return {
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "host": platform.node(),
        "process_id": str(os.getpid()),
    }


def read_object(path: Path, key: str | None = None) -> dict[str, Any]:
    """A JSON object from a file, or the object that it holds under a key.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it holds anything else, as after an edit by hand.
    """
    value = json.loads(path.read_bytes())
    if key is not None and isinstance(value, dict):
        value = value.get(key)
    if not isinstance(value, dict):
        raise ValueError("no JSON object" if key is None else f"no JSON object under {key!r}")
    return value


def object_in(record: dict[str, Any], key: str) -> dict[str, Any]:
    """The JSON object under a key; empty if there is none."""
    value = record.get(key)
    return value if isinstance(value, dict) else {}


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """A JSON-able record with a digest of itself, so that an edit by hand shows (:func:`is_sealed`)."""
    content = {key: value for key, value in record.items() if key != "seal"}
    return {**content, "seal": digest(content)}


def is_sealed(record: dict[str, Any]) -> bool:
    """Whether a record is as it was written; one that was written without a seal passes."""
    return "seal" not in record or sealed(record)["seal"] == record["seal"]
