"""Writing a dataset folder: records are checked one by one, stored as Arrow and renamed into place."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.data.attribution import Attribution, attribution_text
from zooalign.data.records import Record, checked
from zooalign.data.samples import AS_WRITTEN, KINDS, NORMALISED, SCHEMA, canonical_row, count
from zooalign.data.samples import ids_digest as digest_of_ids
from zooalign.errors import DatasetError
from zooalign.storage.atomic import replace_folder

if TYPE_CHECKING:
    from datasets import Features

# Rows per Arrow batch: bounds the memory of writing, and is part of the bytes on disk.
BATCH = 256


def write_samples(
    folder: Path,
    kind: str,
    records: Iterable[Record],
    *,
    name: str,
    description: str,
    attribution: Sequence[Attribution],
    options: Mapping[str, Any],
    family: str,
    version: int,
    packages: Mapping[str, str] | None = None,
) -> str:
    """Write a complete dataset folder; an older one of the same path is replaced at the end.

    Parameters
    ----------
    folder : pathlib.Path
        Folder to make; everything is staged in a hidden folder beside it first.
    kind : {"pairs", "labels", "texts", "questions"}
        What `records` are.
    records : iterable of Pair, Label, Text or Question
        In the order the samples shall have; consumed once, so it may be a generator.
    name, description : str
        Id of the dataset and one line for people.
    attribution : sequence of Attribution
        One for every source that occurs.
    options : mapping
        JSON-able options it was built with.
    family, version : str, int
        File of the family and its VERSION.
    packages : mapping, optional
        Versions of the packages the content was taken from.

    Returns
    -------
    str
        Content digest: SHA-256 over all fields of all samples in order.

    Raises
    ------
    DatasetError
        Names the dataset, row and sample: no records, a duplicate or empty id, an empty or undecodable
        caption or text, a corrupt image, a source without attribution. The old folder then stays as it was.
    """
    if kind not in KINDS:
        raise DatasetError(f"{name}: kind {kind!r} is none of {', '.join(KINDS)}.")
    staging = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(staging, ignore_errors=True)  # left behind by a build that was killed
    staging.mkdir(parents=True)
    try:
        summary = _write_arrow(staging, kind, records, name)
        text = attribution_text(name, description, attribution, summary["sources"])
        (staging / "ATTRIBUTION.md").write_text(text, encoding="utf-8")
        about = {
            "schema": SCHEMA,
            "name": name,
            "description": description,
            "family": family,
            "version": version,
            "kind": kind,
            "options": dict(options),
            "packages": dict(packages or {}),
            **summary,
        }
        (staging / "dataset.json").write_text(
            json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        replace_folder(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return about["digest"]


def _write_arrow(staging: Path, kind: str, records: Iterable[Record], name: str) -> dict[str, Any]:
    """Write `samples/` and return what dataset.json says about the content."""
    import pyarrow as pa

    features = _features(kind)
    stream = staging / "rows.arrow"
    content = hashlib.sha256(kind.encode())
    seen = _Seen()
    with pa.OSFile(str(stream), "wb") as sink, pa.ipc.new_stream(sink, features.arrow_schema) as writer:
        batch: list[dict[str, Any]] = []
        for row in checked(kind, records, name):
            content.update(canonical_row(row))
            seen.add(row)
            batch.append(row)
            if len(batch) == BATCH:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, features.arrow_schema))
                batch = []
        if batch:
            writer.write_batch(pa.RecordBatch.from_pylist(batch, features.arrow_schema))
    if not seen.ids:
        raise DatasetError(f"{name}: no samples; check the options and the source.")
    _save(stream, staging / "samples", features, content.hexdigest())
    stream.unlink()
    return {
        "n": len(seen.ids),
        "digest": content.hexdigest(),
        "ids_digest": digest_of_ids(seen.ids),
        "fields": list(features),
        "densities": seen.densities,
        "alternatives": seen.n_alternatives,
        "attributes": dict(sorted(seen.attributes.items())),
        "groups": count(seen.groups),
        "sources": count(seen.sources),
        "licences": count(seen.licences),
    }


class _Seen:
    """What is counted while rows go by."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.groups: list[str | None] = []
        self.sources: list[str] = []
        self.licences: list[str] = []
        self.densities: dict[str, int] = {}
        self.attributes: dict[str, int] = {}
        self.n_alternatives = 0

    def add(self, row: dict[str, Any]) -> None:
        """Count a stored row."""
        self.ids.append(row["id"])
        self.groups.append(row.get("group", row.get("label", row.get("task"))))
        self.sources.append(row["source"])
        self.licences.append(row["licence"])
        self.n_alternatives += len(row.get("alternatives", []))
        names = [NORMALISED, AS_WRITTEN] if "caption" in row else []
        for density in names + [entry["name"] for entry in row.get("texts", [])]:
            self.densities[density] = self.densities.get(density, 0) + 1
        for entry in row.get("attributes", []):
            self.attributes[entry["name"]] = self.attributes.get(entry["name"], 0) + 1


def _save(stream: Path, target: Path, features: Features, digest: str) -> None:
    """Save the rows as a Hugging Face dataset whose every byte is determined by the content."""
    import datasets
    from datasets.table import MemoryMappedTable

    bars = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        table = MemoryMappedTable.from_file(str(stream))
        # Without a fingerprint of our own, `datasets` draws a random one into state.json.
        dataset = datasets.Dataset(table, info=datasets.DatasetInfo(features=features), fingerprint=digest[:16])
        dataset.save_to_disk(str(target))
        del dataset, table
    finally:
        if not bars:
            datasets.enable_progress_bars()


def _features(kind: str) -> Features:
    from datasets import Features, Image, List, Value

    text = Value("string")
    named = List({"name": text, "value": text})
    fields: dict[str, Any] = {"id": text}
    if kind == "pairs":
        fields |= {
            "image": Image(),
            "caption": text,
            "caption_normalised": text,
            "texts": named,
            "group": text,
        }
        fields |= {"alternatives": List({"id": text, "caption": text, "image": Image()}), "attributes": named}
    elif kind == "labels":
        fields |= {"image": Image(), "label": text, "split": text}
    elif kind == "questions":
        fields |= {"task": text, "split": text, "document": text}
    else:
        fields |= {"text": text}
    return Features(fields | {"source": text, "licence": text})
