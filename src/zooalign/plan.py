"""What a sweep will need before anything is submitted: jobs, hours, memory, bytes and files, per rule.

Estimates follow from the manifest, or from the records of earlier jobs where there are any; the plan says how many
rest on which. What jobs ask for always follows from the manifest and config.yaml (`resources.job_resources`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from zooalign import estimates
from zooalign.accounting import Measured, measured_factors
from zooalign.config import Sweep
from zooalign.dag import RULES, Block, Dag, Item
from zooalign.layout import Layout
from zooalign.resources import item_needs, job_resources, side_by_side

# Files and folders of one item, its receipt and log besides.
_FILES = {
    "build_dataset": 7,
    "fetch_weights": 4,
    "extract_features": 8,
    "align_row": 1,
    "measure_capability": 1,
}
_RECEIPT_AND_LOG = 2
# Bytes of a picture with its captions, and of a capability record.
_SAMPLE_BYTES = 60e3
_RECORD_BYTES = 20e3


@dataclass(frozen=True)
class JobPlan:
    """One job.

    Attributes
    ----------
    rule, name : str
        What it does; `name` is that of its block.
    items : int
        Items that it does.
    minutes : float
        Estimated time, start included.
    gpus, cpus, mem_mb, limit_min : int
        What its first attempt asks for.
    """

    rule: str
    name: str
    items: int
    minutes: float
    gpus: int
    cpus: int
    mem_mb: int
    limit_min: int


@dataclass
class RulePlan:
    """Needs of one rule.

    Attributes
    ----------
    rule : str
        Name of the rule.
    total : int
        Items of the whole sweep.
    due : int
        Items that are not done.
    jobs : list of JobPlan
        Jobs that will do them.
    gib : float
        GiB that will be written.
    files : int
        Files and folders that will be made.
    measured : int
        Items that are due whose time rests on records of earlier jobs.
    """

    rule: str
    total: int = 0
    due: int = 0
    jobs: list[JobPlan] = field(default_factory=list)
    gib: float = 0.0
    files: int = 0
    measured: int = 0

    @property
    def gpu_hours(self) -> float:
        """GPUs times hours of all jobs."""
        return sum(job.gpus * job.minutes for job in self.jobs) / 60

    @property
    def core_hours(self) -> float:
        """CPUs times hours of all jobs, those with a GPU too."""
        return sum(job.cpus * job.minutes for job in self.jobs) / 60

    @property
    def mem_mb(self) -> int:
        """Largest memory that a job asks for, MB."""
        return max((job.mem_mb for job in self.jobs), default=0)


@dataclass(frozen=True)
class Plan:
    """Needs of a sweep.

    Attributes
    ----------
    rules : list of RulePlan
        In the order of the workflow.
    cluster : bool
        Whether jobs go to a cluster.
    submitted : tuple of str
        Rules whose jobs are submitted; the others run where Snakemake runs.
    pairs : int
        Pairs of models to compare in rows that are due.
    weights_gib : float
        Weights of all models in float32.
    """

    rules: list[RulePlan]
    cluster: bool
    submitted: tuple[str, ...]
    pairs: int
    weights_gib: float

    @property
    def submissions(self) -> int:
        """Jobs that the cluster will see, if none has to be repeated."""
        return sum(len(r.jobs) for r in self.rules if r.rule in self.submitted)

    @property
    def largest(self) -> JobPlan | None:
        """The job that costs most: GPUs first, then CPUs, times minutes."""
        jobs = [job for r in self.rules for job in r.jobs]
        return max(jobs, key=lambda j: (j.gpus * j.minutes, j.cpus * j.minutes, j.mem_mb), default=None)


def make_plan(sweep: Sweep, layout: Layout, cluster: bool = False) -> Plan:
    """What will run, in which jobs, and what it will need.

    Parameters
    ----------
    sweep : Sweep
        The checked configuration.
    layout : Layout
        Where artefacts and records lie; what is done already is not counted as due.
    cluster : bool
        Whether jobs go to a cluster.

    Returns
    -------
    Plan

    Raises
    ------
    ConfigError
        If a model fits no card of `gpu_classes`.
    """
    dag, measured = Dag(sweep, layout, cluster), measured_factors(layout)
    rules = [_rule_plan(dag, rule, measured) for rule in RULES]
    due_rows = dag.due("align_row")
    return Plan(
        rules=rules,
        cluster=cluster,
        submitted=_submitted(sweep) if cluster else (),
        pairs=sum(len(dag.rows(item.parts[0])[item.parts[1]]) for item in due_rows),
        weights_gib=sum(4 * m.parameters for m in sweep.models) / 2**30,
    )


def _submitted(sweep: Sweep) -> tuple[str, ...]:
    here = ("build_dataset", "fetch_weights") if sweep.config.jobs.fetch_on == "controller" else ()
    return tuple(rule for rule in RULES if rule not in here)


def _rule_plan(dag: Dag, rule: str, measured: Measured) -> RulePlan:
    plan = RulePlan(rule, total=len(dag.items(rule)), due=len(dag.due(rule)))
    seconds: dict[tuple[str, ...], float] = {}
    for item in dag.due(rule):
        needs = item_needs(dag.sweep, rule, item.parts, dag.cluster)
        predicted = needs.seconds * _share_of_row(dag, item)
        seconds[item.parts], known = measured.seconds(rule, item.parts, needs.gpus > 0, predicted)
        plan.measured += known
        size, files = _written(dag, item)
        plan.gib += size / 2**30
        plan.files += files + _RECEIPT_AND_LOG
    for block in dag.blocks(rule):
        plan.jobs.append(_job_plan(dag, block, lambda parts: seconds[parts]))
        # Its receipt; what it consists of, where that is several items; SLURM's log.
        plan.files += 1 + (len(block.items) > 1) + (dag.cluster and rule in _submitted(dag.sweep))
    return plan


def _job_plan(dag: Dag, block: Block, seconds: Callable[[tuple[str, ...]], float]) -> JobPlan:
    items = [item.parts for item in block.items]
    asked = job_resources(dag.sweep, block.rule, items, 1, dag.cluster)
    width = side_by_side(dag.sweep, block.rule, items, dag.cluster)
    each = [seconds(parts) for parts in items]
    return JobPlan(
        rule=block.rule,
        name=block.name,
        items=len(items),
        minutes=(estimates.startup_seconds(block.rule, dag.cluster) + max(max(each), sum(each) / width)) / 60,
        gpus=int(asked.get("gpu", 0)),
        cpus=int(asked["cpus_per_task"]),
        mem_mb=int(asked["mem_mb"]),
        limit_min=int(asked["runtime"]),
    )


def _share_of_row(dag: Dag, item: Item) -> float:
    """Part of a model's possible pairs that its own row holds."""
    if item.rule != "align_row":
        return 1.0
    dataset, model = item.parts
    partners = len(estimates.partners(dag.sweep, dataset, dag.sweep.model(model)))
    return len(dag.rows(dataset)[model]) / partners if partners else 1.0


