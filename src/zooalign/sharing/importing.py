"""From a file to a row of the zoo: everything is checked first, then the file is copied and the row written."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from zooalign.config.imported import ImportedFiles
from zooalign.config.manifest import ModelSpec, read_models
from zooalign.config.reading import parse, read_yaml
from zooalign.errors import ConfigError, ShareError, unknown
from zooalign.progress import Report
from zooalign.provenance import file_sha256
from zooalign.sharing.checks import check_content, check_lists, check_paired, order_of
from zooalign.sharing.lists import reordered
from zooalign.sharing.reading import Found, read_features
from zooalign.sharing.shared_file import Header, OfDataset, Shared, is_shared, read_shared, write_shared
from zooalign.storage.atomic import replacing, write_text
from zooalign.zoo.add import append

if TYPE_CHECKING:
    import numpy as np

    from zooalign.data.samples import Samples
    from zooalign.indexes.index import Index

# Keys of a row that an import may state or replace.
STATED = ("modality", "family", "objective", "licence", "parameters", "pooling")
# Rows without these are completed so; parameters serve estimates only.
_DEFAULTS = {"pooling": "mean", "parameters": 1}


@dataclass(frozen=True)
class Target:
    """The sweep that results are imported into.

    Attributes
    ----------
    samples : Samples
        The dataset, as it is built.
    preparation : dict
        Settings of the sweep's own indexes.
    zoo : Path
        Zoo file that the row is written to; files go into `imported/` beside it.
    models : tuple of str
        Ids of all models of the sweep's zoo files.
    stored : dict of str to Index
        Indexes of the dataset that the sweep has.
    """

    samples: Samples
    preparation: Mapping[str, Any]
    zoo: Path
    models: tuple[str, ...]
    stored: Mapping[str, Index]


def dataset_of(path: Path) -> str | None:
    """Id of the dataset that a file says it is of; None where it does not say.

    Raises
    ------
    ShareError
        If the file cannot be read.
    """
    found = read_shared(path).header.dataset if is_shared(path) else _of_dataset(path, read_features(path))
    return None if found is None else found.name


def import_results(
    path: Path,
    target: Target,
    report: Report,
    *,
    model_id: str | None = None,
    stated: Mapping[str, Any] | None = None,
    reorder: bool = False,
    force: bool = False,
) -> ModelSpec:
    """Take neighbour lists or features of a model into a sweep.

    Parameters
    ----------
    path : Path
        A file of `zooalign export`, or features as :func:`reading.read_features` takes them.
    target : Target
        Where they go.
    model_id : str, optional
        Id of the row; default that of the exporter.
    stated : dict, optional
        Keys of the row (`STATED`), for features of other tools.
    reorder : bool
        Whether rows may be put into the dataset's order, by their ids.
    force : bool
        Whether rows without ids are taken although they correspond to no stored model.

    Returns
    -------
    ModelSpec
        The row, as it was written.

    Raises
    ------
    ShareError
        If the file is damaged, foreign, shuffled, or of other samples or settings.
    ConfigError
        If the row lacks a key, or its id is taken.
    """
    shared = read_shared(path) if is_shared(path) else _as_shared(path, target, report, force=force)
    samples = target.samples
    check_content(path, shared.header.dataset, samples)
    if "neighbors" in shared.header.holds:
        check_lists(shared, target.preparation)
    order = order_of(path, shared.header.sample_ids, samples, reorder=reorder)
    given = {key: value for key, value in (stated or {}).items() if value is not None}
    row = {**_DEFAULTS, **shared.header.model, **given, "source": "imported"}
    row["id"] = model_id or row.get("id")
    row |= {"layers": len(shared.header.layer_names), **_widths(shared), **_hash(shared)}
    copied = f"imported/{samples.name}/{row['id']}.safetensors"
    holds, k_max = list(shared.header.holds), shared.arrays["neighbors"].shape[2] if _is_lists(shared) else None
    entry = {"path": copied, "sha256": "0" * 64, "holds": holds, **({} if k_max is None else {"k_max": k_max})}
    row["options"] = {"files": {samples.name: entry}}
    # Before anything is written: the id becomes part of a path.
    _check_row(row, path)
    known = _known(row, target)
    _write_file(shared, path, order, samples, target.zoo.parent / copied)
    entry["sha256"] = file_sha256(target.zoo.parent / copied)
    _write_row(row, known, target.zoo)
    report(f"{path}: {' and '.join(holds)} of {len(samples)} samples, {len(shared.header.layer_names)} layers")
    return next(spec for spec in read_models(target.zoo) if spec.id == row["id"])


def _is_lists(shared: Shared) -> bool:
    return "neighbors" in shared.header.holds


def _as_shared(path: Path, target: Target, report: Report, *, force: bool) -> Shared:
    """Features of whatever file, as if they had been exported; rows without ids are held against stored models."""
    found, samples = read_features(path), target.samples
    made_on = _of_dataset(path, found)
    if made_on is not None:
        check_content(path, made_on, samples)
    rows = len(next(iter(found.layers.values())))
    if found.ids is None:
        if rows != len(samples):
            raise ShareError(
                f"{path}: has {rows} rows, and dataset {samples.name!r} has {len(samples)} samples. Name the dataset "
                "that it was made on with --dataset."
            )
        check_paired(path, _lists_of(found, target), target.stored, report, force=force)
    model = found.about.get("model")
    provenance = found.about.get("provenance")
    header = Header.model_construct(
        holds=("features",),
        dataset=OfDataset(name=samples.name, digest=samples.digest),
        sample_ids=tuple(samples.ids if found.ids is None else found.ids),
        layer_names=tuple(found.layers),
        model={key: value for key, value in model.items() if key in _FROM_STORE} if isinstance(model, dict) else {},
        provenance=provenance if isinstance(provenance, dict) else {"from": path.name},
    )
    return Shared(path, header, {f"layer_{i}": layer for i, layer in enumerate(found.layers.values())})


# A feature store keeps the whole row, of which source and options are the exporter's.
_FROM_STORE = frozenset(ModelSpec.model_fields) - {
    "source", "options", "weights_sha256", "terms", "requires", "slot", "gated", "variant_of", "intervention",
    "architecture",
}  # fmt: skip


def _of_dataset(path: Path, found: Found) -> OfDataset | None:
    made_on = found.about.get("dataset")
    if made_on is None:
        return None
    try:
        return OfDataset.model_validate(made_on)
    except ValidationError as error:
        raise ShareError(f"{path}: damaged: what it says of its dataset cannot be read. Export it again.") from error


def _lists_of(found: Found, target: Target) -> Index:
    """Lists of ten neighbours of features that have no ids."""
    from zooalign.indexes.build import build_index
    from zooalign.indexes.preparation import Preparation

    return build_index(
        list(found.layers.values()), Preparation(**target.preparation), k_max=10, sample_ids=target.samples.ids
    )


def _widths(shared: Shared) -> dict[str, Any]:
    """Widths and type of features, for estimates; those of lists are the exporter's to say."""
    if _is_lists(shared):
        return {}
    widths = [layer.shape[1] for layer in shared.layers]
    return {"width": widths[-1], "features_per_sample": sum(widths), "storage_dtype": str(shared.layers[0].dtype)}


