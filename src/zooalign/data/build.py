"""The folder of a dataset, made by the family that its row of config/datasets names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.config.identity import dataset_spec_digest
from zooalign.data.samples import Samples, open_samples
from zooalign.errors import DatasetError
from zooalign.progress import Report
from zooalign.provenance import file_xxh3, is_sealed, read_object, sealed
from zooalign.registry import plugin
from zooalign.storage.atomic import replace_folder, write_json
from zooalign.storage.lease import Lease, make_once

if TYPE_CHECKING:
    from zooalign.config.manifest import DatasetSpec

RECORD = "dataset.json"
# Beside a dataset's samples, repository and commit of the hub that they are from.
REVISION = "revision.json"


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
        _build(spec, lease.staged / folder.name, wanted, folder, report)
        replace_folder(lease.staged / folder.name, folder, lease.check)
        if (folder / REVISION).exists():
            write_json(_recorded(folder), read_object(folder / REVISION))
        return open_samples(folder)

    return make_once(folder, lambda: built(folder, wanted), build, report, lease_timeout_s, anew=anew)


def _build(spec: DatasetSpec, folder: Path, wanted: str, final: Path, report: Report) -> None:
    module = plugin("datasets", spec.family, "dataset family")
    module.build(_completed(module.Options(**spec.options), final), folder, report)
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.name != RECORD)
    sizes = {f.relative_to(folder).as_posix(): f.stat().st_size for f in files}
    checksums = {name: file_xxh3(folder / name) for name in sizes}
    about = sealed({**open_samples(folder).about, "sizes": sizes, "checksums": checksums, "spec_digest": wanted})
    (folder / RECORD).write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _completed(options: Any, folder: Path) -> Any:
    """Options with what depends on the place: where downloads are kept, and the commit of the first build."""
    completed: dict[str, Any] = {}
    if getattr(options, "cache", "given") is None:
        completed["cache"] = str(folder.with_name(".cache"))
    recorded = _recorded(folder)
    if getattr(options, "revision", "given") is None and recorded.exists():
        try:
            record = read_object(recorded)
            repository, revision = str(record["repository"]), str(record["revision"])
        except (OSError, ValueError, KeyError) as error:
            raise DatasetError(f"{recorded} cannot be read: delete it, then the newest is fetched.") from error
        if repository == getattr(options, "repository", None):
            completed["revision"] = revision
    return options.model_copy(update=completed) if completed else options


def _recorded(folder: Path) -> Path:
    """Where the commit of a hub dataset is kept whose row names none; it stays when the dataset is built anew."""
    return folder.with_name(f"{folder.name}.{REVISION}")


def built(folder: Path, wanted: str) -> Samples | None:
    """The dataset in a folder if it was built from the same row and is whole."""
    try:
        samples = open_samples(folder)
        whole = all((folder / name).stat().st_size == size for name, size in samples.about["sizes"].items())
        return samples if whole and is_sealed(samples.about) and samples.about["spec_digest"] == wanted else None
    except (DatasetError, OSError, KeyError, TypeError, AttributeError):
        return None
