"""What a sweep consists of: items (a rule applied to its parts), what each is made from, and which are due.

An item is the unit of invalidation. It is due when its artefact is missing, damaged or made from something else, or
when something that it is made from is due. Digests decide that (`zooalign.config.identity`), never file times.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from zooalign.alignment.pairs import Pair, all_pairs, assign_pairs
from zooalign.alignment.table import held_pairs
from zooalign.config import identity
from zooalign.config.imported import imported_file
from zooalign.config.schema import ExtractionConfig
from zooalign.config.sensitivity import COMPARISON, pooling_of
from zooalign.config.sweep import Sweep, load_sweep
from zooalign.layout import Layout
from zooalign.network import offline
from zooalign.progress import Report
from zooalign.registry import plugin
from zooalign.workflow import disk
from zooalign.workflow.checks import Verdict
from zooalign.workflow.rule import Parts
from zooalign.workflow.rules import RULES


def open_sweep(config: dict[str, Any], roots: Sequence[Path]) -> Sweep:
    """Check a configuration, also what it says about jobs, and read the manifest that it names.

    Parameters
    ----------
    config : dict
        Content of config.yaml.
    roots : sequence of Path
        As in `load_sweep`.

    Raises
    ------
    ConfigError
        As `load_sweep` and `check_resources`.
    """
    from zooalign.workflow.resources import check_resources

    sweep = load_sweep(config, roots)
    check_resources(sweep)
    return sweep


class Item(NamedTuple):
    """One rule applied to one thing.

    Attributes
    ----------
    rule : str
        A key of `rules.RULES`.
    parts : tuple of str
        What it is applied to, as `Rule.wildcards` calls it.
    """

    rule: str
    parts: Parts

    @property
    def name(self) -> str:
        """For people: "emoji/minilm_l6"."""
        return "/".join(self.parts)


class Work:
    """The items of a sweep.

    Parameters
    ----------
    sweep : Sweep
        The checked configuration.
    layout : Layout
        Where artefacts lie. Rows on disk are read once: which row holds a pair depends on them.
    cluster : bool
        Whether jobs go to a cluster.
    anew : iterable of str
        Rules and files that shall be made although they are there.
    """

    def __init__(self, sweep: Sweep, layout: Layout, cluster: bool = False, anew: tuple[str, ...] = ()) -> None:
        self.sweep, self.layout, self.cluster = sweep, layout, cluster
        self.anew: frozenset[str] = frozenset(anew)
        self._rows_of = cache(self._rows)
        self.items = cache(self._items)
        self.verdict = cache(self.check)
        self.is_due = cache(self._is_due)
        self.asked = cache(self._asked)
        self.is_removed = cache(self._is_removed)
        self.readers = cache(lambda: disk.readers(self))
        self.fetched_after = cache(lambda: disk.fetched_after(self))
        self._features = cache(self._features_of)
        self._index = cache(self._index_of)
        self._index_settings = cache(sweep.index_settings)
        self._metrics = cache(partial(identity.metric_settings, sweep))
        self._inferred = cache(partial(identity.inference_settings, sweep))
        self._findings = cache(self._read_findings)
        self._members = cache(self._row_members)
        self._contents: dict[str, str | None] = {}

    # --- items ---------------------------------------------------------------------------------------------------

    def _items(self, rule: str) -> tuple[Item, ...]:
        """Every item of a rule, whether done or not, but for those that failed in this run."""
        failed = self.sweep.failures.get(rule, {})
        items = [Item(rule, parts) for parts in RULES[rule].parts(self)]
        return tuple(item for item in items if item.name not in failed)

    def all_items(self) -> list[Item]:
        """Items of all rules, in the order of the workflow."""
        return [item for rule in RULES for item in self.items(rule)]

    def needs(self, item: Item) -> list[Item]:
        """What an item is made from."""
        return [Item(*need) for need in RULES[item.rule].needs(self, *item.parts)]

    def files(self, rule: str, parts: Parts) -> list[Path]:
        """Outputs of an item; of a folder, the file that is written last."""
        return RULES[rule].files(self.layout, *parts)

    def file(self, rule: str, parts: Parts) -> Path:
        """The first of them."""
        return self.files(rule, parts)[0]

    def owned(self, item: Item) -> list[Path]:
        """Files, or folders as a whole, that an item's job owns while it writes."""
        return [f.parent if RULES[item.rule].whole_folder else f for f in self.files(*item)]

    def log(self, item: Item) -> Path:
        """Log of an item's jobs."""
        return self.layout.log(item.rule, *item.parts)

    def check(self, item: Item) -> Verdict:
        """What is on disk now, given that everything that the item is made from is done."""
        return RULES[item.rule].check(self, *item.parts)

    def is_done(self, item: Item) -> bool:
        """Whether an item is done by now, no matter which process made it; asked again each time."""
        self._contents.clear()
        return self.check(item).is_done

    def _is_due(self, item: Item) -> bool:
        """Whether an item, or something that it is made from, has to be made."""
        if not self.verdict(item).is_done:
            return True
        # Weights that were removed are fetched again for some readers: the others are as good as before.
        return any(self.is_due(need) for need in self.needs(item) if not self._comes_back(need))

    def _comes_back(self, item: Item) -> bool:
        return item.rule == "fetch_weights" and self.is_removed(item.parts[0])

    def _is_removed(self, model: str) -> bool:
        """Whether a model's weights were removed after the last job that read them."""
        from zooalign.models.removal import is_removed

        return is_removed(self.layout.weights(model), self.layout.removed(model))

    def weights_folder(self, model: str) -> str:
        """Where the weights lie that a model is loaded from: of a variant those of its row."""
        return str(self.layout.weights(self.sweep.model(model).weights))

    def source_folder(self, capability: str, model: str) -> str:
        """Where that lies which a capability is measured on: weights or features."""
        return str(self.file(*self.needs(Item("measure_capability", (capability, model)))[1]).parent)

    def due(self, rule: str) -> tuple[Item, ...]:
        """Items of a rule that have to be made."""
        return tuple(item for item in self.items(rule) if self.is_due(item))

    def compared(self, preparation: str = "") -> list[Parts]:
        """(dataset, model) of every model that takes part in a comparison, or in a preparation, sorted."""
        return sorted((d, m.id) for d in self.sweep.datasets() for m in self.sweep.compared(d, preparation))

    # --- doing ---------------------------------------------------------------------------------------------------

    def do(self, item: Item, report: Report) -> None:
        """Make an item in this process, unless it is there; what it is made from must be.

        Raises
        ------
        ZooalignError
            Whatever the rule's function raises; finished batches and pairs are kept.
        """
        for path in self.owned(item):
            path.parent.mkdir(parents=True, exist_ok=True)
        rule = RULES[item.rule]
        with nullcontext() if rule.fetches else offline():
            rule.run(self, item.parts, report)

    def settings(self, item: Item) -> dict[str, Any]:
        """Arguments of the function that makes an item, paths and `report` apart."""
        return RULES[item.rule].settings(self, *item.parts)

    def about(self, item: Item) -> dict[str, Any]:
        """What a job has to know of itself, JSON-able: for its log, its record and what it leaves behind."""
        from zooalign.workflow.resources import item_needs

        rule, parts = item
        needs = item_needs(self.sweep, rule, parts, self.cluster)
        return {
            "rule": rule,
            "parts": list(parts),
            "results": str(self.layout.results),
            "cluster": self.cluster,
            "fetches": RULES[rule].fetches,
            "traces": [str(path) for path in RULES[rule].traces(self.layout, *parts)],
            "predicted_s": round(needs.seconds, 3),
            "predicted_mem_mb": needs.mem_mb,
        }

    def _asked(self, item: Item, attempt: int) -> dict[str, int | str]:
        """What an attempt at an item asks for, by Snakemake's names."""
        from zooalign.workflow.resources import job_resources

        return job_resources(self.sweep, *item, attempt, self.cluster)

    def common(self, rule: str, parts: Parts) -> dict[str, Any]:
        """What every function that makes an artefact takes: the longest silence of a lease, whether to redo."""
        anew = self.is_asked_for(Item(rule, parts))
        return {"lease_timeout_s": self.sweep.config.jobs.lease_timeout_s, "anew": anew}

    def is_asked_for(self, item: Item) -> bool:
        """Whether the user wants an item made again, by its rule or by a file of it."""
        files = self.files(*item) if self.anew else []
        return self.is_named(item.rule) or any(str(f) in self.anew or os.path.relpath(f) in self.anew for f in files)

    def is_named(self, rule: str) -> bool:
        """Whether the user wants everything of a rule made again."""
        # A workflow that uses this one as a module may have put a prefix before the names of rules.
        return "*" in self.anew or any(name == rule or name.endswith(f"_{rule}") for name in self.anew)

    def extraction(self, rule: str, parts: Parts) -> ExtractionConfig:
        """How a model runs: on the device that its job asks for."""
        from zooalign.workflow.resources import device_of

        return self.sweep.config.extraction.model_copy(update={"device": device_of(self.sweep, rule, parts)})

    # --- digests -------------------------------------------------------------------------------------------------

    def source_version(self, source: str) -> int:
        """VERSION of a source."""
        return plugin("sources", source, "source").VERSION

    def content_digest(self, dataset: str) -> str | None:
        """Digest of a dataset's content; None while it is not built as its row says."""
        if dataset not in self._contents:
            from zooalign.data.build import built

            samples = built(self.layout.dataset(dataset), identity.dataset_spec_digest(self.sweep.dataset(dataset)))
            self._contents[dataset] = None if samples is None else samples.digest
        return self._contents[dataset]

    def samples(self, dataset: str) -> int | None:
        """How many samples a dataset has, or will have; None where only building it tells."""
        from zooalign.data.build import built

        spec = self.sweep.dataset(dataset)
        whole = built(self.layout.dataset(dataset), identity.dataset_spec_digest(spec))
        family = plugin("datasets", spec.family, "dataset family")
        options = family.Options(**spec.options)
        if whole is not None:
            return len(whole)
        return family.size(options, dataset) if hasattr(family, "size") else getattr(options, "n", None)

    def features_digest(self, dataset: str, model: str, preparation: str = "") -> str | None:
        """Digest that a model's features must have; None while the dataset is not built."""
        content, file = self.content_digest(dataset), imported_file(self.sweep.model(model), dataset)
        if content and file is not None:
            return identity.imported_digest(file.sha256, content)
        return content and self._features(model, content, self._pooling(model, preparation))

    def _features_of(self, model: str, content: str, pooling: str) -> str:
        spec = self.sweep.model(model).model_copy(update={"pooling": pooling})
        return identity.features_digest(spec, content, self.sweep.config.extraction.reading())

    def index_item(self, dataset: str, model: str, preparation: str = "") -> Item:
        """Item that makes the index of a model in a preparation: the sweep's own where nothing changes for it."""
        prepared = self.sweep.prepared_as(preparation, self.sweep.model(model))
        place = (dataset, model)
        return Item("index_prepared", (prepared, *place)) if prepared else Item("index_features", place)

    def store(self, dataset: str, model: str, preparation: str = "") -> Path:
        """Features that an index is made from."""
        from zooalign.features.poolings import pooled_path

        own, path = self.sweep.model(model).pooling, self.layout.features(dataset, model)
        pooling = self._pooling(model, preparation)
        return path if pooling == own else pooled_path(path, pooling)

    def _pooling(self, model: str, preparation: str) -> str:
        asked = self.sweep.preparations[preparation].pooling if preparation else None
        return pooling_of(self.sweep.model(model), asked)

    def index_digest(self, dataset: str, model: str, preparation: str = "") -> str | None:
        """Digest that a model's index must have; None while the dataset is not built."""
        features = self.features_digest(dataset, model, preparation)
        return features and self._index(features, self.sweep.prepared_as(preparation, self.sweep.model(model)))

    def _index_of(self, features: str, preparation: str) -> str:
        return identity.index_digest(features, self._index_settings(preparation)["preparation"])

    def scores(self, dataset: str, model: str, preparation: str = "") -> dict[tuple[Pair, str, int], str] | None:
        """Digest of every score of a row; None while the dataset is not built."""
        known = self._index_digests(dataset, model, preparation)
        if known is None:
            return None
        return identity.score_digests(
            self.rows(dataset, preparation)[model], self._metrics(dataset, preparation), known
        )

    def inferences(self, dataset: str, model: str) -> dict[tuple[Pair, str, int], str] | None:
        """Digest of the null and interval of every score of a row that gets one; None as for scores."""
        known = self._index_digests(dataset, model)
        if known is None:
            return None
        settings = self.sweep.config.inference.model_dump()
        return identity.inference_digests(self.rows(dataset)[model], self._inferred(dataset), settings, known)

    def _index_digests(self, dataset: str, model: str, preparation: str = "") -> dict[str, str] | None:
        """Digests of the indexes that a row is made from; None while the dataset is not built."""
        members = self.row_members(dataset, model, preparation)
        indexes = {m: self.index_digest(dataset, m, preparation) for m in members}
        known = {m: digest for m, digest in indexes.items() if digest is not None}
        return known if len(known) == len(indexes) else None

    def _read_findings(self) -> Any:
        from zooalign.results.findings import Findings

        rules = ("align_row", "measure_capability", "infer_row", "align_prepared")
        return Findings(self.sweep, *(tuple(self.file(*item) for item in self.items(rule)) for rule in rules))

    def result_digest(self, rule: str, parts: Parts) -> str:
        """Digest of what a result would be made from now; an error if something of it cannot be read."""
        if rule == "make_report":
            return self._findings().digest("report", "build")
        return self._findings().digest(RULES[rule].settings(self, *parts)["kind"], parts[0])

    # --- rows ----------------------------------------------------------------------------------------------------

    def rows(self, dataset: str, preparation: str = "") -> dict[str, list[Pair]]:
        """Pairs that each model's row holds, in the sweep itself or in a preparation."""
        return self._rows_of(dataset, preparation)

    def _rows(self, dataset: str, preparation: str) -> dict[str, list[Pair]]:
        models = self.sweep.compared(dataset, preparation)
        comparisons = [COMPARISON] if preparation else self.sweep.comparisons(dataset)
        pairs = all_pairs({m.id: m.modality for m in models}, comparisons)
        held = {m.id: held_pairs(self.layout.row(dataset, m.id, preparation)) for m in models}
        rows = assign_pairs(pairs, {m: pairs for m, pairs in held.items() if pairs is not None})
        # A model without pairs of its own has an empty row, so that it counts as settled next time.
        return {m.id: rows.get(m.id, []) for m in models}

    def row_members(self, dataset: str, model: str, preparation: str = "") -> list[str]:
        """Models whose indexes a row is made from, sorted; none for a row that holds no pair."""
        return self._members(dataset, model, preparation)

    def _row_members(self, dataset: str, model: str, preparation: str) -> list[str]:
        return sorted({name for pair in self.rows(dataset, preparation)[model] for name in (pair.x, pair.y)})
