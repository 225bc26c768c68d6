"""The folder of a dataset, made by the family that its row of config/datasets names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from zooalign.config.identity import dataset_spec_digest
from zooalign.data.samples import Samples, open_samples
from zooalign.errors import DatasetError
from zooalign.progress import Report
from zooalign.provenance import file_xxh3, is_sealed, sealed
from zooalign.registry import plugin
from zooalign.storage.atomic import replace_folder
from zooalign.storage.lease import Lease, make_once

if TYPE_CHECKING:
    from zooalign.config.manifest import DatasetSpec

RECORD = "dataset.json"


def build_dataset(
    spec: DatasetSpec,
    folder: Path,
    report: Report = print,
    lease_timeout_s: float = 60.0,
    anew: bool = False,
) -> Samples:
    """Build a dataset, unless it is built already, and open it.

    Parameters
    ----------
    spec : DatasetSpec
        Row of config/datasets.
    folder : pathlib.Path
        Dataset folder to make or replace; must be called like `spec.id`.
    lease_timeout_s : float
        As in `lease.hold_lease`: no other job writes the folder in the meantime.
    anew : bool
        Make it although one of the same digest is there.

    Returns
    -------
    Samples
        The finished dataset.

    Raises
    ------
    DatasetError
        If the folder has another name than the dataset, or as the family raises it.
    LeaseError
        If another process took the folder over.
    """
    if folder.name != spec.id:
        raise DatasetError(f"dataset {spec.id!r} would be written to {folder}; the folder must be named {spec.id!r}.")
    wanted = dataset_spec_digest(spec)

    def build(lease: Lease) -> Samples:
        # Within a folder of ours: a family names the dataset by the folder that it builds.
        _build(spec, lease.staged / folder.name, wanted, report)
        replace_folder(lease.staged / folder.name, folder, lease.check)
        return open_samples(folder)

    return make_once(folder, lambda: built(folder, wanted), build, report, lease_timeout_s, anew=anew)


def _build(spec: DatasetSpec, folder: Path, wanted: str, report: Report) -> None:
    module = plugin("datasets", spec.family, "dataset family")
    module.build(module.Options(**spec.options), folder, report)
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.name != RECORD)
    sizes = {f.relative_to(folder).as_posix(): f.stat().st_size for f in files}
    checksums = {name: file_xxh3(folder / name) for name in sizes}
    about = sealed({**open_samples(folder).about, "sizes": sizes, "checksums": checksums, "spec_digest": wanted})
    (folder / RECORD).write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def built(folder: Path, wanted: str) -> Samples | None:
    """The dataset in a folder if it was built from the same row and is whole."""
    try:
        samples = open_samples(folder)
        whole = all((folder / name).stat().st_size == size for name, size in samples.about["sizes"].items())
        return samples if whole and is_sealed(samples.about) and samples.about["spec_digest"] == wanted else None
    except (DatasetError, OSError, KeyError, TypeError, AttributeError):
        return None
