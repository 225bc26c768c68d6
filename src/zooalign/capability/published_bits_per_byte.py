"""Published bits per byte: what the paper's code stores as `bpb`, the mean over captions of bits per byte."""

from __future__ import annotations

import math
from typing import Any

from pydantic import Field

from zooalign.capability._likelihood import check_subject, negative_log2, padded_logits
from zooalign.capability._record import CapabilityError, Measured
from zooalign.closed import Closed
from zooalign.errors import FeatureError
from zooalign.progress import Progress, Report
from zooalign.provenance import package_versions

VERSION = 1
APPLIES_TO = "language"
CAUSAL_ONLY = True
NEEDS = "model"
READS = ("pairs", "texts")
UNIT = "bits/byte, mean of texts"
HIGHER_IS_BETTER = False


class Options(Closed):
    """Settings of the published value."""

    text: str = Field(default="caption", description="Which text of a pair is read (a density of the dataset).")


def measure(model: Any, samples: Any, options: Options, report: Report) -> dict[str, Any]:
    """Plain mean over texts of bits / UTF-8 bytes, which is not bits per byte of a corpus.

    Short texts weigh as much as long ones; each text is fed as for its features, and its first token is never scored
    although its bytes are counted. For a tokenizer that adds no BOS the value is therefore lower than a code length.

    Parameters
    ----------
    model : LanguageModel
        Causal.
    samples : Samples
        Of kind "pairs" (captions) or "texts".
    options : Options
        Which text.

    Returns
    -------
    dict
        Fields of `CapabilityRecord` without model and digest; `details.per_text` holds each text's value.

    Raises
    ------
    CapabilityError
        If the model is not causal, the dataset has no texts, or a text is longer than its context; names the sample.
    FeatureError
        If a log-likelihood is not finite; names the sample.

    Notes
    -----
    The published loss is masked by the input position. With right padding that also scores one padding token after
    each text shorter than the longest of all; a text's value then depends on the others. Here each text is scored as
    if alone, which is what left padding gives there.
    """
    import torch

    check_subject("published_bits_per_byte", model, samples, READS)
    texts = samples.texts if samples.kind == "texts" else samples.captions(options.text)
    progress = Progress(len(texts), "texts", report)
    values: list[float] = []
    with torch.inference_mode():
        for name, text in zip(samples.ids, texts, strict=True):
            [fed] = model.tokenize([text])
            if model.max_tokens is not None and len(fed) > model.max_tokens:
                raise CapabilityError(
                    f"dataset {samples.name!r}, sample {name!r}: {len(fed)} tokens, the model takes "
                    f"{model.max_tokens}; choose shorter texts."
                )
            bits = 0.0
            if len(fed) > 1:
                [scores] = padded_logits(model, [fed[:-1]])
                bits = negative_log2(scores, torch.tensor(fed[1:]).to(scores.device))
            if not math.isfinite(bits):
                raise FeatureError(
                    f"dataset {samples.name!r}, sample {name!r}: the log-likelihood is {bits}. "
                    "Try precision: float32 in the model's row."
                )
            values.append(bits / len(text.encode()))
            progress.advance(1)
    progress.finish()
    mean = math.fsum(values) / len(values)
    spread = math.fsum((v - mean) ** 2 for v in values)
    return Measured(
        capability="published_bits_per_byte",
        value=mean,
        standard_error=math.sqrt(spread / (len(values) - 1) / len(values)) if len(values) > 1 else None,
        unit=UNIT,
        higher_is_better=HIGHER_IS_BETTER,
        n=len(values),
        details={"per_text": values},
        settings={
            "version": VERSION,
            "dataset": samples.name,
            "dataset_digest": samples.digest,
            "text": options.text if samples.kind == "pairs" else None,
        },
        versions=package_versions(("zooalign", "torch", "transformers", "tokenizers", "numpy")),
    ).model_dump()
