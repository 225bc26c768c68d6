"""Dataset families: one file each; `build_dataset` makes the folder of a row of config/datasets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from zooalign.discovery import room
from zooalign.errors import DatasetError
from zooalign.folders import replace_folder
from zooalign.ownership import own
from zooalign.samples import Samples, open_samples

if TYPE_CHECKING:
    from zooalign.zoo import DatasetSpec

RECORD = "dataset.json"


def build_dataset(
    spec: DatasetSpec, folder: Path, report: Callable[[str], None] = print, owner_timeout_s: float = 60.0
) -> Samples:
    """Build a dataset, unless it is there, and open it.

    Parameters
    ----------
    spec : DatasetSpec
        Row of config/datasets.
    folder : pathlib.Path
        Dataset folder to make or replace; must be called like `spec.id`.
    report : callable
        Takes one line of progress at a time.
    owner_timeout_s : float
        As in `ownership.own`: no other job writes the folder in the meantime.

    Returns
    -------
    Samples
        The finished dataset.

    Raises
    ------
    DatasetError
        If the folder has another name than the dataset, or as the family raises it.
    OwnershipError
        If another process took the folder over.
    """
    if folder.name != spec.id:
        raise DatasetError(f"dataset {spec.id!r} would be written to {folder}; the folder must be named {spec.id!r}.")
    wanted = spec.digest()
    there = _built(folder, wanted)
    if there is None:
        with own(folder, report, owner_timeout_s) as owner:
            there = _built(folder, wanted)
            if there is None:
                # Within a folder of ours: a family names the dataset by the folder that it builds.
                _build(spec, owner.staged / folder.name, wanted, report)
                replace_folder(owner.staged / folder.name, folder, owner.check)
                return open_samples(folder)
    report(f"already there: {folder}")
    return there


def _build(spec: DatasetSpec, folder: Path, wanted: str, report: Callable[[str], None]) -> None:
    module = room("datasets", spec.family, "dataset family")
    module.build(module.Options(**spec.options), folder, report)
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.name != RECORD)
    sizes = {f.relative_to(folder).as_posix(): f.stat().st_size for f in files}
    about = {**open_samples(folder).about, "sizes": sizes, "spec_digest": wanted}
    (folder / RECORD).write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _built(folder: Path, wanted: str) -> Samples | None:
    """The dataset in a folder if it was built from the same row and is whole."""
    try:
        samples = open_samples(folder)
        whole = all((folder / name).stat().st_size == size for name, size in samples.about["sizes"].items())
        return samples if whole and samples.about["spec_digest"] == wanted else None
    except (DatasetError, OSError, KeyError, TypeError, AttributeError):
        return None
