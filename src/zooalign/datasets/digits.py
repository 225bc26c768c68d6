"""Digits: the handwritten digits of scikit-learn as a label task for probes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from zooalign.data.attribution import Attribution
from zooalign.data.packages import installed_version
from zooalign.data.records import Label
from zooalign.data.rendering import png
from zooalign.data.subsets import Split, write_parts
from zooalign.progress import Report

VERSION = 1
KIND = "labels"

CLASSES = 10


class Options(Split):
    """Options of the `digits` family."""

    n_train: int | None = Field(
        default=1000,
        ge=CLASSES,
        description="Pictures to train on, stratified; null: all that n_test leaves.",
    )
    n_test: int = Field(default=797, ge=CLASSES, description="Pictures to test it on, stratified.")
    size: int = Field(default=224, ge=8, le=1024, description="Side of the square pictures in px.")
    resize_filter: Literal["nearest", "bilinear", "bicubic", "lanczos"] = Field(
        default="bicubic", description="Filter by which the 8 x 8 originals are enlarged."
    )


def fingerprint(options: Options, name: str) -> dict[str, str | None]:
    """Version of the package that the content is taken from."""
    return {"scikit-learn": installed_version("scikit-learn")}


def build(options: Options, folder: Path, report: Report) -> None:
    """Write the dataset.

    Raises
    ------
    DatasetError
        If more pictures are asked for than the 1,797 there are.
    """
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    pixels, target = load_digits(return_X_y=True)
    grey = np.round(pixels.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)  # (1797, 8, 8), 0 to 255
    labels = [str(digit) for digit in target]
    parts = options.parts(labels, folder.name)

    def record(split: str, i: int) -> Label:
        small = Image.fromarray(grey[i])
        large = small.resize((options.size, options.size), Image.Resampling[options.resize_filter.upper()])
        return Label(f"digits-{i:04d}", png(large.convert("RGB")), labels[i], split, "digits", "CC BY 4.0")

    write_parts(
        folder, "Handwritten digits", parts, record, attribution=_ATTRIBUTION, options=options, family="digits",
        version=VERSION, packages=fingerprint(options, folder.name), report=report,
    )  # fmt: skip


_ATTRIBUTION = (
    Attribution(
        source="digits",
        title="Optical Recognition of Handwritten Digits",
        authors="E. Alpaydin and C. Kaynak",
        licence="CC BY 4.0",
        link="UCI Machine Learning Repository, test set as shipped with scikit-learn",
        changes="grey levels stretched to 0-255, enlarged, RGB",
    ),
)
