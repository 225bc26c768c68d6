"""Weights that were fetched go when nothing of the sweep needs them any more; what they were stays on record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zooalign.errors import WeightsError
from zooalign.models.loading import RECORD
from zooalign.progress import Report, report_to_stderr
from zooalign.provenance import file_sha256, read_object
from zooalign.registry import member
from zooalign.storage.atomic import write_json

if TYPE_CHECKING:
    from zooalign.config.manifest import ModelSpec


def remove_weights(spec: ModelSpec, folder: Path, path: Path, report: Report = report_to_stderr) -> None:
    """Remove what :func:`~zooalign.models.loading.fetch_weights` brought for a model, from the caches, too.

    Parameters
    ----------
    spec : ModelSpec
        The manifest row.
    folder : Path
        results/weights/{model}; weights.json in it stays.
    path : Path
        results/weights/{model}.removed.json, written before the first file goes: a removal that was broken off is
        known as one.

    Raises
    ------
    WeightsError
        If weights.json cannot be read.

    Notes
    -----
    Of a cache that other programs use, only files go that zooalign fetched.
    """
    try:
        files = [folder / name for name in read_object(folder / RECORD)["files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"model {spec.id!r}: {folder / RECORD} cannot be read: fetch its weights again") from error
    size = sum(file.stat().st_size for file in files if file.is_file())
    write_json(path, {"model": spec.id, "weights": file_sha256(folder / RECORD), "bytes": size})
    for file in files:
        file.unlink(missing_ok=True)
    _forget(spec.download)
    report(f"removed {len(files)} files, {size / 2**20:,.1f} MiB; features and values made with them stay")


def _forget(download: str | None) -> None:
    if download is not None:
        member(f"zooalign.sources.{'_download' if '://' in download else '_hub'}", "forget")(download)


def is_removed(folder: Path, path: Path) -> bool:
    """Whether the weights that weights.json tells of were removed, or their removal was begun."""
    try:
        return read_object(path)["weights"] == file_sha256(folder / RECORD)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def is_whole_removal(folder: Path, path: Path) -> bool:
    """Whether nothing is left of them."""
    if not is_removed(folder, path):
        return False
    return not any((folder / name).exists() for name in read_object(folder / RECORD)["files"])
