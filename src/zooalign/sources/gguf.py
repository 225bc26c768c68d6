"""Causal language models in a GGUF file inside packages, converted once to safetensors.

The quantised weights are written out as float32: the values are those of the quantised model.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from zooalign.closed import Closed
from zooalign.errors import WeightsError
from zooalign.sources._language import load_folder
from zooalign.sources._packages import PackagedFile, whole_file
from zooalign.sources._torchvision import import_transformers

if TYPE_CHECKING:
    from zooalign.models.model import LanguageModel

VERSION = 1


class Options(Closed):
    """Where the GGUF file lies."""

    weights: tuple[PackagedFile, ...] = Field(
        min_length=1, description="The file, or the parts it was cut into, in order; each in its own package."
    )
    start_token: str | None = Field(
        default=None, description="Token before a document, where it is not the tokenizer's BOS."
    )


def weight_file(options: Options, folder: Path) -> Path:
    """Where the GGUF file lies; parts are joined into `folder`.

    Raises
    ------
    WeightsError
        If a package or file is missing.
    """
    return whole_file(options.weights, folder / "model.gguf")


def prepare(options: Options, weight_file: Path, folder: Path) -> None:
    """Write weights (float32), configuration and tokenizer in transformers' layout into `folder`.

    Raises
    ------
    WeightsError
        If the file is no GGUF of a known architecture, or lacks a tensor of it.

    Notes
    -----
    `from_pretrained(gguf_file=...)` wants the package accelerate for what amounts to a dictionary of
    tensors; we take the dictionary and fill the model strictly.
    """
    import torch

    transformers = import_transformers()
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    save_tokenizer(weight_file, folder)
    try:
        with torch.device("meta"):
            module = transformers.AutoModelForCausalLM.from_config(read_config(weight_file), dtype=torch.float32)
        state = load_gguf_checkpoint(
            str(weight_file), return_tensors=True, model_to_load=module, torch_dtype=torch.float32
        )["tensors"]
    except (ValueError, KeyError, RuntimeError) as error:  # of these, the last for an architecture it cannot read
        raise WeightsError(f"{weight_file.name} is not a GGUF file that transformers can read: {error}") from error
    head, embedding = "lm_head.weight", module.get_input_embeddings().weight
    if module.config.tie_word_embeddings and head not in state:  # the file keeps one copy of tied weights
        state[head] = next(v for k, v in state.items() if v.shape == embedding.shape and "embed" in k)
    missing = set(module.state_dict()) - set(state)
    if missing:
        raise WeightsError(f"{weight_file.name} has no tensor for {sorted(missing)[0]!r} and {len(missing) - 1} more")
    module.load_state_dict(state, strict=True, assign=True)
    module.tie_weights()
    module.save_pretrained(folder)


def load(options: Options, weight_file: Path, folder: Path) -> LanguageModel:
    """Load the converted model.

    Raises
    ------
    WeightsError
        If the converted folder is not complete.
    """
    return load_folder(folder, causal=True, start_token=options.start_token)


def read_config(file: Path) -> Any:
    """Return the configuration in a GGUF file, a `transformers.PretrainedConfig`."""
    transformers = import_transformers()
    config = transformers.AutoConfig.from_pretrained(str(file.parent), gguf_file=file.name)
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # the weights are plain numbers from here on
    config.architectures = [transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)].__name__]
    return config


def save_tokenizer(file: Path, folder: Path) -> None:
    """Write the tokenizer that a GGUF file carries into `folder`.

    Parameters
    ----------
    file : Path
        The GGUF file.
    folder : Path
        Receives tokenizer.json and its companions.
    """
    transformers = import_transformers()
    transformers.AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name).save_pretrained(folder)
