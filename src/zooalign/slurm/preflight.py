"""Before anything is submitted: whether the cluster can run what the jobs ask for.

SLURM refuses some impossible requests one by one when they are submitted, and lets others wait for ever (a time limit
above the partition's). Here all are compared with what `sinfo` says, and the user gets one message that names the
setting to change.
"""

from __future__ import annotations

import getpass
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from zooalign.errors import ConfigError, unknown
from zooalign.slurm.sinfo import Nodes, read_cluster_nodes

PROFILE = "profiles/slurm/config.yaml"
PARTITION_FILE = "profiles/slurm/partitions.yaml"


@dataclass(frozen=True)
class Cluster:
    """What a cluster offers.

    Parameters
    ----------
    nodes : tuple of Nodes
        Of every partition.
    candidates : tuple
        Partitions of the plugin's partition file; one is chosen for a job that names none.
    accounts : frozenset of str or None
        Accounts that the user may charge, in lower case; None where they are not known.
    named : dict
        Partition that a job names or the profile names for it, by rule and name of the job.
    """

    nodes: tuple[Nodes, ...]
    candidates: tuple[Any, ...] = ()
    accounts: frozenset[str] | None = None
    named: Mapping[tuple[str, str], str | None] = field(default_factory=dict)

    @classmethod
    def read(cls, partition_file: Path | None = None, accounts: bool = False) -> Cluster:
        """Ask SLURM: `sinfo` once, and once for accounts if they are wanted.

        Raises
        ------
        ConfigError
            If SLURM does not answer, or the partition file is wrong.
        """
        candidates = () if partition_file is None else read_candidates(partition_file)
        return cls(tuple(read_cluster_nodes()), candidates, known_accounts() if accounts else None)

    def names(self) -> list[str]:
        """Partitions, sorted."""
        return sorted({n.partition for n in self.nodes})

    def problems(self, request: Mapping[str, Any]) -> list[str]:
        """Why a request can never be fulfilled; empty if it can."""
        problems = self._account_problems(str(request.get("account") or ""))
        where = "resources.<rule>"
        named = f"set {where}.partition in config.yaml"
        partitions = self._partitions(request)
        if not partitions:
            names = ", ".join(self.names()) or "none"
            return [*problems, f"no partition is named and the cluster has no default ({names}); {named}."]
        for name in partitions:
            if name not in self.names():
                change = f"Change {where}.partition in config.yaml, or slurm_partition in {PROFILE}"
                return [*problems, f"{unknown('partition', name, self.names())} {change}, or {PARTITION_FILE}."]
        nodes = [n for n in self.nodes if n.partition in partitions and n.open]
        if not nodes:
            return [*problems, f"partition {', '.join(partitions)} takes no jobs now (see `sinfo`); {named}."]
        if any(not _lacks(request, n) for n in nodes):
            return problems
        model = request.get("gpu_model")
        models = {m for n in self.nodes for m in n.gpus if m}
        if request["gpus"] and model and model not in models:
            return [*problems, f"{unknown('GPU model', model, models)} Change {where}.gpu_model or gpu_classes."]
        # The nodes that come closest say best what is missing.
        text, key = min((_lacks(request, n) for n in nodes), key=len)[0]
        others = sorted({n.partition for n in self.nodes if n.open and not _lacks(request, n)})
        if others:
            remedy = f"{', '.join(others)} can run it: {named}, or list it in {PARTITION_FILE}"
        elif key == "gpus" and not any(n.gpus for n in self.nodes):
            remedy = "the cluster has none: set extraction.device: cpu in config.yaml"
        else:
            remedy = f"ask for less: {where}.{key} in config.yaml"
        return [*problems, f"partition {', '.join(partitions)}: {text}; {remedy}."]

    def fit(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A request for a further attempt, lowered to the memory and time that a fitting partition allows.

        A second attempt asks for more than the first; above the limits it would be refused, or wait for ever.
        """
        if not self.problems(request):
            return dict(request)
        names = [c.name for c in self.candidates] if request["partition"] is None else []
        candidates: list[tuple[float, dict[str, Any]]] = []
        for nodes in self.nodes:
            if nodes.partition not in (names or self._partitions(request)):
                continue
            limits = [c.limits for c in self.candidates if c.name == nodes.partition]
            mem_mb = min(request["mem_mb"], nodes.mem_mb, *(limit.max_mem_mb for limit in limits))
            runtime_min = min(request["runtime_min"], nodes.limit_min, *(limit.max_runtime for limit in limits))
            lowered = {**request, "mem_mb": mem_mb, "runtime_min": runtime_min}
            if not self.problems(lowered):
                candidates.append((mem_mb / request["mem_mb"] + runtime_min / request["runtime_min"], lowered))
        return max(candidates, key=lambda pair: pair[0])[1] if candidates else dict(request)

    def lower(self, rule: str, name: str, resources: Mapping[str, Any]) -> dict[str, Any]:
        """Resources of a further attempt of a job, by Snakemake's names, lowered as :meth:`fit` does."""
        one = request(rule, name, 1, {"slurm_partition": self.named.get((rule, name)), **resources})
        fitted = self.fit(one)
        return {**resources, "mem_mb": int(fitted["mem_mb"]), "runtime": int(fitted["runtime_min"])}

    def _partitions(self, request: Mapping[str, Any]) -> list[str]:
        """Where a job will go: what it names, what the plugin chooses, or the cluster's default."""
        if request["partition"] is not None:
            return [name.strip() for name in str(request["partition"]).split(",")]
        resources = {
            "mem_mb": request["mem_mb"],
            "runtime": request["runtime_min"],
            "gpu": request["gpus"],
            "gpu_model": request.get("gpu_model"),
        }
        job = SimpleNamespace(name=request["rule"], threads=request["cpus"], resources=resources)
        scores = [(candidate.score_job_fit(job), candidate.name) for candidate in self.candidates]
        fitting = [(score, name) for score, name in scores if score is not None]
        if fitting:
            return [max(fitting, key=lambda pair: pair[0])[1]]
        return sorted({n.partition for n in self.nodes if n.default})

    def _account_problems(self, account: str) -> list[str]:
        if account and self.accounts is None:
            return [
                f"account {account!r}: this cluster lists no accounts of yours; remove slurm_account from {PROFILE}."
            ]
        # The plugin takes several, separated by commas or blanks.
        wrong = [name for name in re.split(r"[,\s]+", account) if name and name.lower() not in (self.accounts or ())]
        return [
            f"{unknown('account', name, self.accounts or ())} Change slurm_account in {PROFILE}." for name in wrong
        ]


def check_cluster(requests: Iterable[Mapping[str, Any]], partition_file: Path | None = None) -> Cluster | None:
    """Refuse requests that no node of the cluster can ever fulfil.

    Parameters
    ----------
    requests : iterable of dict
        What jobs will ask for: "rule", "name" (of the job), "partition" (or None), "account" (or None), "mem_mb",
        "cpus", "gpus", "gpu_model" (or None), "runtime_min"; see :func:`request`.
    partition_file : path, optional
        The profile's partition file; the plugin chooses among its partitions for a job that names none.

    Returns
    -------
    Cluster or None
        What the cluster offers; None if there is no request, and nobody was asked.

    Raises
    ------
    ConfigError
        If SLURM does not answer, or if requests cannot be fulfilled; names jobs, reasons and the keys to change.
    """
    requests = list(requests)
    if not requests:
        return None
    cluster = Cluster.read(partition_file, accounts=any(r.get("account") for r in requests))
    problems: dict[str, dict[str, list[str]]] = {}
    for one in requests:
        for text in cluster.problems(one):
            problems.setdefault(text, {}).setdefault(one["rule"], []).append(str(one["name"]))
    if problems:
        lines = [
            "\n".join([f"- {text}", *(f"    {rule}: {_some(names)}" for rule, names in jobs.items())])
            for text, jobs in problems.items()
        ]
        raise ConfigError("\n".join(["this cluster cannot run what is asked for; nothing was submitted.", *lines]))
    return replace(cluster, named={(r["rule"], str(r["name"])): r["partition"] for r in requests})


def request(rule: str, name: str, threads: int, resources: Mapping[str, Any]) -> dict[str, Any]:
    """What a job of Snakemake will ask SLURM for, as :func:`check_cluster` takes it.

    Examples
    --------
    >>> asked = request("align_row", "emoji.minilm_l6", 2, {"mem_mb": 900, "runtime": 30, "slurm_partition": "cpu"})
    >>> asked["partition"], asked["cpus"], asked["gpus"], asked["account"]
    ('cpu', 2, 0, None)
    """
    return {
        "rule": rule,
        "name": name,
        "partition": resources.get("slurm_partition") or None,
        "account": resources.get("slurm_account") or None,
        "mem_mb": int(resources.get("mem_mb") or 0),
        "cpus": int(resources.get("cpus_per_task") or threads),
        "gpus": int(resources.get("gpu") or 0),
        "gpu_model": resources.get("gpu_model") or None,
        "runtime_min": float(resources.get("runtime") or 0),
    }


def known_accounts() -> frozenset[str] | None:
    """Accounts that the user may charge, in lower case; None where the cluster lists none. As the plugin asks."""
    for command in (
        ["sacctmgr", "-n", "-s", "list", "user", getpass.getuser(), "format=account%256"],
        ["sshare", "-U", "--format", "Account%256", "--noheader"],
    ):
        try:
            done = subprocess.run(command, text=True, capture_output=True, timeout=60)
        except (FileNotFoundError, subprocess.TimeoutExpired):
            continue
        names = frozenset(line.strip().lower() for line in done.stdout.splitlines() if line.strip())
        if names and not done.returncode:
            return names
    return None


def read_candidates(path: Path) -> tuple[Any, ...]:
    """Partitions of a partition file, by the plugin's own reader, so that both understand the same.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    from snakemake_executor_plugin_slurm.partitions import read_partition_file
    from snakemake_interface_common.exceptions import WorkflowError

    try:
        return tuple(read_partition_file(path))
    except (WorkflowError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{path}: {error}. `zooalign partitions` prints a new one.") from error


def _lacks(request: Mapping[str, Any], nodes: Nodes) -> list[tuple[str, str]]:
    """What nodes lack for a request, the worst first, each with its key."""
    gpus, model = request["gpus"], request.get("gpu_model")
    on_a_node = nodes.gpus.get(model, 0) if model else sum(nodes.gpus.values())
    of = f" of model {model}" if model else ""
    checks = [
        (on_a_node >= gpus, f"{gpus} GPU{'s' * (gpus > 1)}{of} asked for, {on_a_node} on a node", "gpus"),
        (nodes.mem_mb >= request["mem_mb"], f"{request['mem_mb']} MB asked for, {nodes.mem_mb} on a node", "mem_mb"),
        (nodes.cpus >= request["cpus"], f"{request['cpus']} CPUs asked for, {nodes.cpus} on a node", "cpus"),
        (
            nodes.limit_min >= request["runtime_min"],
            f"{request['runtime_min']:g} minutes asked for, its limit is {nodes.limit_min:g}",
            "runtime_min",
        ),
    ]
    return [(text, key) for met, text, key in checks if not met]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
