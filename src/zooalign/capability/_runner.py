"""One capability of one model: measured once and recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zooalign.config.manifest import ModelSpec
from zooalign.config.schema import CapabilityConfig, ExtractionConfig
from zooalign.progress import Report
from zooalign.provenance import is_sealed, sealed, stamp
from zooalign.registry import plugin
from zooalign.storage.atomic import write_json
from zooalign.storage.journal import Journal
from zooalign.storage.lease import Lease, make_once
from zooalign.storage.scratch import local_copy
from zooalign.storage.visibility import wait_until_visible


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
    lease_timeout_s: float = 60.0,
    anew: bool = False,
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
    scratch : str, optional
        Folder of this node that weights and dataset are copied to first; see `scratch.local_copy`.
    lease_timeout_s : float
        As in `lease.hold_lease`: no other job writes the record in the meantime.
    anew : bool
        Make it although one of the same digest is there.

    Returns
    -------
    dict
        The record.

    Raises
    ------
    ZooalignError
        As the kind's `measure` says.
    LeaseError
        If another process took the record over.
    """
    needs = plugin("capability", capability.kind, "capability").NEEDS
    marker = "zarr.json" if needs == "features" else "weights.json"
    wait_until_visible([dataset_folder / "dataset.json", source_folder / marker], report)

    def measure(lease: Lease) -> dict[str, Any]:
        dataset, source = (local_copy(f, scratch, report, lease_timeout_s) for f in (dataset_folder, source_folder))
        return _measure(spec, capability, dataset, source, path, digest, settings, report, lease)

    return make_once(
        path, lambda: measured(path, capability, spec, digest), measure, report, lease_timeout_s, anew=anew
    )


def measured(path: Path, capability: CapabilityConfig, spec: ModelSpec, digest: str) -> dict[str, Any] | None:
    """The record at a path if it is whole and of the same capability, model and digest."""
    from zooalign.capability._record import CapabilityRecord

    try:
        record = json.loads(path.read_bytes())
        CapabilityRecord(**record)
    except (OSError, ValueError, TypeError):
        return None
    same = [record["capability"], record["model"], record["digest"]] == [capability.id, spec.id, digest]
    return record if same and is_sealed(record) else None


def _measure(
    spec: ModelSpec,
    capability: CapabilityConfig,
    dataset_folder: Path,
    source_folder: Path,
    path: Path,
    digest: str,
    settings: ExtractionConfig,
    report: Report,
    lease: Lease,
) -> dict[str, Any]:
    from zooalign.data.samples import open_samples

    module = plugin("capability", capability.kind, "capability")
    samples = open_samples(dataset_folder)
    options = module.Options(**capability.options)
    if module.NEEDS == "features":
        from zooalign.features.store import FeatureStore

        subject: Any = FeatureStore.open(source_folder)
    else:
        from zooalign.features.device import place_model

        subject = place_model(spec, source_folder, settings)
    journal = Journal(path, digest, lease)
    further = {"journal": journal} if getattr(module, "KEEPS_JOURNAL", False) else {}
    values = module.measure(subject, samples, options, report, **further)
    record = sealed({**values, "capability": capability.id, "model": spec.id, "digest": digest, "stamp": stamp()})
    lease.check()
    write_json(path, record)
    journal.remove()
    error = "" if record["standard_error"] is None else f" ± {record['standard_error']:.4f}"
    value = "not measurable" if record["value"] is None else f"{record['value']:.4f}{error} {record['unit']}"
    report(f"{capability.id} of {spec.id}: {value} (n = {record['n']})")
    return record
