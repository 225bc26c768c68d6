"""What a job asks for: GPUs and their memory class, memory, CPUs and time, from the manifest and config.yaml.

Every process of a run (the controlling Snakemake, the one inside each job, `zooalign plan`) must come to the same
numbers while the disk fills, so nothing here looks at results. Measured numbers go into plans only.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zooalign import estimates
from zooalign.cluster_config import GpuClass, ModelResources, RuleResources
from zooalign.errors import ConfigError, unknown

if TYPE_CHECKING:
    from zooalign.config import Sweep

# Rules and the place of the model among the parts of their items; None: the rule has no models.
MODEL_PART = {
    "build_dataset": None,
    "fetch_weights": 0,
    "extract_features": 1,
    "index_features": 1,
    "align_row": 1,
    "measure_capability": 1,
    "make_tables": None,
    "make_figures": None,
}
RUNS_MODELS = ("extract_features", "measure_capability")
# No job shall die of an optimistic guess: the limit is this multiple of the estimate, and never below the floor.
# A limit costs nothing but a later start where the scheduler fills gaps; a job that dies costs all its work.
RUNTIME_FACTOR = 3.0
RUNTIME_FLOOR_MIN = 30
# Downloads take what the network gives.
NETWORK_FLOOR_MIN = 120
# One driver file per card; reading it needs no library.
GPU_FILES = "/proc/driver/nvidia/gpus"


@dataclass(frozen=True)
class Needs:
    """What one item needs on its first attempt.

    Attributes
    ----------
    gpus : int
        Cards.
    gpu_mem_mb : int
        Memory on each of them, MB; 0 without GPU.
    mem_mb : int
        Memory of the host, MB.
    cpus : int
        CPUs.
    seconds : float
        Estimated work, without the start of the job.
    gpu_model, partition : str or None
        As the scheduler calls them; None where it may choose.
    """

    gpus: int
    gpu_mem_mb: int
    mem_mb: int
    cpus: int
    seconds: float
    gpu_model: str | None = None
    partition: str | None = None


def item_needs(sweep: Sweep, rule: str, parts: tuple[str, ...], cluster: bool) -> Needs:
    """What one item needs, from the manifest and the overrides of config.yaml.

    Parameters
    ----------
    sweep : Sweep
        The checked configuration.
    rule : str
        Key of `MODEL_PART`.
    parts : tuple of str
        What the rule is applied to, as in `dag.Item`.
    cluster : bool
        Whether the job goes to a cluster: then `auto` means a GPU, and the memory includes Snakemake's own.

    Raises
    ------
    ConfigError
        If no card of `gpu_classes`, nor several on one node, can hold the model; names it and what it needs.
    """
    settings = _settings(sweep, rule, _model_name(rule, parts))
    gpu = uses_gpu(sweep, rule, parts, cluster)
    mem_mb, seconds = estimates.work(sweep, rule, parts, gpu)
    if cluster:
        mem_mb += estimates.SNAKEMAKE_MEM_MB
    gpus, gpu_mem_mb, gpu_model = _gpus(sweep, rule, parts, 1, 1, cluster) if gpu else (0, 0, None)
    return Needs(
        gpus=gpus,
        gpu_mem_mb=gpu_mem_mb,
        mem_mb=settings.mem_mb or round(mem_mb),
        cpus=settings.cpus or _cpus(sweep, rule, parts, cluster),
        seconds=seconds,
        gpu_model=gpu_model,
        partition=settings.partition,
    )


def pack_class(needs: Needs) -> tuple[int, str | None, str | None, int]:
    """Key of the items that may share a job: GPUs, their model, partition, and memory in GB as a power of two.

    Examples
    --------
    >>> pack_class(Needs(1, 9_000, 5_000, 2, 60.0, "a100"))
    (1, 'a100', None, 8)
    """
    gb = max(2, 2 ** math.ceil(math.log2(max(1.0, needs.mem_mb / 1000))))
    return needs.gpus, needs.gpu_model, needs.partition, gb


def job_resources(
    sweep: Sweep, rule: str, items: Sequence[tuple[str, ...]], attempt: int, cluster: bool
) -> dict[str, int | str]:
    """What a job of several items of one rule asks for, by Snakemake's names.

    Parameters
    ----------
    sweep : Sweep
        The checked configuration.
    rule : str
        Key of `MODEL_PART`.
    items : sequence of tuple of str
        Parts of the items, at least one.
    attempt : int
        From 1. Memory and time are multiplied by it; a GPU job goes to the next larger class.
    cluster : bool
        As in :func:`item_needs`.

    Returns
    -------
    dict
        "mem_mb", "runtime" (minutes), "cpus_per_task"; where they apply "gpu", "gpu_model", "slurm_partition".
        A key that is missing must not be asked for: `gpu_model` makes the SLURM plugin add a GPU by itself.

    Raises
    ------
    ConfigError
        As :func:`item_needs`.
    """
    if not items:
        raise ValueError(f"a job of {rule} needs at least one item")
    needs = [item_needs(sweep, rule, parts, cluster) for parts in items]
    overrides = [_settings(sweep, rule, _model_name(rule, parts)) for parts in items]
    width = side_by_side(sweep, rule, items, cluster)
    mem = [o.mem_mb for o in overrides if o.mem_mb]
    mem += [_round_up(width * n.mem_mb, 100) for n, o in zip(needs, overrides, strict=True) if not o.mem_mb]
    cpus = [o.cpus or width * n.cpus for n, o in zip(needs, overrides, strict=True)]
    asked: dict[str, int | str] = {
        "mem_mb": attempt * max(mem),
        "runtime": _runtime_min(sweep, rule, needs, overrides, width, attempt),
        "cpus_per_task": max(cpus),
    }
    if any(n.gpus for n in needs):
        largest = max(
            items, key=lambda parts: (item_needs(sweep, rule, parts, cluster).gpus, _weights(sweep, rule, parts))
        )
        gpus, _, model = _gpus(sweep, rule, largest, attempt, width, cluster)
        asked["gpu"] = gpus
        if model:
            asked["gpu_model"] = model
    partition = next((n.partition for n in needs if n.partition), None)
    if partition and cluster:
        asked["slurm_partition"] = partition
    return asked


def resource_overrides(sweep: Sweep, rule: str) -> tuple[str, ...]:
    """Which of the optional keys of :func:`job_resources` jobs of a rule can have.

    A rule must not declare the others: declared and left empty they would hide the profile's default.
    """
    chosen = _all_settings(sweep, rule)
    runs = rule in RUNS_MODELS
    gpu_model = runs and (bool(sweep.config.gpu_classes) or any(c.gpu_model for c in chosen))
    partition = any(c.partition for c in chosen)
    return ("cpus_per_task", *["gpu_model"] * gpu_model, *["slurm_partition"] * partition)


def side_by_side(sweep: Sweep, rule: str, items: Sequence[tuple[str, ...]], cluster: bool) -> int:
    """How many items of an extraction job run at a time, on the same GPU: `jobs.side_by_side` where they fit."""
    width = min(sweep.config.jobs.side_by_side, len(items))
    if rule != "extract_features" or width < 2:
        return 1
    for parts in items:
        needs = item_needs(sweep, rule, parts, cluster)
        cards = [c.mem_mb for c in _classes(sweep, _settings(sweep, rule, parts[1]), cluster)]
        if needs.gpus > 1:
            return 1
        if needs.gpus and cards:
            width = min(width, max(cards) // needs.gpu_mem_mb)
    return max(1, width)


def uses_gpu(sweep: Sweep, rule: str, parts: tuple[str, ...], cluster: bool) -> bool:
    """Whether an item runs a model on a GPU."""
    device = sweep.config.extraction.device
    if device == "cpu" or not _runs_model(sweep, rule, parts):
        return False
    if _settings(sweep, rule, _model_name(rule, parts)).gpus == 0:
        return False
    return device == "cuda" or cluster or has_gpu()


def device_of(sweep: Sweep, rule: str, parts: tuple[str, ...]) -> str:
    """`extraction.device` for an item: "cpu" where config.yaml gives its rule or model no GPU."""
    no_gpu = _settings(sweep, rule, _model_name(rule, parts)).gpus == 0
    return "cpu" if no_gpu else sweep.config.extraction.device


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU, without importing torch."""
    try:
        return bool(os.listdir(GPU_FILES))
    except OSError:
        return False


