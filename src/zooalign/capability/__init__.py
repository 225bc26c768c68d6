"""Capabilities: how good a model is, one file per kind; this module runs one and records it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.capability._journal import Journal
from zooalign.config import CapabilityConfig, ExtractionConfig
from zooalign.discovery import room
from zooalign.folders import wait_until_visible
from zooalign.progress import Report
from zooalign.provenance import stamp, write_json
from zooalign.scratch import local_copy
from zooalign.zoo import ModelSpec

if TYPE_CHECKING:
    from zooalign.ownership import Owner


def measure_capability(
    spec: ModelSpec,
    capability: CapabilityConfig,
    dataset_folder: Path,
    source_folder: Path,
    path: Path,
    digest: str,
    settings: ExtractionConfig,
    report: Report,
    *,
    scratch: str | None = None,
    owner_timeout_s: float = 60.0,
) -> dict[str, Any]:
    """Measure one capability of one model and write its record, unless it is there.

    Parameters
    ----------
    spec : ModelSpec
        The model's row.
    capability : CapabilityConfig
        Kind, dataset and options.
    dataset_folder : Path
        The dataset it is measured on.
    source_folder : Path
        The model's prepared weights, or its FeatureStore, as the kind's NEEDS says.
    path : Path
        Record to write, results/capability/{capability}/{model}.json.
    digest : str
        Digest of what determines the value, recorded with it.
    settings : ExtractionConfig
        Device and threads.
    report : callable
        Takes lines for the log.
    scratch : str, optional
        Folder of this node that weights and dataset are copied to first; see `scratch.local_copy`.
    owner_timeout_s : float
        As in `ownership.own`: no other job writes the record in the meantime.

    Returns
    -------
    dict
        The record.

    Raises
    ------
    ZooalignError
        As the kind's `measure` says.
    OwnershipError
        If another process took the record over.
    """
    from zooalign.ownership import own

    marker = "zarr.json" if room("capability", capability.kind, "capability").NEEDS == "features" else "weights.json"
    wait_until_visible([dataset_folder / "dataset.json", source_folder / marker], report)
    there = _measured(path, capability, spec, digest)
    if there is None:
        with own(path, report, owner_timeout_s) as owner:
            there = _measured(path, capability, spec, digest)
            if there is None:
                dataset = local_copy(dataset_folder, scratch, report, owner_timeout_s)
                source = local_copy(source_folder, scratch, report, owner_timeout_s)
                return _measure(spec, capability, dataset, source, path, digest, settings, report, owner)
    report(f"already there: {path}")
    return there


def _measured(path: Path, capability: CapabilityConfig, spec: ModelSpec, digest: str) -> dict[str, Any] | None:
    """The record at a path if it is whole and of the same capability, model and digest."""
    from zooalign.capability._record import CapabilityRecord

    try:
        record = json.loads(path.read_bytes())
        CapabilityRecord(**record)
    except (OSError, ValueError, TypeError):
        return None
    same = [record["capability"], record["model"], record["digest"]] == [capability.id, spec.id, digest]
    return record if same else None


def _measure(
    spec: ModelSpec,
    capability: CapabilityConfig,
    dataset_folder: Path,
    source_folder: Path,
    path: Path,
    digest: str,
    settings: ExtractionConfig,
    report: Report,
    owner: Owner,
) -> dict[str, Any]:
    from zooalign.samples import open_samples

    module = room("capability", capability.kind, "capability")
    samples = open_samples(dataset_folder)
    options = module.Options(**capability.options)
    if module.NEEDS == "features":
        from zooalign.store import FeatureStore

        subject: Any = FeatureStore.open(source_folder)
    else:
        from zooalign.placement import place_model

        subject = place_model(spec, source_folder, settings)
    journal = Journal(path, digest, owner)
    further = {"journal": journal} if getattr(module, "KEEPS_JOURNAL", False) else {}
    measured = module.measure(subject, samples, options, report, **further)
    record = {**measured, "capability": capability.id, "model": spec.id, "digest": digest, "stamp": stamp()}
    owner.check()
    write_json(path, record)
    journal.remove()
    error = "" if record["standard_error"] is None else f" ± {record['standard_error']:.4f}"
    value = "not measurable" if record["value"] is None else f"{record['value']:.4f}{error} {record['unit']}"
    report(f"{capability.id} of {spec.id}: {value} (n = {record['n']})")
    return record
