"""What the two kinds of model promise by themselves."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from zooalign.errors import FeatureError
from zooalign.models.model import LanguageModel


class Letters(LanguageModel):
    """Ids are places in the alphabet, everything else is unknown (0)."""

    def __init__(self, unknown_id: int | None) -> None:
        super().__init__(
            torch.nn.Embedding(27, 4),
            ["embedding"],
            causal=False,
            max_tokens=None,
            pad_id=0,
            bos_id=None,
            eos_id=None,
            tokenizer_description={},
            unknown_id=unknown_id,
        )

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        return [self.tokenize_document(text) for text in texts]

    def tokenize_document(self, text: str) -> list[int]:
        return [ord(c) - 96 if "a" <= c <= "z" else 0 for c in text]

    def layers(self, ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        return [self.module(ids)]


def test_unknown_pieces_are_counted_only_where_there_can_be_any() -> None:
    assert Letters(0).count_unknown("héllo wörld") == 3
    assert Letters(None).count_unknown("héllo wörld") == 0


def test_models_that_are_not_causal_have_no_logits() -> None:
    with pytest.raises(FeatureError, match="Letters is not causal"):
        Letters(None).logits(torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1, dtype=torch.bool))


def test_nothing_heavy_is_imported_with_the_sources() -> None:
    code = (
        "import sys, zooalign.models, zooalign.models.pooling, zooalign.sources\n"
        "from zooalign.registry import plugin, plugin_names\n"
        "for name in plugin_names('sources'): plugin('sources', name, 'source')\n"
        "print([m for m in ('torch', 'timm', 'transformers', 'onnx', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
