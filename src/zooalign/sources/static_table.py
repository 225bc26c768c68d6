"""A static token table: the feature of a token does not depend on its neighbours; one layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from zooalign.closed import Closed
from zooalign.errors import WeightsError
from zooalign.models.model import LanguageModel
from zooalign.sources._packages import PackagedFile, packaged_weight_file

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

VERSION = 1


class Options(Closed):
    """Where the table and its tokenizer lie."""

    weights: PackagedFile = Field(description="safetensors file with the table, or the table itself as .npy.")
    tokenizer: PackagedFile | None = Field(
        default=None, description="Tokenizer in the format of the tokenizers library."
    )
    words: PackagedFile | None = Field(
        default=None,
        description="Parquet file with the word of each row in its first column, instead of a tokenizer.",
    )
    tensor: str = Field(
        default="embedding.weight", description="safetensors: name of the table, shape (tokens, width)."
    )

    @model_validator(mode="after")
    def _check_tokenizer(self) -> Options:
        if (self.tokenizer is None) == (self.words is None):
            raise ValueError("give exactly one of `tokenizer` and `words`")
        return self


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
    """Write the tokenizer into `folder`, so that its hash is recorded with the weights'.

    Raises
    ------
    WeightsError
        If the list of words is damaged, or names one twice.
    """
    target = folder / "tokenizer.json"
    if options.tokenizer is not None:
        target.write_bytes(options.tokenizer.path().read_bytes())
    if options.words is not None:
        word_tokenizer(read_words(options.words.path())).save(str(target))


def load(options: Options, weight_file: Path, folder: Path) -> LanguageModel:
    """Load the table in float32.

    Raises
    ------
    WeightsError
        If the file has no such table or the tokenizer knows ids beyond it.
    """
    import torch
    from tokenizers import Tokenizer

    table = read_table(weight_file, options.tensor)
    if options.words is not None:
        table = torch.cat([table, table.mean(0, keepdim=True)])  # a word that is not in the list
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if tokenizer.get_vocab_size() > len(table):
        message = f"the tokenizer knows {tokenizer.get_vocab_size()} tokens, the table has {len(table)} rows"
        raise WeightsError(message)
    return StaticTable(torch.nn.Embedding.from_pretrained(table).eval(), tokenizer)


def read_table(file: Path, tensor: str) -> torch.Tensor:
    """Read the table of a .safetensors or .npy file.

    Parameters
    ----------
    file : Path
        The file.
    tensor : str
        safetensors: name of the table.

    Returns
    -------
    torch.Tensor
        float32, shape (tokens, width).

    Raises
    ------
    WeightsError
        If there is no such table.
    """
    import numpy as np
    import torch
    from safetensors import safe_open

    if file.suffix == ".npy":
        try:
            array = np.load(file, allow_pickle=False)
        except (ValueError, EOFError) as error:
            message = f"{file.name} is no whole array of numbers: {error}. Install its package again"
            raise WeightsError(message) from error
        if array.ndim != 2 or array.dtype.kind != "f":
            raise WeightsError(f"{file.name} has shape {array.shape} of {array.dtype}, not rows of floats")
        return torch.from_numpy(array.astype(np.float32))
    with safe_open(file, "pt") as opened:
        if tensor not in opened.keys():  # noqa: SIM118  (safe_open is no mapping)
            message = f"{file.name} has no tensor {tensor!r}; it has {', '.join(opened.keys())}"
            raise WeightsError(message)
        return opened.get_tensor(tensor).float()


def read_words(file: Path) -> list[str]:
    """Words in the order of the rows, from the first column of a Parquet file.

    Raises
    ------
    WeightsError
        If the file is damaged, or a word is none or occurs twice.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        words = pq.read_table(file).column(0).to_pylist()
    except (pa.ArrowException, OSError, IndexError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise WeightsError(
            f"{file.name} is no Parquet file that can be read: {reason}. Install its package again"
        ) from error
    if not all(isinstance(word, str) for word in words) or len(set(words)) != len(words):
        raise WeightsError(f"{file.name} is no list of words: its first column has other values, or one twice")
    return words


# English as the Penn Treebank splits it, which word vectors are counted on: do n't, it 's, o'clock, 10-year, u.s.
_CLITICS = "'(?:s|re|ve|m|ll|d)\\b"
_WORDS = rf"(?:\w\.){{2,}}|\w+(?=n't\b)|n't\b|{_CLITICS}|\w+(?:(?!{_CLITICS})[-.']\w+)*|[^\w\s]"
_UNKNOWN = "[UNK]"


def word_tokenizer(words: Sequence[str]) -> Tokenizer:
    """Tokenizer that looks words up, in lower case; what is not in the list gets the id behind the last one.

    Parameters
    ----------
    words : sequence of str
        In the order of their ids.

    Examples
    --------
    >>> word_tokenizer(["do", "n't", "stop", "."]).encode("Don't stop now.").ids
    [0, 1, 2, 4, 3]
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    vocabulary = {word: i for i, word in enumerate(words)} | {_UNKNOWN: len(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=_UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace("\u2019", "'")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True)
    return tokenizer