def check_resources(sweep: Sweep, models: Iterable[str] | None = None) -> None:
    """Refuse settings about jobs that no job could follow.

    Parameters
    ----------
    sweep : Sweep
        The checked configuration.
    models : iterable of str, optional
        Ids of every model of the zoo files, swept or not; default those of the sweep and those left out.

    Raises
    ------
    ConfigError
        For an unknown rule, model or GPU model (with the nearest names), and for settings that contradict others.
    """
    config = sweep.config
    known = [*(m.id for m in sweep.models), *sweep.left_out] if models is None else list(models)
    classes = [c.model for c in config.gpu_classes]
    if len(set(classes)) < len(classes):
        raise ConfigError(f"config.yaml, gpu_classes: a model stands twice ({', '.join(classes)}); delete one.")
    for rule, chosen in config.resources.items():
        where = f"config.yaml, resources.{rule}"
        if rule not in MODEL_PART:
            raise ConfigError(f"config.yaml, resources: {unknown('rule', rule, MODEL_PART)}")
        for name in chosen.models:
            if MODEL_PART[rule] is None:
                raise ConfigError(f"{where}.models: {rule} has no jobs of single models; delete this key.")
            if name not in known:
                raise ConfigError(f"{where}.models: {unknown('model', name, known)}")
        for name, one in [("", chosen), *chosen.models.items()]:
            _check_settings(sweep, rule, one, f"{where}.models.{name}" if name else where, classes)
        if not chosen.partition and any(one.partition for one in chosen.models.values()):
            raise ConfigError(
                f"{where}: models have a partition and the rule has none, so the profile's would be lost for the "
                f"others; set {where.removeprefix('config.yaml, ')}.partition too."
            )


