"""Train a small language model with the Trainer of transformers, and watch its alignment with a stored model.

    python examples/trainer.py          needs the default sweep (bash run.sh); about a minute on two cores

A GPT-2 of 4 blocks learns passages of OpenWebText. Every 50 steps its hidden states on the names of 1,024 emoji are
compared with those of MiniLM, which the sweep has stored: do they become alike while the loss falls?
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from zooalign.data.samples import open_samples
from zooalign.sources._torchvision import import_transformers
from zooalign.training import AlignmentProbe, TextFeatures, TrainerAlignment

transformers: Any = import_transformers()
LENGTH = 64  # tokens of a piece of text
METRIC = "mutual_knn@10"


def arguments() -> argparse.Namespace:
    """Where the sweep has put what this needs, and how long to train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of a finished default sweep")
    parser.add_argument("--reference", default="minilm_l6", help="model to compare with")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--every", type=int, default=50, help="steps between two measurements")
    chosen = parser.parse_args()
    chosen.reference = chosen.results / "features" / "emoji" / f"{chosen.reference}.zarr"
    for path in (
        chosen.reference,
        *(chosen.results / "datasets" / name for name in ("emoji", "openwebtext_passages")),
    ):
        if not path.exists():
            sys.exit(f"there is no {path}: run `bash run.sh` first, or name another sweep with --results.")
    return chosen


def make_tokenizer(texts: list[str]) -> Any:
    """Byte pairs of the training text, 2,000 tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokens = Tokenizer(models.BPE())
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokens.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    kinds = {"special_tokens": ["<end>"], "initial_alphabet": alphabet, "show_progress": False}
    tokens.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=2000, **kinds))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokens, eos_token="<end>", pad_token="<end>")


def pieces(texts: list[str], tokenizer: Any) -> list[dict[str, list[int]]]:
    """The text as pieces of equal length, each to be predicted token by token."""
    ids = [i for text in tokenizer(texts)["input_ids"] for i in [*text, tokenizer.eos_token_id]]
    rows = [ids[start : start + LENGTH] for start in range(0, len(ids) - LENGTH, LENGTH)]
    return [{"input_ids": row, "labels": row} for row in rows]


def main() -> None:
    """Train, then print what was logged."""
    chosen = arguments()
    emoji = open_samples(chosen.results / "datasets" / "emoji")
    texts = open_samples(chosen.results / "datasets" / "openwebtext_passages").texts
    transformers.set_seed(0)
    tokenizer = make_tokenizer(texts)
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=len(tokenizer), n_positions=LENGTH, n_embd=128, n_layer=4, n_head=4,
            bos_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id,
        )
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        settings = transformers.TrainingArguments(
            folder, max_steps=chosen.steps, per_device_train_batch_size=16, learning_rate=2e-3,
            logging_steps=chosen.every, save_strategy="no", report_to="none", disable_tqdm=True,
            dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = transformers.Trainer(model, settings, train_dataset=pieces(texts, tokenizer))
        trainer.remove_callback(transformers.PrinterCallback)

        probe = AlignmentProbe(
            chosen.reference, TextFeatures(emoji.captions(), tokenizer), every=chosen.every, sample_ids=emoji.ids
        )
        trainer.add_callback(TrainerAlignment(trainer, probe))

        trainer.train()
    show(trainer.state.log_history, f"alignment/{chosen.reference.stem}/{METRIC}")


def show(history: list[dict[str, float]], key: str) -> None:
    """Print a line per measurement; the loss is the mean since the line above."""
    print(f"{'step':>5} {'loss':>7} {'alignment':>10} {'layer':>6} {'seconds':>8}")
    losses = {entry["step"]: f"{entry['loss']:.3f}" for entry in history if "loss" in entry}
    for entry in history:
        if key in entry:
            shown = losses.get(entry["step"], "-")
            layer, seconds = entry[f"{key}_layer"], entry["alignment/seconds"]
            print(f"{entry['step']:>5} {shown:>7} {entry[key]:>10.4f} {layer:>6.0f} {seconds:>8.2f}")


if __name__ == "__main__":
    main()
