"""A BERT inside an ONNX graph, lifted into transformers; it has no tokenizer, so that of a relative is taken.

Made for sentence encoders that were exported from the sentence-transformers library.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from zooalign.closed import Closed
from zooalign.errors import WeightsError
from zooalign.sources._language import load_folder
from zooalign.sources._packages import PackagedFile, packaged_weight_file
from zooalign.sources._torchvision import import_transformers
from zooalign.sources.packaged._onnx import named_weights

if TYPE_CHECKING:
    import torch

    from zooalign.models.model import LanguageModel

VERSION = 1
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


class Options(Closed):
    """Where the graph and the tokenizer lie."""

    weights: PackagedFile = Field(description="ONNX file inside an installed package.")
    tokenizer: PackagedFile = Field(description="Folder with tokenizer.json and tokenizer_config.json.")
    prefix: str = Field(description="Start of the parameter names in the graph.")
    heads: int = Field(gt=0, description="Attention heads per layer, which the weights do not tell.")


weight_file = packaged_weight_file


def prepare(options: Options, weight_file: Path, folder: Path) -> None:
    """Write a BertModel (float32) and its tokenizer in transformers' layout into `folder`.

    Raises
    ------
    WeightsError
        If the graph is damaged or no such BERT, or the tokenizer is not there.
    """
    for name in _TOKENIZER:
        file = options.tokenizer.path() / name
        if not file.is_file():
            raise WeightsError(f"the folder {options.tokenizer.file!r} of {options.tokenizer.package} has no {name}")
        shutil.copyfile(file, folder / name)
    state = lift(weight_file, options.prefix)
    transformers = import_transformers()
    words = state["embeddings.word_embeddings.weight"]
    config = transformers.BertConfig(
        vocab_size=words.shape[0],
        hidden_size=words.shape[1],
        num_hidden_layers=sum(key.endswith("intermediate.dense.bias") for key in state),
        num_attention_heads=options.heads,
        intermediate_size=state["encoder.layer.0.intermediate.dense.bias"].shape[0],
        max_position_embeddings=state["embeddings.position_embeddings.weight"].shape[0],
        type_vocab_size=state["embeddings.token_type_embeddings.weight"].shape[0],
    )
    module = transformers.BertModel(config, add_pooling_layer=False).eval()
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsError(f"{weight_file.name} is no BERT: {' '.join(str(error).split())[:300]}") from error
    module.save_pretrained(folder)


def load(options: Options, weight_file: Path, folder: Path) -> LanguageModel:
    """Load the converted model.

    Raises
    ------
    WeightsError
        If the converted folder is not complete.
    """
    return load_folder(folder, causal=False)


def lift(file: Path, prefix: str) -> dict[str, torch.Tensor]:
    """Parameters of the encoder in an ONNX graph under transformers' names.

    Parameters
    ----------
    file : Path
        The ONNX file.
    prefix : str
        Start of the parameter names.

    Returns
    -------
    dict

    Raises
    ------
    WeightsError
        If the file is damaged or has no such parameters.
    """
    try:
        weights = named_weights(file)
    except Exception as error:  # protobuf's own, which onnx does not wrap
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise WeightsError(
            f"{file.name} is no ONNX file that can be read: {reason}. Install its package again"
        ) from error
    state = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    for key in (
        "embeddings.word_embeddings.weight",
        "embeddings.position_embeddings.weight",
        "embeddings.token_type_embeddings.weight",
        "encoder.layer.0.intermediate.dense.bias",
    ):
        if key not in state:
            raise WeightsError(f"{file.name} has no parameter {prefix + key!r}: it is no BERT, or has another prefix")
    return state
