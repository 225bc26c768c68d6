"""Models in transformers' layout: where the folder comes from, and which files of it are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from zooalign.closed import Closed
from zooalign.errors import WeightsError
from zooalign.sources._packages import PackagedFile

# What a model in transformers' layout is read from.
FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


Revision = Annotated[
    str | None,
    Field(
        pattern=r"^[0-9a-f]{40}$",
        description="Commit of the repository, 40 hexadecimal digits; default: the newest when it is first fetched.",
    ),
]


class FolderOptions(Closed):
    """Where the model lies; exactly one of hub_id, package folder and path."""

    hub_id: str | None = Field(default=None, description="Repository on the hub, owner/name.")
    revision: Revision = None
    folder: PackagedFile | None = Field(default=None, description="Folder inside an installed package.")
    path: str | None = Field(default=None, description="Local folder.")
    pickle: bool = Field(
        default=False,
        description="Read pytorch_model.bin, tensors only, where a repository has no safetensors.",
    )
    trust_remote_code: bool = Field(default=False, description="Run code that lies beside the weights.")

    @model_validator(mode="after")
    def _check_place(self) -> FolderOptions:
        if sum(x is not None for x in (self.hub_id, self.folder, self.path)) != 1:
            raise ValueError("give exactly one of `hub_id`, `folder` (package and file) and `path`")
        if self.hub_id is None and self.revision is not None:
            raise ValueError("only `hub_id` has a `revision`")
        return self


def place(options: FolderOptions, folder: Path) -> Path:
    """Where the model's folder lies; `folder` is where a repository is fetched to."""
    if options.folder is not None:
        return options.folder.path()
    return folder if options.path is None else Path(options.path)


def weight_file(options: FolderOptions, folder: Path) -> Path:
    """Find the safetensors file, or the index of its shards; a hub repository is fetched into `folder`.

    Raises
    ------
    WeightsError
        If the place has no safetensors, or the hub cannot be reached.
    """
    found = _weights(place(options, folder), options)
    if found is None and options.hub_id is not None:
        from zooalign.sources._hub import fetch_repository

        fetch_repository(options.hub_id, options.revision, folder, _patterns(options))
        found = _weights(folder, options)
    if found is None:
        wanted = "pytorch_model.bin" if options.pickle else "model.safetensors: other formats are not loaded"
        raise WeightsError(f"{options.hub_id or place(options, folder).name!r} has no {wanted}")
    return found


def local_files(options: FolderOptions) -> list[Path]:
    """Weights, configuration, tokenizer and permitted code of a local folder."""
    if options.path is None:
        return []
    return [file for pattern in _patterns(options) for file in Path(options.path).glob(pattern) if file.is_file()]


def _patterns(options: FolderOptions) -> list[str]:
    """Files that are read; of two formats of the weights, one."""
    files = [pattern for pattern in FILES if not (options.pickle and pattern == "*.safetensors")]
    return [*files, *(["*.bin"] if options.pickle else []), *(["*.py"] if options.trust_remote_code else [])]


def _weights(place: Path, options: FolderOptions) -> Path | None:
    name = "pytorch_model.bin" if options.pickle else "model.safetensors"
    names = (name, f"{name}.index.json")
    return next((place / name for name in names if (place / name).is_file()), None)
