"""The convolutional Universal Sentence Encoder (multilingual, 3) out of the numpy archive of its package.

Three branches of two convolutions each, over two, three and five tokens; their sum over the text goes through a small
network. As in the program of the package, the inputs of the branches are normalised together. The archive holds the
embedding as integers in 17 interleaved blocks; everything is written out as float32 under PyTorch's names.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from zooalign.closed import Closed
from zooalign.errors import WeightsError
from zooalign.models.model import LanguageModel
from zooalign.sources._packages import PackagedFile, packaged_weight_file
from zooalign.sources.packaged._sentencepiece import unigram_tokenizer

if TYPE_CHECKING:
    import torch

VERSION = 1
_EPSILON = 1e-12
_BRANCHES = {2: 0, 3: 1, 5: 2}  # tokens that a convolution reads: how many of them stand before its own
_DENSE = {"d0": "head.0", "d1": "head.1", "p1": "skip.0", "d2": "head.2", "d3": "head.3", "p3": "skip.1"}


class Options(Closed):
    """Where the weights and the tokenizer lie."""

    weights: PackagedFile = Field(description="The weights.npz inside the package.")
    tokenizer: PackagedFile = Field(description="Its SentencePiece model.")


class SentenceEncoder(LanguageModel):
    """Layers are of the tokens up to the sum, and then of the whole text, the same at every token."""

    def __init__(self, module: torch.nn.ModuleDict, tokenizer: Any) -> None:
        description = {"class": "Unigram", "vocabulary": tokenizer.get_vocab_size(), "special_tokens": {}}
        super().__init__(
            module,
            ["embedding", "convolutions.0", "convolutions.1", "norm", "sentence", "output"],
            causal=False,
            max_tokens=None,
            pad_id=2,
            bos_id=1,
            eos_id=2,
            tokenizer_description=description,
        )
        self._parts: Any = module  # a ModuleDict: its values have types of their own
        self._tokenizer = tokenizer

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """See :meth:`LanguageModel.tokenize`."""
        return [e.ids for e in self._tokenizer.encode_batch(texts)]

    def tokenize_document(self, text: str) -> list[int]:
        """See :meth:`LanguageModel.tokenize_document`."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def layers(self, ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        """See :meth:`LanguageModel.layers`; widths 512, 768, 768, 1280, 512, 512."""
        import torch

        parts, x = self._parts, self._parts["embedding"](ids)  # (B, T, 512)
        keep = mask[..., None].to(x.dtype)  # a convolution reads zeros beyond the ends of a text
        branches = (parts["branches_norm"](parts["branches"](x)) * keep).chunk(len(_BRANCHES), -1)  # (B, T, 256) each
        first, second = [], []
        for y, (n, before) in zip(branches, _BRANCHES.items(), strict=True):
            for convolution, found in ((parts[f"first{n}"], first), (parts[f"second{n}"], second)):
                around = torch.nn.functional.pad(y.transpose(1, 2), (before, n - 1 - before))
                y = (convolution(around).relu().transpose(1, 2) + y) * keep
                found.append(y)
        states = parts["norm"](torch.cat([x, *second], -1))  # (B, T, 1280)
        n_tokens = keep.sum(1)  # (B, 1)
        sentence = parts["sentence"]((states * keep).sum(1) / n_tokens) * n_tokens.sqrt()  # (B, 512)
        inner = (parts["skip"][0](sentence) + parts["head"][1](parts["head"][0](sentence).relu())).relu()
        output = (parts["skip"][1](inner) + parts["head"][3](parts["head"][2](inner).relu())).tanh()
        output = torch.nn.functional.normalize(output)
        whole = [z[:, None].expand(-1, ids.shape[1], -1) for z in (sentence, output)]
        return [x, torch.cat(first, -1), torch.cat(second, -1), states, *whole]


weight_file = packaged_weight_file


def prepare(options: Options, weight_file: Path, folder: Path) -> None:
    """Write the weights (float32) and the tokenizer into `folder`.

    Raises
    ------
    WeightsError
        If the archive is damaged or another model's.
    """
    import torch
    from safetensors.torch import save_file

    module = _module()
    state = read_archive(weight_file)
    try:
        with torch.no_grad():
            module.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{weight_file.name} is no such sentence encoder: {reason}") from error
    save_file(state, folder / "model.safetensors")
    unigram_tokenizer(options.tokenizer.path()).save(str(folder / "tokenizer.json"))


def load(options: Options, weight_file: Path, folder: Path) -> LanguageModel:
    """Load the converted encoder.

    Raises
    ------
    WeightsError
        If the tokenizer knows ids that the encoder does not.
    """
    from safetensors.torch import load_file
    from tokenizers import Tokenizer

    module, state = _module(), load_file(folder / "model.safetensors")
    module.load_state_dict(state, strict=True, assign=True)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    rows = len(state["embedding.weight"])
    if tokenizer.get_vocab_size() > rows:
        raise WeightsError(f"the tokenizer knows {tokenizer.get_vocab_size()} pieces, the encoder {rows}")
    return SentenceEncoder(module.eval(), tokenizer)


def read_archive(file: Path) -> dict[str, torch.Tensor]:
    """Weights of the archive under our names.

    Parameters
    ----------
    file : Path
        The .npz file.

    Returns
    -------
    dict
        float32; integers as q · scale + lowest value, per block.

    Raises
    ------
    WeightsError
        If it is damaged or lacks an array.
    """
    import numpy as np
    import torch

    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        blocks = [arrays[f"q{i + 1}"] * arrays["scale"][i] + arrays["lo"][i] for i in range(len(arrays["scale"]))]
        # Row r of block b belongs to the token r · (number of blocks) + b.
        weights = {"embedding.weight": np.stack(blocks, 1).reshape(-1, blocks[0].shape[1])}
        for own, name in (("branches", "proj"), ("branches_norm", "ln_g")):
            weights[f"{own}.weight"] = np.concatenate([arrays[f"{name}{n}"].T for n in _BRANCHES])
        for own, name in (("branches", "proj_b"), ("branches_norm", "ln_b")):
            weights[f"{own}.bias"] = np.concatenate([arrays[f"{name}{n}"] for n in _BRANCHES])
        for n in _BRANCHES:
            for i, name in enumerate(("first", "second"), 1):
                kernel = arrays[f"w{i}_{n}"]  # (n · in, out): the inputs of the n tokens, one after the other
                weights[f"{name}{n}.weight"] = kernel.reshape(n, -1, kernel.shape[1]).transpose(2, 1, 0)
                weights[f"{name}{n}.bias"] = arrays[f"b{i}_{n}"]
        weights |= {"norm.weight": arrays["ln_g"], "norm.bias": arrays["ln_b"]}
        weights |= {"sentence.weight": arrays["cnn_W"].T, "sentence.bias": arrays["cnn_b"]}
        weights |= {f"{own}.weight": arrays[name].T for name, own in _DENSE.items()}
    except (OSError, KeyError, ValueError, IndexError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(
            f"{file.name} holds no weights of this encoder that can be read: {error}. Install its package again"
        ) from error
    return {name: torch.from_numpy(np.ascontiguousarray(array, np.float32)) for name, array in weights.items()}


def _module() -> torch.nn.ModuleDict:
    """The network on the meta device; its sizes are those of the published model."""
    from torch import device, nn

    with device("meta"):
        parts: dict[str, nn.Module] = {
            "embedding": nn.Embedding(128_010, 512),
            "norm": nn.LayerNorm(1280, eps=_EPSILON),
        }
        parts |= {"branches": nn.Linear(512, 768), "branches_norm": nn.LayerNorm(768, eps=_EPSILON)}
        for n in _BRANCHES:
            parts |= {f"{name}{n}": nn.Conv1d(256, 256, n) for name in ("first", "second")}
        parts["sentence"] = nn.Linear(1280, 512)
        shapes = {"head": [(512, 320), (320, 320), (320, 512), (512, 512)], "skip": [(512, 320), (320, 512)]}
        parts |= {key: nn.ModuleList(nn.Linear(*s, bias=False) for s in pairs) for key, pairs in shapes.items()}
        return nn.ModuleDict(parts)
