"""Bits per byte: how well a causal language model compresses text, whatever its tokenizer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from zooalign.capability._record import CapabilityError, Measured, ratio_standard_error
from zooalign.closed import Closed
from zooalign.errors import FeatureError
from zooalign.models.memory import is_out_of_memory
from zooalign.progress import Progress, Report
from zooalign.provenance import digest, package_versions
from zooalign.storage.journal import Journal

if TYPE_CHECKING:
    import torch

VERSION = 1
APPLIES_TO = "language"
CAUSAL_ONLY = True
NEEDS = "model"
KEEPS_JOURNAL = True
UNIT = "bits/byte"
HIGHER_IS_BETTER = False

# What an unknown character costs on top of the model's unknown symbol: its UTF-8 bytes sent as they are.
# UTF-8 is self-delimiting, so symbol plus bytes is a code that could be decoded: an upper bound on what
# the text costs under the model, never a reward for not knowing a character.
UNKNOWN_BITS_PER_BYTE = 8.0

# Rows of logits turned into log-probabilities at a time: bounds the temporary of a logsumexp over a
# vocabulary of 49,152 to 24 MiB, and a larger vocabulary's in proportion.
LOG_SOFTMAX_ROWS = 128


class Options(Closed):
    """Settings of bits per byte; all but the two batch limits change the value."""

    byte_budget: int | None = Field(
        default=100_000,
        gt=0,
        description="UTF-8 bytes of text: whole documents in the dataset's order while they fit; null: all.",
    )
    context: int = Field(
        default=1024,
        gt=0,
        description="Longest window in tokens; a model's own limit is kept if it is smaller.",
    )
    batch_tokens: int = Field(
        default=2048, gt=0, description="Most tokens in a batch, padding included (one window at least)."
    )
    logits_mib: int = Field(
        default=256, gt=0, description="Most MiB of float32 logits in a batch (one window at least)."
    )


class _Document(NamedTuple):
    name: str
    ids: list[int]  # with the start token in front
    n_bytes: int
    unknown: list[str]  # characters that the vocabulary does not have


class _Window(NamedTuple):
    document: int
    start: int  # position of the first input token in the document's ids
    length: int  # input tokens, which is also how many tokens are scored


def measure(
    model: Any, samples: Any, options: Options, report: Report, journal: Journal | None = None
) -> dict[str, Any]:
    """Corpus-level bits per byte of a causal language model on a texts dataset.

    Every token of every document is scored exactly once. The first is scored after BOS (EOS where the
    model has no BOS); windows are disjoint and as long as the context, and each later window starts with
    one token carried over from the one before.

    Parameters
    ----------
    model : LanguageModel
        Causal; see `zooalign.models`.
    samples : Samples
        Of kind "texts".
    options : Options
        Byte budget, context and batch limits.
    journal : Journal, optional
        Keeps finished batches, so that an interrupted measurement continues to the same value, bit for bit.

    Returns
    -------
    dict
        Fields of `CapabilityRecord` without model and digest. `value` is -sum log2-likelihood / sum
        UTF-8 bytes, in bits per byte: positive, lower is better, 8 is no compression. `standard_error`
        is over documents (ratio estimator). `details.documents` holds id, bits and bytes per document.

    Raises
    ------
    CapabilityError
        If the dataset has no texts, the model is not causal or has no start token, no document fits the
        budget, unknown symbols cannot be traced to characters, or one window does not fit into memory.
    FeatureError
        If a log-likelihood is not finite; names the document.

    Notes
    -----
    Arithmetic: logits as the model gives them, log-softmax in float32, sums in float64. The batch limits
    change the value only by float32 rounding of the forward pass (about 1e-6).

    References
    ----------
    Huh et al. 2024 (arXiv 2405.07987) use 1 - bits per byte on 4M tokens of OpenWebText; which tokens
    and which context is unpublished, so budget and context are settings here.
    """
    import torch

    _check(model, samples)
    chosen = _within_budget(samples, options.byte_budget)
    documents = [_read(model, samples.texts[i], samples.ids[i], samples.name) for i in chosen]
    context = min(options.context, model.max_tokens or options.context)
    with torch.inference_mode():
        bits = _score(model, documents, context, options, report, journal)
    n_bytes = [d.n_bytes for d in documents]
    unknown_bytes = [sum(len(c.encode()) for c in d.unknown) for d in documents]
    totals = [b + UNKNOWN_BITS_PER_BYTE * u for b, u in zip(bits, unknown_bytes, strict=True)]
    n_tokens = sum(len(d.ids) - 1 for d in documents)
    return Measured(
        capability="bits_per_byte",
        value=math.fsum(totals) / sum(n_bytes),
        standard_error=ratio_standard_error(totals, n_bytes),
        unit=UNIT,
        higher_is_better=HIGHER_IS_BETTER,
        n=len(documents),
        details={
            "documents": {"id": [d.name for d in documents], "bits": totals, "bytes": n_bytes},
            "bytes": sum(n_bytes),
            "tokens": n_tokens,
            "bits_per_token": math.fsum(totals) / n_tokens,
            "documents_beyond_budget": len(samples.ids) - len(chosen),
            "unknown_characters": sum(len(d.unknown) for d in documents),
            "unknown_distinct": "".join(sorted({c for d in documents for c in d.unknown})),
            "unknown_bytes": sum(unknown_bytes),
            "unknown_bits_charged": UNKNOWN_BITS_PER_BYTE * sum(unknown_bytes),
        },
        settings={
            "version": VERSION,
            "dataset": samples.name,
            "dataset_digest": samples.digest,
            "byte_budget": options.byte_budget,
            "context": context,
            "start_token": "bos" if model.bos_id is not None else "eos",
        },
        versions=package_versions(("zooalign", "torch", "transformers", "tokenizers", "numpy")),
    ).model_dump()


def published_bpb(model: Any, texts: Sequence[str]) -> dict[str, Any]:
    """Compute what the published code of the paper stores as `bpb`, which is not bits per byte of a corpus.

    It is the plain mean over strings (captions there) of bits / UTF-8 bytes, so short strings weigh as
    much as long ones; each string is fed as for its features, and the first token is never scored although
    its bytes are counted. For a tokenizer that adds no BOS it is therefore lower than a code length.

    Parameters
    ----------
    model : LanguageModel
        Causal.
    texts : sequence of str
        None of them empty.

    Returns
    -------
    dict
        `value` (float, bits per byte), `per_text` (list of float) and `n`.

    Raises
    ------
    CapabilityError
        If the model is not causal, or a text is empty or longer than the model's context.

    Notes
    -----
    The published loss is masked by the input position. With right padding that also scores one padding
    token after each string shorter than the longest of all; a string's value then depends on the
    others. Here each string is scored as if alone, which is what left padding gives there.
    """
    import torch

    if not model.causal:
        raise CapabilityError("published_bpb needs a causal language model; leave it out for encoders.")
    fed = model.tokenize(list(texts))
    for row, (text, ids) in enumerate(zip(texts, fed, strict=True)):
        if not text:
            raise CapabilityError(f"published_bpb: text {row} is empty, it has no bytes; remove it.")
        if model.max_tokens is not None and len(ids) > model.max_tokens:
            raise CapabilityError(
                f"published_bpb: text {row} has {len(ids)} tokens, the model takes {model.max_tokens}; shorten it."
            )
    values = []
    with torch.inference_mode():
        for text, ids in zip(texts, fed, strict=True):
            window = _Window(0, 0, len(ids) - 1)
            bits = _window_bits(model, [window], [ids])[0] if window.length else 0.0
            values.append(bits / len(text.encode()))
    return {"value": math.fsum(values) / len(values), "per_text": values, "n": len(values)}


def _check(model: Any, samples: Any) -> None:
    if samples.kind != "texts":
        raise CapabilityError(
            f"bits_per_byte needs a dataset of kind 'texts'; {samples.name!r} is of kind {samples.kind!r}. "
            "Name another dataset for this capability in config.yaml."
        )
    if not model.causal:
        raise CapabilityError(
            "bits_per_byte needs a causal language model; encoders have no next-token likelihood. "
            "Set `causal: false` in the model's row so that it is left out."
        )
    if model.bos_id is None and model.eos_id is None:
        raise CapabilityError(
            "bits_per_byte: the tokenizer has neither a BOS nor an EOS token, so the first token of a "
            "document cannot be scored. Name one in the model's source."
        )


def _within_budget(samples: Any, budget: int | None) -> list[int]:
    """List the leading documents whose bytes sum to at most the budget: the same text for every model."""
    chosen: list[int] = []
    total = 0
    for i, text in enumerate(samples.texts):
        size = len(text.encode())
        if size == 0:
            raise CapabilityError(f"dataset {samples.name!r}, sample {samples.ids[i]!r}: the text is empty.")
        if budget is not None and total + size > budget:
            break
        chosen.append(i)
        total += size
    if not chosen:
        raise CapabilityError(
            f"dataset {samples.name!r}: the first document is longer than byte_budget = {budget}; raise byte_budget."
            if len(samples.ids)
            else f"dataset {samples.name!r} has no documents."
        )
    return chosen


def _read(model: Any, text: str, sample: str, dataset: str) -> _Document:
    """Tokenize one document, put the start token in front and find what the vocabulary does not have."""
    ids = list(model.tokenize_document(text))
    if not ids:
        raise CapabilityError(f"dataset {dataset!r}, sample {sample!r}: the tokenizer returns no token.")
    unknown_id = model.unknown_id
    unknown: list[str] = []
    if unknown_id is not None and unknown_id in ids:
        if len(ids) != len(text):
            raise CapabilityError(
                f"dataset {dataset!r}, sample {sample!r}: the tokenizer yields its unknown symbol "
                f"{unknown_id}, and as tokens are not characters nobody knows how many bytes it hides. "
                "Choose other texts."
            )
        unknown = [c for c, token in zip(text, ids, strict=True) if token == unknown_id]
    start = model.bos_id if model.bos_id is not None else model.eos_id
    return _Document(sample, [start, *ids], len(text.encode()), unknown)


def _score(
    model: Any, documents: list[_Document], context: int, options: Options, report: Report, journal: Journal | None
) -> list[float]:
    """Bits of every document, without the charge for unknown characters. Shape: (documents,)."""
    ids = [d.ids for d in documents]
    windows = [
        _Window(d, start, min(context, len(row) - 1 - start))
        for d, row in enumerate(ids)
        for start in range(0, len(row) - 1, context)
    ]
    # Longest first: a batch that does not fit fails at once, and little of a batch is padding.
    windows.sort(key=lambda w: (-w.length, w.document, w.start))
    waiting = [math.ceil((len(row) - 1) / context) for row in ids]
    parts: list[list[float]] = [[] for _ in ids]
    progress = Progress(
        sum(d.n_bytes for d in documents),
        "bytes",
        lambda line: report(f"bits per byte: {waiting.count(0)}/{len(ids)} documents, {line}"),
    )
    total_tokens, done_tokens = sum(w.length for w in windows), 0
    batches = list(_batches(windows, _tokens_that_fit(model, ids[0][0], options)))
    # By batch, not by document: what else is in a batch changes the last bits of a window's value.
    scored = [] if journal is None else journal.resume(digest(ids, [len(b) for b in batches], context), _are_finite)
    if scored:
        report(f"bits per byte: continuing after {len(scored)} of {len(batches)} batches")
    for number, batch in enumerate(batches):
        values = scored[number] if number < len(scored) else _bits_or_halve(model, batch, ids)
        for window, bits in zip(batch, values, strict=True):
            if not math.isfinite(bits):
                raise FeatureError(
                    f"bits_per_byte: the log-likelihood of document {documents[window.document].name!r} is {bits}; "
                    "the model's logits are not finite. Try precision: float32 in the model's row."
                )
            parts[window.document].append(bits)
            waiting[window.document] -= 1
            done_tokens += window.length
        if journal is not None and number >= len(scored):
            journal.append(values)
        # Bytes are counted in proportion to tokens: a window's own bytes are not known.
        progress.advance(progress.total * done_tokens // total_tokens - progress.done)
    progress.finish()
    return [math.fsum(p) for p in parts]


def _tokens_that_fit(model: Any, token: int, options: Options) -> int:
    """Most tokens of a batch: the setting, or fewer where the vocabulary makes logits large."""
    import torch

    device = _device(model)
    ids = torch.tensor([[token]], device=device)
    vocabulary = model.logits(ids, torch.ones_like(ids, dtype=torch.bool)).shape[-1]
    return min(options.batch_tokens, options.logits_mib * 2**20 // (4 * vocabulary))


def _batches(windows: list[_Window], tokens: int) -> Iterator[list[_Window]]:
    """Split windows, longest first, into batches of at most `tokens` padded tokens, one window at least."""
    start = 0
    while start < len(windows):
        size = max(1, tokens // windows[start].length)
        yield windows[start : start + size]
        start += size


def _bits_or_halve(model: Any, batch: list[_Window], ids: list[list[int]]) -> list[float]:
    """Bits of each window; a batch that does not fit into memory is halved until it does.

    Raises
    ------
    CapabilityError
        If one window alone does not fit.
    """
    try:
        return _window_bits(model, batch, ids)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if len(batch) == 1:
            raise CapabilityError(
                f"bits_per_byte: a window of {batch[0].length} tokens does not fit into memory. "
                "Lower `context` of this capability in config.yaml or run where there is more memory."
            ) from error
    half = len(batch) // 2
    return _bits_or_halve(model, batch[:half], ids) + _bits_or_halve(model, batch[half:], ids)


def _are_finite(values: Any) -> bool:
    """Whether a part of the journal is what a batch gives."""
    return all(isinstance(bits, float) and math.isfinite(bits) for bits in values)


def _window_bits(model: Any, batch: list[_Window], ids: list[list[int]]) -> list[float]:
    """-log2-likelihood of each window's tokens after its first input token. Shape: (batch,), float64 sums."""
    import torch

    longest = max(w.length for w in batch)
    inputs = torch.full((len(batch), longest), model.pad_id, dtype=torch.int64)  # (B, T)
    targets = torch.zeros((len(batch), longest), dtype=torch.int64)  # (B, T)
    mask = torch.zeros((len(batch), longest), dtype=torch.bool)  # (B, T)
    for row, w in enumerate(batch):
        tokens = torch.tensor(ids[w.document][w.start : w.start + w.length + 1])
        inputs[row, : w.length], targets[row, : w.length] = tokens[:-1], tokens[1:]
        mask[row, : w.length] = True
    device = _device(model)
    logits = model.logits(inputs.to(device), mask.to(device))  # (B, T, V)
    return [
        _negative_log2(logits[row, : w.length], targets[row, : w.length].to(logits.device))
        for row, w in enumerate(batch)
    ]


def _negative_log2(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """-sum of log2 softmax(logits)[targets], in slices of rows so that no second (T, V) array is made.

    Parameters
    ----------
    logits : Tensor, shape (T, V)
    targets : Tensor, shape (T,), int64
    """
    nats = 0.0
    for logit, target in zip(logits.split(LOG_SOFTMAX_ROWS), targets.split(LOG_SOFTMAX_ROWS), strict=True):
        logit = logit.float()
        chosen = logit.gather(-1, target[:, None])[:, 0]
        nats += (logit.logsumexp(-1) - chosen).double().sum().item()
    return nats / math.log(2)


def _device(model: Any) -> torch.device:
    import torch

    return next((p.device for p in model.module.parameters()), torch.device("cpu"))