def _check_settings(sweep: Sweep, rule: str, chosen: ModelResources, where: str, classes: list[str]) -> None:
    device = sweep.config.extraction.device
    if rule not in RUNS_MODELS and (chosen.gpus or chosen.gpu_model):
        raise ConfigError(f"{where}: {rule} runs no model and uses no GPU; delete gpus and gpu_model.")
    if device == "cpu" and (chosen.gpus or chosen.gpu_model):
        raise ConfigError(f"{where}: asks for a GPU, but extraction.device is cpu; set it to auto, or delete this.")
    if device == "cuda" and chosen.gpus == 0:
        raise ConfigError(f"{where}.gpus: 0, but extraction.device is cuda; set it to auto, or delete this.")
    if chosen.gpus == 0 and chosen.gpu_model:
        raise ConfigError(f"{where}: gpus is 0 and gpu_model {chosen.gpu_model!r}; delete one of them.")
    if classes and chosen.gpu_model and chosen.gpu_model not in classes:
        raise ConfigError(f"{where}.gpu_model: {unknown('GPU model of gpu_classes', chosen.gpu_model, classes)}")


def _model_name(rule: str, parts: tuple[str, ...]) -> str | None:
    if rule not in MODEL_PART:
        raise ConfigError(unknown("rule", rule, MODEL_PART))
    place = MODEL_PART[rule]
    return None if place is None else parts[place]


def _settings(sweep: Sweep, rule: str, model: str | None) -> ModelResources:
    """Overrides of a rule, with those of a model on top."""
    chosen = sweep.config.resources.get(rule)
    if chosen is None:
        return _NOTHING
    own = chosen.models.get(model or "")
    if own is None:
        return chosen
    above = own.model_dump(exclude_none=True)
    # A model that needs no GPU needs no model of one either, whatever the rule says.
    base = chosen.model_dump(exclude={"models", *({"gpu_model"} if own.gpus == 0 else set())})
    return ModelResources(**{**base, **above})


_NOTHING = ModelResources()


def _all_settings(sweep: Sweep, rule: str) -> list[ModelResources]:
    chosen = sweep.config.resources.get(rule) or RuleResources()
    return [chosen, *chosen.models.values()]


def _runs_model(sweep: Sweep, rule: str, parts: tuple[str, ...]) -> bool:
    if rule == "measure_capability":
        return estimates.kind("capability", sweep.capability(parts[0]).kind).NEEDS != "features"
    return rule == "extract_features"


def _cpus(sweep: Sweep, rule: str, parts: tuple[str, ...], cluster: bool) -> int:
    extraction = sweep.config.extraction
    if not _runs_model(sweep, rule, parts):
        return 1
    # On one machine the workers share the cores of the jobs beside them, as its user has set the two.
    decodes = cluster and rule == "extract_features" and sweep.model(parts[1]).modality == "vision"
    return extraction.threads + (extraction.workers if decodes else 0)


def _weights(sweep: Sweep, rule: str, parts: tuple[str, ...]) -> float:
    return estimates.gpu_weights_mb(sweep.model(parts[1])) if rule in RUNS_MODELS else 0.0


