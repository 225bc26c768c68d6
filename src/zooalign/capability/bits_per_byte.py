"""Bits per byte: how well a causal language model compresses text, whatever its tokenizer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic import Field

from zooalign.capability._likelihood import (
    UNKNOWN_BITS_PER_BYTE,
    BatchOptions,
    UnknownCharacters,
    batches,
    check_subject,
    halved,
    negative_log2,
    padded_logits,
    tokens_that_fit,
)
from zooalign.capability._record import CapabilityError, Measured, ratio_standard_error
from zooalign.errors import FeatureError
from zooalign.progress import Progress, Report
from zooalign.provenance import digest, package_versions
from zooalign.storage.journal import Journal

VERSION = 2
APPLIES_TO = "language"
CAUSAL_ONLY = True
NEEDS = "model"
KEEPS_JOURNAL = True
READS = ("texts",)
UNIT = "bits/byte"
HIGHER_IS_BETTER = False


class Options(BatchOptions):
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


class _Document(NamedTuple):
    name: str
    ids: list[int]  # with the start token in front
    n_bytes: int
    unknown: list[str]  # characters that the vocabulary does not have


class _Window(NamedTuple):
    document: int
    start: int  # position of the first input token in the document's ids
    length: int  # input tokens
    scored: int  # tokens at the end whose successors are scored


def measure(
    model: Any, samples: Any, options: Options, report: Report, journal: Journal | None = None
) -> dict[str, Any]:
    """Corpus-level bits per byte of a causal language model on a texts dataset.

    Every token of every document is scored exactly once. The first is scored after BOS (EOS where the
    model has no BOS); what windows score is disjoint. A window is as long as the context and starts with one token
    carried over from the one before; a document's last window reaches further back, so that it is as long as the
    others. These are the windows of lm-evaluation-harness, and so is the value (its `bits_per_byte`).

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


def _check(model: Any, samples: Any) -> None:
    check_subject("bits_per_byte", model, samples, READS)
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
    try:
        unknown = UnknownCharacters(model).of(ids, text)
    except CapabilityError as error:
        raise CapabilityError(f"dataset {dataset!r}, sample {sample!r}: {error}") from error
    start = model.bos_id if model.bos_id is not None else model.eos_id
    return _Document(sample, [start, *ids], len(text.encode()), unknown)


def _score(
    model: Any, documents: list[_Document], context: int, options: Options, report: Report, journal: Journal | None
) -> list[float]:
    """Bits of every document, without the charge for unknown characters. Shape: (documents,)."""
    ids = [d.ids for d in documents]
    windows = [
        _window(d, start, len(row) - 1, context)
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
    total_tokens, done_tokens = sum(w.scored for w in windows), 0
    cut = list(batches(windows, tokens_that_fit(model, ids[0][0], options), lambda w: w.length))
    # By batch, not by document: what else is in a batch changes the last bits of a window's value.
    scored = [] if journal is None else journal.resume(digest(ids, [len(b) for b in cut], context), _are_finite)
    if scored:
        report(f"bits per byte: continuing after {len(scored)} of {len(cut)} batches")

    def bits_of(batch: Sequence[_Window]) -> list[float]:
        return _window_bits(model, batch, ids)

    for number, batch in enumerate(cut):
        values = scored[number] if number < len(scored) else halved(bits_of, batch, _too_long(batch[0]))
        for window, bits in zip(batch, values, strict=True):
            if not math.isfinite(bits):
                raise FeatureError(
                    f"bits_per_byte: the log-likelihood of document {documents[window.document].name!r} is {bits}; "
                    "the model's logits are not finite. Try precision: float32 in the model's row."
                )
            parts[window.document].append(bits)
            waiting[window.document] -= 1
            done_tokens += window.scored
        if journal is not None and number >= len(scored):
            journal.append(values)
        # Bytes are counted in proportion to tokens: a window's own bytes are not known.
        progress.advance(progress.total * done_tokens // total_tokens - progress.done)
    progress.finish()
    return [math.fsum(p) for p in parts]


def _window(document: int, start: int, n: int, context: int) -> _Window:
    """The window that scores the tokens after `start` of a document with n tokens to score."""
    scored = min(context, n - start)
    length = min(context, start + scored)
    return _Window(document, start + scored - length, length, scored)


def _are_finite(values: Any) -> bool:
    """Whether a part of the journal is what a batch gives."""
    return all(isinstance(bits, float) and math.isfinite(bits) for bits in values)


def _too_long(window: _Window) -> str:
    return (
        f"bits_per_byte: a window of {window.length} tokens does not fit into memory. "
        "Lower `context` of this capability in config.yaml or run where there is more memory."
    )


def _window_bits(model: Any, batch: Sequence[_Window], ids: list[list[int]]) -> list[float]:
    """-log2-likelihood of each window's scored tokens. Shape: (batch,), float64 sums."""
    import torch

    rows = [ids[w.document][w.start : w.start + w.length + 1] for w in batch]
    logits = padded_logits(model, [row[:-1] for row in rows])  # (B, T, V)
    return [
        negative_log2(logits[i, w.length - w.scored : w.length], torch.tensor(row[-w.scored :]).to(logits.device))
        for i, (w, row) in enumerate(zip(batch, rows, strict=True))
    ]
