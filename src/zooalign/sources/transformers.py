"""Language models in transformers' own layout: from the hub, a package or a local folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from zooalign.sources import _folders
from zooalign.sources._language import load_folder
from zooalign.sources._quantised import Quantisation

if TYPE_CHECKING:
    from zooalign.models.model import LanguageModel

VERSION = 1
LOADS_PRECISION = True  # weights come from the file in the row's own precision
LOADS_TO_DEVICE = True  # and straight to a GPU


class Options(_folders.FolderOptions):
    """Where the model lies and how it is fed."""

    text_prefix: str = Field(default="", description="Put before every text, as the model was trained.")
    start_token: str | None = Field(
        default=None, description="Token before a document, where it is not the tokenizer's BOS."
    )
    causal: bool | None = Field(default=None, description="Load the next-token head; None: as its config says.")
    quantisation: Quantisation | None = Field(
        default=None, description="Quantise linear layers while loading: 8bit (LLM.int8) or 4bit (NF4)."
    )


weight_file = _folders.weight_file
local_files = _folders.local_files


def load(
    options: Options, weight_file: Path, folder: Path, precision: str = "float32", device: str = "cpu"
) -> LanguageModel:
    """Load the model from files only, in a precision, to a device.

    Raises
    ------
    WeightsError
        If the folder is not complete.
    """
    return load_folder(
        _folders.place(options, folder),
        text_prefix=options.text_prefix,
        start_token=options.start_token,
        causal=options.causal,
        trust_remote_code=options.trust_remote_code,
        pickle=options.pickle,
        precision=precision,
        quantisation=options.quantisation,
        device=device,
    )
