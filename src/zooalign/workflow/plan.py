"""What a sweep will need before anything is submitted: jobs, hours, memory, bytes and files, per rule.

Estimates follow from the manifest, or from the records of earlier jobs where there are any; the plan says how many
rest on which. What jobs ask for always follows from the manifest and config.yaml (`resources.job_resources`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zooalign.config.sweep import Sweep
from zooalign.layout import Layout
from zooalign.planning import costs
from zooalign.planning.usage import Measured, measured_factors
from zooalign.workflow import disk
from zooalign.workflow.resources import gpu_class, item_needs, job_resources
from zooalign.workflow.rule import place
from zooalign.workflow.rules import RULES
from zooalign.workflow.session import group
from zooalign.workflow.work import Item, Work

# Log and benchmark of a job, and the log of SLURM for a submission.
_FILES_OF_JOB = 2


@dataclass(frozen=True)
class Groups:
    """How a profile puts small jobs together.

    Attributes
    ----------
    components : dict
        How many jobs of a group are submitted as one, by group.
    cores : int
        CPUs that such a submission asks for at most: its members run side by side as far as these suffice.
    """

    components: Mapping[str, int] = field(default_factory=dict)
    cores: int = 1

    @classmethod
    def read(cls, profile: Path) -> Groups:
        """Groups of a Snakemake profile; none where there is no such file."""
        import yaml

        try:
            settings = yaml.safe_load(profile.read_text(encoding="utf-8")) or {}
        except FileNotFoundError:
            return cls()
        named = settings.get("group-components") or {}
        pairs = named.items() if isinstance(named, dict) else (entry.split("=") for entry in named)
        cores = settings.get("cores")
        return cls({name: int(n) for name, n in pairs}, cores if isinstance(cores, int) else 1)

    def together(self, work: Work, items: Sequence[Item]) -> Iterator[list[Item]]:
        """Items of one rule as they are submitted."""
        members: dict[str, list[Item]] = {}
        for item in items:
            members.setdefault(group(work, item), []).append(item)
        for name, one in members.items():
            size = self.components.get(name, 1)
            yield from (one[i : i + size] for i in range(0, len(one), size))


@dataclass(frozen=True)
class JobPlan:
    """One job.

    Attributes
    ----------
    rule, name : str
        What it does; `name` is that of its first item.
    items : int
        Items that it does.
    minutes : float
        Estimated time, start included.
    gpus, cpus, mem_mb, limit_min : int
        What its first attempt asks for.
    expected_mb : int
        Memory that it is expected to take, MB; it asks for more.
    gpu_class : str
        Its GPUs, as `resources.gpu_class` names them.
    """

    rule: str
    name: str
    items: int
    minutes: float
    gpus: int
    cpus: int
    mem_mb: int
    limit_min: int
    expected_mb: int = 0
    gpu_class: str = ""


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

    @property
    def expected_mb(self) -> int:
        """Largest memory that a job is expected to take, MB."""
        return max((job.expected_mb for job in self.jobs), default=0)


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
        Weights of all models, in the precision that their sources read.
    peak_gib : float or None
        Fetched weights that are on the disk at a time; None where they stay.
    """

    rules: list[RulePlan]
    cluster: bool
    submitted: tuple[str, ...]
    pairs: int
    weights_gib: float
    peak_gib: float | None = None

    @property
    def submissions(self) -> int:
        """Jobs that the cluster will see, if none has to be repeated."""
        return sum(len(r.jobs) for r in self.rules if r.rule in self.submitted)

    @property
    def gpu_classes(self) -> dict[str, tuple[int, float]]:
        """Number of jobs and GPU hours, by class of GPU, that with most hours first."""
        found: dict[str, tuple[int, float]] = {}
        for job in (job for r in self.rules for job in r.jobs if job.gpus):
            jobs, hours = found.get(job.gpu_class, (0, 0.0))
            found[job.gpu_class] = (jobs + 1, hours + job.gpus * job.minutes / 60)
        return dict(sorted(found.items(), key=lambda entry: (-entry[1][1], entry[0])))

    @property
    def largest(self) -> JobPlan | None:
        """The job that costs most: GPUs first, then CPUs, times minutes."""
        jobs = [job for r in self.rules for job in r.jobs]
        return max(jobs, key=lambda j: (j.gpus * j.minutes, j.cpus * j.minutes, j.mem_mb), default=None)


