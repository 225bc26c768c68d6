"""What is done, what is missing and what is stale, with the reason, before anything runs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from zooalign.config.sweep import Sweep
from zooalign.layout import Layout
from zooalign.storage.lease import Lease
from zooalign.storage.lease_records import is_dead
from zooalign.workflow.checks import Verdict
from zooalign.workflow.failures import last_attempt, reason
from zooalign.workflow.rules import RULES
from zooalign.workflow.work import Item, Work


@dataclass(frozen=True)
class State:
    """State of one artefact.

    Attributes
    ----------
    kind : str
        "dataset", "weights", "features", "index", "capability", "row", "pair", "table" or "figure".
    name : str
        What it is: "minilm_l6 on emoji", "a x b on emoji, mutual_knn@10".
    state : str
        "done", "running", "failed", "partial", "damaged", "stale" or "missing".
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


STATES = ("done", "running", "failed", "partial", "damaged", "stale", "missing")


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
        self.sweep, self.layout, self.work = sweep, layout, Work(sweep, layout)
        self.item_state = cache(self._item_state)

    def artefacts(self) -> list[State]:
        """Every artefact of the sweep: datasets, weights, features, indexes, capabilities, rows at work, pairs."""
        states = {rule: [self.item_state(item) for item in self.work.items(rule)] for rule in RULES}
        # A row is a file of pairs, and pairs are counted below; here only what happens to it.
        rows = [s for s in states.pop("align_row") if s.state in ("running", "failed", "damaged")]
        results = [s for rule in ("make_tables", "make_figures", "make_report") for s in states.pop(rule)]
        return [*(s for of_rule in states.values() for s in of_rule), *rows, *self.pairs(), *results]

    def _item_state(self, item: Item) -> State:
        """State of one item: what is on disk, then who is at work on it or how the last attempt ended."""
        kind, name = RULES[item.rule].kind, RULES[item.rule].title(item.parts)
        verdict = self._with_inputs(item)
        if verdict.is_done:
            return State(kind, name, "done")
        log = self.work.log(item)
        lease = next((o for p in self.work.owned(item) if (o := current_owner(p))), None)
        attempt = last_attempt(log)
        if lease is not None:
            lines = [line for line in attempt.splitlines()[1:] if line.strip()]
            return State(kind, name, "running", f"{lease}: {lines[-1] if lines else 'started'}", str(log))
        if "ERROR: " in attempt:
            return State(kind, name, "failed", reason(self.work, item, with_log=False), str(log))
        return State(kind, name, *verdict)

    def _with_inputs(self, item: Item) -> Verdict:
        """What is on disk; of an artefact whose inputs are due, what those lack."""
        verdict = self.work.verdict(item)
        if verdict.state in ("missing", "damaged") or not self.work.is_due(item):
            return verdict
        if not verdict.is_done and item.rule == "extract_features":
            return verdict
        inputs = [need for need in self.work.needs(item) if self.work.is_due(need)]
        if not inputs:
            return verdict
        first = inputs[0]
        of = f"{RULES[first.rule].kind} of {RULES[first.rule].title(first.parts)}"
        more = f", and {len(inputs) - 1} more" if len(inputs) > 1 else ""
        return Verdict("stale", f"{of} {self._with_inputs(first).state}: {self._with_inputs(first).reason}{more}")

    def pairs(self) -> list[State]:
        """Every (pair, metric, k) of the sweep."""
        return [
            state
            for dataset in self.sweep.datasets()
            for lines in [self._lines(dataset)]
            for model in self.work.rows(dataset)
            for state in self._row_pairs(dataset, model, lines)
        ]

    def _lines(self, dataset: str) -> dict[str, str]:
        """Recorded digest of every score on disk, by "x|y|metric@k"."""
        from zooalign.alignment.table import partial_table, read_digests

        lines: dict[str, str] = {}
        for m in self.sweep.compared(dataset):
            row = self.layout.row(dataset, m.id)
            for table in (row, partial_table(row)):
                with suppress(OSError, ValueError):
                    lines |= read_digests(table)
        return lines

    def _row_pairs(self, dataset: str, model: str, lines: dict[str, str]) -> Iterator[State]:
        from zooalign.config.identity import metric_settings

        metrics = {(m["metric"], m["k"]): m for m in metric_settings(self.sweep, dataset)}
        scores = self.work.scores(dataset, model)
        for pair in self.work.rows(dataset)[model]:
            sides = [self.item_state(Item("index_features", (dataset, side))) for side in (pair.x, pair.y)]
            blocked = "; ".join(f"{s.kind} of {s.name} {s.state}: {s.reason}" for s in sides if s.state != "done")
            for (name, k), metric in metrics.items():
                if {pair.x, pair.y} & {*metric.get("without", ())}:
                    continue
                title = f"{pair.x} x {pair.y} on {dataset}, {name}{f'@{k}' if k else ''}"
                recorded = lines.get(f"{pair.x}|{pair.y}|{name}@{k}")
                if recorded is None:
                    yield State("pair", title, "missing", blocked or "never computed")
                elif blocked:
                    yield State("pair", title, "stale", blocked)
                elif scores is None or recorded != scores[pair, name, k]:
                    changed = f"an index, alignment.py or {name} (VERSION {metric['version']}), changed"
                    yield State("pair", title, "stale", changed)
                else:
                    yield State("pair", title, "done")


def current_owner(path: Path) -> str | None:
    """Who writes an output at the moment, for people ("SLURM job 12 on n3 since ..."); None if nobody does.

    One look, without waiting: the holder of the lease counts as dead if its process is known to be, or if its record
    has not changed for twice the time that it promised.
    """
    chain = Lease(path, 0.0)._chain()
    if not chain or is_dead(chain[-1].content):
        return None
    try:
        silent_s = time.time() - max(f.stat().st_mtime for f in path.parent.glob(f"*{path.name}.lease*"))
    except (OSError, ValueError):  # it has just ended
        return None
    return chain[-1].describe() if silent_s < 2 * chain[-1].timeout_s(0.0) else None


def not_imported(sweep: Sweep) -> list[str]:
    """One line per imported model and dataset: which metrics of the sweep it does not give, and why."""
    from zooalign.alignment.row import not_given
    from zooalign.config.identity import metric_settings

    models = [(d, m.id) for d in sweep.datasets() for m in sweep.compared(d) if m.imported]
    lacking = {(d, name): not_given(name, metric_settings(sweep, d)) for d, name in models}
    return [f"{name} on {dataset}: no {reasons}" for (dataset, name), reasons in lacking.items() if reasons]


def summary(states: list[State]) -> list[tuple[str, Counter[str]]]:
    """Counts of states by kind, in the order in which kinds appear."""
    counts: dict[str, Counter[str]] = {}
    for s in states:
        counts.setdefault(s.kind, Counter())[s.state] += 1
    return list(counts.items())