def _card_overhead(sweep: Sweep, rule: str, parts: tuple[str, ...]) -> float:
    """MB that each card needs besides weights."""
    overhead = estimates.gpu_overhead_mb(sweep.config.extraction.batch_mem_mb)
    if rule == "measure_capability":
        overhead += estimates.logits_mem_mb(estimates.capability_options(sweep, parts[0]))
    return overhead


def _gpus(
    sweep: Sweep, rule: str, parts: tuple[str, ...], attempt: int, width: int, cluster: bool
) -> tuple[int, int, str | None]:
    """Cards, memory on each in MB, and their model (None: any) for `width` such items at a time on one card."""
    chosen = _settings(sweep, rule, _model_name(rule, parts))
    weights, overhead = _weights(sweep, rule, parts), _card_overhead(sweep, rule, parts)

    def per_card(cards: int) -> int:
        # Whole blocks are laid on cards, so none is filled exactly.
        return math.ceil(width * (weights * (1.0 if cards == 1 else 1.1) / cards + overhead))

    classes = _classes(sweep, chosen, cluster)
    if not classes:
        cards = chosen.gpus or 1
        return cards, per_card(cards), chosen.gpu_model if cluster else None
    if chosen.gpus:
        numbers: Iterable[int] = (chosen.gpus,)
    else:
        fits_on_one = any(c.mem_mb >= per_card(1) for c in classes)
        numbers = (1,) if fits_on_one else range(2, 1 + max(c.per_node for c in classes))
    ladder: list[tuple[GpuClass, int]] = []
    for cards in numbers:
        for c in classes:
            larger = not ladder or c.mem_mb * cards > ladder[-1][0].mem_mb * ladder[-1][1]
            if cards <= c.per_node and c.mem_mb >= per_card(cards) and larger:
                ladder.append((c, cards))
    if not ladder and chosen.gpus:
        ladder = [(classes[-1], chosen.gpus)]  # the user knows better
    if not ladder:
        largest = classes[-1]
        raise ConfigError(
            f"model {parts[1]!r} needs {per_card(1):,} MB of GPU memory ({weights:,.0f} MB of weights in "
            f"{sweep.model(parts[1]).precision}). The largest of gpu_classes is {largest.model} with "
            f"{largest.mem_mb:,} MB, per_node {largest.per_node}. Add a larger class to gpu_classes in config.yaml, "
            f"raise its per_node, give the model a smaller precision, or set "
            f"resources.{rule}.models.{parts[1]}.gpus: 0 to run it on CPUs."
        )
    card, cards = ladder[min(attempt, len(ladder)) - 1]
    return cards, per_card(cards), card.model


def _classes(sweep: Sweep, chosen: ModelResources, cluster: bool) -> list[GpuClass]:
    """GPU classes that a job may get, smallest first; empty where there is no choice."""
    classes = sorted(sweep.config.gpu_classes, key=lambda c: c.mem_mb) if cluster else []
    return [c for c in classes if chosen.gpu_model in (None, c.model)]


def _runtime_min(
    sweep: Sweep,
    rule: str,
    needs: Sequence[Needs],
    overrides: Sequence[ModelResources],
    width: int,
    attempt: int,
) -> int:
    """Time limit of a job in minutes."""
    rule_wide = (sweep.config.resources.get(rule) or RuleResources()).runtime_min
    if rule_wide:
        # The limit of a whole job; a model that was given more takes its job along.
        return math.ceil(attempt * max(o.runtime_min or rule_wide for o in overrides))
    guessed = [n.seconds for n, o in zip(needs, overrides, strict=True) if not o.runtime_min]
    given = [o.runtime_min for o in overrides if o.runtime_min]
    if not guessed:
        return math.ceil(attempt * _shared(given, width))
    floor = NETWORK_FLOOR_MIN if rule in ("build_dataset", "fetch_weights") else RUNTIME_FLOOR_MIN
    estimate = RUNTIME_FACTOR * (estimates.STARTUP_S + _shared(guessed, width)) / 60
    minutes = attempt * (max(floor, estimate) + (_shared(given, width) if given else 0))
    return _round_up(minutes, 5 if minutes <= 120 else 30)


def _shared(amounts: Sequence[float], width: int) -> float:
    """How long `width` workers take over jobs of these lengths, at least."""
    return max(max(amounts), sum(amounts) / width)


def _round_up(value: float, step: int) -> int:
    return step * math.ceil(value / step)
