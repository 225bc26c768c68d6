"""What is done, what is missing and what is stale, with the reason, before anything runs."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from zooalign.alignment import Pair, pair_digest
from zooalign.config import Sweep
from zooalign.dag import Dag, Item
from zooalign.discovery import room
from zooalign.errors import StoreError
from zooalign.failures import last_attempt, reason
from zooalign.layout import Layout
from zooalign.owner_records import is_dead
from zooalign.ownership import Owner

# What an artefact of a rule is called.
KINDS = {
    "build_dataset": "dataset",
    "fetch_weights": "weights",
    "extract_features": "features",
    "index_features": "index",
    "align_row": "row",
    "measure_capability": "capability",
    "make_tables": "results",
    "make_figures": "results",
}


@dataclass(frozen=True)
class State:
    """State of one artefact.

    Attributes
    ----------
    kind : str
        "dataset", "weights", "features", "index", "capability", "row", "pair" or "results".
    name : str
        What it is: "minilm_l6 on emoji", "a x b on emoji, mutual_knn@10".
    state : str
        "done", "running", "failed", "partial", "stale" or "missing".
    reason : str
        Why it is not done, or how far it is; empty when it is done.
    log : str
        Log of the last attempt, if it runs or failed.
    """

    kind: str
    name: str
    state: str
    reason: str = ""
    log: str = ""


STATES = ("done", "running", "failed", "partial", "stale", "missing")


class Status:
    """Compares what is on disk with what the configuration asks for; reads attributes only, never features.

    Parameters
    ----------
    sweep : Sweep
        The checked configuration.
    layout : Layout
        Where artefacts lie. Can be read at any time, also while a sweep runs.
    """

    def __init__(self, sweep: Sweep, layout: Layout) -> None:
        self.sweep, self.layout, self.dag = sweep, layout, Dag(sweep, layout)
        self.features_state = cache(self._features_state)
        self.index_state = cache(self._index_state)

    def artefacts(self) -> list[State]:
        """Every artefact of the sweep: datasets, weights, features, indexes, capabilities, rows at work, pairs."""
        found = []
        for rule in ("build_dataset", "fetch_weights", "extract_features", "index_features", "measure_capability"):
            found += [self.item_state(item) for item in self.dag.items(rule)]
        # A row is a file of pairs, and pairs are counted below; here only what happens to it.
        rows = [self.item_state(item) for item in self.dag.items("align_row")]
        found += [s for s in rows if s.state in ("running", "failed")]
        found += self.pairs()
        return found + [
            self.item_state(item) for rule in ("make_tables", "make_figures") for item in self.dag.items(rule)
        ]

    def item_state(self, item: Item) -> State:
        """State of one item: what is on disk, then who is at work on it or how the last attempt ended."""
        found = self._on_disk(item)
        if found.state == "done" and self.dag.is_done(item):
            return found
        log = self.layout.log(item.rule, *(item.parts or (item.name,)))
        owner = next((o for p in self.dag.outputs(item.rule, item.parts) if (o := current_owner(p))), None)
        attempt = last_attempt(log)
        if owner is not None:
            lines = [line for line in attempt.splitlines()[1:] if line.strip()]
            return State(found.kind, found.name, "running", f"{owner}: {lines[-1] if lines else 'started'}", str(log))
        if found.state == "done":
            return State(found.kind, found.name, "partial", "made, but not noted as done; the next run looks")
        if "ERROR: " in attempt:
            return State(found.kind, found.name, "failed", reason(self.layout, item, with_log=False), str(log))
        return found

    def _on_disk(self, item: Item) -> State:
        if item.rule == "build_dataset":
            return self._dataset(*item.parts)
        if item.rule == "fetch_weights":
            return self._weights(*item.parts)
        if item.rule == "extract_features":
            return self.features_state(*item.parts)
        if item.rule == "index_features":
            return self.index_state(*item.parts)
        if item.rule == "measure_capability":
            return self._capability(*item.parts)
        if item.rule == "align_row":
            dataset, model = item.parts
            return State("row", f"{model} on {dataset}", "done" if self.dag.is_done(item) else "missing")
        return self._results(item)

    def _results(self, item: Item) -> State:
        if self.dag.is_done(item):
            return State("results", item.name, "done")
        made = all(path.exists() for path in self.dag.artefacts(item.rule, item.parts))
        reason = "scores, capabilities or models changed since they were made" if made else "never made"
        return State("results", item.name, "stale" if made else "missing", reason)

    def pairs(self) -> list[State]:
        """Every (pair, metric, k) of the sweep."""
        return [
            self._pair(dataset, pair, metric, lines)
            for dataset in self.sweep.datasets()
            for lines in [self._lines(dataset)]
            for pairs in self.dag.rows(dataset).values()
            for pair in pairs
            for metric in self.sweep.metric_settings()
        ]

    def _lines(self, dataset: str) -> dict[tuple[str, str, str, int], str]:
        """Recorded digest of every line on disk."""
        import pyarrow.parquet as pq

        lines = {}
        for m in self.sweep.compared(dataset):
            path = self.layout.row(dataset, m.id)
            if not path.exists():
                continue
            columns = ["model_x", "model_y", "metric", "k", "digest"]
            for line in pq.read_table(path, columns=columns).to_pylist():
                lines[line["model_x"], line["model_y"], line["metric"], line["k"]] = line["digest"]
        return lines

    def _pair(
        self, dataset: str, pair: Pair, metric: dict[str, Any], lines: dict[tuple[str, str, str, int], str]
    ) -> State:
        at = f"@{metric['k']}" if metric["k"] else ""
        name = f"{pair.x} x {pair.y} on {dataset}, {metric['metric']}{at}"
        sides = [self.index_state(dataset, side) for side in (pair.x, pair.y)]
        blocked = [f"{s.kind} of {s.name} {s.state}: {s.reason}" for s in sides if s.state != "done"]
        recorded = lines.get((pair.x, pair.y, metric["metric"], metric["k"]))
        if recorded is None:
            return State("pair", name, "missing", "; ".join(blocked) or "never computed")
        if blocked:
            return State("pair", name, "stale", "; ".join(blocked))
        identities = [self._index_identity(dataset, side) for side in (pair.x, pair.y)]
        if recorded != pair_digest(*identities, metric):
            reason = f"an index, or {metric['metric']} (VERSION {metric['version']}), changed"
            return State("pair", name, "stale", reason)
        return State("pair", name, "done")

    def _dataset(self, name: str) -> State:
        path = self.layout.dataset(name) / "dataset.json"
        if not path.exists():
            return State("dataset", name, "missing", "never built")
        return State("dataset", name, "done")

    def _weights(self, model: str) -> State:
        path = self.layout.weights(model) / "weights.json"
        if not path.exists():
            return State("weights", model, "missing", "never fetched")
        recorded = json.loads(path.read_text())
        spec = self.sweep.model(model)
        if recorded.get("source") != spec.source:
            return State("weights", model, "stale", f"source was {recorded.get('source')}, is {spec.source}")
        if recorded.get("version") != room("sources", spec.source, "source").VERSION:
            return State("weights", model, "stale", f"VERSION of sources/{spec.source}.py changed")
        return State("weights", model, "done")

    def _features_state(self, dataset: str, model: str) -> State:
        from zooalign.store import read_attributes, staging_folder

        name, path = f"{model} on {dataset}", self.layout.features(dataset, model)
        content = self._content_digest(dataset)
        if content is None:
            return State("features", name, "missing", f"dataset {dataset} is not built")
        expected = self._features_identity(dataset, model)
        try:
            attributes = read_attributes(path)
        except StoreError as error:
            if staging_folder(path).exists():
                done = _staged_rows(staging_folder(path))
                return State("features", name, "partial", f"{done} samples staged; the next run continues")
            missing = not path.exists()
            reason = "never extracted" if missing else str(error)
            return State("features", name, "missing", reason)
        if attributes["digest"] != expected:
            return State("features", name, "stale", self._difference(attributes, dataset, model))
        return State("features", name, "done")

    def _difference(self, attributes: dict[str, Any], dataset: str, model: str) -> str:
        """Which key of the model's row, or what else, differs from what made the features."""
        former, now = attributes["model"], self.sweep.model(model).model_dump(mode="json")
        keys = ("source", "options", "weights_sha256", "pooling", "precision", "storage_dtype")
        changed = [f"{key} was {former[key]}, is {now[key]}" for key in keys if former.get(key) != now[key]]
        if attributes["dataset"]["digest"] != self._content_digest(dataset):
            changed.append(f"content of dataset {dataset} changed")
        return "; ".join(changed) or "VERSION of the source or of pooling, or extraction.text or prompt, changed"

    def _index_state(self, dataset: str, model: str) -> State:
        from zooalign.model_index import read_index_attributes

        name = f"{model} on {dataset}"
        features = self.features_state(dataset, model)
        if features.state != "done":
            state = "stale" if features.state == "stale" else "missing"
            return State("index", name, state, f"features {features.state}: {features.reason}")
        try:
            attributes = read_index_attributes(self.layout.index(dataset, model))
        except StoreError as error:
            exists = self.layout.index(dataset, model).exists()
            return State("index", name, "missing", str(error) if exists else "never indexed")
        if attributes["digest"] != self._index_identity(dataset, model):
            return State("index", name, "stale", "the features or the preparation changed")
        return State("index", name, "done")

    def _capability(self, capability: str, model: str) -> State:
        name = f"{capability} of {model}"
        path = self.layout.capability(capability, model)
        if not path.exists():
            return State("capability", name, "missing", "never measured")
        if json.loads(path.read_text())["digest"] != self.sweep.capability_digest(capability, model):
            return State("capability", name, "stale", "the model, the dataset, the options or its VERSION changed")
        return State("capability", name, "done")

    def _content_digest(self, dataset: str) -> str | None:
        path = self.layout.dataset(dataset) / "dataset.json"
        return json.loads(path.read_text())["digest"] if path.exists() else None

    def _features_identity(self, dataset: str, model: str) -> str:
        content = self._content_digest(dataset) or ""
        return self.sweep.model(model).features_digest(content, self.sweep.config.extraction.reading())

    def _index_identity(self, dataset: str, model: str) -> str:
        from zooalign.model_index import index_identity

        preparation = self.sweep.config.preparation.model_dump()
        return index_identity(self._features_identity(dataset, model), preparation)


def current_owner(path: Path) -> str | None:
    """Who writes an output at the moment, for people ("SLURM job 12 on n3 since ..."); None if nobody does.

    One look, without waiting: the owner is taken for dead if its process is known to be, or if its record has not
    changed for twice the time that it promised.
    """
    chain = Owner(path, 0.0)._chain()
    if not chain or is_dead(chain[-1].content):
        return None
    try:
        silent_s = time.time() - max(f.stat().st_mtime for f in path.parent.glob(f"*{path.name}.owner*"))
    except (OSError, ValueError):  # it has just ended
        return None
    return chain[-1].describe() if silent_s < 2 * chain[-1].timeout_s(0.0) else None


def _staged_rows(folder: Path) -> int:
    try:
        lines = (folder / "journal.jsonl").read_text().splitlines()
        return json.loads(lines[-1])["end"] if lines else 0
    except (OSError, json.JSONDecodeError, KeyError):
        return 0


def summary(states: list[State]) -> list[tuple[str, Counter[str]]]:
    """Counts of states by kind, in the order in which kinds appear."""
    counts: dict[str, Counter[str]] = {}
    for s in states:
        counts.setdefault(s.kind, Counter())[s.state] += 1
    return list(counts.items())
