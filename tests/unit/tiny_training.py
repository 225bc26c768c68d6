"""A tiny language model that trains on made-up captions, and the ordinary way from a checkpoint to a score."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch

from zooalign.config.manifest import DatasetSpec, ModelSpec
from zooalign.config.schema import ExtractionConfig
from zooalign.data.build import build_dataset
from zooalign.data.samples import open_samples
from zooalign.features.extract import extract_features
from zooalign.models.loading import fetch_weights
from zooalign.sources._torchvision import ensure_torchvision

ensure_torchvision()


def quiet(message: str) -> None:
    del message


def make_shapes(folder: Path) -> list[str]:
    """The synthetic dataset in a folder; its captions."""
    build_dataset(DatasetSpec(id="shapes", family="synthetic"), folder, quiet)
    return open_samples(folder).captions()


@cache
def tokenizer(padding_side: str = "right") -> Any:
    """Words of the synthetic captions."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from zooalign.datasets.synthetic import COLOURS, PLACES, SHAPES, SIZES

    words = Tokenizer(models.WordLevel(unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    texts = [*COLOURS, *SHAPES, *SIZES, *PLACES, "a an on background"]
    words.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=["<pad>", "</s>", "<unk>"]))
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", padding_side=padding_side
    )


def make_model(seed: int = 0, **changes: Any) -> Any:
    """GPT-2 with 2 blocks of width 16 and dropout, random weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    ids = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
    sizes = {"vocab_size": len(tokenizer()), "n_positions": 64, "n_embd": 16, "n_layer": 2, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(**sizes, **ids, resid_pdrop=0.2, **changes))


def training_rows(texts: list[str]) -> list[dict[str, torch.Tensor]]:
    """Token ids of the same length, and what is to be predicted."""
    ids = tokenizer()(texts, padding=True, return_tensors="pt")["input_ids"]
    return [{"input_ids": row, "labels": row.masked_fill(row == 0, -100)} for row in ids]


def extracted(checkpoint: Path, dataset: Path, path: Path, pooling: str = "mean", **settings: Any) -> Path:
    """Feature store of a checkpoint, made as a sweep makes it."""
    spec = ModelSpec.model_validate(
        {
            "id": "tiny",
            "modality": "language",
            "source": "transformers",
            "options": {"path": str(checkpoint)},
            "family": "tiny",
            "objective": "random",
            "causal": True,
            "pooling": pooling,
            "parameters": 1,
            "licence": "none",
        }
    )
    weights = path.with_suffix(".weights")
    fetch_weights(spec, weights)
    extract_features(spec, weights, dataset, path, ExtractionConfig(workers=0, **settings), quiet)
    return path
