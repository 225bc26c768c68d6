"""What `sinfo` says of a cluster: its partitions and their nodes, and a partition file made from that."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from zooalign.errors import ConfigError

SINFO_FORMAT = "%P|%a|%l|%D|%c|%m|%G|%M"
# sbatch takes no jobs for a partition in these states; in state "down" they wait until it is up again.
CLOSED = ("drain", "inact")
_PREEMPTED = {
    "requeue": "a job that loses its node comes back and continues.",
    "suspend": "a job that loses its node waits in memory and continues.",
    "cancel": "a job that loses its node is cancelled, and Snakemake would wait for it: delete the partition here.",
}


@dataclass(frozen=True)
class Nodes:
    """Equal nodes of a partition.

    Parameters
    ----------
    partition : str
        Its name.
    default : bool
        Whether jobs that name no partition go there.
    open : bool
        Whether it takes jobs.
    limit_min : float
        Longest time limit, minutes.
    cpus, mem_mb : int
        Of one node.
    gpus : dict
        GPUs of one node by model; the model is "" where the cluster names none.
    preempt_mode : str
        What happens to a job when one of higher priority needs its node, as SLURM's PreemptMode in lower case
        ("requeue", "cancel", "suspend", ...); empty where that does not happen.
    """

    partition: str
    default: bool
    open: bool
    limit_min: float
    cpus: int
    mem_mb: int
    gpus: Mapping[str, int]
    preempt_mode: str = ""


def ask(*command: str) -> str:
    """What a command of SLURM prints; ConfigError if it is not there, fails or does not answer."""
    try:
        done = subprocess.run(command, text=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        raise ConfigError(
            f"there is no {command[0]} on the PATH: start `snakemake --profile slurm` on a login node of the cluster."
        ) from None
    except subprocess.TimeoutExpired:
        raise ConfigError(f"SLURM does not answer ({command[0]}, 60 s). Try again when it does.") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise ConfigError(f"SLURM does not answer ({command[0]}: {said}). Try again when it does.")
    return done.stdout


def read_cluster_nodes() -> list[Nodes]:
    """Ask `sinfo` once; ConfigError if it is not there or does not answer."""
    return read_nodes(ask("sinfo", "--exact", "--noheader", f"--format={SINFO_FORMAT}"))


def read_nodes(text: str) -> list[Nodes]:
    """What `sinfo --exact` prints in :data:`SINFO_FORMAT`; the last field, how jobs are preempted, may be missing.

    Examples
    --------
    >>> [nodes] = read_nodes("gpu*|up|1-00:00:00|2|64|512000|gpu:a100:4(S:0-1)|REQUEUE")
    >>> nodes.partition, nodes.default, nodes.limit_min, dict(nodes.gpus), nodes.preempt_mode
    ('gpu', True, 1440.0, {'a100': 4}, 'requeue')
    """
    nodes = []
    for line in text.splitlines():
        if line.count("|") < 6:
            continue
        name, available, limit, _, cpus, mem, gres, preempt = [*map(str.strip, line.split("|")), ""][:8]
        nodes.append(
            Nodes(
                partition=name.rstrip("*"),
                default=name.endswith("*"),
                open=available not in CLOSED,
                limit_min=minutes(limit),
                cpus=int(cpus.rstrip("+")),
                mem_mb=int(mem.rstrip("+")),
                gpus=_gpus(gres),
                preempt_mode="" if preempt.lower() in ("", "off", "n/a") else preempt.lower(),
            )
        )
    return nodes


def minutes(text: str) -> float:
    """A time of `sinfo` in minutes.

    Examples
    --------
    >>> minutes("1-12:00:00"), minutes("30:00"), minutes("infinite")
    (2160.0, 30.0, inf)
    """
    parts = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if not parts:
        return inf  # "infinite", "n/a": no limit that sinfo knows
    days, hours, mins, seconds = (int(part or 0) for part in parts.groups())
    return days * 1440 + hours * 60 + mins + seconds / 60


def _gpus(gres: str) -> dict[str, int]:
    """GPUs by model from "gpu:a100:4(S:0-1),gpu:2,nvme:1"."""
    gpus: dict[str, int] = {}
    for part in re.sub(r"\([^)]*\)", "", gres).split(","):
        name, *rest = part.split(":")
        if name == "gpu" and rest and rest[-1].isdigit():
            model = rest[0] if len(rest) > 1 else ""
            gpus[model] = gpus.get(model, 0) + int(rest[-1])
    return gpus


def partition_yaml(nodes: Iterable[Nodes]) -> str:
    """A partition file for the profile, with the limits of every partition that takes jobs.

    Examples
    --------
    >>> print(partition_yaml(read_nodes("gpu*|up|1-00:00:00|2|64|512000|gpu:a100:4(S:0-1)|REQUEUE")))
    # gpu is preemptible (PreemptMode=REQUEUE): a job that loses its node comes back and continues.
    partitions:
      gpu:
        available_gpu_models:
        - a100
        max_gpu: 4
        max_mem_mb: 512000
        max_runtime: 1440
        max_threads: 64
    <BLANKLINE>
    """
    import yaml

    kinds = [n for n in nodes if n.open]
    limits: dict[str, dict[str, Any]] = {}
    for kind in kinds:
        one = limits.setdefault(kind.partition, {"max_threads": 0, "max_mem_mb": 0})
        one["max_threads"] = max(one["max_threads"], kind.cpus)
        one["max_mem_mb"] = max(one["max_mem_mb"], kind.mem_mb)
        if kind.limit_min < inf:
            one["max_runtime"] = round(kind.limit_min)
        if kind.gpus:
            one["max_gpu"] = max(one.get("max_gpu", 0), sum(kind.gpus.values()))
        models = {*one.get("available_gpu_models", ()), *(m for m in kind.gpus if m)}
        if models:
            one["available_gpu_models"] = sorted(models)
    modes = {n.partition: n.preempt_mode for n in kinds if n.preempt_mode}
    notes = [
        f"# {name} is preemptible (PreemptMode={mode.upper()}): {_PREEMPTED.get(mode, _PREEMPTED['requeue'])}\n"
        for name, mode in sorted(modes.items())
    ]
    return "".join(notes) + yaml.safe_dump({"partitions": limits})
