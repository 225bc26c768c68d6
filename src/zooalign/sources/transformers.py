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
LOADS_PRECISION = True  # weights come from the file in the row's own precision


class Options(Closed):
    """Where the model lies and how it is fed; exactly one of hub_id, package folder and path."""

    hub_id: str | None = Field(default=None, description="Repository on the hub, owner/name.")
    revision: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{40}$",
        description="Commit of the repository, 40 hexadecimal digits; default: the newest when it is first fetched.",
    )
    folder: PackagedFile | None = Field(default=None, description="Folder inside an installed package.")
    path: str | None = Field(default=None, description="Local folder.")
    pickle: bool = Field(
        default=False,
        description="Read pytorch_model.bin, tensors only, where a repository has no safetensors.",
    )
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
        if self.hub_id is None and self.revision is not None:
            raise ValueError("only `hub_id` has a `revision`")
        return self


def weight_file(options: Options, folder: Path) -> Path:
    """Find the safetensors file, or the index of its shards; a hub repository is fetched into `folder`.

    Raises
    ------
    WeightsError
        If the place has no safetensors, or the hub cannot be reached.
    """
    place = _place(options, folder)
    file = _weights(place, options)
    if file is None and options.hub_id is not None:
        from zooalign.sources._hub import fetch_repository

        fetch_repository(options.hub_id, options.revision, folder, _patterns(options))
        file = _weights(place, options)
    if file is None:
        wanted = "pytorch_model.bin" if options.pickle else "model.safetensors: other formats are not loaded"
        raise WeightsError(f"{options.hub_id or place.name!r} has no {wanted}")
    return file


def local_files(options: Options) -> list[Path]:
    """Weights, configuration, tokenizer and permitted code of a local folder."""
    if options.path is None:
        return []
    place = Path(options.path)
    return [file for pattern in _patterns(options) for file in place.glob(pattern) if file.is_file()]


def load(options: Options, weight_file: Path, folder: Path, precision: str = "float32") -> LanguageModel:
    """Load the model from files only, in a precision.

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
        pickle=options.pickle,
        precision=precision,
    )


def _patterns(options: Options) -> list[str]:
    """Files that are read; of two formats of the weights, one."""
    files = [pattern for pattern in FILES if not (options.pickle and pattern == "*.safetensors")]
    return [*files, *(["*.bin"] if options.pickle else []), *(["*.py"] if options.trust_remote_code else [])]


def _place(options: Options, folder: Path) -> Path:
    if options.folder is not None:
        return options.folder.path()
    return folder if options.path is None else Path(options.path)


def _weights(place: Path, options: Options) -> Path | None:
    name = "pytorch_model.bin" if options.pickle else "model.safetensors"
    names = (name, f"{name}.index.json")
    return next((place / name for name in names if (place / name).is_file()), None)
