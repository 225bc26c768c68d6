"""What capabilities share that read likelihoods off a causal model: batches, padding, out-of-memory, log-softmax.

A change of what is computed here raises the VERSION of every kind that imports it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from zooalign.capability._record import CapabilityError
from zooalign.closed import Closed
from zooalign.models.memory import is_out_of_memory

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

# Rows of logits turned into log-probabilities at a time: bounds the temporary of a logsumexp over a
# vocabulary of 49,152 to 24 MiB, and a larger vocabulary's in proportion.
LOG_SOFTMAX_ROWS = 128


# What an unknown character costs on top of the model's unknown symbol: its UTF-8 bytes sent as they are.
# UTF-8 is self-delimiting, so symbol plus bytes is a code that could be decoded: an upper bound on what
# the text costs under the model, never a reward for not knowing a character.
UNKNOWN_BITS_PER_BYTE = 8.0


class BatchOptions(Closed):
    """Limits of a batch; they change values only by float32 rounding of the forward pass (about 1e-6)."""

    batch_tokens: int = Field(
        default=2048, gt=0, description="Most tokens in a batch, padding included (one window at least)."
    )
    logits_mib: int = Field(
        default=256, gt=0, description="Most MiB of float32 logits in a batch (one window at least)."
    )


class UnknownCharacters:
    """Characters that a model's vocabulary does not have, which its unknown symbol hides."""

    def __init__(self, model: Any) -> None:
        self._id = model.unknown_id
        self.possible = self._id is not None

    def of(self, ids: Sequence[int], text: str) -> list[str]:
        """The characters of a text that its tokens hide.

        Raises
        ------
        CapabilityError
            If there are some and tokens are not characters.
        """
        if self._id is None or self._id not in ids:
            return []
        if len(ids) != len(text):
            raise CapabilityError(
                f"{text[:40]!r}: the tokenizer yields its unknown symbol {self._id}, and as tokens are not "
                "characters nobody knows how many bytes it hides. Choose other texts."
            )
        return [character for character, token in zip(text, ids, strict=True) if token == self._id]

    def bits(self, ids: Sequence[int], text: str) -> float:
        """What these characters cost on top of the likelihood of the unknown symbol."""
        return UNKNOWN_BITS_PER_BYTE * sum(len(character.encode()) for character in self.of(ids, text))


def check_subject(kind: str, model: Any, samples: Any, reads: Sequence[str]) -> None:
    """Refuse a dataset of another kind than a capability reads, and a model without a likelihood.

    Parameters
    ----------
    kind : str
        The capability's kind, for the message.
    model : LanguageModel
        What is measured.
    samples : Samples
        What it is measured on.
    reads : sequence of str
        Kinds of datasets.

    Raises
    ------
    CapabilityError
        Says what to change.
    """
    if samples.kind not in reads:
        raise CapabilityError(
            f"{kind} needs a dataset of kind {' or '.join(map(repr, reads))}; {samples.name!r} is of kind "
            f"{samples.kind!r}. Name another dataset for this capability in config.yaml."
        )
    if not model.causal:
        raise CapabilityError(
            f"{kind} needs a causal language model; encoders have no next-token likelihood. "
            "Set `causal: false` in the model's row so that it is left out."
        )


def device_of(model: Any) -> torch.device:
    """Where the model's parameters lie; the CPU for a model without any."""
    import torch

    return next((p.device for p in model.module.parameters()), torch.device("cpu"))


def tokens_that_fit(model: Any, token: int, options: BatchOptions) -> int:
    """Most tokens of a batch: the setting, or fewer where the vocabulary makes logits large."""
    import torch

    ids = torch.tensor([[token]], device=device_of(model))
    vocabulary = model.logits(ids, torch.ones_like(ids, dtype=torch.bool)).shape[-1]
    return min(options.batch_tokens, options.logits_mib * 2**20 // (4 * vocabulary))


def batches(items: Sequence[T], tokens: int, length: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """Split items, longest first, into batches of at most `tokens` padded tokens, one item at least."""
    start = 0
    while start < len(items):
        size = max(1, tokens // length(items[start]))
        yield items[start : start + size]
        start += size


def halved(compute: Callable[[Sequence[T]], list[Any]], batch: Sequence[T], alone: str) -> list[Any]:
    """What `compute` gives for each item; a batch that does not fit into memory is halved until it does.

    Parameters
    ----------
    compute : callable
        Takes some of the batch, gives a list as long.
    batch : sequence
        One item at least.
    alone : str
        Message for one item that does not fit alone.

    Raises
    ------
    CapabilityError
        If one item alone does not fit.
    """
    try:
        return compute(batch)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if len(batch) == 1:
            raise CapabilityError(alone) from error
    half = len(batch) // 2
    return halved(compute, batch[:half], alone) + halved(compute, batch[half:], alone)


def padded_logits(model: Any, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Next-token scores of some rows of tokens in one forward pass, (B, T, V), T the longest row's length."""
    import torch

    longest = max(len(row) for row in rows)
    inputs = torch.full((len(rows), longest), model.pad_id, dtype=torch.int64)  # (B, T)
    mask = torch.zeros((len(rows), longest), dtype=torch.bool)  # (B, T)
    for i, row in enumerate(rows):
        inputs[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = True
    device = device_of(model)
    return model.logits(inputs.to(device), mask.to(device))


def negative_log2(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """-sum of log2 softmax(logits)[targets], in slices of rows so that no second (T, V) array is made.

    Parameters
    ----------
    logits : Tensor, shape (T, V)
    targets : Tensor, shape (T,), int64, on the same device
    """
    nats = 0.0
    for logit, target in zip(logits.split(LOG_SOFTMAX_ROWS), targets.split(LOG_SOFTMAX_ROWS), strict=True):
        logit = logit.float()
        chosen = logit.gather(-1, target[:, None])[:, 0]
        nats += (logit.logsumexp(-1) - chosen).double().sum().item()
    return nats / math.log(2)
