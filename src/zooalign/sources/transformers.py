"""Language models in transformers' own layout: from the hub, a package or a local folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from zooalign.closed import Closed
from zooalign.errors import WeightsError
from zooalign.sources._language import FILES, load_folder
from zooalign.sources._packages import PackagedFile

if TYPE_CHECKING:
    from zooalign.models.model import LanguageModel

VERSION = 1


class Options(Closed):
    """Where the model lies and how it is fed; exactly one of hub_id, package folder and path."""

    hub_id: str | None = Field(default=None, description="Repository on the hub, owner/name.")
    revision: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{40}$",
        description="Commit of the repository, 40 hexadecimal digits.",
    )
    folder: PackagedFile | None = Field(default=None, description="Folder inside an installed package.")
    path: str | None = Field(default=None, description="Local folder.")
    trust_remote_code: bool = Field(default=False, description="Run code that lies beside the weights.")
    text_prefix: str = Field(default="", description="Put before every text, as the model was trained.")
    start_token: str | None = Field(
        default=None, description="Token before a document, where it is not the tokenizer's BOS."
    )
    causal: bool | None = Field(default=None, description="Load the next-token head; None: as its config says.")

    @model_validator(mode="after")
    def _check_place(self) -> Options:
        if sum(x is not None for x in (self.hub_id, self.folder, self.path)) != 1:
            raise ValueError("give exactly one of `hub_id`, `folder` (package and file) and `path`")
        if (self.hub_id is None) != (self.revision is None):
            message = "`hub_id` needs `revision`, a commit of 40 hexadecimal digits, and no other place has one"
            raise ValueError(message)
        return self


def weight_file(options: Options, folder: Path) -> Path:
    """Find the safetensors file, or the index of its shards; a hub repository is fetched into `folder`.

    Raises
    ------
    WeightsError
        If the place has no safetensors, or the hub cannot be reached.
    """
    place = _place(options, folder)
    file = _weights(place)
    if file is None and options.hub_id is not None:
        from zooalign.sources._hub import fetch_repository

        patterns = (*FILES, "*.py") if options.trust_remote_code else FILES
        fetch_repository(options.hub_id, options.revision or "", folder, patterns)
        file = _weights(place)
    if file is None:
        raise WeightsError(f"{options.hub_id or place.name!r} has no model.safetensors: other formats are not loaded")
    return file


def local_files(options: Options) -> list[Path]:
    """Weights, configuration, tokenizer and permitted code of a local folder."""
    if options.path is None:
        return []
    place = Path(options.path)
    patterns = (*FILES, "*.py") if options.trust_remote_code else FILES
    return [file for pattern in patterns for file in place.glob(pattern) if file.is_file()]


def load(options: Options, weight_file: Path, folder: Path) -> LanguageModel:
    """Load the model from files only.

    Raises
    ------
    WeightsError
        If the folder is not complete.
    """
    return load_folder(
        _place(options, folder),
        text_prefix=options.text_prefix,
        start_token=options.start_token,
        causal=options.causal,
        trust_remote_code=options.trust_remote_code,
    )


def _place(options: Options, folder: Path) -> Path:
    if options.folder is not None:
        return options.folder.path()
    return folder if options.path is None else Path(options.path)


def _weights(place: Path) -> Path | None:
    names = ("model.safetensors", "model.safetensors.index.json")
    return next((place / name for name in names if (place / name).is_file()), None)
