"""The character LSTM of textgenrnn.

Two recurrent layers, whose states are attended together with the embedding over a window of 40
characters to predict the next one.

Keras keeps the weights in HDF5; they are converted once to safetensors under PyTorch's names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from zooalign.closed import Closed
from zooalign.errors import WeightsError
from zooalign.models.model import LanguageModel
from zooalign.sources._packages import PackagedFile, packaged_weight_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch

VERSION = 1
_WINDOWS_AT_ONCE = 2048  # bounds the memory of `logits`: 2048 windows are 115 MB of states


class Options(Closed):
    """Where the weights and the vocabulary lie."""

    weights: PackagedFile = Field(description="Keras HDF5 weights.")
    vocabulary: PackagedFile = Field(description="JSON table, character to id from 1; 0 pads.")
    window: int = Field(default=40, gt=0, description="Characters the model sees when it predicts one.")


class CharLSTM(LanguageModel):
    """Layers are the states over the whole text; logits are of sliding windows, as it was trained.

    A text is "<s>" and its characters. Characters outside the vocabulary get id 0, the id the model
    pads with and never predicts: their likelihood means nothing, `count_unknown` counts them.
    """

    def __init__(self, module: torch.nn.ModuleDict, vocabulary: dict[str, int], window: int) -> None:
        start = vocabulary["<s>"]
        super().__init__(
            module,
            ["embedding", "rnn_1", "rnn_2"],
            causal=True,
            max_tokens=None,
            pad_id=0,
            bos_id=start,
            eos_id=start,
            tokenizer_description={
                "class": "characters",
                "vocabulary": len(vocabulary) + 1,
                "special_tokens": {"bos_token": "<s>"},
                "window": window,
            },
            unknown_id=0,
        )
        self._parts: Any = module  # a ModuleDict: its values have types of their own
        self._vocabulary = vocabulary
        self._characters = {i: c for c, i in vocabulary.items() if len(c) == 1}
        self._window = window

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """See :meth:`LanguageModel.tokenize`."""
        return [[self._vocabulary["<s>"], *self.tokenize_document(text)] for text in texts]

    def tokenize_document(self, text: str) -> list[int]:
        """See :meth:`LanguageModel.tokenize_document`; one id per character."""
        return [self._vocabulary.get(character, 0) for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        """See :meth:`LanguageModel.decode`; the start character stands for the end of a text, too."""
        return "".join(self._characters.get(i, "") for i in ids)

    def layers(self, ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        """See :meth:`LanguageModel.layers`; widths 100, 128, 128."""
        embedded = self._parts["embedding"](ids)
        first, _ = self._parts["rnn_1"](embedded)
        second, _ = self._parts["rnn_2"](first)
        return [embedded, first, second]

    def logits(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """See :meth:`LanguageModel.logits`.

        Notes
        -----
        Position t is scored from the window that ends at t, padded on its left with id 0 where the
        text is shorter, exactly as the model was trained; so a text costs `window` steps a character.
        """
        import torch

        size = self._window
        padded = torch.nn.functional.pad(ids.masked_fill(~mask, 0), (size - 1, 0))
        windows = padded.unfold(1, size, 1).flatten(0, 1)  # (B * T, window)
        scores = [self._score(part) for part in windows.split(_WINDOWS_AT_ONCE)]
        return torch.cat(scores).unflatten(0, ids.shape)  # (B, T, V)

    def _score(self, windows: torch.Tensor) -> torch.Tensor:
        import torch

        states = torch.cat(self.layers(windows, windows >= 0), dim=-1)  # (N, window, 356)
        weights = (states @ self._parts["attention"].weight[0]).softmax(dim=1)  # (N, window)
        return self._parts["output"](torch.einsum("bt,btd->bd", weights, states)).float()


weight_file = packaged_weight_file


def prepare(options: Options, weight_file: Path, folder: Path) -> None:
    """Write `folder`/model.safetensors and vocabulary.json.

    Raises
    ------
    WeightsError
        If the HDF5 file has another layout.
    """
    import h5py
    import numpy as np
    from safetensors.numpy import save_file

    try:
        with h5py.File(weight_file) as opened:
            file: Any = opened  # its stubs know neither groups nor arrays apart
            state = {"embedding.weight": file["embedding/embedding/embeddings:0"][()]}
            for layer in ("rnn_1", "rnn_2"):
                parts = [file[f"{layer}/{layer}/{part}:0"][()] for part in ("kernel", "recurrent_kernel", "bias")]
                state |= {f"{layer}.{k}": v for k, v in _from_fused_lstm(*parts).items()}
            state["attention.weight"] = file["attention/attention/attention_W:0"][()].T
            state["output.weight"] = file["output/output/kernel:0"][()].T
            state["output.bias"] = file["output/output/bias:0"][()]
    except (KeyError, OSError, ValueError) as error:
        raise WeightsError(f"{weight_file.name} does not hold textgenrnn's weights: {error}") from error
    save_file({k: np.ascontiguousarray(v) for k, v in state.items()}, folder / "model.safetensors")
    (folder / "vocabulary.json").write_bytes(options.vocabulary.path().read_bytes())


def load(options: Options, weight_file: Path, folder: Path) -> LanguageModel:
    """Load the converted network.

    Raises
    ------
    WeightsError
        If the vocabulary has no start character or does not fit the output.
    """
    import torch
    from safetensors.torch import load_file

    state = load_file(folder / "model.safetensors")
    size, width = state["embedding.weight"].shape
    hidden = state["rnn_1.weight_hh_l0"].shape[1]
    module = torch.nn.ModuleDict(
        {
            "embedding": torch.nn.Embedding(size, width),
            "rnn_1": torch.nn.LSTM(width, hidden, batch_first=True),
            "rnn_2": torch.nn.LSTM(hidden, hidden, batch_first=True),
            "attention": torch.nn.Linear(width + 2 * hidden, 1, bias=False),
            "output": torch.nn.Linear(width + 2 * hidden, size),
        }
    )
    module.load_state_dict(state, strict=True)
    vocabulary = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    if "<s>" not in vocabulary or max(vocabulary.values()) >= size:
        raise WeightsError(f"the vocabulary of {len(vocabulary)} characters does not fit an output of {size}")
    return CharLSTM(module.eval(), vocabulary, options.window)


def _from_fused_lstm(kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
    """Gates i, f, c, o of Keras's fused GPU layer as PyTorch lays them out.

    The fused layer stores each input gate transposed without changing its shape, each recurrent gate
    transposed, and two biases one after the other.
    """
    import numpy as np

    gates = [g.T.reshape(g.shape, order="F") for g in np.hsplit(kernel, 4)]
    loops = [g.T for g in np.hsplit(recurrent, 4)]
    first, second = np.split(bias, 2)
    return {
        "weight_ih_l0": np.hstack(gates).T,
        "weight_hh_l0": np.hstack(loops).T,
        "bias_ih_l0": first,
        "bias_hh_l0": second,
    }
