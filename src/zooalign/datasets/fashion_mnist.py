"""Fashion-MNIST: pictures of clothes by class, from a data package of Debian, with their own train and test part."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from zooalign.data.attribution import Attribution
from zooalign.data.debian import unpacked
from zooalign.data.downloads import Cached
from zooalign.data.records import Label
from zooalign.data.rendering import grey_png
from zooalign.data.subsets import check_classes, stratified, write_parts
from zooalign.errors import DatasetError
from zooalign.progress import Report

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
KIND = "labels"

PACKAGE, SUBTREE = "dataset-fashion-mnist", "usr/share/datasets/fashion-mnist"
# In the order of the integers in the label files, as the package's README lists them.
CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
# Beginning of the file names of each part.
PARTS = {"train": "train", "test": "t10k"}
# Most bytes of an unpacked file: 60,000 pictures of 28 x 28 px are 47 MB.
LARGEST_BYTES = 100_000_000


class Options(Cached):
    """Options of the `fashion_mnist` family."""

    n_train: int | None = Field(
        default=2000, ge=2, description="Of the 60,000 pictures to train a probe on, stratified; null: all."
    )
    n_test: int | None = Field(
        default=1000, ge=2, description="Of the 10,000 pictures to test it on, stratified; null: all."
    )
    seed: int = Field(default=0, ge=0, description="Seed of the choice.")


def build(options: Options, folder: Path, report: Report) -> None:
    """Write the dataset; 31 MB are downloaded once.

    Raises
    ------
    DatasetError
        If the package cannot be had, one of its files is damaged, or more pictures are asked for than there are.
    """
    name = folder.name
    files, version = unpacked(PACKAGE, SUBTREE, options.cache_beside(folder), report)
    parts = {split: _part(files, begin) for split, begin in PARTS.items()}
    sizes = {"train": options.n_train, "test": options.n_test}
    rows = {
        split: stratified(labels, sizes[split], options.seed, f"{name}: n_{split}")
        for split, (_, labels) in parts.items()
    }
    classes = {split: {parts[split][1][i] for i in chosen} for split, chosen in rows.items()}
    check_classes(classes, name, "raise n_train")

    def record(split: str, i: int) -> Label:
        images, labels = parts[split]
        return Label(f"{split}-{i:05d}", grey_png(images[i]), labels[i], split, "fashion-mnist", "MIT")

    write_parts(
        folder, "Clothes of 10 classes", rows, record, attribution=_ATTRIBUTION, options=options,
        family="fashion_mnist", version=VERSION, packages={PACKAGE: version}, report=report,
    )  # fmt: skip


def _part(files: Path, begin: str) -> tuple[np.ndarray, list[str]]:
    """Pictures (n, 28, 28) uint8 and labels of one part."""
    images_file, labels_file = files / f"{begin}-images-idx3-ubyte.gz", files / f"{begin}-labels-idx1-ubyte.gz"
    images, numbers = read_idx(images_file, 3), read_idx(labels_file, 1)
    if len(images) != len(numbers):
        raise DatasetError(f"{images_file} has {len(images)} pictures, {labels_file.name} {len(numbers)} labels.")
    if len(numbers) and numbers.max() >= len(CLASSES):
        raise DatasetError(f"{labels_file}: label {numbers.max()} is none of the {len(CLASSES)} classes.")
    return images, [CLASSES[number] for number in numbers]


def read_idx(file: Path, dimensions: int) -> np.ndarray:
    """Array in a gzipped file of the IDX format, unsigned bytes.

    Parameters
    ----------
    file : pathlib.Path
        Two zero bytes, the type (8: unsigned bytes), the number of dimensions, each size as four bytes (the most
        significant first), and the values.
    dimensions : int
        How many it must have.

    Returns
    -------
    numpy.ndarray
        uint8, of the sizes that the file states.

    Raises
    ------
    DatasetError
        If the file is missing, no gzip file, of another type, or longer or shorter than it says; names it.
    """
    import numpy as np

    remedy = "delete the folder `unpacked` and the .deb in the cache, and build again"
    try:
        with gzip.open(file) as stream:
            data = stream.read(LARGEST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{file} cannot be read ({error}); {remedy}.") from error
    start = 4 + 4 * dimensions
    if data[:4] != bytes([0, 0, 8, dimensions]):
        raise DatasetError(
            f"{file} begins with {data[:4].hex()}, an IDX file of bytes in {dimensions} dimensions with "
            f"{bytes([0, 0, 8, dimensions]).hex()}; {remedy}."
        )
    shape = [int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4)]
    if len(data) != start + math.prod(shape):
        held = len(data) - start
        raise DatasetError(f"{file} should hold {' x '.join(map(str, shape))} bytes, and holds {held}; {remedy}.")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


_ATTRIBUTION = (
    Attribution(
        source="fashion-mnist",
        title="Fashion-MNIST",
        authors="Zalando SE (Han Xiao, Kashif Rasul, Roland Vollgraf)",
        licence="MIT",
        link=f"Debian package {PACKAGE}",
        changes="a stratified choice; grey levels as RGB",
    ),
)
