"""CIFAR-10: its 10,000 test pictures, from the source archive of a Python package."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from zooalign.data import bigbench
from zooalign.data.attribution import Attribution
from zooalign.data.records import Label
from zooalign.data.subsets import Split
from zooalign.data.writing import write_samples
from zooalign.errors import DatasetError
from zooalign.progress import Report

VERSION = 1
KIND = "labels"

# Of the archive: PNG pictures in base64, each with a score of 1 for its class.
TASK = "cifar10_classification/base64"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Options(Split):
    """Options of the `cifar10` family."""

    cache: str | None = Field(
        default=None, description="Folder that keeps the archive; null: `.cache` beside the dataset folder."
    )


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
    cache = Path(options.cache or folder.parent / ".cache")
    examples = bigbench.examples(TASK, cache, folder.name, report)
    labels = [_label(example, f"{folder.name}: {TASK}, example {i}") for i, example in enumerate(examples)]
    parts = options.parts(labels, folder.name)
    write_samples(
        folder,
        KIND,
        _records(examples, labels, parts),
        name=folder.name,
        description=f"CIFAR-10 test pictures: {len(parts['train'])} to train on, {len(parts['test'])} to test on.",
        attribution=_ATTRIBUTION,
        options=options.model_dump(exclude={"cache"}),
        family="cifar10",
        version=VERSION,
        packages={bigbench.NAME: bigbench.RELEASE},
    )
    report(f"{folder.name}: {sum(map(len, parts.values()))} pictures")


def _label(example: dict[str, Any], where: str) -> str:
    label = bigbench.answer(example, where)
    if label not in CLASSES:
        raise DatasetError(f"{where}: {label[:40]!r} is no class of CIFAR-10.")
    return label


def _records(examples: list[dict[str, Any]], labels: list[str], parts: dict[str, list[int]]) -> Iterator[Label]:
    for split, rows in parts.items():
        for i in rows:
            picture = base64.b64decode(examples[i]["input"])
            yield Label(f"cifar10-{i:05d}", picture, labels[i], split, "cifar10", "not stated")


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
