"""What a job asks for: GPUs and their memory class, memory, CPUs and time, from the manifest and config.yaml.

Every process of a run (the controlling Snakemake, the one inside each job, `zooalign plan`) must come to the same
numbers while the disk fills, so nothing here looks at results. Measured numbers go into plans only.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zooalign.config.jobs import GpuClass, ModelResources, RuleResources
from zooalign.errors import ConfigError, unknown
from zooalign.models.memory import gpu_overhead_mb
from zooalign.planning import costs
from zooalign.workflow.rules import RULES

if TYPE_CHECKING:
    from zooalign.config.sweep import Sweep

# No job shall die of an optimistic guess: the limit is this multiple of the estimate, and never below the floor.
# A limit costs nothing but a later start where the scheduler fills gaps; a job that dies costs all its work.
RUNTIME_FACTOR = 3.0
RUNTIME_FLOOR_MIN = 30
# Beside the estimate, MB: at least, and at most, where the estimate itself is between the two.
LEAST_RESERVE_MB, MOST_RESERVE_MB = 300.0, 1000.0
# Downloads take what the network gives.
NETWORK_FLOOR_MIN = 120
# One driver file per GPU; reading it needs no library.
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
        Memory of the host, MB, as it is expected; a job asks for :func:`reserve_mb` more.
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
        Key of `workflow.rules.RULES`.
    parts : tuple of str
        What the rule is applied to, as in `workflow.work.Item`.
    cluster : bool
        Whether the job goes to a cluster: then `auto` means a GPU, and the memory includes Snakemake's own.

    Raises
    ------
    ConfigError
        If no GPU of `gpu_classes`, nor several on one node, can hold the model; names it and what it needs.
    """
    settings = _settings(sweep, rule, _model_name(rule, parts))
    gpu = uses_gpu(sweep, rule, parts, cluster)
    mem_mb, seconds = RULES[rule].estimate(sweep, parts, gpu)
    if cluster:
        mem_mb += costs.SNAKEMAKE_MEM_MB
    gpus, gpu_mem_mb, gpu_model = _gpus(sweep, rule, parts, 1, cluster) if gpu else (0, 0, None)
    return Needs(
        gpus=gpus,
        gpu_mem_mb=gpu_mem_mb,
        mem_mb=settings.mem_mb or round(mem_mb),
        cpus=settings.cpus or _cpus(sweep, rule, parts, cluster),
        seconds=seconds,
        gpu_model=gpu_model,
        partition=settings.partition,
    )


def job_resources(
    sweep: Sweep, rule: str, parts: tuple[str, ...], attempt: int, cluster: bool
) -> dict[str, int | str]:
    """What a job asks for, by Snakemake's names.

    Parameters
    ----------
    sweep : Sweep
        The checked configuration.
    rule : str
        Key of `workflow.rules.RULES`.
    parts : tuple of str
        What the rule is applied to.
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
    needs, chosen = item_needs(sweep, rule, parts, cluster), _settings(sweep, rule, _model_name(rule, parts))
    asked: dict[str, int | str] = {
        "mem_mb": attempt * (chosen.mem_mb or _round_up(needs.mem_mb + reserve_mb(needs.mem_mb), 100)),
        "runtime": _runtime_min(rule, needs, chosen, attempt),
        "cpus_per_task": needs.cpus,
    }
    if needs.gpus:
        asked["gpu"], _, model = _gpus(sweep, rule, parts, attempt, cluster)
        if model:
            asked["gpu_model"] = model
    if needs.partition and cluster:
        asked["slurm_partition"] = needs.partition
    return asked


# Memory of GPUs that are sold, GB: what a job needs where config.yaml lists no classes.
_SOLD_GB = (8, 12, 16, 24, 32, 40, 48, 80, 141)


def gpu_class(sweep: Sweep, rule: str, parts: tuple[str, ...], cluster: bool) -> str:
    """The GPUs of an item's first attempt, for people: "a100", "2 x a100", "16 GB"; empty for none."""
    if not uses_gpu(sweep, rule, parts, cluster):
        return ""
    gpus, mem_mb, model = _gpus(sweep, rule, parts, 1, cluster)
    name = model or next((f"{size} GB" for size in _SOLD_GB if mem_mb <= 1000 * size), f"{mem_mb / 1000:,.0f} GB")
    return name if gpus == 1 else f"{gpus} x {name}"


def resource_overrides(sweep: Sweep, rule: str) -> tuple[str, ...]:
    """Which of the optional keys of :func:`job_resources` jobs of a rule can have.

    A rule must not declare the others: declared and left empty they would hide the profile's default.
    """
    chosen = _all_settings(sweep, rule)
    gpu_model = RULES[rule].may_run_models() and (bool(sweep.config.gpu_classes) or any(c.gpu_model for c in chosen))
    partition = any(c.partition for c in chosen)
    return ("cpus_per_task", *["gpu_model"] * gpu_model, *["slurm_partition"] * partition)


def uses_gpu(sweep: Sweep, rule: str, parts: tuple[str, ...], cluster: bool) -> bool:
    """Whether an item runs a model on a GPU."""
    device = sweep.config.extraction.device
    if device == "cpu" or not RULES[rule].runs_model(sweep, parts):
        return False
    if _settings(sweep, rule, _model_name(rule, parts)).gpus == 0:
        return False
    return device == "cuda" or cluster or has_gpu()


