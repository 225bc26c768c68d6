"""Capabilities: how good a model is, one file per kind; this module runs one and records it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zooalign.config import CapabilityConfig, ExtractionConfig
from zooalign.discovery import room
from zooalign.progress import Report
from zooalign.provenance import stamp, write_json
from zooalign.zoo import ModelSpec


def measure_capability(
    spec: ModelSpec,
    capability: CapabilityConfig,
    dataset_folder: Path,
    source_folder: Path,
    path: Path,
    digest: str,
    settings: ExtractionConfig,
    report: Report,
) -> dict[str, Any]:
    """Measure one capability of one model and write its record.

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

    Returns
    -------
    dict
        The record.

    Raises
    ------
    ZooalignError
        As the kind's `measure` says.
    """
    from zooalign.samples import open_samples

    module = room("capability", capability.kind, "capability")
    samples = open_samples(dataset_folder)
    options = module.Options(**capability.options)
    if module.NEEDS == "features":
        from zooalign.store import FeatureStore

        subject: Any = FeatureStore.open(source_folder)
    else:
        from zooalign.extraction import place_model

        subject = place_model(spec, source_folder, settings)
    measured = module.measure(subject, samples, options, report)
    record = {**measured, "capability": capability.id, "model": spec.id, "digest": digest, "stamp": stamp()}
    write_json(path, record)
    error = "" if record["standard_error"] is None else f" ± {record['standard_error']:.4f}"
    value = "not measurable" if record["value"] is None else f"{record['value']:.4f}{error} {record['unit']}"
    report(f"{capability.id} of {spec.id}: {value} (n = {record['n']})")
    return record
