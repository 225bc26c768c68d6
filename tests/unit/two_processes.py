"""Run by two processes: a training without and with the callback; each writes what it saw."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.unit.tiny_training import make_model, tokenizer, training_rows
from zooalign.training import AlignmentProbe, LightningAlignment, TextFeatures, TrainerAlignment

TEXTS = [
    f"a {size} {colour} {shape}"
    for size in ("small", "medium", "large")
    for colour in ("red", "blue", "green", "pink", "brown")
    for shape in ("circle", "square", "bar", "cross")
]


class CountingProbe(AlignmentProbe):
    """A probe that counts its measurements."""

    count = 0

    def measure(self, model: torch.nn.Module) -> dict[str, float]:
        self.count += 1
        return super().measure(model)


def by_trainer(folder: str, probe: AlignmentProbe | None) -> tuple[Any, int, list[str]]:
    """Model, rank, and keys that were logged."""
    from transformers import Trainer, TrainingArguments

    args = TrainingArguments(
        folder, max_steps=5, per_device_train_batch_size=8, save_strategy="no", seed=3, report_to="none",
        use_cpu=True, disable_tqdm=True, ddp_backend="gloo", ddp_find_unused_parameters=False,
    )  # fmt: skip
    trainer = Trainer(make_model(), args, train_dataset=training_rows(TEXTS))
    if probe is not None:
        trainer.add_callback(TrainerAlignment(trainer, probe))
    trainer.train()
    keys = {key for entry in trainer.state.log_history for key in entry if key.startswith("alignment/")}
    return trainer.model, args.process_index, sorted(keys)


def by_lightning(folder: str, probe: AlignmentProbe | None) -> tuple[Any, int, list[str]]:
    """Model, rank, and keys that other callbacks can monitor."""
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = make_model()

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            return self.network(**batch).loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=0.01)

    monitored: set[str] = set()

    class Watch(lightning.Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            monitored.update(trainer.callback_metrics)

    lightning.seed_everything(3, verbose=False)
    module = Module()
    trainer = lightning.Trainer(
        max_steps=5, accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
        callbacks=[*([] if probe is None else [LightningAlignment(probe, "network")]), Watch()],
    )  # fmt: skip
    loader = torch.utils.data.DataLoader(training_rows(TEXTS), batch_size=8, shuffle=True)
    trainer.fit(module, loader)
    return module.network, trainer.global_rank, sorted(monitored)


def main(kind: str, folder: str) -> None:
    """Train twice and compare."""
    reference = np.random.default_rng(0).standard_normal((len(TEXTS), 2, 8)).astype(np.float32)
    probe = CountingProbe({"x": reference}, TextFeatures(TEXTS, tokenizer()), every=2)
    train = {"trainer": by_trainer, "lightning": by_lightning}[kind]
    plain, _, _ = train(folder, None)
    watched, rank, keys = train(folder, probe)
    other = watched.state_dict()
    same = all(torch.equal(value, other[name]) for name, value in plain.state_dict().items())
    seen = {"same": same, "count": probe.count, "keys": keys}
    Path(folder, f"{rank}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