def device_of(sweep: Sweep, rule: str, parts: tuple[str, ...]) -> str:
    """`extract.device` for an item: "cpu" where config.yaml gives its rule or model no GPU."""
    no_gpu = _settings(sweep, rule, _model_name(rule, parts)).gpus == 0
    return "cpu" if no_gpu else sweep.config.extraction.device


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU, without importing torch."""
    try:
        return bool(os.listdir(GPU_FILES))
    except OSError:
        return False


def check_resources(sweep: Sweep) -> None:
    """Refuse settings about jobs that no job could follow.

    Parameters
    ----------
    sweep : Sweep
        The checked configuration.

    Raises
    ------
    ConfigError
        For an unknown rule, model or GPU model (with the nearest names), and for settings that contradict others.
    """
    config = sweep.config
    known = sweep.zoo or [*(m.id for m in sweep.models), *sweep.left_out]
    classes = [c.model for c in config.gpu_classes]
    if len(set(classes)) < len(classes):
        raise ConfigError(f"config.yaml, gpu_classes: a model is listed twice ({', '.join(classes)}); delete one.")
    for rule, chosen in config.resources.items():
        where = f"config.yaml, resources.{rule}"
        if rule not in RULES:
            raise ConfigError(f"config.yaml, resources: {unknown('rule', rule, RULES)}")
        for name in chosen.models:
            if "model" not in RULES[rule].wildcards:
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
    if not RULES[rule].may_run_models() and (chosen.gpus or chosen.gpu_model):
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
    if rule not in RULES:
        raise ConfigError(unknown("rule", rule, RULES))
    return RULES[rule].model(parts)


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


def _cpus(sweep: Sweep, rule: str, parts: tuple[str, ...], cluster: bool) -> int:
    extraction = sweep.config.extraction
    if not RULES[rule].runs_model(sweep, parts):
        return 1
    # On one machine the workers share the cores of the jobs beside them, as its user has set the two.
    decodes = cluster and RULES[rule].decodes_images and sweep.model(parts[1]).modality == "vision"
    return extraction.threads + (extraction.workers if decodes else 0)


def _gpus(
    sweep: Sweep, rule: str, parts: tuple[str, ...], attempt: int, cluster: bool
) -> tuple[int, int, str | None]:
    """GPUs, memory on each in MB, and their model (None: any)."""
    chosen = _settings(sweep, rule, _model_name(rule, parts))
    weights = costs.gpu_weights_mb(sweep.model(parts[1]))
    overhead = gpu_overhead_mb(sweep.config.extraction.batch_mem_mb)
    overhead += RULES[rule].logits_mem_mb(sweep, parts)

    def per_gpu(gpus: int) -> int:
        # Whole blocks are laid on GPUs, so none is filled exactly.
        return math.ceil(weights * (1.0 if gpus == 1 else 1.1) / gpus + overhead)

    classes = _classes(sweep, chosen, cluster)
    if not classes:
        gpus = chosen.gpus or 1
        return gpus, per_gpu(gpus), chosen.gpu_model if cluster else None
    if chosen.gpus:
        numbers: Iterable[int] = (chosen.gpus,)
    else:
        fits_on_one = any(c.mem_mb >= per_gpu(1) for c in classes)
        numbers = (1,) if fits_on_one else range(2, 1 + max(c.per_node for c in classes))
    ladder: list[tuple[GpuClass, int]] = []
    for gpus in numbers:
        for c in classes:
            larger = not ladder or c.mem_mb * gpus > ladder[-1][0].mem_mb * ladder[-1][1]
            if gpus <= c.per_node and c.mem_mb >= per_gpu(gpus) and larger:
                ladder.append((c, gpus))
    if not ladder and chosen.gpus:
        ladder = [(classes[-1], chosen.gpus)]  # the user knows better
    if not ladder:
        largest = classes[-1]
        raise ConfigError(
            f"model {parts[1]!r} needs {per_gpu(1):,} MB of GPU memory ({weights:,.0f} MB of weights in "
            f"{sweep.model(parts[1]).precision}). The largest of gpu_classes is {largest.model} with "
            f"{largest.mem_mb:,} MB, per_node {largest.per_node}. Add a larger class to gpu_classes in config.yaml, "
            f"raise its per_node, give the model a smaller precision, or set "
            f"resources.{rule}.models.{parts[1]}.gpus: 0 to run it on CPUs."
        )
    gpu_class, gpus = ladder[min(attempt, len(ladder)) - 1]
    return gpus, per_gpu(gpus), gpu_class.model


def _classes(sweep: Sweep, chosen: ModelResources, cluster: bool) -> list[GpuClass]:
    """GPU classes that a job may get, smallest first; empty where there is no choice."""
    classes = sorted(sweep.config.gpu_classes, key=lambda c: c.mem_mb) if cluster else []
    return [c for c in classes if chosen.gpu_model in (None, c.model)]


def reserve_mb(mem_mb: float) -> float:
    """What a job asks for beside its estimate, MB: other builds of libraries, worker processes, long samples."""
    return min(MOST_RESERVE_MB, max(LEAST_RESERVE_MB, mem_mb))


def _runtime_min(rule: str, needs: Needs, chosen: ModelResources, attempt: int) -> int:
    """Time limit of a job in minutes."""
    if chosen.runtime_min:
        return math.ceil(attempt * chosen.runtime_min)
    floor = NETWORK_FLOOR_MIN if RULES[rule].fetches else RUNTIME_FLOOR_MIN
    minutes = attempt * max(floor, RUNTIME_FACTOR * (costs.STARTUP_S + needs.seconds) / 60)
    return _round_up(minutes, 5 if minutes <= 120 else 30)


def _round_up(value: float, step: int) -> int:
    return step * math.ceil(value / step)
