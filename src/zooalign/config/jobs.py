"""Settings about jobs: what they ask of a scheduler, which GPUs there are, node-local scratch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from zooalign.closed import Closed

# Snakemake's SLURM plugin refuses names with other signs, one job after the other; here they are refused at once.
GpuModel = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]+$")]


class JobsConfig(Closed):
    """How jobs behave; none of it changes a result."""

    fetch_on: Literal["controller", "cluster"] = Field(
        default="controller", description="Where weights and datasets are fetched: where Snakemake runs, or as jobs."
    )
    scratch: str | None = Field(
        default=None,
        description="Node-local folder ($VARIABLES are expanded); weights and images are copied there once per node.",
    )
    lease_timeout_s: float = Field(
        default=60.0, gt=0, description="Seconds without a heartbeat after which another job takes an output over."
    )


class ModelResources(Closed):
    """What a job asks for; a key that is left out follows from the manifest."""

    mem_mb: int | None = Field(default=None, gt=0, description="Memory of the host, MB, of the first attempt.")
    runtime_min: float | None = Field(default=None, gt=0, description="Time limit, minutes, of the first attempt.")
    cpus: int | None = Field(default=None, gt=0, description="CPUs.")
    gpus: int | None = Field(default=None, ge=0, description="GPUs; 0: run on CPUs.")
    gpu_model: GpuModel | None = Field(default=None, description="GPU model as the scheduler calls it.")
    partition: str | None = Field(default=None, description="SLURM partition.")


class RuleResources(ModelResources):
    """The same for a rule, with exceptions for single models."""

    models: dict[str, ModelResources] = Field(
        default_factory=dict, description="Exceptions, by model id; they win over those of the rule."
    )


class GpuClass(Closed):
    """One kind of GPU that the cluster has."""

    model: GpuModel = Field(description="Name as the scheduler calls it (--gpus=NAME:1).")
    mem_mb: int = Field(gt=0, description="Memory of one GPU, MB.")
    per_node: int = Field(default=1, gt=0, description="Cards that one job can get.")