def _hash(shared: Shared) -> dict[str, str]:
    """SHA-256 of the exporter's weights, where it is known."""
    known = shared.header.provenance.get("weights_sha256")
    return {"weights_sha256": known} if isinstance(known, str) else {}


def _check_row(row: dict[str, Any], path: Path) -> None:
    lacking = [key for key in ("id", *STATED) if row.get(key) is None]
    if lacking:
        named = ", ".join(f"--{key}" for key in lacking)
        raise ConfigError(f"{path}: does not say which model it is of: give {named}.")
    for key, value in row.items():
        # They are shown in tables and terminals.
        if isinstance(value, str) and not (len(value) <= 1000 and value.replace("\n", " ").isprintable()):
            raise ShareError(f"{path}: what it says of its model is no plain text ({key}): ask for the file again.")
    parse(ModelSpec, row, f"{path}, model {row['id']!r}")
    parse(ImportedFiles, row["options"], f"{path}, model {row['id']!r}")


def _known(row: dict[str, Any], target: Target) -> bool:
    """Whether the zoo file has the row for other datasets already; refuse an id that another model has."""
    own = {spec.id: spec for spec in read_models(target.zoo)} if target.zoo.exists() else {}
    spec = own.get(row["id"])
    if spec is None:
        if row["id"].lower() in {name.lower() for name in [*target.models, *own]}:
            raise ConfigError(f"model {row['id']!r}: the zoo has a model of that id; give another one with --id.")
        return False
    if not spec.imported or (spec.modality, spec.family) != (row["modality"], row["family"]):
        raise ConfigError(f"{target.zoo}: model {row['id']!r} is another one; give another id with --id.")
    return True


def _write_file(shared: Shared, path: Path, order: np.ndarray | None, samples: Samples, copy: Path) -> None:
    """The file beside the zoo file: byte by byte what was exported, unless it must be changed."""
    header = shared.header
    if order is None and is_shared(path):
        with replacing(copy) as staged:
            shutil.copyfile(path, staged)
        return
    arrays = shared.arrays
    if order is not None:
        arrays = reordered(shared, order) if _is_lists(shared) else {n: a[order] for n, a in arrays.items()}
    write_shared(
        copy, arrays, holds=header.holds, dataset={"name": samples.name, "digest": samples.digest},
        sample_ids=samples.ids, layer_names=header.layer_names, model=header.model,
        preparation=header.preparation if _is_lists(shared) else None, provenance=header.provenance,
    )  # fmt: skip


def _write_row(row: dict[str, Any], known: bool, zoo: Path) -> None:
    """Append the row, or add a dataset to the one that is there."""
    if not known:
        zoo.parent.mkdir(parents=True, exist_ok=True)
        append(row, zoo)
        return
    content = read_yaml(zoo)
    for one in content["models"]:
        if one["id"] == row["id"]:
            one["options"]["files"].update(row["options"]["files"])
    write_text(zoo, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110))


def check_dataset(name: str | None, path: Path, datasets: tuple[str, ...]) -> str:
    """The dataset that results are imported for.

    Raises
    ------
    ConfigError
        If none is named, or the sweep compares no models on it.
    """
    if name is None:
        raise ConfigError(f"{path}: does not say which dataset it is of: give --dataset.")
    if name not in datasets:
        reason = unknown("dataset of the sweep", name, datasets)
        raise ConfigError(f"{path}: {reason} Add it to datasets in config.yaml, or give --dataset.")
    return name
