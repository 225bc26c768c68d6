"""Repositories of the hub: files of one commit, fetched where there is a network, checked, and resumed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from zooalign.errors import WeightsError
from zooalign.hub import is_whole, outside, refusal
from zooalign.network import remedy
from zooalign.provenance import read_object
from zooalign.storage.atomic import write_json

REVISION = "revision.json"
_OURS = "fetched-by-zooalign.json"  # in the folder of a repository in the cache


class Card(NamedTuple):
    """What the hub says of a repository.

    Attributes
    ----------
    revision : str
        Newest commit, 40 hexadecimal digits.
    config : dict
        Its config.json.
    licence, created : str or None
        Name of the licence; month of the first commit, 2024-09.
    gated : bool
        Whether its files are for accounts that accepted its terms.
    """

    revision: str
    config: dict[str, Any]
    licence: str | None
    created: str | None
    gated: bool


def fetch_repository(repository: str, revision: str | None, folder: Path, patterns: Sequence[str]) -> str:
    """Bring the matching files of one commit into `folder`, by way of the hub's cache.

    Parameters
    ----------
    repository : str
        "owner/name".
    revision : str or None
        Commit, 40 hexadecimal digits; None: the newest.
    folder : Path
        Existing folder; files are hard links into the cache where that is on the same file system.
    patterns : sequence of str
        Shell patterns of the files to fetch.

    Returns
    -------
    str
        The commit; also in revision.json in the folder.

    Raises
    ------
    WeightsError
        If the repository, the commit, the network or space on the disk is missing, it wants an accepted licence, or
        a file has another checksum than the hub states.

    Notes
    -----
    The hub's client keeps what it has of an interrupted file and asks for the rest, and tries again by itself. With
    HF_HUB_OFFLINE=1 the hub is not asked, and what its cache holds is taken.
    """
    from huggingface_hub import constants, is_offline_mode, snapshot_download
    from huggingface_hub.utils import filter_repo_objects

    at = f"{repository} at {revision or 'its newest commit'}"
    if is_offline_mode():
        return _from_cache(repository, revision, folder, patterns)
    info = _ask(repository, revision)
    wanted = list(filter_repo_objects(info.siblings or [], allow_patterns=list(patterns), key=lambda s: s.rfilename))
    stray = outside(sibling.rfilename for sibling in wanted)
    if stray is not None:
        raise WeightsError(f"{at} lists a file outside itself, {stray!r}: nothing of it was fetched")
    cache = Path(constants.HF_HUB_CACHE)
    _check_space(cache, sum(s.size or 0 for s in wanted), at)
    _note(repository, str(info.sha), [s.rfilename for s in wanted])
    for attempt in (1, 2):
        try:
            snapshot = Path(snapshot_download(repository, revision=info.sha, allow_patterns=list(patterns)))
        except Exception as error:  # whatever the hub's client and its HTTP library raise
            raise _refusal(repository, revision, error) from error
        damaged = [s.rfilename for s in wanted if not is_whole(snapshot / s.rfilename, s)]
        if not damaged:
            break
        for name in damaged:  # a transfer that went wrong; once more, from the start
            (snapshot / name).resolve().unlink(missing_ok=True)
            (snapshot / name).unlink(missing_ok=True)
        if attempt == 2:
            raise WeightsError(f"{at}: {damaged[0]} arrived damaged twice (SHA-256 differs from the hub's)")
    return _take(repository, snapshot, [sibling.rfilename for sibling in wanted], folder)


def _note(repository: str, revision: str, names: Sequence[str]) -> None:
    """Write down which files are not in the cache yet: they are ours to remove."""
    from zooalign.storage.lease import hold_lease

    place = _place(repository)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WeightsError(
            f"the hub's cache {place} cannot be written ({error.strerror}): correct its permissions, or set HF_HOME "
            "to a folder of yours"
        ) from error
    with hold_lease(place / _OURS, lambda line: None):  # two rows may name one repository
        missing = [f"{revision}/{name}" for name in names if not (place / "snapshots" / revision / name).exists()]
        write_json(place / _OURS, {"files": sorted({*_ours(place), *missing})})


def _place(repository: str) -> Path:
    """Folder of a repository in the hub's cache."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")


def _ours(place: Path) -> list[str]:
    try:
        return [str(name) for name in read_object(place / _OURS)["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def forget(repository: str) -> None:
    """Remove from the hub's cache what :func:`fetch_repository` brought; what was in it before stays."""
    place = _place(repository)
    for name in _ours(place):
        file = place / "snapshots" / name
        blob = file.resolve()
        if blob.is_relative_to(place.resolve()):  # the list lies where others can write
            blob.unlink(missing_ok=True)
            file.unlink(missing_ok=True)
    (place / _OURS).unlink(missing_ok=True)
    for folder in sorted((f for f in place.rglob("*") if f.is_dir()), reverse=True):
        with suppress(OSError):  # not empty
            folder.rmdir()


def _from_cache(repository: str, revision: str | None, folder: Path, patterns: Sequence[str]) -> str:
    """What the cache holds of a repository, where the hub is not to be asked."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import filter_repo_objects

    try:
        snapshot = Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except Exception as error:
        at = f"{repository} at {revision or 'its newest commit'}"
        raise WeightsError(f"files of {at} are not here: {remedy('fetch_weights')}") from error
    names = [file.relative_to(snapshot).as_posix() for file in snapshot.rglob("*") if file.is_file()]
    return _take(repository, snapshot, list(filter_repo_objects(names, allow_patterns=list(patterns))), folder)


def _take(repository: str, snapshot: Path, names: Sequence[str], folder: Path) -> str:
    """Bring files of a snapshot, whose folder is named for its commit, into the weights folder."""
    for name in names:
        _link((snapshot / name).resolve(), folder / name)
    write_json(folder / REVISION, {"repository": repository, "revision": snapshot.name})
    return snapshot.name


def read_card(repository: str) -> Card:
    """Licence, gate and configuration of a repository, without its weights.

    Raises
    ------
    WeightsError
        As :func:`fetch_repository`.
    """
    from huggingface_hub import hf_hub_download

    info = _ask(repository, None)
    try:
        config = read_object(Path(hf_hub_download(repository, "config.json", revision=info.sha)))
    except Exception as error:
        raise _refusal(repository, None, error) from error
    licence = getattr(info.card_data, "license", None) if info.card_data else None
    created = info.created_at.strftime("%Y-%m") if info.created_at else None
    return Card(str(info.sha), config, licence, created, bool(info.gated))


def _ask(repository: str, revision: str | None) -> Any:
    from huggingface_hub import HfApi

    try:
        return HfApi().model_info(repository, revision=revision, files_metadata=True)
    except Exception as error:
        raise _refusal(repository, revision, error) from error


def _refusal(repository: str, revision: str | None, error: Exception) -> WeightsError:
    return WeightsError(refusal(repository, revision, error, "weights"))


def _check_space(cache: Path, size: int, at: str) -> None:
    place = next(p for p in (cache, *cache.parents) if p.exists())
    free = shutil.disk_usage(place).free
    if size > free:
        raise WeightsError(
            f"{at} has {size / 2**30:.1f} GiB, {place} has {free / 2**30:.1f} GiB free: free space, or set HF_HOME "
            "to a folder on another disk"
        )


def _link(file: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, place)
    except OSError:  # another file system, or none that has links
        shutil.copyfile(file, place)
