"""A long loop whose finished values are kept on disk, so that an interrupted call goes on where it was."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zooalign.provenance import write_json

if TYPE_CHECKING:
    from zooalign.indexing import Index

_EVERY_S = 20.0


def kept_map(function: Callable[[Any], float], items: Iterable[Any], path: Path, key: str) -> list[float]:
    """Values of a function, of which those that an interrupted call had finished are not computed again.

    Parameters
    ----------
    function : callable
        Takes an item, returns a number.
    items : iterable
        The same ones in the same order for the same key; another call may want more or fewer of them.
    path : Path
        JSON file; holds the values of several loops, by key.
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
    known = _read(path)
    values = known.setdefault(key, [])
    found: list[float] = []
    saved = time.monotonic()
    try:
        for i, item in enumerate(items):
            if i == len(values):
                values.append(float(function(item)))
                if time.monotonic() - saved >= _EVERY_S:
                    write_json(path, known)
                    saved = time.monotonic()
            found.append(values[i])
    finally:
        write_json(path, known)
    return found


def _read(path: Path) -> dict[str, list[float]]:
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):  # nothing there, or nothing that can be used
        return {}
    return known if isinstance(known, dict) else {}


def index_sha256(index: Index, names: Iterable[str]) -> str:
    """SHA-256 of some of an index's arrays and of its sample ids: what a metric that needs them depends on."""

    def compute() -> str:
        found = hashlib.sha256(json.dumps([index.sample_ids, index.layer_names]).encode())
        for name in sorted({*names, *({"widths"} & index.holds)}):
            values = np.ascontiguousarray(index.array(name))
            found.update(f"{name} {values.dtype} {values.shape}".encode())
            found.update(values.data)
        return found.hexdigest()

    return index.derived(("sha256", *sorted(names)), compute)
