"""A model of ours as lm-evaluation-harness sees one: likelihoods of continuations, and answers written out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from zooalign.capability._likelihood import (
    BatchOptions,
    UnknownCharacters,
    batches,
    halved,
    negative_log2,
    padded_logits,
    tokens_that_fit,
)
from zooalign.capability._record import CapabilityError
from zooalign.progress import Progress, Report
from zooalign.provenance import digest
from zooalign.storage.journal import Journal

# The harness's own bound on an answer whose task names none.
_ANSWER_TOKENS = 256

# A context and its continuation: as text, and the tokens of each.
_Request = tuple[tuple[str, str], list[int], list[int]]


class _Row(NamedTuple):
    tokens: list[int]  # context and continuation
    scored: int  # tokens at the end that are scored
    charge: float  # bits of characters that the vocabulary does not have


class HarnessModel(TemplateLM):
    """`lm_eval.api.model.LM` over a :class:`~zooalign.models.model.LanguageModel`.

    Parameters
    ----------
    model : LanguageModel
        Causal.
    options : BatchOptions
        Limits of a batch.
    context : int
        Most tokens that are read; a model's own limit is kept if it is smaller. What is longer loses its
        beginning, as in the harness's own models; `truncated` counts.
    report : Report
    journal : Journal, optional
        Keeps the answers of finished batches.

    Notes
    -----
    Tokens are those of the harness's `hf` models: BOS in front where the model's tokenizer puts it there itself,
    trailing spaces of a context belong to the continuation, an empty context is the start token.
    """

    def __init__(
        self, model: Any, options: BatchOptions, context: int, report: Report, journal: Journal | None = None
    ) -> None:
        super().__init__()
        self.model, self.options, self.report, self.journal = model, options, report, journal
        self.context = min(context, model.max_tokens or context)
        start = model.tokenize(["a"])[0][:1]
        self.leading = start if start == [model.bos_id] else []
        self.truncated = 0

    @property
    def eot_token_id(self) -> int:
        """Token that stands for an empty context where there is no BOS."""
        return self.model.bos_id if self.model.eos_id is None else self.model.eos_id

    @property
    def prefix_token_id(self) -> int:
        """Token that stands for an empty context."""
        return self.eot_token_id if self.model.bos_id is None else self.model.bos_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Tokens of a text, as `TemplateLM` asks for them."""
        del kwargs
        leading = [] if add_special_tokens is False else self.leading
        return [*leading, *self.model.tokenize_document(string)]

    def loglikelihood(self, requests: Any, disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """See `lm_eval.api.model.LM`; a log has lines of progress instead of the harness's bar."""
        return super().loglikelihood(requests, disable_tqdm=disable_tqdm)

    def _loglikelihood_tokens(
        self, requests: Sequence[_Request], disable_tqdm: bool = False, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        """Natural logarithm of the likelihood of each continuation, and whether each token was the likeliest."""
        del disable_tqdm, kwargs
        rows = [self._row(text, context, continuation) for text, context, continuation in requests]
        # Longest first, equal ones together: the order and the batches follow from the requests alone.
        order = sorted(range(len(rows)), key=lambda i: (-len(rows[i].tokens), rows[i].tokens))
        cut = list(
            batches(
                order,
                tokens_that_fit(self.model, self.prefix_token_id, self.options),
                lambda i: len(rows[i].tokens) - 1,
            )
        )

        def answers(batch: Sequence[int]) -> list[list[Any]]:
            return self._scored([rows[i] for i in batch])

        alone = "language_task: one question does not fit into memory. Lower `context` of this capability."
        values = self._in_batches("likelihoods", [r.tokens for r in rows], cut, answers, _is_likelihood, alone)
        return [(float(nats), bool(greedy)) for nats, greedy in values]

    def _row(self, text: tuple[str, str], context: list[int], continuation: list[int]) -> _Row:
        if not continuation:
            raise CapabilityError(f"language_task: the answer {text[1][:60]!r} has no token for this model.")
        unknown = UnknownCharacters(self.model)
        hidden = unknown.bits(self.model.tokenize_document(text[1]), text[1]) if unknown.possible else 0.0
        tokens = [*context, *continuation]
        if len(tokens) > self.context + 1:
            self.truncated += 1
            tokens = tokens[-(self.context + 1) :]
        return _Row(tokens, min(len(continuation), len(tokens) - 1), hidden)

    def _scored(self, rows: Sequence[_Row]) -> list[list[Any]]:
        import torch

        logits = padded_logits(self.model, [row.tokens[:-1] for row in rows])  # (B, T, V)
        values: list[list[Any]] = []
        for i, row in enumerate(rows):
            end = len(row.tokens) - 1
            scores = logits[i, end - row.scored : end]  # (scored, V)
            targets = torch.tensor(row.tokens[-row.scored :]).to(scores.device)
            bits = negative_log2(scores, targets) + row.charge
            if not math.isfinite(bits):
                raise CapabilityError(
                    f"language_task: a log-likelihood is {bits}; the model's logits are not finite. "
                    "Try precision: float32 in the model's row."
                )
            greedy = row.charge == 0 and bool((scores.argmax(-1) == targets).all())
            values.append([-bits * math.log(2), greedy])
        return values

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Natural logarithm of the likelihood of whole texts, in disjoint windows, the first token scored."""
        del disable_tqdm
        pieces: list[_Request] = []
        owner: list[int] = []
        for number, request in enumerate(requests):
            [text] = request.args
            tokens = self.tok_encode(text, add_special_tokens=False)
            windows = get_rolling_token_windows(
                token_list=tokens, prefix_token=self.prefix_token_id, max_seq_len=self.context, context_len=1
            )
            for context, continuation in map(make_disjoint_window, windows):
                pieces.append((("", ""), context, continuation))
                owner.append(number)
        totals = [0.0] * len(requests)
        for number, (nats, _) in zip(owner, self._loglikelihood_tokens(pieces), strict=True):
            totals[number] += nats
        unknown = UnknownCharacters(self.model)
        if unknown.possible:
            for number, request in enumerate(requests):
                text = request.args[0]
                totals[number] -= unknown.bits(self.model.tokenize_document(text), text) * math.log(2)
        return totals

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """The likeliest answer to each prompt, up to one of the texts that end it."""
        del disable_tqdm
        prompts: list[tuple[list[int], tuple[str, ...], int]] = []
        for request in requests:
            text, settings = request.args
            until = settings.get("until") or []
            stop = tuple([until] if isinstance(until, str) else until)
            n = int(settings.get("max_gen_toks", settings.get("max_tokens", _ANSWER_TOKENS)))
            room = self.context - n
            if room < 1:
                raise CapabilityError(
                    f"language_task: an answer of {n} tokens leaves no room for a question in a context of "
                    f"{self.context}; raise `context`, or leave this model or task out."
                )
            tokens = self.tok_encode(text)
            self.truncated += len(tokens) > room
            prompts.append((tokens[-room:], stop, n))
        order = sorted(range(len(prompts)), key=lambda i: (prompts[i][1:], -len(prompts[i][0]), prompts[i][0]))
        cut: list[list[int]] = []
        for i in order:
            tokens, *settings = prompts[i]
            first = prompts[cut[-1][0]] if cut else None
            fits = first is not None and [*first[1:]] == settings
            if fits and (len(cut[-1]) + 1) * (len(first[0]) + first[2]) <= self.options.batch_tokens:  # pyright: ignore
                cut[-1].append(i)
            else:
                cut.append([i])

        def answers(batch: Sequence[int]) -> list[str]:
            _, stop, n = prompts[batch[0]]
            written = self.model.generate([prompts[i][0] for i in batch], n, stop)
            return [_up_to(text, stop) for text in written]

        alone = "language_task: one answer does not fit into memory. Lower `context` of this capability."
        requested = [list(map(str, prompt)) for prompt in prompts]
        return self._in_batches("answers", requested, cut, answers, lambda value: isinstance(value, str), alone)

    def _in_batches(
        self,
        what: str,
        requests: list[Any],
        cut: Sequence[Sequence[int]],
        answers: Callable[[Sequence[int]], list[Any]],
        is_answer: Callable[[Any], bool],
        alone: str,
    ) -> list[Any]:
        """Answers in the order of the requests; finished batches come from the journal and go into it."""
        key = digest(what, requests, [len(batch) for batch in cut], self.context)
        accepted = 0

        def fits(part: Any) -> bool:
            nonlocal accepted
            whole = isinstance(part, list) and accepted < len(cut) and len(part) == len(cut[accepted])
            good = whole and all(map(is_answer, part))
            accepted += good
            return good

        kept = [] if self.journal is None else self.journal.resume(key, fits)
        if kept:
            self.report(f"{what}: continuing after {len(kept)} of {len(cut)} batches")
        progress = Progress(len(requests), what, self.report)
        values: list[Any] = [None] * len(requests)
        for number, batch in enumerate(cut):
            part = kept[number] if number < len(kept) else halved(answers, batch, alone)
            if self.journal is not None and number >= len(kept):
                self.journal.append(part)
            for i, value in zip(batch, part, strict=True):
                values[i] = value
            progress.advance(len(batch))
        progress.finish()
        return values


def _is_likelihood(value: Any) -> bool:
    """Whether a value is what a continuation gives: a finite logarithm, and whether it was the likeliest."""
    match value:
        case [float(nats), bool()]:
            return math.isfinite(nats)
        case _:
            return False


def _up_to(text: str, stop: Sequence[str]) -> str:
    """The text before the first of the texts that end it."""
    ends = [text.index(s) for s in stop if s and s in text]
    return text[: min(ends, default=len(text))]
