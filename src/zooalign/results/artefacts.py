"""What made every artefact of a sweep, what it cost, and how large it is; whatever cannot be read is left empty."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from zooalign.provenance import object_in, read_object

if TYPE_CHECKING:
    from zooalign.config.manifest import ModelSpec
    from zooalign.results.findings import Findings

VERSION = 1  # part of the digest of what this module determines


class Artefact(NamedTuple):
    """An item of the workflow as its files tell of it; text is empty and a number None where they do not.

    Attributes
    ----------
    rule : str
        Rule that makes it.
    dataset, capability, model : str
        What it is of.
    seconds, cpu_s : float or None
        Time of its last job as Snakemake measured it: wall clock, and of all CPUs.
    peak_mem_mb : float or None
        Largest resident memory of that job, MB.
    n_bytes : int or None
        Size of the artefact on disk.
    versions, host, time : str
        Libraries that made it; on which machine, and when (UTC).
    digest, sha256, revision, licence : str
        What it was made for; the published weight file, its commit, and licence of weights or samples.
    """

    rule: str
    dataset: str = ""
    capability: str = ""
    model: str = ""
    seconds: float | None = None
    cpu_s: float | None = None
    peak_mem_mb: float | None = None
    n_bytes: int | None = None
    versions: str = ""
    host: str = ""
    time: str = ""
    digest: str = ""
    sha256: str = ""
    revision: str = ""
    licence: str = ""


def artefacts(findings: Findings) -> list[Artefact]:
    """Every artefact that is on disk, by rule in the order of the workflow, then by dataset or capability and model."""
    return [*_datasets(findings), *_weights(findings), *_stores(findings), *_rows(findings), *_capabilities(findings)]


def _datasets(findings: Findings) -> Iterator[Artefact]:
    for dataset in findings.sweep.datasets_read():
        folder = findings.layout.dataset(dataset)
        if folder.is_dir():
            record = _object(folder / "dataset.json")
            yield Artefact(
                "build_dataset",
                dataset,
                **_cost(findings, folder, "build_dataset", dataset),
                versions=_joined(object_in(record, "packages")),
                digest=_text(record, "digest"),
                licence=", ".join(map(str, object_in(record, "licences"))),
            )


def _weights(findings: Findings) -> Iterator[Artefact]:
    for model, spec in findings.sweep.weights.items():
        folder = findings.layout.weights(model)
        if folder.is_dir():
            record = _object(folder / "weights.json")
            commit = _object(folder.with_name(f"{model}.revision.json")) or object_in(record, "options")
            yield Artefact(
                "fetch_weights",
                model=model,
                **_cost(findings, folder, "fetch_weights", model),
                **_made(record),
                sha256=_text(record, "sha256"),
                revision=_text(commit, "revision"),
                licence=spec.licence,
            )


def _stores(findings: Findings) -> Iterator[Artefact]:
    layout = findings.layout
    for rule, place in (("extract_features", layout.features), ("index_features", layout.index)):
        for dataset in findings.sweep.datasets_read():
            for spec in findings.sweep.models:
                folder = place(dataset, spec.id)
                if folder.is_dir():
                    record = object_in(_object(folder / "zarr.json"), "attributes")
                    # Of an index, what describes its making is one level deeper.
                    record = {**record, **object_in(record, "attributes")}
                    cost = _cost(findings, folder, rule, dataset, spec.id)
                    yield Artefact(rule, dataset, model=spec.id, **cost, **{**_made(record), **_imported(spec, record)})


def _imported(spec: ModelSpec, record: dict[str, Any]) -> dict[str, str]:
    """What the exporter's libraries were, and which file was imported; nothing for other models."""
    made = object_in(record, "imported")
    if not made:
        return {}
    versions = _joined(object_in(made, "versions")) or "unknown versions"
    return {"versions": f"imported, made with {versions}", "sha256": _text(made, "sha256"), "licence": spec.licence}


def _rows(findings: Findings) -> Iterator[Artefact]:
    for rule, paths in (("align_row", findings.row_paths), ("infer_row", findings.inference_paths)):
        for path in sorted(paths):
            dataset, model = path.parent.name, path.stem
            receipt = _object(path.with_name(f"{model}.receipt.json"))
            cost = _cost(findings, path, rule, dataset, model)
            yield Artefact(rule, dataset, model=model, **cost, **_made(receipt))


def _capabilities(findings: Findings) -> Iterator[Artefact]:
    for path in sorted(findings.capability_paths):
        capability, model = path.parent.name, path.stem
        cost = _cost(findings, path, "measure_capability", capability, model)
        yield Artefact("measure_capability", capability=capability, model=model, **cost, **_made(_object(path)))


def _object(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except (OSError, ValueError):
        return {}


def _text(record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    return value if isinstance(value, str) else ""


def _joined(versions: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))


def _made(record: dict[str, Any]) -> dict[str, Any]:
    """Versions, host, time and digest of a record that has them."""
    made = object_in(record, "stamp")
    versions = _joined(object_in(record, "versions"))
    return {"versions": versions, "host": _text(made, "host"), "time": _text(made, "time"),
            "digest": _text(record, "digest")}  # fmt: skip


def _cost(findings: Findings, artefact: Path, rule: str, *parts: str) -> dict[str, Any]:
    """Time and memory of the last job, from Snakemake's benchmark file, and bytes on disk."""
    used = _benchmark(findings.layout.benchmark(rule, *parts))
    columns = {"seconds": "s", "cpu_s": "cpu_time", "peak_mem_mb": "max_rss"}
    return {**{name: _number(used.get(column)) for name, column in columns.items()}, "n_bytes": _size(artefact)}


def _benchmark(path: Path) -> dict[str, str]:
    try:
        with open(path, encoding="utf-8", errors="replace", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, csv.Error):
        return {}
    return rows[-1] if rows else {}


def _number(text: str | None) -> float | None:
    """A number of a benchmark file, which has "-" or "NA" where nothing was measured."""
    import math

    try:
        value = float(text or "")
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _size(path: Path) -> int | None:
    """Bytes of a file, or of all files in a folder; None if it is gone."""
    try:
        if path.is_dir():
            return sum(os.lstat(os.path.join(top, name)).st_size for top, _, files in os.walk(path) for name in files)
        return path.stat().st_size
    except OSError:
        return None
