"""A sweep: config.yaml checked and joined with the manifest that it names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from zooalign.config import sensitivity
from zooalign.config.checking import check
from zooalign.config.external import External, read_external
from zooalign.config.imported import imported_file, why_not_given
from zooalign.config.manifest import (
    DatasetSpec,
    ModelSpec,
    read_datasets,
    read_zoo,
)
from zooalign.config.reading import check_values, parse, read_yaml
from zooalign.config.schema import COMPARISONS, CapabilityConfig, Comparison, Config
from zooalign.errors import ConfigError, unknown
from zooalign.registry import member, plugin

# Shortest lists of neighbours of an index.
_LISTS = 48


@dataclass(frozen=True)
class Sweep:
    """A checked configuration with the models and datasets it names.

    Attributes
    ----------
    config : Config
        The settings.
    models : tuple of ModelSpec
        Models of the sweep, in the order of the zoo files.
    catalogue : dict of str to DatasetSpec
        Every dataset that has a row, by id.
    left_out : dict of str to str
        Models whose rows were left out, with the reason.
    failures : dict of str to dict of str to str
        By rule, items that failed in this run and are done without, with the reason ("a/b" as in `Item.name`).
    zoo : tuple of str
        Ids of every model of the zoo files, in the sweep or not.
    external : tuple of External
        Capabilities of its models that were measured elsewhere.
    """

    config: Config
    models: tuple[ModelSpec, ...]
    catalogue: dict[str, DatasetSpec]
    left_out: dict[str, str]
    failures: dict[str, dict[str, str]] = field(default_factory=dict)
    zoo: tuple[str, ...] = ()
    external: tuple[External, ...] = ()

    @cached_property
    def _by_id(self) -> dict[str, ModelSpec]:
        return {m.id: m for m in self.models}

    def model(self, name: str) -> ModelSpec:
        """The model of that id; ConfigError with the nearest ids if the sweep has none."""
        if name not in self._by_id:
            raise ConfigError(unknown("model", name, self._by_id))
        return self._by_id[name]

    @cached_property
    def weights(self) -> dict[str, ModelSpec]:
        """Rows whose weights the sweep needs, by id; variants share those of their row."""
        return {m.weights: m.unchanged() for m in self.models if not m.imported}

    def dataset(self, name: str) -> DatasetSpec:
        """The dataset of that id; ConfigError with the nearest ids if there is no row for it."""
        if name not in self.catalogue:
            raise ConfigError(unknown("dataset", name, self.catalogue))
        return self.catalogue[name]

    def capability(self, name: str) -> CapabilityConfig:
        """The capability of that id; ConfigError with the nearest ids if the sweep has none."""
        known = {c.id: c for c in self.config.capabilities}
        if name not in known:
            raise ConfigError(unknown("capability", name, known))
        return known[name]

    def comparisons(self, dataset: str) -> tuple[Comparison, ...]:
        """Comparisons made on a dataset."""
        return self.config.comparisons.get(dataset, COMPARISONS)

    def datasets(self) -> tuple[str, ...]:
        """Ids of the datasets that models are compared on, but for those that could not be built."""
        return tuple(d for d in self.config.datasets if not self.has_failed("build_dataset", d))

    def datasets_read(self) -> tuple[str, ...]:
        """Ids of all datasets that the sweep reads: for comparisons, then for capabilities."""
        return tuple(dict.fromkeys([*self.config.datasets, *(c.dataset for c in self.config.capabilities)]))

    def has_failed(self, rule: str, *parts: str) -> bool:
        """Whether an item failed in this run and is done without."""
        return "/".join(parts) in self.failures.get(rule, {})

    def why_missing(self, model: str, dataset: str) -> str:
        """Why a model has no features or index on a dataset in this run; empty if nothing failed."""
        items = [("build_dataset", dataset), ("fetch_weights", self._weights_of(model))]
        items += [(rule, f"{dataset}/{model}") for rule in ("extract_features", "index_features")]
        reasons = [(rule, self.failures.get(rule, {}).get(name)) for rule, name in items]
        return "; ".join(f"{rule} failed: {reason}" for rule, reason in reasons if reason)

    def _weights_of(self, model: str) -> str:
        return self._by_id[model].weights if model in self._by_id else model

    def failed_with(self, model: str) -> list[str]:
        """What failed in this run for a model: one line per item, with the reason."""
        weights = self._weights_of(model)
        return [
            f"{rule}{f' on {parts[0]}' if len(parts) > 1 else ''} failed: {reason}"
            for rule, items in self.failures.items()
            for name, reason in items.items()
            for parts in [name.split("/")]
            if rule != "build_dataset" and parts[-1] == (weights if rule == "fetch_weights" else model)
        ]

    def compared(self, dataset: str, preparation: str = "") -> tuple[ModelSpec, ...]:
        """Models that take part in at least one comparison on a dataset, or in the cells of a preparation there."""
        sides = {side for c in self.comparisons(dataset) for side in c.split("-")}
        models = tuple(
            m
            for m in self.models
            if m.modality in sides
            and not self.why_missing(m.id, dataset)
            and (not m.imported or imported_file(m, dataset) is not None)
        )
        if not preparation:
            return models
        if sensitivity.COMPARISON not in self.comparisons(dataset):
            return ()
        return tuple(m for m in models if not self.why_left_out(preparation, dataset, m))

    @cached_property
    def cells(self) -> tuple[sensitivity.Cell, ...]:
        """Cells of the sensitivity, none unless config.yaml asks for some."""
        return sensitivity.make_cells(self.config)

    @cached_property
    def preparations(self) -> dict[str, sensitivity.Cell]:
        """Preparations besides the sweep's own rows, in the order of the cells: a cell of each, by id."""
        found: dict[str, sensitivity.Cell] = {}
        for cell in self.cells:
            if cell.preparation:
                found.setdefault(cell.preparation, cell)
        return found

    def prepared_as(self, preparation: str, spec: ModelSpec) -> str:
        """Preparation whose index a model has in a preparation; empty for the sweep's own index.

        A pooling that is the model's own changes nothing for it.
        """
        if not preparation:
            return ""
        cell = self.preparations[preparation]
        own = sensitivity.pooling_of(spec, cell.pooling) == spec.pooling
        return sensitivity.name_of([c for c in cell.changes if c[0] != "k" and not (own and c[0] == "pooling")])

    def why_left_out(self, preparation: str, dataset: str, spec: ModelSpec) -> str:
        """Why a model that is compared on a dataset has no part in a preparation; empty if it has."""
        reason = sensitivity.why_not_pooled(spec, self.preparations[preparation].pooling)
        file, prepared = imported_file(spec, dataset), self.prepared_as(preparation, spec)
        if not reason and prepared and file is not None and file.is_lists:
            reason = "its neighbour lists were imported, and were made as the sweep prepares features"
        name = f"{prepared}/{dataset}/{spec.id}"
        failed = self.failures.get("index_prepared", {}).get(name)
        return reason or (f"index_prepared failed: {failed}" if failed else "")

    def further_poolings(self, dataset: str, spec: ModelSpec) -> tuple[str, ...]:
        """Poolings besides its own that cells ask of a model on a dataset, sorted."""
        if dataset not in self.config.datasets or sensitivity.COMPARISON not in self.comparisons(dataset):
            return ()
        asked = [p for p in self.config.sensitivity.pooling if not sensitivity.why_not_pooled(spec, p)]
        return tuple(sorted({sensitivity.pooling_of(spec, p) for p in asked} - {spec.pooling}))

    def measured(self, capability: CapabilityConfig) -> tuple[ModelSpec, ...]:
        """Models that a capability is measured for."""
        module = plugin("capability", capability.kind, "capability")
        causal_only = getattr(module, "CAUSAL_ONLY", False)
        chosen = [m for m in self.applies_to(capability) if not m.imported and (m.causal or not causal_only)]
        return tuple(m for m in chosen if not self.why_missing(m.id, capability.dataset))

    def applies_to(self, capability: CapabilityConfig) -> tuple[ModelSpec, ...]:
        """Models of the modality that a capability is asked of, whether they can have it or not."""
        modality = plugin("capability", capability.kind, "capability").APPLIES_TO
        return tuple(m for m in self.models if m.modality == modality)

    def why_not_measured(self, capability: CapabilityConfig, model: ModelSpec) -> str:
        """Why a model of a capability's modality has no value of it in this run; empty if it should have one."""
        module = plugin("capability", capability.kind, "capability")
        if getattr(module, "CAUSAL_ONLY", False) and not model.causal:
            return "not a causal model"
        if model.imported:
            return "imported without weights"
        failed = self.failures.get("measure_capability", {}).get(f"{capability.id}/{model.id}")
        return f"measure_capability failed: {failed}" if failed else self.why_missing(model.id, capability.dataset)

    def inferred(self, which: Literal["null", "intervals"]) -> set[tuple[str, int]]:
        """Metrics and their k (0 where they take none) whose scores get a null, or an interval."""
        asked = getattr(self.config.inference, which)
        if asked == "headline":
            return {(self.config.headline.metric, self.config.headline.k or 0)}
        metrics = self.config.metrics.items() if asked == "all" else ()
        return {(name, k) for name, settings in metrics for k in settings.k or (0,)}

    def index_settings(self, preparation: str = "") -> dict[str, Any]:
        """What an index is built with: preparation, k_max and what the metrics need.

        `k_max` is at least 48, so that a longer list of k rarely needs a new index, and long enough for intervals; a
        metric that can do without lists of k does not make them longer.
        """
        cell = self.preparations[preparation] if preparation else None
        metrics = self.config.metrics.items() if cell is None else ()
        asked = [(name, k) for name, metric in metrics for k in metric.k or (None,)]
        asked += [] if cell is None else [(cell.metric, cell.k or None)]
        settings = self.config.preparation.model_dump()
        changed = {} if cell is None else {axis: value for axis, value in cell.changes if axis in settings}
        least = max([self._shortest_lists(), *self.config.sensitivity.k])
        k_max, needs = member("zooalign.metrics", "lists_and_needs")(asked, least)
        return {
            "preparation": {**settings, **changed},
            "k_max": k_max,
            "needs": sorted(needs),
        }

    def index_settings_of(self, dataset: str, model: str, preparation: str = "") -> dict[str, Any]:
        """The same for a model: of imported neighbour lists no more than they give."""
        settings, file = self.index_settings(preparation), imported_file(self.model(model), dataset)
        if file is None or file.k_max is None:
            return settings
        return {**settings, "k_max": min(settings["k_max"], file.k_max),
                "needs": sorted({*settings["needs"]} & {*file.holds})}  # fmt: skip

    def not_given(self, dataset: str, metric: str, k: int) -> dict[str, str]:
        """Imported models of a dataset that a metric with its k cannot be computed of, with the reason."""
        files = {m.id: file for m in self.models if (file := imported_file(m, dataset)) is not None}
        reasons = {name: why_not_given(file, metric, k) for name, file in files.items()}
        return {name: reason for name, reason in reasons.items() if reason}

    def _shortest_lists(self) -> int:
        """Least length of lists of neighbours, intervals included."""
        list_length = member("zooalign.alignment.intervals", "list_length")
        # A metric that reads sets instead of long lists has no interval beyond the lists.
        reads_sets = {n for n in self.config.metrics if hasattr(plugin("metrics", n, "metric"), "beyond_lists")}
        in_lists = (k for name, k in self.inferred("intervals") if k <= _LISTS or name not in reads_sets)
        return max([_LISTS, *(list_length(k) for k in in_lists if k)])


