"""What is refused: other samples, another order, another preparation, and rows that fit nothing that is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zooalign.config.imported import ImportedFile, imported_file
from zooalign.errors import ConfigError, ShareError
from zooalign.indexes.preparation import Preparation
from zooalign.progress import Report
from zooalign.provenance import file_sha256
from zooalign.sharing.shared_file import OfDataset, Shared, lists_made_with, read_shared

if TYPE_CHECKING:
    from zooalign.config.manifest import ModelSpec
    from zooalign.data.samples import Samples
    from zooalign.indexes.index import Index

# Neighbours, permutations and level of the test that rows correspond to those of stored models.
_K, _PERMUTATIONS, _ALPHA = 10, 199, 0.01


def order_of(path: Path, ids: Sequence[str], samples: Samples, *, reorder: bool = False) -> np.ndarray | None:
    """Where the samples of a dataset stand in a file.

    Parameters
    ----------
    path : Path
        For messages.
    ids : sequence of str
        Ids of the file's rows.
    samples : Samples
        The dataset.
    reorder : bool
        Whether another order is allowed.

    Returns
    -------
    ndarray of int64, shape (n,), or None
        Row of the file for every sample; None where both orders are the same.

    Raises
    ------
    ShareError
        If the file has other samples, or the same in another order and `reorder` is false.
    """
    wanted = samples.ids
    if list(ids) == wanted:
        return None
    rows = {name: row for row, name in enumerate(ids)}
    missing = [name for name in wanted if name not in rows]
    if missing or len(ids) != len(wanted):
        example = f"; it lacks {missing[0]!r}, for one" if missing else ""
        raise ShareError(
            f"{path}: its {len(ids)} rows are not the {len(wanted)} samples of dataset {samples.name!r}{example}. "
            "Name the dataset that it was made on with --dataset, or ask for an export on this one."
        )
    if not reorder:
        first = next(i for i, (one, other) in enumerate(zip(ids, wanted, strict=True)) if one != other)
        raise ShareError(
            f"{path}: its rows are in another order than the samples of dataset {samples.name!r} (row {first} is "
            f"{ids[first]!r}, not {wanted[first]!r}). Put them into the dataset's order with --reorder."
        )
    return np.array([rows[name] for name in wanted], np.int64)


def check_content(path: Path, made_on: OfDataset, samples: Samples) -> None:
    """Refuse a file that was made on a dataset of other content, whatever it is called.

    Raises
    ------
    ShareError
        Names the file, both digests and the remedy.
    """
    if made_on.digest != samples.digest:
        raise ShareError(
            f"{path}: made on dataset {made_on.name!r} of content {made_on.digest[:12]}, and {samples.name!r} here "
            f"has {samples.digest[:12]}. Build the dataset that it was made on, or ask for an export on this one."
        )


def check_lists(shared: Shared, preparation: Mapping[str, Any]) -> None:
    """Refuse neighbour lists that were found under other settings than the sweep's, or by another search.

    Raises
    ------
    ShareError
        Names the file, the setting and the remedy.
    """
    header, wanted = shared.header, Preparation(**preparation).settings()
    for key in sorted({*wanted, *header.preparation}):
        if (theirs := header.preparation.get(key)) != (ours := wanted.get(key)):
            raise ShareError(
                f"{shared.path}: its neighbours were found with {key} {theirs!r}, and the sweep has {ours!r}. Set "
                f"preparation.{key} in config.yaml, or ask for an export with the sweep's."
            )
    if header.made_with != (own := lists_made_with()):
        name = next(name for name in sorted({*own, *header.made_with}) if own.get(name) != header.made_with.get(name))
        raise ShareError(
            f"{shared.path}: its neighbours were found by another version of zooalign ({name} VERSION "
            f"{header.made_with.get(name)}, here {own.get(name)}). Ask for an export by this version."
        )


def imported_of(spec: ModelSpec, dataset_folder: Path, report: Report) -> tuple[Samples, ImportedFile]:
    """The dataset of a job, once it is visible, and the file that was imported for a model on it.

    Raises
    ------
    ConfigError
        If nothing was imported for the model on this dataset.
    DatasetError
        If the dataset is missing or damaged.
    """
    from zooalign.data.samples import open_samples
    from zooalign.storage.visibility import wait_until_visible

    wait_until_visible([dataset_folder / "dataset.json"], report)
    samples = open_samples(dataset_folder)
    file = imported_file(spec, samples.name)
    if file is None:
        raise ConfigError(f"model {spec.id!r}: nothing was imported for dataset {samples.name!r}.")
    return samples, file


def open_imported(file: ImportedFile, samples: Samples) -> Shared:
    """The file of an imported row, read and checked against the row and the dataset.

    Raises
    ------
    ShareError
        If it is not the one that was imported, or not of the dataset as it is now.
    """
    path = Path(file.path)
    if path.is_file() and file_sha256(path) != file.sha256:
        raise ShareError(f"{path}: changed since it was imported. Import it again with `zooalign import`.")
    shared = read_shared(path)
    check_content(path, shared.header.dataset, samples)
    order_of(path, shared.header.sample_ids, samples)
    return shared


def check_paired(path: Path, index: Index, stored: Mapping[str, Index], report: Report, *, force: bool) -> None:
    """Refuse rows without ids that correspond to no stored model: they were shuffled, or are of other samples.

    Parameters
    ----------
    path : Path
        For messages.
    index : Index
        Neighbour lists of what is imported, by row.
    stored : mapping of str to Index
        Every model that the sweep has indexed on the dataset.
    force : bool
        Report instead.

    Raises
    ------
    ShareError
        If the best score over all stored models and layer pairs is at chance, or nothing is stored.

    Notes
    -----
    The statistic is the best mutual_knn score over models and layer pairs. Its null takes the same maximum when the
    imported rows are permuted, the same permutation for all models, so that the search over models is in it.
    """
    problem = _unpaired(index, stored)
    if problem and not force:
        raise ShareError(
            f"{path}: has no sample ids, and {problem}. Save it with ids (an array or column `sample_ids`); where "
            "you know that its rows are the samples in the dataset's order, import it with --force."
        )
    report(f"{path}: taken without sample ids although {problem}" if problem else f"{path}: no sample ids; rows "
           f"correspond to those of {len(stored)} stored models")  # fmt: skip


def _unpaired(index: Index, stored: Mapping[str, Index]) -> str:
    """Why rows do not count as those of the samples; empty if they do."""
    from zooalign.alignment.inference import calibrate, permutation_null

    if not stored:
        return "no model of the dataset is stored to compare its rows with"
    k = min([_K, index.k_max, *(other.k_max for other in stored.values())])
    # The same seed draws the same permutations for every model.
    nulls = [permutation_null(other, index, "mutual_knn", k, permutations=_PERMUTATIONS) for other in stored.values()]
    best = max(null.observed for null in nulls)
    p_value = calibrate(best, np.max([null.null for null in nulls], axis=0), _ALPHA)[1]
    if p_value <= _ALPHA:
        return ""
    return (
        f"its rows agree with no stored model better than shuffled rows do (best mutual_knn@{k} {best:.3f}, p = "
        f"{p_value:.2g}): they were shuffled, or are of other samples"
    )
