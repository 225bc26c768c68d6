"""Models whose neighbour lists or features `zooalign import` took over: rows without weights.

The workflow makes stores and indexes of the imported files (`zooalign.sharing`); nothing here is ever loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from zooalign.config.imported import ImportedFiles
from zooalign.errors import WeightsError

VERSION = 1


class Options(ImportedFiles):
    """Imported files by dataset."""


def local_files(options: Options) -> list[Path]:
    """Every file that was imported."""
    return [Path(file.path) for file in options.files.values()]


def weight_file(options: Options, folder: Path) -> NoReturn:
    """Refuse: an imported model has no weights."""
    del options, folder
    raise WeightsError("the model was imported without weights: add a row with another source to run it.")


def load(options: Options, weight_file: Path, folder: Path) -> NoReturn:
    """Refuse: an imported model has no weights."""
    del weight_file
    raise WeightsError(f"{folder}: the model was imported without weights: add a row with another source to run it.")
