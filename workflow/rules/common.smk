# The checked configuration, and the jobs that follow from it.
import os
import time
from pathlib import Path

from snakemake.exceptions import WorkflowError

from zooalign.config import load_sweep
from zooalign.dag import Dag
from zooalign.errors import ZooalignError
from zooalign.layout import Layout
from zooalign.preflight import check_cluster, request
from zooalign.resources import job_resources, resource_overrides

# Told to every process of the run: sbatch and local jobs inherit the environment.
if workflow.is_main_process:
    # The executor is chosen after this file is read; `--jobs` beside `--cores` or without it means jobs elsewhere
    # (alone and on this machine it means cores, and Snakemake has made it that by now).
    os.environ["ZOOALIGN_CLUSTER"] = (
        "0" if workflow.resource_settings.nodes is None else "1"
    )
    # A second pass without what failed belongs to the same run.
    os.environ.setdefault("ZOOALIGN_STARTED", str(time.time()))
STARTED = float(os.environ.get("ZOOALIGN_STARTED", 0.0))

try:
    SWEEP = load_sweep(config)
    LAYOUT = Layout(Path(SWEEP.config.results))
    WORK = Dag(SWEEP, LAYOUT, cluster=os.environ.get("ZOOALIGN_CLUSTER") == "1")
except ZooalignError as error:
    raise WorkflowError(str(error))

RESULTS = SWEEP.config.results


wildcard_constraints:
    block="[A-Za-z0-9][A-Za-z0-9._-]*",


def receipt(rule):
    """The one file of a job that Snakemake waits for; features, tables and all else are kept by the library."""
    return f"{RESULTS}/jobs/{rule}/{{block}}.json"


def waits_for(rule):
    """Receipts that a job has to wait for. Only the controlling process asks: when a job runs they are there."""
    return lambda w: (
        WORK.block_inputs(rule, w.block) if workflow.is_main_process else []
    )


def asks_for(rule):
    """What a job asks for, by Snakemake's names: from the manifest and config.yaml, more with every attempt."""

    def amount(resource):
        def asked(wildcards, attempt):
            items = [
                item.parts for item in WORK.read_block(rule, wildcards.block).items
            ]
            found = job_resources(SWEEP, rule, items, attempt, WORK.cluster)
            if attempt > 1 and OFFERED:
                # More than a node has would be refused, or wait for ever.
                found = OFFERED[0].lower(rule, wildcards.block, found)
            return found.get(resource)

        return asked

    names = ("mem_mb", "runtime", "gpu", *resource_overrides(SWEEP, rule))
    return {
        "attempt": lambda wildcards, attempt: attempt,
        **{name: amount(name) for name in names},
    }


# What the cluster has, once it was asked.
OFFERED = []


def refuse_what_no_node_has():
    """Ask SLURM once, before anything is submitted, whether it can ever run what the jobs ask for."""
    if not WORK.cluster or workflow.executor_plugin.name != "slurm":
        return
    submitted = [job for job in workflow.dag.needrun_jobs() if not job.is_local]
    requests = [
        request(job.rule.name, job.wildcards.block, job.threads, job.resources)
        for job in submitted
    ]
    try:
        cluster = check_cluster(requests, workflow.executor_settings.partition_config)
    except ZooalignError as error:
        raise WorkflowError(str(error))
    OFFERED.extend([cluster] if cluster else [])


for name, reason in SWEEP.left_out.items():
    logger.info(f"Model {name} is left out: {reason}.")