def load_sweep(config: dict[str, Any], root: Path | str | Sequence[Path | str] = ".") -> Sweep:
    """Check a configuration and read the manifest it names.

    Parameters
    ----------
    config : dict
        Content of config.yaml, as Snakemake or :func:`read_config` gives it.
    root : path or sequence of path
        Folder that paths in the configuration are relative to; of several, the first where a path exists.

    Raises
    ------
    ConfigError
        For an unknown key, model, metric, dataset, capability, table or figure (with the nearest names), a
        duplicate model id, an option its room refuses, or terms that are not accepted.
    """
    roots = [Path(root)] if isinstance(root, str | Path) else [Path(one) for one in root]

    def resolve(path: str) -> Path:
        return next((one / path for one in roots if (one / path).exists()), roots[0] / path)

    # Values given on the command line have not been in a file.
    check_values(config, "config.yaml")
    parsed: Config = parse(Config, config, "config.yaml")
    rows = read_zoo(parsed.zoo, resolve)
    catalogue = {
        name: _with_paths(spec, resolve) for name, spec in read_datasets(resolve(parsed.dataset_files)).items()
    }
    models, left_out = _chosen(parsed, rows)
    ids, swept = tuple(spec.id for spec in rows), {spec.id for spec in models}
    external = tuple(e for e in read_external(map(resolve, parsed.external), rows) if e.model in swept)
    sweep = Sweep(parsed, tuple(models), catalogue, left_out, _failures(parsed, resolve), ids, external)
    check(sweep)
    return sweep


