"""Neighbour lists of a model: out of its index into a file, and from such a file into an index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zooalign.config.identity import imported_digest, index_digest
from zooalign.errors import ConfigError, ShareError
from zooalign.indexes.index import Index
from zooalign.progress import Report
from zooalign.provenance import package_versions, sealed, stamp
from zooalign.sharing.checks import check_lists, imported_of, open_imported
from zooalign.sharing.shared_file import Shared, row_of, write_shared

if TYPE_CHECKING:
    from zooalign.config.manifest import ModelSpec
    from zooalign.storage.lease import Lease

_LISTS = ("neighbors", "tie_counts", "constant")
_SIMILARITIES = ("similarities", "centred_similarities")


def export_lists(
    index: Index,
    spec: ModelSpec,
    path: Path,
    *,
    k_max: int | None = None,
    similarities: bool = False,
    provenance: dict[str, Any] | None = None,
) -> None:
    """Write the neighbour lists of an index to a file that needs neither weights nor features.

    Parameters
    ----------
    index : Index
        Of one model on one dataset, as the sweep stores it.
    spec : ModelSpec
        The model's row.
    path : Path
        File to write, .safetensors.
    k_max : int, optional
        Shorten lists to this many neighbours; default all of them.
    similarities : bool
        Add the similarities of these neighbours, for cknna.
    provenance : dict, optional
        Of the weights.

    Raises
    ------
    ShareError
        If the index has no neighbour lists, or no similarities where these are asked for.
    ConfigError
        If k_max is not between 1 and the length of the lists.
    """
    further = [name for name in _SIMILARITIES if name in index.holds] if similarities else []
    if "neighbors" not in index.holds or (similarities and not further):
        lacking = (
            "similarities (no metric of the sweep needs them)" if "neighbors" in index.holds else "neighbour lists"
        )
        raise ShareError(f"the index of {spec.id} has no {lacking}: add a metric that reads them, and run the sweep.")
    length = index.k_max if k_max is None else k_max
    if not 1 <= length <= index.k_max:
        raise ConfigError(
            f"--k-max is {length}: the lists of {spec.id} have {index.k_max} neighbours; give 1 to that."
        )
    write_shared(
        path,
        {name: index.array(name) if name == "constant" else index.array(name)[..., :length]
         for name in (*_LISTS, *further)},
        holds=["neighbors", *further],
        dataset={key: index.attributes["dataset"][key] for key in ("name", "digest")},
        sample_ids=index.sample_ids,
        layer_names=index.layer_names,
        model=row_of(spec),
        preparation=index.preparation,
        provenance=provenance,
    )  # fmt: skip


def reordered(shared: Shared, order: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays of lists whose samples stand in another order.

    Parameters
    ----------
    shared : Shared
        Neighbour lists.
    order : ndarray of int64, shape (n,)
        Row of the file for every sample.

    Returns
    -------
    dict of str to ndarray
        As `Shared.arrays`: rows are moved, and neighbours are called by their new rows.
    """
    place = np.argsort(order)  # (n,): new row of every old one
    arrays = {name: values[:, order] if values.ndim == 3 else values for name, values in shared.arrays.items()}
    return {**arrays, "neighbors": place[arrays["neighbors"]].astype(arrays["neighbors"].dtype)}


def as_index(shared: Shared, attributes: dict[str, Any] | None = None) -> Index:
    """The index that lists are part of; it has nothing but them."""
    header = shared.header
    ids, names = list(header.sample_ids), list(header.layer_names)
    return Index(shared.arrays, ids, names, header.preparation, str(header.model.get("id")), attributes)


def index_lists(
    spec: ModelSpec,
    dataset_folder: Path,
    path: Path,
    preparation: dict[str, Any],
    k_max: int,
    needs: Sequence[str],
    report: Report,
    *,
    lease_timeout_s: float = 60.0,
    anew: bool = False,
) -> None:
    """Store the index of imported neighbour lists, unless it is there.

    Parameters
    ----------
    spec : ModelSpec
        An imported row.
    dataset_folder : Path
        The dataset that the lists must be of.
    path : Path
        Where the index goes; replaced in one step.
    preparation, k_max, needs
        What the sweep asks of the index, see `indexes.from_features.index_features`.
    lease_timeout_s, anew
        As there.

    Raises
    ------
    ShareError
        If the file is missing, damaged, of other samples, or of another preparation.
    """
    from zooalign.indexes.from_features import covers
    from zooalign.storage.lease import make_once

    samples, file = imported_of(spec, dataset_folder, report)
    wanted = index_digest(imported_digest(file.sha256, samples.digest), preparation)

    def build(lease: Lease) -> bool:
        shared = open_imported(file, samples)
        check_lists(shared, preparation)
        attributes = {
            "digest": wanted,
            "model": spec.id,
            "dataset": {"name": samples.name, "digest": samples.digest},
            "imported": {"sha256": file.sha256, **shared.header.provenance},
            "k_max": k_max,
            "versions": package_versions(("zooalign", "numpy", "zarr", "safetensors")),
            "stamp": stamp(),
        }
        index = as_index(shared)
        index.save(path, sealed(attributes), lease)
        report(
            f"imported lists: {index.n_layers} layers of {index.n} samples, {index.k_max} neighbours; wrote {path}"
        )
        return True

    make_once(path, lambda: covers(path, wanted, k_max, needs) or None, build, report, lease_timeout_s, anew=anew)
