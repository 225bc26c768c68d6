"""Rooms are found by file name: a metric, source, dataset, capability, table or figure is one file."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from types import ModuleType

from zooalign.errors import ConfigError, unknown


def rooms(package: str) -> list[str]:
    """Names of the rooms of a package, sorted.

    Parameters
    ----------
    package : str
        A folder of the library: "sources", "datasets", "metrics", "capability", "tables", "figures".

    Returns
    -------
    list of str
        File names without ".py"; files that start with an underscore are not rooms.
    """
    return list(_files(package))


@cache
def _files(package: str) -> tuple[str, ...]:
    folder = Path(__file__).parent / package
    return tuple(sorted(f.stem for f in folder.glob("*.py") if not f.stem.startswith("_")))


def room(package: str, name: str, kind: str, error: type[Exception] = ConfigError) -> ModuleType:
    """Import the room `name` of `package`.

    Parameters
    ----------
    package, name : str
        As in :func:`rooms`.
    kind : str
        What the user calls it, for the message ("metric").
    error : type
        Exception to raise, ConfigError unless told.

    Raises
    ------
    ConfigError
        If there is no such file; the message gives the nearest names.
    """
    known = rooms(package)
    if name not in known:
        raise error(unknown(kind, name, known))
    return importlib.import_module(f"zooalign.{package}.{name}")
