"""Networks that were never trained: the control every alignment score is compared with.

A seed gives the same weights on every run. As another version of torch or of the model library might
draw them otherwise, `prepare` records a fingerprint of the drawn weights and `load` checks it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from zooalign.closed import Closed
from zooalign.errors import WeightsError
from zooalign.sources._packages import PackagedFile
from zooalign.sources._preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch

    from zooalign.models.model import LanguageModel, VisionModel

VERSION = 1
_FINGERPRINT = "fingerprint.json"


class Options(Closed):
    """Architecture and seed; a language model borrows configuration and tokenizer from a trained one."""

    library: Literal["timm", "transformers"] = Field(description="timm for vision, transformers for language.")
    seed: int = Field(ge=0, description="Seed of torch's generator.")
    architecture: str | None = Field(default=None, description="timm: name of the architecture.")
    architecture_options: dict[str, Any] = Field(default={}, description="timm: arguments of create_model.")
    pooled: bool | None = Field(default=None, description="timm: add the pooled feature as a last layer.")
    preprocessing: Preprocessing | None = Field(default=None, description="timm: how images are fed.")
    gguf: PackagedFile | None = Field(
        default=None, description="transformers: GGUF file whose configuration and tokenizer are used."
    )
    path: str | None = Field(
        default=None, description="transformers: local folder with config.json and tokenizer instead."
    )
    start_token: str | None = Field(
        default=None,
        description="transformers: token before a document, where it is not the tokenizer's BOS.",
    )

    @model_validator(mode="after")
    def _check_library(self) -> Options:
        vision = self.architecture is not None and self.preprocessing is not None
        if self.library == "timm" and (not vision or self.gguf or self.path):
            raise ValueError("library timm needs `architecture` and `preprocessing`, and neither `gguf` nor `path`")
        one_place = (self.gguf is None) != (self.path is None)
        if self.library == "transformers" and (not one_place or self.architecture or self.preprocessing):
            message = "library transformers needs either `gguf` or `path`, and no `architecture` or `preprocessing`"
            raise ValueError(message)
        return self


def weight_file(options: Options, folder: Path) -> Path | None:
    """Find the GGUF file whose tokenizer is borrowed; None where nothing published is read.

    Raises
    ------
    WeightsError
        If the package or file is missing.
    """
    return None if options.gguf is None else options.gguf.path()


def prepare(options: Options, weight_file: Path | None, folder: Path) -> None:
    """Write the borrowed configuration and tokenizer, if any, and the weights' fingerprint.

    Raises
    ------
    WeightsError
        If the architecture cannot be made.
    """
    if weight_file is not None:
        from zooalign.sources.gguf import read_config, save_tokenizer

        save_tokenizer(weight_file, folder)
        read_config(weight_file).save_pretrained(folder)
    record = {"seed": options.seed, "sha256": fingerprint(_draw(options, folder))}
    (folder / _FINGERPRINT).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def local_files(options: Options) -> list[Path]:
    """Configuration and tokenizer of a local folder."""
    from zooalign.sources._folders import FILES

    if options.path is None:
        return []
    patterns = [pattern for pattern in FILES if pattern != "*.safetensors"]
    return [file for pattern in patterns for file in Path(options.path).glob(pattern) if file.is_file()]


def load(options: Options, weight_file: Path | None, folder: Path) -> VisionModel | LanguageModel:
    """Draw the untrained network again.

    Raises
    ------
    WeightsError
        If the seed now gives other weights than when it was prepared.
    """
    module = _draw(options, folder)
    recorded = json.loads((folder / _FINGERPRINT).read_text(encoding="utf-8"))["sha256"]
    if fingerprint(module) != recorded:
        raise WeightsError(
            f"seed {options.seed} draws other weights than when they were prepared: torch or the model "
            "library has changed; fetch the weights again and recompute the features"
        )
    if options.preprocessing is not None:
        from zooalign.sources._vision import TimmVisionModel

        return TimmVisionModel(module, options.preprocessing, pooled=options.pooled)
    from zooalign.sources._language import TransformersLanguageModel, is_causal
    from zooalign.sources._torchvision import import_transformers

    tokenizer = import_transformers().AutoTokenizer.from_pretrained(_config_folder(options, folder))
    return TransformersLanguageModel(
        module, tokenizer, causal=is_causal(module.config), start_token=options.start_token
    )


def fingerprint(module: torch.nn.Module) -> str:
    """SHA-256 over names, shapes and values of all parameters and buffers that are saved."""
    import hashlib

    total = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        total.update(tensor.contiguous().numpy().data)
    return total.hexdigest()


def _draw(options: Options, folder: Path) -> torch.nn.Module:
    """Make the network without touching the caller's random state."""
    import torch

    with torch.random.fork_rng(devices=[]):
        if options.architecture is not None:
            from zooalign.sources._vision import create

            torch.manual_seed(options.seed)
            return create(options.architecture, {"num_classes": 0, **options.architecture_options})
        from zooalign.sources._language import is_causal
        from zooalign.sources._torchvision import import_transformers

        transformers = import_transformers()
        config = transformers.AutoConfig.from_pretrained(_config_folder(options, folder))
        kind = transformers.AutoModelForCausalLM if is_causal(config) else transformers.AutoModel
        torch.manual_seed(options.seed)
        return kind.from_config(config, dtype=torch.float32).eval()


def _config_folder(options: Options, folder: Path) -> Path:
    return folder if options.path is None else Path(options.path)