def make_plan(sweep: Sweep, layout: Layout, cluster: bool = False, groups: Groups | None = None) -> Plan:
    """What will run, in which jobs, and what it will need.

    Parameters
    ----------
    sweep : Sweep
        The checked configuration.
    layout : Layout
        Where artefacts and records lie; what is done already is not counted as due.
    cluster : bool
        Whether jobs go to a cluster.
    groups : Groups, optional
        How the profile puts jobs together there; default not at all.

    Returns
    -------
    Plan

    Raises
    ------
    ConfigError
        If a model fits no GPU of `gpu_classes`.
    """
    work, measured = Work(sweep, layout, cluster), measured_factors(layout)
    groups = groups if groups and cluster else Groups()
    rules = [_rule_plan(work, rule, measured, groups) for rule in RULES]
    return Plan(
        rules=rules,
        cluster=cluster,
        submitted=_submitted(sweep) if cluster else (),
        pairs=sum(_pairs(work, item) for rule in ("align_row", "align_prepared") for item in work.due(rule)),
        weights_gib=sum(map(costs.weight_bytes, sweep.weights.values())) / 2**30,
        peak_gib=None if sweep.config.weights == "keep" else disk.peak_bytes(work) / 2**30,
    )


def _submitted(sweep: Sweep) -> tuple[str, ...]:
    here = sweep.config.jobs.fetch_on == "controller"
    return tuple(name for name, rule in RULES.items() if not (rule.stays_here or (here and rule.fetches)))


def _rule_plan(work: Work, rule: str, measured: Measured, groups: Groups) -> RulePlan:
    due = work.due(rule)
    plan = RulePlan(rule, total=len(work.items(rule)), due=len(due))
    seconds: dict[Item, float] = {}
    for item in due:
        needs = item_needs(work.sweep, rule, item.parts, work.cluster)
        predicted = needs.seconds * RULES[rule].share(work, item.parts)
        seconds[item], known = measured.seconds(rule, item.parts, needs.gpus > 0, predicted)
        plan.measured += known
        plan.gib += RULES[rule].written(work, *item.parts) / 2**30
        plan.files += RULES[rule].files_written + _FILES_OF_JOB
    for items in groups.together(work, due):
        plan.jobs.append(_job_plan(work, items, seconds, groups.cores))
        plan.files += work.cluster and rule in _submitted(work.sweep)
    return plan


def _job_plan(work: Work, items: Sequence[Item], seconds: Mapping[Item, float], cores: int) -> JobPlan:
    """One job, or several that are submitted as one and run in layers, as Snakemake lays them."""
    rule = items[0].rule
    start = costs.startup_seconds(RULES[rule].light, work.cluster)
    asked = {item: job_resources(work.sweep, rule, item.parts, 1, work.cluster) for item in items}
    expected = {item: item_needs(work.sweep, rule, item.parts, work.cluster).mem_mb for item in items}
    each = [{**asked[item], "seconds": start + seconds[item], "expected": expected[item]} for item in items]
    width = max(1, cores // max(int(one["cpus_per_task"]) for one in each)) if len(items) > 1 else 1
    layers = [each[i : i + width] for i in range(0, len(each), width)]

    def widest(key: str) -> int:
        return max(sum(int(one.get(key, 0)) for one in layer) for layer in layers)

    def height(key: str) -> float:
        return sum(max(float(one[key]) for one in layer) for layer in layers)

    return JobPlan(
        rule=rule,
        name=items[0].name,
        items=len(items),
        minutes=height("seconds") / 60,
        gpus=widest("gpu"),
        cpus=widest("cpus_per_task"),
        mem_mb=widest("mem_mb"),
        limit_min=int(height("runtime")),
        expected_mb=widest("expected"),
        gpu_class=gpu_class(work.sweep, rule, items[0].parts, work.cluster),
    )


def _pairs(work: Work, item: Item) -> int:
    """Pairs that a row holds."""
    dataset, model, *preparation = place(item.parts)
    return len(work.rows(dataset, *preparation)[model])
