"""What a configuration says against what there is: names of metrics, datasets, capabilities, tables and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zooalign.config import sensitivity
from zooalign.config.manifest import check_options
from zooalign.config.schema import Config
from zooalign.errors import ConfigError, unknown
from zooalign.registry import plugin, plugin_names

if TYPE_CHECKING:
    from zooalign.config.sweep import Sweep


def check(sweep: Sweep) -> None:
    """Refuse what no job could do.

    Raises
    ------
    ConfigError
        For an unknown metric, dataset, capability, table or figure (with the nearest names), a setting that does not
        fit it, or a headline that the sweep does not compute; names the key and the remedy.
    """
    _check_metrics(sweep.config)
    _check_datasets(sweep)
    _check_capabilities(sweep)
    _check_results(sweep)
    _check_sensitivity(sweep)


def _check_metrics(config: Config) -> None:
    known = plugin_names("metrics")
    for name, settings in config.metrics.items():
        if name not in known:
            raise ConfigError(f"config.yaml, metrics: {unknown('metric', name, known)}")
        takes_k = plugin("metrics", name, "metric").TAKES_K
        if takes_k and not settings.k:
            raise ConfigError(f"config.yaml, metrics.{name}: k is missing; write {name}: {{k: [10]}}.")
        if not takes_k and settings.k:
            raise ConfigError(f"config.yaml, metrics.{name}: takes no k; write {name}: {{}}.")
    headline = config.headline
    if headline.metric not in config.metrics:
        raise ConfigError(f"config.yaml, headline.metric: {unknown('metric', headline.metric, config.metrics)}")
    ks = config.metrics[headline.metric].k
    if (headline.k is None) == bool(ks) or (ks and headline.k not in ks):
        raise ConfigError(
            f"config.yaml, headline.k: {headline.k} is not in metrics.{headline.metric}.k {list(ks)}; add it there."
        )


def _check_datasets(sweep: Sweep) -> None:
    config = sweep.config
    for name in config.datasets:
        if sweep.dataset(name).kind != "pairs":
            raise ConfigError(
                f"config.yaml, datasets: {name!r} has {sweep.dataset(name).kind}, not image-text pairs; "
                "use it under capabilities."
            )
    for name in config.comparisons:
        if name not in config.datasets:
            raise ConfigError(f"config.yaml, comparisons: {unknown('dataset', name, config.datasets)}")


def _check_results(sweep: Sweep) -> None:
    config = sweep.config
    folder = config.results
    if not folder.strip() or any(character in folder for character in "{}\n\0"):
        raise ConfigError(
            f"config.yaml, results: {folder!r} cannot be the folder of results; name one without braces."
        )
    known = {row.id for row in config.capabilities} | {row.capability for row in sweep.external}
    need = config.headline.capability
    for package in ("tables", "figures"):
        for name in getattr(config, package):
            module = plugin(package, name, package[:-1])
            if getattr(module, "NEEDS_CAPABILITY", False) and need not in known:
                raise ConfigError(
                    f"config.yaml, {package}: {name} needs the capability {need!r}; add it under capabilities, "
                    f"name another one in headline.capability, or leave {name} out of {package}."
                )


def _check_sensitivity(sweep: Sweep) -> None:
    sensitivity.check_poolings(sweep.config, sweep.models)
    if sweep.cells and not any(sensitivity.COMPARISON in sweep.comparisons(d) for d in sweep.config.datasets):
        raise ConfigError(
            f"config.yaml, sensitivity: follows the order of models in {sensitivity.COMPARISON}, and no dataset has "
            "that among its comparisons; add it there, or delete sensitivity."
        )


def _check_capabilities(sweep: Sweep) -> None:
    seen: set[str] = set()
    for row in sweep.config.capabilities:
        where = f"config.yaml, capability {row.id!r}"
        if row.id in seen:
            raise ConfigError(f"{where}: the id occurs twice; rename one.")
        seen.add(row.id)
        if row.kind not in plugin_names("capability"):
            raise ConfigError(f"{where}: {unknown('kind of capability', row.kind, plugin_names('capability'))}")
        check_options("capability", row.kind, row.options, where)
        reads, kind = plugin("capability", row.kind, "capability").READS, sweep.dataset(row.dataset).kind
        if kind not in reads:
            known = sorted(name for name, spec in sweep.catalogue.items() if spec.kind in reads)
            raise ConfigError(
                f"{where}: {row.kind} reads datasets of kind {' or '.join(reads)}, {row.dataset!r} is of kind "
                f"{kind}. Name one of {', '.join(known)}."
            )
