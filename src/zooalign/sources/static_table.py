"""A static token table: the feature of a token does not depend on its neighbours; one layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from zooalign.closed import Closed
from zooalign.errors import WeightsError
from zooalign.models.model import LanguageModel
from zooalign.sources._packages import PackagedFile, packaged_weight_file

if TYPE_CHECKING:
    import torch

VERSION = 1


class Options(Closed):
    """Where the table and its tokenizer lie."""

    weights: PackagedFile = Field(description="safetensors file with the table.")
    tokenizer: PackagedFile = Field(description="Tokenizer in the format of the tokenizers library.")
    tensor: str = Field(default="embedding.weight", description="Name of the table, shape (tokens, width).")


class StaticTable(LanguageModel):
    """One row of the table per token; no special tokens."""

    def __init__(self, module: torch.nn.Embedding, tokenizer: Any) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        description = {"class": "Tokenizer", "vocabulary": tokenizer.get_vocab_size(), "special_tokens": {}}
        super().__init__(
            module,
            ["embedding"],
            causal=False,
            max_tokens=None,
            pad_id=0,
            bos_id=None,
            eos_id=None,
            tokenizer_description=description,
        )
        self._tokenizer = tokenizer

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """See :meth:`LanguageModel.tokenize`."""
        return [e.ids for e in self._tokenizer.encode_batch(texts, add_special_tokens=False)]

    def tokenize_document(self, text: str) -> list[int]:
        """See :meth:`LanguageModel.tokenize_document`."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def layers(self, ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        """See :meth:`LanguageModel.layers`."""
        return [self.module(ids)]


weight_file = packaged_weight_file


def prepare(options: Options, weight_file: Path, folder: Path) -> None:
    """Copy the tokenizer into `folder`, so that its hash is recorded with the weights'."""
    (folder / "tokenizer.json").write_bytes(options.tokenizer.path().read_bytes())


def load(options: Options, weight_file: Path, folder: Path) -> LanguageModel:
    """Load the table in float32.

    Raises
    ------
    WeightsError
        If the file has no such tensor or the tokenizer knows ids beyond it.
    """
    import torch
    from safetensors import safe_open
    from tokenizers import Tokenizer

    with safe_open(weight_file, "pt") as file:
        if options.tensor not in file.keys():  # noqa: SIM118  (safe_open is no mapping)
            message = f"{weight_file.name} has no tensor {options.tensor!r}; it has {', '.join(file.keys())}"
            raise WeightsError(message)
        table = file.get_tensor(options.tensor).float()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if tokenizer.get_vocab_size() > len(table):
        message = f"the tokenizer knows {tokenizer.get_vocab_size()} tokens, the table has {len(table)} rows"
        raise WeightsError(message)
    return StaticTable(torch.nn.Embedding.from_pretrained(table).eval(), tokenizer)