def read_config(path: Path | str) -> dict[str, Any]:
    """Read config.yaml from a file, for use outside Snakemake."""
    return read_yaml(Path(path))


def _with_paths(spec: DatasetSpec, resolve: Callable[[str], Path]) -> DatasetSpec:
    """A dataset's row, paths in it found as those of the configuration are."""
    paths = getattr(plugin("datasets", spec.family, "dataset family"), "PATHS", ())
    found = {key: str(resolve(spec.options[key])) for key in paths if isinstance(spec.options.get(key), str)}
    return spec.model_copy(update={"options": {**spec.options, **found}}) if found else spec


def _chosen(config: Config, specs: list[ModelSpec]) -> tuple[list[ModelSpec], dict[str, str]]:
    """Models of the sweep, and those left out with the reason."""
    known = [spec.id for spec in specs]
    if config.models != "all":
        for name in config.models:
            if name not in known:
                raise ConfigError(f"config.yaml, models: {unknown('model', name, known)}")
        specs = [spec for spec in specs if spec.id in config.models]
    chosen, left_out = [], {}
    for spec in specs:
        missing = [program for program in spec.requires if shutil.which(program) is None]
        if missing:
            left_out[spec.id] = f"needs {', '.join(missing)} on the PATH"
        elif spec.terms and spec.terms not in config.accept_terms:
            left_out[spec.id] = (
                f"its terms are not accepted: read {spec.homepage}, then add {spec.terms!r} to accept_terms "
                "in config.yaml"
            )
        else:
            chosen.append(_with_sublayers(spec) if config.extraction.layers == "all" else spec)
    return chosen, left_out


def _with_sublayers(spec: ModelSpec) -> ModelSpec:
    """The row of a transformer with three layers a block, for estimates; its layers have one width."""
    per_sample = (spec.layers or 0) * (spec.width or 0)
    if spec.imported or not per_sample or per_sample != spec.features_per_sample:
        return spec
    return spec.model_copy(update={"features_per_sample": 3 * per_sample})


def _failures(config: Config, resolve: Callable[[str], Path]) -> dict[str, dict[str, str]]:
    if config.failures is None:
        return {}
    path = resolve(config.failures)
    try:
        failures = json.loads(path.read_text(encoding="utf-8"))
        return {str(rule): {str(name): str(why) for name, why in items.items()} for rule, items in failures.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}). Leave the key failures out of config.yaml.") from error
