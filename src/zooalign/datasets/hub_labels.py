"""Hub labels: labelled pictures of a dataset of the Hugging Face hub, or of a folder on disk, for linear probes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from pydantic import Field

from zooalign.data.attribution import Attribution
from zooalign.data.records import Label
from zooalign.data.repositories import Files, Place
from zooalign.data.subsets import UniformRows, check_classes
from zooalign.data.writing import write_samples
from zooalign.datasets._label_layouts import Columns, rows
from zooalign.errors import DatasetError
from zooalign.progress import Report
from zooalign.storage.atomic import write_json

VERSION = 1
KIND = "labels"
# Options that are paths: relative to the configuration, and no part of a digest, which has the files' content.
PATHS = ("folder",)

# Rows after which another line of progress is written.
_REPORTED = 20_000


class Options(Place):
    """Options of the `hub_labels` family; a folder may also be a saved dataset, or hold SPLIT/CLASS/PICTURE."""

    train: str = Field(default="train", pattern=r"^[\w.-]+$", description="Split to train a probe on.")
    test: str = Field(default="test", pattern=r"^[\w.-]+$", description="Split to test it on.")
    image: str = Field(default="image", description="Column of the pictures (parquet files, saved datasets).")
    label: str = Field(default="label", description="Column of the labels: class numbers or names.")
    n_train: int | None = Field(
        default=10_000, ge=2, description="Most pictures to train on, chosen uniformly from the split; null: all."
    )
    n_test: int | None = Field(
        default=10_000, ge=2, description="Most pictures to test on, chosen uniformly from the split; null: all."
    )
    seed: int = Field(default=1337, ge=0, description="Seed of the choice, in each split.")


class _Chosen(NamedTuple):
    n: int  # rows of the split
    labels: dict[int, str]  # of the rows chosen, in order
    classes: set[str]  # of all rows


def fingerprint(options: Options, name: str) -> list[str] | None:
    """Names and content of a folder on disk."""
    return options.fingerprint(name)


def build(options: Options, folder: Path, report: Report) -> None:
    """Write the dataset.

    Raises
    ------
    DatasetError
        If repository, folder, split or network is missing, a file is damaged or lies, a label is no class, or a class
        of the test split never occurs in the train split; names what and where.

    Notes
    -----
    Every file of the two splits is read once, one after the other, since a uniform choice needs every row's turn; no
    number of rows has to be known. Of the hub's files one is on the disk at a time, and besides it the pictures that
    were chosen at some time: about limit x (1 + ln(rows / limit)). A build that was interrupted starts over.

    The rows chosen depend on the seed, the limit and the number of rows of the split alone, not on how it is cut into
    files (:class:`zooalign.data.subsets.UniformRows`). Protocol: train and test at most 10,000 images, uniform over
    images, seed 1337 (Huh et al. 2024 and the same group's code).
    """
    name = folder.name
    source = options.repository or name  # not the path: a folder that is moved is the same dataset
    scratch = options.scratch(folder)
    files = options.files(scratch, name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder.parent) as spool:
        pictures = _Spool(spool)
        limits = {"train": options.n_train, "test": options.n_test}
        chosen = {
            split: _choose(files, options, split, limits[split], pictures, f"{name}: {split}", report)
            for split in limits
        }
        check_classes(
            {split: part.classes for split, part in chosen.items()},
            name,
            f"name other splits than {options.train!r} and {options.test!r}, or leave the class out",
        )
        _report_unseen(chosen, name, report)
        sizes = [f"{len(chosen[s].labels):,} of {chosen[s].n:,} to {s} on" for s in limits]
        write_samples(
            folder,
            KIND,
            _records(chosen, pictures, source, options.licence),
            name=name,
            description=f"{source}, {files.revision or 'on disk'}: {', '.join(sizes)}.",
            attribution=[
                Attribution(source, source, options.authors, options.licence, f"dataset {source}", "a choice of rows")
            ],
            options=options.model_dump(exclude={"cache"}),
            family="hub_labels",
            version=VERSION,
            packages={source: files.revision} if files.revision else None,
        )
    if files.revision:
        write_json(folder / "revision.json", {"repository": options.repository, "revision": files.revision})
    shutil.rmtree(scratch, ignore_errors=True)
    report(f"{name}: {', '.join(sizes)}")


def _choose(
    files: Files, options: Options, split: str, limit: int | None, pictures: _Spool, where: str, report: Report
) -> _Chosen:
    """Choose rows of a split and keep their pictures under the split and row number."""
    choice = UniformRows(limit, options.seed)
    labels: dict[int, str] = {}
    classes: set[str] = set()
    n = 0
    named = options.train if split == "train" else options.test
    for n, row in enumerate(rows(files, named, Columns(options.image, options.label), options.config), start=1):
        taken, dropped = choice.offer()
        classes.add(row.label)
        if taken:
            labels[n - 1] = row.label
            pictures.add((split, n - 1), row.image())
        if dropped is not None:
            del labels[dropped]
            pictures.drop((split, dropped))
        if n % _REPORTED == 0:
            report(f"{where}: {n:,} rows read")
    if not n:
        raise DatasetError(f"{where}: split {named!r} of {files.place} has no rows.")
    return _Chosen(n, labels, classes)


def _report_unseen(chosen: dict[str, _Chosen], name: str, report: Report) -> None:
    """Say which classes lost their train samples to the choice; no probe gets their test samples right."""
    unseen = set(chosen["test"].labels.values()) - set(chosen["train"].labels.values())
    if unseen:
        report(f"{name}: {len(unseen)} classes of the test part have no train sample among the chosen ones")


class _Spool:
    """Pictures in a file, by key: more than fit into memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._places: dict[tuple[str, int], tuple[int, int]] = {}

    def add(self, key: tuple[str, int], data: bytes) -> None:
        self._places[key] = self._file.seek(0, 2), len(data)
        self._file.write(data)

    def drop(self, key: tuple[str, int]) -> None:
        del self._places[key]

    def read(self, key: tuple[str, int]) -> bytes:
        start, size = self._places[key]
        self._file.seek(start)
        return self._file.read(size)


def _records(chosen: dict[str, _Chosen], pictures: _Spool, source: str, licence: str) -> Iterator[Label]:
    for split, part in chosen.items():
        for row, label in part.labels.items():
            yield Label(f"{split}-{row:07d}", pictures.read((split, row)), label, split, source, licence)
