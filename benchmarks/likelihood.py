"""Bits per byte and language tasks against the model's own bare forward pass, and against lm-evaluation-harness.

    python benchmarks/likelihood.py [model ...]         needs a finished sweep (weights and texts in results/)

The bare pass gets the batches of `bits_per_byte` ready, and makes their logits; bits per byte tokenises, cuts
windows, takes the log-softmax, sums and keeps a journal. Questions with four answers are scored by our adapter and by
the harness's own class for transformers models, batch size 8. All take turns; ratios are of medians.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from zooalign.capability import bits_per_byte
from zooalign.capability._likelihood import batches, padded_logits, tokens_that_fit
from zooalign.config.sweep import load_sweep, read_config
from zooalign.data.samples import open_samples
from zooalign.layout import Layout
from zooalign.models.loading import load_model
from zooalign.storage.journal import Journal

TURNS = 3
TEXT_BYTES = 12_000
QUESTIONS = 40


def quiet(message: str) -> None:
    """Say nothing."""
    del message


def medians(*programs: Callable[[], Any]) -> list[float]:
    """Median seconds of programs that take turns."""
    seconds: list[list[float]] = [[] for _ in programs]
    for _ in range(TURNS):
        for taken, program in zip(seconds, programs, strict=True):
            begin = time.perf_counter()
            program()
            taken.append(time.perf_counter() - begin)
    return [statistics.median(taken) for taken in seconds]


def against_bare(model: Any, samples: Any) -> tuple[int, float, float]:
    """Tokens scored, and seconds of the bare pass and of bits per byte."""
    options = bits_per_byte.Options(byte_budget=TEXT_BYTES)
    chosen = bits_per_byte._within_budget(samples, TEXT_BYTES)
    rows = [[model.bos_id, *model.tokenize_document(samples.texts[i])][:-1] for i in chosen]
    rows = [row[start : start + options.context] for row in rows for start in range(0, len(row), options.context)]
    rows.sort(key=len, reverse=True)
    cut = list(batches(rows, tokens_that_fit(model, model.bos_id, options), len))

    def bare() -> None:
        with torch.inference_mode():
            for batch in cut:
                padded_logits(model, batch)

    def whole() -> None:
        with tempfile.TemporaryDirectory() as folder:
            bits_per_byte.measure(model, samples, options, quiet, Journal(Path(folder) / "m.json", "d"))

    first, second = medians(bare, whole)
    return sum(map(len, rows)), first, second


def against_harness(model: Any, samples: Any) -> tuple[float, float]:
    """Seconds of the harness's own class and of ours, for the likelihoods of questions with four answers."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from zooalign.capability._harness import HarnessModel
    from zooalign.capability._likelihood import BatchOptions

    texts = [text[:160] for text in samples.texts[: QUESTIONS + 4]]
    requests = [
        Instance("loglikelihood", {}, (texts[i], " " + texts[i + j + 1][:40]), j)
        for i in range(QUESTIONS)
        for j in range(4)
    ]
    options: dict[str, Any] = {"batch_size": 8, "device": "cpu", "max_length": 2048}
    theirs = HFLM(**options, pretrained=model.module, tokenizer=model._tokenizer)  # pyright: ignore
    ours = HarnessModel(model, BatchOptions(), 2048, quiet)

    def run(asked: Any) -> Callable[[], None]:
        def program() -> None:
            with torch.inference_mode():
                asked.loglikelihood(requests, disable_tqdm=True)

        return program

    first, second = medians(run(theirs), run(ours))
    return first, second


def main() -> None:
    """Print a line per model."""
    sweep = load_sweep(read_config("config.yaml"))
    layout = Layout(Path(sweep.config.results))
    samples: Any = open_samples(layout.dataset("openwebtext_passages"))
    samples = SimpleNamespace(
        kind=samples.kind, name=samples.name, digest=samples.digest, ids=samples.ids, texts=samples.texts
    )
    print(f"{'model':16} {'bare tokens/s':>14} {'scored tokens/s':>16} {'ratio':>6} {'harness s':>10} {'ours s':>7}")
    for name in sys.argv[1:] or ["smollm2_135m"]:
        spec = sweep.model(name)
        model = load_model(spec, layout.weights(spec.weights))
        tokens, bare, ours = against_bare(model, samples)
        theirs, asked = against_harness(model, samples) if hasattr(model, "_tokenizer") else (float("nan"),) * 2
        print(
            f"{name:16} {tokens / bare:14.1f} {tokens / ours:16.1f} {bare / ours:6.3f} {theirs:10.1f} {asked:7.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
