"""Rows of models whose results were imported: which file holds them, and which metrics it can give."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from zooalign.closed import Closed
from zooalign.config.manifest import Id
from zooalign.registry import member, plugin

if TYPE_CHECKING:
    from zooalign.config.manifest import ModelSpec


class ImportedFile(Closed):
    """A file of neighbour lists or features of one model on one dataset, as `zooalign import` wrote it."""

    path: str = Field(description="The file, beside the zoo file.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the file.")
    holds: tuple[Literal["neighbors", "similarities", "centred_similarities", "features"], ...] = Field(
        min_length=1, description="Neighbour lists, with or without their similarities; or features."
    )
    k_max: int | None = Field(default=None, gt=0, description="Neighbours of a list; none for features.")

    @model_validator(mode="after")
    def _consistent(self) -> ImportedFile:
        if ("features" in self.holds) == ("neighbors" in self.holds):
            raise ValueError("holds: a file has either features or neighbors")
        if (self.k_max is None) == ("neighbors" in self.holds):
            raise ValueError("k_max: the length of neighbour lists, and only of these")
        return self

    @property
    def is_lists(self) -> bool:
        """Whether it holds neighbour lists and no features."""
        return "neighbors" in self.holds


class ImportedFiles(Closed):
    """Options of an imported row."""

    files: dict[Id, ImportedFile] = Field(min_length=1, description="By dataset, the file that was imported.")


def located(options: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Options of an imported row, with paths found beside its zoo file."""
    files = {name: {**file, "path": str(folder / file["path"])} for name, file in options["files"].items()}
    return {**options, "files": files}


def imported_file(spec: ModelSpec, dataset: str) -> ImportedFile | None:
    """What was imported for a model on a dataset; None for other models and other datasets."""
    return _parsed(json.dumps(spec.options, sort_keys=True)).files.get(dataset) if spec.imported else None


@lru_cache
def _parsed(options: str) -> ImportedFiles:
    return ImportedFiles.model_validate_json(options)


def why_not_given(file: ImportedFile, metric: str, k: int) -> str:
    """Why a file does not give a metric with its k (0 where it takes none); empty if it does.

    Examples
    --------
    >>> lists = ImportedFile(path="x", sha256="0" * 64, holds=("neighbors",), k_max=10)
    >>> why_not_given(lists, "mutual_knn", 10), why_not_given(lists, "mutual_knn", 20)
    ('', 'its lists have 10 neighbours')
    >>> why_not_given(lists, "cka", 0)
    'its file has no gram'
    """
    if file.k_max is None:
        return ""
    lacking = sorted(member("zooalign.metrics", "reads")(metric, k or None, file.k_max) - set(file.holds))
    if lacking:
        return f"its file has no {' or '.join(lacking)}"
    reads_lists = plugin("metrics", metric, "metric").TAKES_K
    return f"its lists have {file.k_max} neighbours" if reads_lists and k > file.k_max else ""