def _written(dag: Dag, item: Item) -> tuple[float, int]:
    """Bytes and files of an item's artefacts."""
    sweep, rule, parts = dag.sweep, item.rule, item.parts
    files = _FILES.get(rule, 0)
    if rule in ("make_tables", "make_figures"):
        made = len(dag.artefacts(rule, parts))
        return (
            estimates.n_lines(sweep) * estimates.TYPICAL_LINE_BYTES if rule == "make_tables" else 2e5 * made
        ), made
    if rule == "build_dataset":
        return _SAMPLE_BYTES * estimates.n_samples(sweep.dataset(parts[0])), files
    if rule == "fetch_weights":
        return 4.0 * sweep.model(parts[0]).parameters, files
    if rule == "measure_capability":
        return _RECORD_BYTES, files
    spec, n = sweep.model(parts[1]), estimates.n_samples(sweep.dataset(parts[0]))
    if rule == "extract_features":
        return estimates.feature_bytes(spec, n), files
    if rule == "index_features":
        settings = sweep.index_settings()
        # The group, and a folder with two files per array.
        arrays = 3 * (1 + len(set(settings["needs"]) | {"neighbors"}))
        return estimates.index_bytes(spec, n, settings["needs"], settings["k_max"]), arrays
    pairs = len(dag.rows(parts[0])[parts[1]])
    layer_pairs = estimates.n_layers(spec) * 13
    # Layer matrices and terms shrink to about half in the parquet file.
    return 0.5 * pairs * estimates.n_settings(sweep) * estimates.row_line_bytes(layer_pairs, n), files
