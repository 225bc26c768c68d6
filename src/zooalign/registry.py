"""Plug-ins by file name: a metric, source, dataset family, capability, table, figure... is one file or folder."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from zooalign.errors import ConfigError, unknown

# A folder of this name holds further plug-ins of its room; any other folder is one.
_SHELF = "packaged"


def plugin_names(package: str) -> list[str]:
    """Names of the plug-ins of a room, sorted.

    Parameters
    ----------
    package : str
        A folder of the library: "sources", "datasets", "metrics", "capability", "published", "tables", "figures".

    Returns
    -------
    list of str
        Names of its files and folders; those that start with an underscore are no plug-ins.
    """
    return sorted(_modules(package))


@cache
def _modules(package: str) -> dict[str, str]:
    """Module of every plug-in by name."""
    folder = Path(__file__).parent / package
    files = [*folder.glob("*.py"), *folder.glob(f"{_SHELF}/*.py"), *(f.parent for f in folder.glob("*/__init__.py"))]
    inside = {f.stem: ".".join(f.relative_to(folder).with_suffix("").parts) for f in files}
    return {
        name: f"zooalign.{package}.{module}"
        for name, module in inside.items()
        if not name.startswith("_") and name != _SHELF
    }


def plugin(package: str, name: str, kind: str, error: type[Exception] = ConfigError) -> ModuleType:
    """Import the plug-in `name` of a room.

    Parameters
    ----------
    package, name : str
        As in :func:`plugin_names`.
    kind : str
        What the user calls it, for the message ("metric").
    error : type
        Exception to raise for an unknown name.

    Raises
    ------
    ConfigError
        If there is no such plug-in; the message gives the nearest names.
    """
    known = _modules(package)
    if name not in known:
        raise error(unknown(kind, name, known))
    return importlib.import_module(known[name])


def member(module: str, name: str) -> Any:
    """Something of a module that lies above the caller: what determines a digest, or checks a key of config.yaml."""
    return getattr(importlib.import_module(module), name)


def version(module: str) -> int:
    """VERSION of the module that writes an artefact, for its digest.

    Examples
    --------
    >>> version("zooalign.models.pooling") >= 1
    True
    """
    return member(module, "VERSION")
