"""What is in the report: models, answer, settings and everything small enough to be read at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from zooalign import metrics
from zooalign.report.packing import number
from zooalign.report.scores import layer_names, means
from zooalign.results.artefacts import artefacts
from zooalign.results.populations import populations
from zooalign.results.sensitivity import NO_CELLS, sensitivities

if TYPE_CHECKING:
    from zooalign.config.manifest import ModelSpec
    from zooalign.results.findings import Findings
    from zooalign.results.publishing import Header

VERSION = 1  # part of the digest of what this module determines

ERRATA = Path(__file__).parent / "errata.yaml"
# The keys of a row that need no line of their own on a model's page.
_NOT_SHOWN = ("id", "features_per_sample", "gflops", "architecture")


def document(findings: Findings, header: Header, tables: Mapping[str, Path]) -> dict[str, Any]:
    """Everything that the page shows but scores of pairs, layer maps, samples and the tables themselves.

    Parameters
    ----------
    findings : Findings
        What the sweep found.
    header : Header
        Answer and settings, as above every table.
    tables : mapping of str to Path
        Tables that were made, without suffix, by name.
    """
    config = findings.sweep.config
    return {
        "answers": list(header.answers),
        "settings": dict(header.settings),
        "headline": {
            "metric": findings.metric,
            "k": findings.k,
            "label": metrics.label(findings.metric, findings.k or None),
            "quantity": metrics.quantity(findings.metric, findings.k),
            "capability": config.headline.capability,
        },
        "datasets": [_dataset(findings, name) for name in findings.sweep.datasets()],
        "models": [_model(spec) for spec in findings.sweep.models],
        "capabilities": _capabilities(findings),
        "values": _values(findings),
        "layers": layer_names(findings),
        "means": list(means(findings)),
        "populations": [{"name": name, "models": ids} for name, ids in populations(findings.sweep.models)],
        "trends": _trends(tables.get("populations")),
        "sensitivity": _sensitivity(findings),
        "no_sensitivity": NO_CELLS,
        "provenance": [_without_empty(one._asdict()) for one in artefacts(findings)],
        "missing": [f"{rule} {item}: {why}" for rule, items in findings.sweep.failures.items()
                    for item, why in items.items()],
        "config": config.model_dump(mode="json", exclude={"failures"}),
        "errata": yaml.safe_load(ERRATA.read_text(encoding="utf-8")),
    }  # fmt: skip


def _dataset(findings: Findings, name: str) -> dict[str, Any]:
    spec = findings.sweep.catalogue.get(name)  # rows may be read without the files that describe datasets
    return {
        "id": name,
        "description": spec.description if spec else "",
        "comparisons": list(findings.sweep.comparisons(name)),
    }


def _model(spec: ModelSpec) -> dict[str, Any]:
    """A row of the zoo: what the charts group by, and all its keys for its page."""
    row = spec.model_dump(mode="json", exclude_none=True, exclude=set(_NOT_SHOWN))
    return {
        "id": spec.id,
        "modality": spec.modality,
        "family": spec.family,
        "objective": spec.objective,
        "control": spec.control,
        "imported": spec.imported,
        "intervention": str(spec.intervention or ""),
        "parameters": spec.parameters,
        "released": spec.released,
        "row": row,
    }


def _capabilities(findings: Findings) -> list[dict[str, Any]]:
    frame = findings.capability
    first = frame.drop_duplicates("capability")
    return [
        {"id": name, "unit": unit, "higher_is_better": bool(up)}
        for name, unit, up in zip(first["capability"], first["unit"], first["higher_is_better"], strict=True)
    ]


def _values(findings: Findings) -> list[dict[str, Any]]:
    sources = findings.sources
    return [
        {
            "capability": row["capability"],
            "model": row["model"],
            "value": number(row["value"]),
            "standard_error": number(row["standard_error"]),
            "n": number(row["n"]),
            "reason": row["reason"],
            "source": sources.get((row["capability"], row["model"]), ""),
        }
        for row in findings.capability.to_dict(orient="records")
    ]


def _trends(table: Path | None) -> list[dict[str, Any]]:
    """Answers by population, from the table that has them; none where the sweep does not make it."""
    if table is None:
        return []
    import pandas as pd

    frame = pd.read_parquet(f"{table}.parquet")
    said = ("dataset", "capability", "modality", "population", "partners", "answer")
    counted = ("n", "families", "spearman", "low", "high")
    return [
        {**{name: row[name] for name in said}, **{name: number(row[name]) for name in counted}}
        for row in frame.to_dict(orient="records")
    ]


def _sensitivity(findings: Findings) -> list[dict[str, Any]]:
    def places(found: Sequence[Any]) -> list[list[Any]]:
        return [[place.model, number(place.mean), place.rank] for place in found]

    return [
        {
            "dataset": one.dataset,
            "modality": one.modality,
            "sentence": one.sentence,
            "default": places(one.default),
            "cells": [
                {"title": c.cell.title, "same_as": c.cell.same_as, "tau": number(c.tau), "n": c.n,
                 "places": places(c.places)}
                for c in one.cells
            ],
        }
        for one in sensitivities(findings)
    ]  # fmt: skip


def _without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in ("", None)}
