"""What a sweep consists of: items, which of them are due, and the blocks that jobs do.

An *item* is the unit of invalidation: one rule applied to one model and dataset, with a digest of everything that
determines it. An item is done when its receipt records that digest and its artefacts are there; file times and
Snakemake's own metadata decide nothing. A *block* is the unit of work: items of one rule that one job does one after
the other. Snakemake and SLURM see blocks; adding a model makes its items due and no others.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from zooalign.alignment import Pair, all_pairs, assign_pairs, held_pairs
from zooalign.config import Sweep
from zooalign.discovery import room
from zooalign.errors import ConfigError
from zooalign.layout import Layout
from zooalign.provenance import digest, write_json

RULES = (
    "build_dataset",
    "fetch_weights",
    "extract_features",
    "index_features",
    "align_row",
    "measure_capability",
    "make_tables",
    "make_figures",
)
# One item per job wherever it runs: each is fetched, or made, once and for all models.
_SINGLE = ("build_dataset", "fetch_weights", "make_tables", "make_figures")
# On one machine only these are put together: their items take about as long as a job's start.
_LIGHT = ("index_features", "align_row")
# Jobs per core and rule on one machine, so that all cores stay busy to the end.
_LOCAL_WAVES = 4


@dataclass(frozen=True)
class Item:
    """One rule applied to one thing.

    Attributes
    ----------
    rule : str
        One of `RULES`.
    parts : tuple of str
        What it is applied to: (dataset,), (model,), (dataset, model), (capability, model), or () for results.
    digest : str
        Digest of everything that determines it, as far as the configuration tells.
    """

    rule: str
    parts: tuple[str, ...]
    digest: str

    @property
    def name(self) -> str:
        """For people: "emoji/minilm_l6"."""
        return "/".join(self.parts) or self.rule.removeprefix("make_")


@dataclass(frozen=True)
class Block:
    """Items of one rule that one job does.

    Attributes
    ----------
    rule : str
        One of `RULES`.
    name : str
        File name of its receipt, without suffix; says what it is in `squeue` and in logs.
    items : tuple of Item
        At least one.
    """

    rule: str
    name: str
    items: tuple[Item, ...]


class Dag:
    """The items of a sweep, and the blocks of those that are due.

    Parameters
    ----------
    sweep : Sweep
        The checked configuration.
    layout : Layout
        Where artefacts lie. Rows on disk are read once: which row holds a pair depends on them.
    cluster : bool
        Whether jobs go to a cluster; then small ones are put together.
    """

    def __init__(self, sweep: Sweep, layout: Layout, cluster: bool = False) -> None:
        self.sweep, self.layout, self.cluster = sweep, layout, cluster
        self.rows = cache(self._rows)
        self.items = cache(self._items)
        self.due = cache(self._due)
        self.blocks = cache(self._blocks)
        self._index_digest = cache(sweep.index_digest)
        self._features_digest = cache(sweep.features_digest)
        self._blocks_by_item = cache(self._find_blocks)

    # --- items ---------------------------------------------------------------------------------------------------

    def _items(self, rule: str) -> tuple[Item, ...]:
        """Every item of a rule, whether done or not."""
        failed = self.sweep.failures.get(rule, {})
        found = [Item(rule, parts, self._digest(rule, parts)) for parts in self._parts(rule)]
        return tuple(item for item in found if item.name not in failed)

    def _parts(self, rule: str) -> list[tuple[str, ...]]:
        sweep = self.sweep
        config, compared = sweep.config, [(d, m.id) for d in sweep.datasets() for m in sweep.compared(d)]
        if rule == "build_dataset":
            return [(name,) for name in sweep.datasets_read()]
        if rule == "fetch_weights":
            return [(m.id,) for m in sweep.models]
        if rule in ("index_features", "align_row"):
            return sorted(compared)
        if rule == "extract_features":
            probed = [
                (row.dataset, m.id)
                for row in config.capabilities
                if room("capability", row.kind, "capability").NEEDS == "features"
                for m in sweep.measured(row)
            ]
            return sorted({*compared, *probed})
        if rule == "measure_capability":
            return [(row.id, m.id) for row in config.capabilities for m in sweep.measured(row)]
        return [()] if self.artefacts(rule, ()) else []

    def _digest(self, rule: str, parts: tuple[str, ...]) -> str:
        sweep = self.sweep
        if rule == "build_dataset":
            return sweep.dataset(*parts).digest()
        if rule == "fetch_weights":
            return sweep.model(*parts).weights_digest()
        if rule == "extract_features":
            return self._features_digest(parts[1], parts[0])
        if rule == "index_features":
            return self._index_digest(parts[1], parts[0])
        if rule == "align_row":
            return self.row_settings(*parts)["digest"]
        if rule == "measure_capability":
            return sweep.capability_digest(*parts)
        return digest(rule, self._results_digest(), [p.name for p in self.artefacts(rule, parts)])

    def item(self, rule: str, parts: tuple[str, ...]) -> Item:
        """One item, whether it is part of the sweep or not."""
        return Item(rule, parts, self._digest(rule, parts))

    def artefacts(self, rule: str, parts: tuple[str, ...]) -> list[Path]:
        """Files that are there when an item is done; of a folder, the one that is written last."""
        layout = self.layout
        if rule == "make_tables":
            # Not with_suffix: a name may have a dot.
            return [
                Path(f"{layout.table(name)}{suffix}")
                for name in self.sweep.config.tables
                for suffix in room("tables", name, "table").SUFFIXES
            ]
        if rule == "make_figures":
            return [
                Path(f"{layout.figure(f'{name}_{dataset}')}{suffix}")
                for name in self.sweep.config.figures
                for dataset in self.sweep.datasets()
                for suffix in (".svg", ".png")
            ]
        path = {
            "build_dataset": lambda: layout.dataset(*parts) / "dataset.json",
            "fetch_weights": lambda: layout.weights(*parts) / "weights.json",
            "extract_features": lambda: layout.features(*parts) / "zarr.json",
            "index_features": lambda: layout.index(*parts) / "zarr.json",
            "align_row": lambda: layout.row(*parts),
            "measure_capability": lambda: layout.capability(*parts),
        }[rule]()
        return [path]

    def outputs(self, rule: str, parts: tuple[str, ...]) -> list[Path]:
        """Files, or folders as a whole, that an item's job owns while it writes."""
        whole = rule in ("build_dataset", "fetch_weights", "extract_features", "index_features")
        return [file.parent if whole else file for file in self.artefacts(rule, parts)]

    def is_done(self, item: Item) -> bool:
        """Whether an item's receipt records its digest and its artefacts are there."""
        try:
            recorded = json.loads(self.layout.item_receipt(item.rule, *item.parts).read_bytes())["digest"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return recorded == item.digest and all(os.path.exists(p) for p in self.artefacts(item.rule, item.parts))

    def _due(self, rule: str) -> tuple[Item, ...]:
        """Items of a rule that are not done."""
        return tuple(item for item in self.items(rule) if not self.is_done(item))

    def needs(self, item: Item) -> list[tuple[str, tuple[str, ...]]]:
        """(rule, parts) of the items that an item is made from."""
        if item.rule == "extract_features":
            return [("build_dataset", item.parts[:1]), ("fetch_weights", item.parts[1:])]
        if item.rule == "index_features":
            return [("extract_features", item.parts)]
        if item.rule == "align_row":
            return [("index_features", (item.parts[0], m)) for m in self.row_members(*item.parts)]
        if item.rule == "measure_capability":
            capability, model = item.parts
            row = self.sweep.capability(capability)
            features = room("capability", row.kind, "capability").NEEDS == "features"
            source = ("extract_features", (row.dataset, model)) if features else ("fetch_weights", (model,))
            return [("build_dataset", (row.dataset,)), source]
        if item.rule in ("make_tables", "make_figures"):
            return [(i.rule, i.parts) for rule in ("align_row", "measure_capability") for i in self.items(rule)]
        return []

    # --- rows ----------------------------------------------------------------------------------------------------

    def _rows(self, dataset: str) -> dict[str, list[Pair]]:
        models = self.sweep.compared(dataset)
        pairs = all_pairs({m.id: m.modality for m in models}, self.sweep.comparisons(dataset))
        held = {m.id: held_pairs(self.layout.row(dataset, m.id)) for m in models}
        rows = assign_pairs(pairs, {m: pairs for m, pairs in held.items() if pairs is not None})
        # A model without pairs of its own has an empty row, so that it counts as settled next time.
        return {m.id: rows.get(m.id, []) for m in models}

    def row_members(self, dataset: str, model: str) -> list[str]:
        """The row's model and its partners, sorted."""
        return sorted({model, *(pair.partner(model) for pair in self.rows(dataset)[model])})

    def row_settings(self, dataset: str, model: str) -> dict[str, Any]:
        """Pairs and metrics of a row, with the digest of everything that determines it."""
        pairs = self.rows(dataset)[model]
        metrics = self.sweep.metric_settings()
        indexes = {m: self._index_digest(m, dataset) for m in self.row_members(dataset, model)}
        return {
            "pairs": pairs,
            "metrics": metrics,
            "digest": digest("row", [[p.x, p.y] for p in pairs], metrics, indexes),
        }

    def _results_digest(self) -> str:
        """Digest of everything that tables and figures are made from."""
        sweep = self.sweep
        # By model, not by row: which row holds a pair changes nothing in the results.
        indexes = {f"{d}/{m.id}": self._index_digest(m.id, d) for d in sweep.datasets() for m in sweep.compared(d)}
        comparisons = {dataset: sorted(sweep.comparisons(dataset)) for dataset in sweep.datasets()}
        values = {item.name: item.digest for item in self.items("measure_capability")}
        models = {m.id: [m.modality, m.family, m.objective, m.causal] for m in sweep.models}
        headline = sweep.config.headline.model_dump()
        settings = sweep.metric_settings()
        return digest("results", indexes, comparisons, settings, values, models, headline, sweep.failures)

    # --- blocks --------------------------------------------------------------------------------------------------

    def _blocks(self, rule: str) -> tuple[Block, ...]:
        """The due items of a rule, put together into blocks."""
        due = self.due(rule)
        target = self._target_s(rule, due)
        if not target:
            return tuple(self._block((item,)) for item in due)
        return tuple(self._block(group) for group in self._groups(due, target))

    def _target_s(self, rule: str, due: tuple[Item, ...]) -> float:
        """Seconds of estimated work that are put together; 0: a block per item."""
        jobs = self.sweep.config.jobs
        if rule in _SINGLE or len(due) < 2:
            return 0.0
        if self.cluster:
            return 60 * jobs.cluster_target_min
        if rule not in _LIGHT:
            return 60 * jobs.local_target_min
        blocks = _LOCAL_WAVES * (os.cpu_count() or 1)
        even = sum(self._seconds(item) for item in due) / blocks if len(due) > blocks else 0.0
        return max(60 * jobs.local_target_min, even)

    def _groups(self, due: tuple[Item, ...], target: float) -> Iterable[tuple[Item, ...]]:
        """Items of one dataset that ask for the same machine, in order, until the target is reached."""
        from zooalign.resources import item_needs, pack_class

        groups: dict[Any, list[Item]] = {}
        for item in due:
            needs = item_needs(self.sweep, item.rule, item.parts, self.cluster)
            groups.setdefault((item.parts[0], pack_class(needs)), []).append(item)
        for group in groups.values():
            gathered: list[Item] = []
            seconds = 0.0
            for item in group:
                gathered.append(item)
                seconds += self._seconds(item)
                if seconds >= target:
                    yield tuple(gathered)
                    gathered, seconds = [], 0.0
            if gathered:
                yield tuple(gathered)

    def _seconds(self, item: Item) -> float:
        from zooalign.resources import item_needs

        return item_needs(self.sweep, item.rule, item.parts, self.cluster).seconds

    def _block(self, items: tuple[Item, ...]) -> Block:
        rule, stem = items[0].rule, _stem(items)
        # A receipt of that name may be there although an item is due: its artefact was deleted. So another name.
        name, turn = stem, 1
        while self.layout.job_receipt(rule, name).exists():
            turn += 1
            name = f"{stem}.{turn}"
        return Block(rule, name, items)

    def receipts(self) -> list[Path]:
        """Receipts of the blocks that are due: what Snakemake shall make."""
        return [self.layout.job_receipt(b.rule, b.name) for rule in RULES for b in self.blocks(rule)]

    def block_inputs(self, rule: str, name: str) -> list[Path]:
        """Receipts of the due blocks that a block has to wait for."""
        items = next(b.items for b in self.blocks(rule) if b.name == name)
        needed = {(r, parts) for item in items for r, parts in self.needs(item)}
        found = {b for r in {r for r, _ in needed} for key, b in self._blocks_by_item(r).items() if key in needed}
        return sorted(self.layout.job_receipt(b.rule, b.name) for b in found)

    def _find_blocks(self, rule: str) -> dict[tuple[str, tuple[str, ...]], Block]:
        return {(rule, item.parts): block for block in self.blocks(rule) for item in block.items}

    def write_orders(self) -> None:
        """Note what each block of several items consists of, for the jobs that will do them."""
        for rule in RULES:
            for block in self.blocks(rule):
                if len(block.items) > 1:
                    members = [[list(item.parts), item.digest] for item in block.items]
                    write_json(self.layout.job_order(rule, block.name), {"rule": rule, "items": members})

    def read_block(self, rule: str, name: str) -> Block:
        """The block of that name, in a job: what is done and due has changed since the blocks were made.

        Raises
        ------
        ConfigError
            If the configuration has no such block: it was edited while the sweep ran.
        """
        try:
            order = json.loads(self.layout.job_order(rule, name).read_bytes())["items"]
            return Block(rule, name, tuple(Item(rule, tuple(parts), key) for parts, key in order))
        except FileNotFoundError:
            pass
        for item in self.items(rule):
            stem = _stem((item,))
            if name == stem or (name.startswith(stem) and re.fullmatch(r"\.[0-9]+", name[len(stem) :])):
                return Block(rule, name, (item,))
        raise ConfigError(
            f"job {name!r} of {rule} is not part of the configuration any more: config.yaml or a zoo file was edited "
            "while the sweep ran. Run the same command again: finished work is kept."
        )


def _stem(items: tuple[Item, ...]) -> str:
    """Name of a block: its first item, how many more, and a key of all of them."""
    first = items[0]
    more = f"_and_{len(items) - 1}_more" if len(items) > 1 else ""
    key = digest("block", [[i.rule, list(i.parts), i.digest] for i in items])[:8]
    return f"{'.'.join(first.parts) or first.rule}{more}.{key}"
