"""Files of a dataset repository: of one commit of the hub, brought one at a time, or of a folder on disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from zooalign.data.downloads import Cached
from zooalign.errors import DatasetError
from zooalign.hub import is_whole, outside, refusal
from zooalign.network import remedy
from zooalign.storage.fingerprints import content_digest

# Names that a message lists of a repository's files.
_LISTED = 12


class Files:
    """Files of a folder.

    Parameters
    ----------
    place : str
        What the user calls it, for messages.
    folder : pathlib.Path
        Where they lie.
    revision : str, optional
        Commit of the hub that they are of.
    """

    def __init__(self, place: str, folder: Path, revision: str | None = None) -> None:
        self.place, self.folder, self.revision = place, folder, revision
        self.names = self._listed()

    def _listed(self) -> list[str]:
        return sorted(f.relative_to(self.folder).as_posix() for f in self.folder.rglob("*") if f.is_file())

    @contextmanager
    def at(self, name: str) -> Iterator[Path]:
        """One of `names` on this machine, for the block."""
        yield self.folder / name

    def text(self, name: str, largest_bytes: int = 1_000_000) -> str | None:
        """Content of a small text file, None where there is none.

        Raises
        ------
        DatasetError
            If it is larger, or not UTF-8.
        """
        if name not in self.names:
            return None
        with self.at(name) as path:
            data = path.read_bytes() if path.stat().st_size <= largest_bytes else None
        if data is None:
            raise DatasetError(
                f"{self.place}: {name} has more than {largest_bytes} bytes, which is no list of names."
            )
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DatasetError(f"{self.place}: {name} is not UTF-8 ({error.reason}).") from error

    def summary(self) -> str:
        """The first names, for messages."""
        more = f", ... ({len(self.names)} in all)" if len(self.names) > _LISTED else ""
        return (", ".join(self.names[:_LISTED]) or "no files") + more


class _HubFiles(Files):
    """Files of one commit, each fetched when it is asked for and removed after use, so that few are on the disk."""

    def __init__(self, repository: str, info: Any, scratch: Path) -> None:
        self._siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
        super().__init__(repository, scratch, str(info.sha))

    def _listed(self) -> list[str]:
        return sorted(self._siblings)

    @contextmanager
    def at(self, name: str) -> Iterator[Path]:
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(self.place, name, revision=self.revision, repo_type="dataset")
        if isinstance(cached, str) and is_whole(Path(cached), self._siblings[name]):
            yield Path(cached)
            return
        path = self._fetched(name)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _fetched(self, name: str) -> Path:
        from huggingface_hub import hf_hub_download

        size = self._siblings[name].size or 0
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if size > free:
            raise DatasetError(
                f"{self.place}: {name} has {size / 2**30:.1f} GiB, {self.folder} has {free / 2**30:.1f} GiB free: "
                "free space, or name another folder with options.cache."
            )
        for _ in range(2):  # a transfer that went wrong; once more, from the start
            try:
                path = Path(
                    hf_hub_download(
                        self.place, name, repo_type="dataset", revision=self.revision, local_dir=self.folder
                    )
                )
            except Exception as error:  # whatever the hub's client and its HTTP library raise
                raise DatasetError(refusal(self.place, self.revision, error, "datasets")) from error
            if is_whole(path, self._siblings[name]):
                return path
            path.unlink(missing_ok=True)
        raise DatasetError(
            f"{self.place} at {self.revision}: {name} arrived damaged twice (SHA-256 or size differs from the hub's)"
        )


class Place(Cached):
    """Options of a family whose data lie in a repository of the hub or in a folder on disk."""

    repository: str | None = Field(
        default=None, pattern=r"^[\w.-]+/[\w.-]+$", description="Dataset on the hub, owner/name; or give `folder`."
    )
    revision: str | None = Field(
        default=None,
        description="Commit, tag or branch; null: the newest commit when it is first built, which is recorded.",
    )
    folder: str | None = Field(
        default=None, description="Folder on disk, laid out as on the hub or as its kind allows."
    )
    config: str | None = Field(
        default=None, description="Folder of the configuration, where there are parquet files of several."
    )
    licence: str = Field(default="not stated", description="Licence of the data.")
    authors: str = Field(default="see the dataset's card", description="Whose work it is, for ATTRIBUTION.md.")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.repository is None) == (self.folder is None):
            raise ValueError("name a dataset of the hub with `repository`, or one on disk with `folder`")
        return self

    def scratch(self, built: Path) -> Path:
        """Where files of the hub lie while a dataset folder is built of them."""
        return self.cache_beside(built) / f"{built.name}.files"

    def files(self, scratch: Path, name: str) -> Files:
        """The files of the place.

        Raises
        ------
        DatasetError
            If the folder does not exist, or as :func:`hub_files`.
        """
        if self.repository is not None:
            return hub_files(self.repository, self.revision, scratch)
        folder = Path(self.folder or "")
        if not folder.is_dir():
            raise DatasetError(f"{name}: options.folder {self.folder!r} is no folder; correct it.")
        return Files(str(folder), folder)

    def fingerprint(self, name: str) -> list[str] | None:
        """Names and content of a folder on disk; for the hub the commit says enough."""
        if self.folder is None:
            return None
        files = self.files(Path(), name)
        return [content_digest(files.folder / file for file in files.names), *files.names]


def hub_files(repository: str, revision: str | None, scratch: Path) -> Files:
    """Files of a dataset on the hub.

    Parameters
    ----------
    repository : str
        "owner/name".
    revision : str or None
        Branch, tag or commit; None: the newest commit.
    scratch : pathlib.Path
        Folder for files while they are read; what an interrupted fetch left there is gone on with.

    Returns
    -------
    Files
        With the commit in `revision`. With HF_HUB_OFFLINE=1 the hub is not asked, and the files are those that its
        cache holds.

    Raises
    ------
    DatasetError
        If repository, commit or network is missing, or it wants an accepted licence.
    """
    from huggingface_hub import HfApi, is_offline_mode, snapshot_download

    if is_offline_mode():
        try:
            snapshot = snapshot_download(repository, repo_type="dataset", revision=revision, local_files_only=True)
        except Exception as error:
            at = f"{repository} at {revision or 'its newest commit'}"
            raise DatasetError(f"files of {at} are not here: {remedy('build_dataset')}") from error
        return Files(repository, Path(snapshot), Path(snapshot).name)
    try:
        info = HfApi().dataset_info(repository, revision=revision, files_metadata=True)
    except Exception as error:
        raise DatasetError(refusal(repository, revision, error, "datasets")) from error
    files = _HubFiles(repository, info, scratch)
    stray = outside(files.names)
    if stray is not None:
        raise DatasetError(f"{repository} lists a file outside itself, {stray!r}: nothing of it was fetched")
    return files
