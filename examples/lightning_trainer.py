"""Train a small vision model with Lightning, and watch its alignment with a stored language model.

    pip install "zooalign[training]"
    python examples/lightning_trainer.py        needs the default sweep (bash run.sh); about a minute on two cores

A ResNet-10 learns to tell the groups of 1,024 emoji (food, animals, faces, ...) from their pictures. Every 50 steps
its layers are compared with those of MiniLM on the names of the same emoji, which the sweep has stored.
"""

from __future__ import annotations

import argparse
import csv
import logging
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zooalign.data.samples import Samples, open_samples
from zooalign.sources._torchvision import import_timm
from zooalign.training import AlignmentProbe, ImageFeatures, LightningAlignment

timm: Any = import_timm()
import lightning  # noqa: E402  (imports torchvision, which `import_timm` has made fit for a torch without a GPU)
from lightning.pytorch.loggers import CSVLogger  # noqa: E402

SIDE = 64  # pixels
METRIC = "mutual_knn@10"


def arguments() -> argparse.Namespace:
    """Where the sweep has put what this needs, and how long to train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of a finished default sweep")
    parser.add_argument("--reference", default="minilm_l6", help="model to compare with")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--every", type=int, default=50, help="steps between two measurements")
    chosen = parser.parse_args()
    chosen.reference = chosen.results / "features" / "emoji" / f"{chosen.reference}.zarr"
    for path in (chosen.reference, chosen.results / "datasets" / "emoji"):
        if not path.exists():
            sys.exit(f"there is no {path}: run `bash run.sh` first, or name another sweep with --results.")
    return chosen


def pictures(samples: Samples) -> torch.Tensor:
    """Pixels from -1 to 1, (n, 3, SIDE, SIDE)."""
    small = np.stack([np.asarray(image.resize((SIDE, SIDE))) for image in samples.images()])  # (n, SIDE, SIDE, 3)
    return torch.from_numpy(small).permute(0, 3, 1, 2).float() / 127.5 - 1


class Classifier(lightning.LightningModule):
    """A network of timm and its classes."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.network = timm.create_model("resnet10t", num_classes=classes)

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Cross-entropy of a batch of pictures and their groups."""
        loss = torch.nn.functional.cross_entropy(self.network(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW at a constant rate."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def main() -> None:
    """Train, then print what was logged."""
    chosen = arguments()
    warnings.filterwarnings("ignore", message=".*does not have many workers")  # the pictures are in memory
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    emoji = open_samples(chosen.results / "datasets" / "emoji")
    pixels = pictures(emoji)
    groups = sorted({str(group) for group in emoji.groups})
    labels = torch.tensor([groups.index(str(group)) for group in emoji.groups])
    lightning.seed_everything(0, verbose=False)
    data = torch.utils.data.TensorDataset(pixels, labels)
    loader = torch.utils.data.DataLoader(data, batch_size=32, shuffle=True)

    probe = AlignmentProbe(chosen.reference, ImageFeatures(pixels), every=chosen.every, sample_ids=emoji.ids)
    callback = LightningAlignment(probe, part="network")

    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            max_steps=chosen.steps, callbacks=[callback], logger=CSVLogger(folder, name="", version=""),
            log_every_n_steps=chosen.every, enable_progress_bar=False, enable_model_summary=False,
            enable_checkpointing=False, accelerator="auto", devices=1,
        )  # fmt: skip
        trainer.fit(Classifier(len(groups)), loader)
        show(Path(folder) / "metrics.csv", f"alignment/{chosen.reference.stem}/{METRIC}")


def show(log: Path, key: str) -> None:
    """Print a line per measurement; the loss is that of the last batch before it."""
    with open(log, newline="") as file:
        rows = list(csv.DictReader(file))
    # Lightning counts the batch before an optimiser step, the callback the step.
    losses = {int(row["step"]) + 1: f"{float(row['loss']):.3f}" for row in rows if row["loss"]}
    print(f"{'step':>5} {'loss':>7} {'alignment':>10} {'layer':>6} {'seconds':>8}")
    for row in rows:
        if row[key]:
            shown = losses.get(int(row["step"]), "-")
            layer, seconds = float(row[f"{key}_layer"]), float(row["alignment/seconds"])
            print(f"{row['step']:>5} {shown:>7} {float(row[key]):>10.4f} {layer:>6.0f} {seconds:>8.2f}")


if __name__ == "__main__":
    main()
