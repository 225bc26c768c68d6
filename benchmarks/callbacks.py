"""What the callbacks of training cost beside the score itself: a training without and with them, in one run.

    python benchmarks/callbacks.py [steps]          needs lightning; no sweep; some minutes

A small GPT-2 trains on random tokens, with the Trainer of transformers and with Lightning, without the callback and
with it at its default interval of 500 steps; the two take turns. Times are those of the processor, which other
programs change less. From the training with the callback the time inside `AlignmentProbe.measure` is taken off: what
remains above the training without is the callback's own. Printed are the ratio of the fastest of each (1: nothing),
how far trainings without differ, and, exactly, the time inside the callback's hooks but outside of the measurement.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from zooalign.features.extract import features_in_memory  # noqa: F401  (imported before the clock runs)
from zooalign.sources._torchvision import import_transformers
from zooalign.training import AlignmentProbe, LightningAlignment, TextFeatures, TrainerAlignment

transformers: Any = import_transformers()
import lightning  # noqa: E402  (imports torchvision, which the line above has made fit for a torch without a GPU)

TURNS = 3
SAMPLES, VOCABULARY, LENGTH = 1024, 1000, 32


class TimedProbe(AlignmentProbe):
    """A probe that adds up the processor time of its measurements."""

    inside_s = 0.0
    count = 0
    hooks_s: Sequence[float] = ()

    def measure(self, model: torch.nn.Module) -> dict[str, float]:
        """As `AlignmentProbe.measure`."""
        begin = time.process_time()
        values = super().measure(model)
        self.inside_s += time.process_time() - begin
        self.count += 1
        return values


def make_model() -> Any:
    """GPT-2 of 2 blocks of width 64."""
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "n_positions": LENGTH, "n_embd": 64, "n_layer": 2, "n_head": 4}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))


def make_probe() -> TimedProbe:
    """Of texts of 4 made-up words against made-up features of 7 layers, as large as those of MiniLM."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    rng = np.random.default_rng(0)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w0", pad_token="w0")
    texts = [" ".join(f"w{i}" for i in row) for row in rng.integers(0, VOCABULARY, (SAMPLES, 4))]
    reference = rng.standard_normal((SAMPLES, 7, 384), dtype=np.float32)
    return TimedProbe({"made_up": reference}, TextFeatures(texts, tokenizer))


def rows() -> list[dict[str, torch.Tensor]]:
    """Pieces of random tokens."""
    ids = torch.from_numpy(np.random.default_rng(1).integers(0, VOCABULARY, (512, LENGTH)))
    return [{"input_ids": row, "labels": row} for row in ids]


def with_trainer(steps: int, folder: str, probe: TimedProbe | None) -> Callable[[], Any]:
    """Training by transformers, ready to begin."""
    args = transformers.TrainingArguments(
        folder, max_steps=steps, per_device_train_batch_size=8, save_strategy="no", report_to="none",
        disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = transformers.Trainer(make_model(), args, train_dataset=rows())
    trainer.remove_callback(transformers.PrinterCallback)
    if probe is not None:
        callback = TrainerAlignment(trainer, probe)
        probe.hooks_s = time_hooks(callback, ["on_train_begin", "on_step_end"])
        trainer.add_callback(callback)
    return trainer.train


class Module(lightning.LightningModule):
    """The same model for Lightning."""

    def __init__(self) -> None:
        super().__init__()
        self.network = make_model()

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Loss of the next tokens."""
        return self.network(**batch).loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


def with_lightning(steps: int, folder: str, probe: TimedProbe | None) -> Callable[[], Any]:
    """Training by Lightning, ready to begin."""
    callbacks = []
    if probe is not None:
        callbacks = [LightningAlignment(probe, part="network")]
        probe.hooks_s = time_hooks(callbacks[0], ["on_train_start", "on_train_batch_end", "on_train_end"])
    trainer = lightning.Trainer(
        max_steps=steps, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False, default_root_dir=folder, devices=1,
        callbacks=callbacks,
    )  # fmt: skip
    loader = torch.utils.data.DataLoader(rows(), batch_size=8, shuffle=True)
    return lambda: trainer.fit(Module(), loader)


def time_hooks(callback: Any, names: Sequence[str]) -> list[float]:
    """Let a callback note the processor time of each call of some of its hooks; the list that it notes them in."""
    noted: list[float] = []

    def timed(hook: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            begin = time.process_time()
            try:
                return hook(*arguments, **options)
            finally:
                noted.append(time.process_time() - begin)

        return call

    for name in names:
        setattr(callback, name, timed(getattr(callback, name)))
    return noted


def seconds(train: Callable[[], Any]) -> float:
    """Processor time of a training."""
    begin = time.process_time()
    train()
    return time.process_time() - begin


def main(steps: int = 500) -> None:
    """Print a line per framework."""
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for name, make in (("transformers", with_trainer), ("lightning", with_lightning)):
        plain, beside, probe = [], [], make_probe()
        with tempfile.TemporaryDirectory() as folder:
            make(20, folder, probe)()  # what is compiled or imported on first use
            for turn in range(TURNS):
                probe = make_probe()
                # Which of them comes first changes from turn to turn.
                for watched in ((None, probe), (probe, None))[turn % 2]:
                    taken = seconds(make(steps, folder, watched))
                    (plain if watched is None else beside).append(taken - (watched.inside_s if watched else 0.0))
        without, own, hooks = min(plain), min(beside), sum(probe.hooks_s) - probe.inside_s
        print(
            f"{name}: {steps} steps take {without:.2f} s without the callback and {own:.2f} s with it beside its "
            f"{probe.count} measurements of {probe.inside_s / probe.count:.2f} s: ratio {own / without:.4f} "
            f"(trainings without differ by {max(plain) / without - 1:.1%}); its hooks take {1000 * hooks:.1f} ms, "
            f"{hooks / without:.3%} of the training"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
