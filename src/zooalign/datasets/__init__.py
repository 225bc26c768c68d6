"""Dataset families: one file each; `build_dataset` makes the folder of a row of config/datasets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from zooalign.discovery import room
from zooalign.errors import DatasetError
from zooalign.samples import Samples, open_samples

if TYPE_CHECKING:
    from zooalign.zoo import DatasetSpec


def build_dataset(spec: DatasetSpec, folder: Path, report: Callable[[str], None] = print) -> Samples:
    """Build a dataset and open it.

    Parameters
    ----------
    spec : DatasetSpec
        Row of config/datasets.
    folder : pathlib.Path
        Dataset folder to make or replace; must be called like `spec.id`.
    report : callable
        Takes one line of progress at a time.

    Returns
    -------
    Samples
        The finished dataset.

    Raises
    ------
    DatasetError
        If the folder has another name than the dataset, or as the family raises it.
    """
    if folder.name != spec.id:
        raise DatasetError(f"dataset {spec.id!r} would be written to {folder}; the folder must be named {spec.id!r}.")
    module = room("datasets", spec.family, "dataset family")
    module.build(module.Options(**spec.options), folder, report)
    return open_samples(folder)
