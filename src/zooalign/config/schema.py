"""What config.yaml may contain: a closed schema with a description, a default and a range for every key."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from zooalign.closed import Closed
from zooalign.config.jobs import GpuClass, JobsConfig, RuleResources
from zooalign.config.manifest import Id
from zooalign.config.sensitivity import SensitivityConfig

Comparison = Literal["vision-language", "vision-vision", "language-language"]
COMPARISONS: tuple[Comparison, ...] = ("vision-language", "vision-vision", "language-language")


class ExtractionConfig(Closed):
    """How features are taken from models, for all models alike."""

    text: str = Field(default="caption", description="Which text of a sample language models read (a density).")
    prompt: str = Field(
        default="An image with the caption '{caption}'. This is an image of a",
        description="Text given to models whose pooling is prompt_last; {caption} is replaced.",
    )
    layers: Literal["blocks", "all"] = Field(
        default="blocks",
        description="Which layers are taken: the output of every block, or also of its attention and MLP.",
    )
    batch_mem_mb: int = Field(
        default=384, gt=0, description="MB that a batch's layer outputs may take; sets the batch size."
    )
    max_batch: int = Field(default=32, gt=0, description="Largest batch, samples; images on a CPU: 8 at most.")
    workers: int = Field(default=1, ge=0, description="Processes that decode and resize images, per job.")
    threads: int = Field(default=1, gt=0, description="CPU threads of the forward pass, per job.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where models run; auto takes a GPU when there is one."
    )

    def reading(self) -> dict[str, Any]:
        """The settings that change features: what a language model reads, and layers where not the blocks alone."""
        more = {} if self.layers == "blocks" else {"layers": self.layers}
        return {"text": self.text, "prompt": self.prompt, **more}


class PreparationConfig(Closed):
    """What happens to features before any metric (METRICS: clamp, normalise, similarity)."""

    clamp_quantile: float = Field(
        default=0.95, gt=0, le=1, description="Features are clipped to this quantile of their absolute values."
    )
    clamp_scope: Literal["model", "layer", "published", "none"] = Field(
        default="model",
        description="One threshold per model, per layer, as the published code (per layer if widths vary), or none.",
    )
    normalise: Literal["l2", "none", "centred_l2"] = Field(
        default="l2", description="What is done to every row of every layer."
    )
    include_concat: bool = Field(
        default=False, description="Whether all layers side by side count as one more layer (index -1)."
    )
    similarity: Literal["cosine", "euclidean", "inner_product"] = Field(
        default="cosine", description="What makes a neighbour near."
    )
    precision: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="What prepared rows are rounded to before similarities are computed."
    )


class MetricConfig(Closed):
    """Settings of one metric."""

    k: tuple[int, ...] = Field(default=(), description="Numbers of neighbours, for metrics that take k.")

    @field_validator("k", mode="before")
    @classmethod
    def _distinct(cls, value: Any) -> Any:
        values = value if isinstance(value, list | tuple) else [value]
        if any(not isinstance(k, int) or isinstance(k, bool) or k < 1 for k in values):
            raise ValueError(f"k is {value!r}; give positive whole numbers")
        if len(set(values)) != len(values):
            raise ValueError(f"k repeats a value: {values}")
        return tuple(sorted(values))


class CapabilityConfig(Closed):
    """One column of the capability table."""

    id: Id = Field(description="Name of the capability in tables and figures.")
    kind: str = Field(description="File of src/zooalign/capability/ that measures it.")
    dataset: str = Field(description="Dataset that it is measured on.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the kind, checked by it.")


class HeadlineConfig(Closed):
    """Which alignment the capability table and the figures show."""

    metric: str = Field(default="mutual_knn", description="Name of a metric in `metrics`.")
    k: int | None = Field(default=10, description="Its k, for metrics that take one.")
    capability: Id = Field(
        default="bits_per_byte", description="Capability that figures set the alignment against (scatter)."
    )


class InferenceConfig(Closed):
    """Whether the scores of pairs are real (permutation null), and how exact (interval)."""

    null: Literal["headline", "all", "none"] = Field(
        default="headline", description="Metrics whose scores are compared with those of unpaired samples."
    )
    intervals: Literal["headline", "all", "none"] = Field(
        default="headline", description="Metrics whose scores get an interval."
    )
    permutations: int = Field(default=200, gt=0, description="Permutations of a null; they resolve p.")
    alpha: float = Field(default=0.05, gt=0, lt=1, description="Level of a null's threshold.")
    splits: int = Field(default=100, ge=2, description="Random splits into halves of an interval.")
    level: float = Field(default=0.95, gt=0, lt=1, description="Coverage of an interval.")
    seed: int = Field(default=0, ge=0, description="Of permutations and splits.")
    groups: bool = Field(
        default=True, description="Whether samples that a dataset groups are permuted and split as wholes."
    )


class Config(Closed):
    """config.yaml."""

    zoo: tuple[str, ...] = Field(
        description="Zoo files, by path or by their name in config/zoo: which models there are."
    )
    models: tuple[str, ...] | Literal["all"] = Field(
        default="all", description="Ids of the models to sweep, or all of them."
    )
    accept_terms: tuple[str, ...] = Field(
        default=(), description="Names of licence terms that you have read and accept."
    )
    dataset_files: str = Field(default="config/datasets", description="Folder of dataset files.")
    datasets: tuple[str, ...] = Field(min_length=1, description="Ids of the datasets to compare models on.")
    comparisons: dict[str, tuple[Comparison, ...]] = Field(
        default_factory=dict, description="Per dataset, which comparisons to make; all three unless listed."
    )
    metrics: dict[str, MetricConfig] = Field(min_length=1, description="Metrics and their k.")
    headline: HeadlineConfig = Field(default=HeadlineConfig(), description="Metric of the capability table.")
    inference: InferenceConfig = Field(default=InferenceConfig(), description="Nulls and intervals of scores.")
    preparation: PreparationConfig = Field(default=PreparationConfig(), description="Preparation of features.")
    sensitivity: SensitivityConfig = Field(
        default=SensitivityConfig(), description="Alternatives, to see whether the order of models depends on them."
    )
    extraction: ExtractionConfig = Field(default=ExtractionConfig(), description="How features are taken.")
    capabilities: tuple[CapabilityConfig, ...] = Field(default=(), description="Capabilities to measure.")
    external: tuple[str, ...] = Field(
        default=(), description="Files of capabilities that were measured elsewhere: CSV, or as others publish them."
    )
    capability_sources: tuple[str, ...] = Field(
        default=(),
        description="Sources by trust, where a capability of a model has several values; `measured` is the sweep.",
    )
    tables: tuple[str, ...] = Field(
        default=(
            "alignment",
            "capability",
            "capability_alignment",
            "cycle_direction",
            "domain_strata",
            "dose_response",
            "family_slopes",
            "growth",
            "layer_profile",
            "matrix",
            "metric_agreement",
            "neighbours",
            "populations",
            "provenance",
            "sensitivity",
            "solved_bins",
            "solved_tasks",
        ),
        description="Tables to write.",
    )
    figures: tuple[str, ...] = Field(
        default=(
            "cknna_k",
            "dose_response",
            "heat_map",
            "language_alignment",
            "layer_map",
            "layer_profile",
            "metric_agreement",
            "scatter",
            "sensitivity",
            "solved_bins",
            "task_alignment",
        ),
        description="Figures to draw.",
    )
    weights: Literal["keep", "temp"] = Field(
        default="keep",
        description="Whether fetched weights stay, or are removed after the last job of the sweep that reads them.",
    )
    weights_gib: float | None = Field(
        default=None,
        gt=0,
        description="With `weights: temp`: GiB of fetched weights on the disk at a time; fetching waits for removal.",
    )
    results: str = Field(default="results", description="Folder that everything is written to.")
    jobs: JobsConfig = Field(default=JobsConfig(), description="Behaviour of jobs.")
    resources: dict[str, RuleResources] = Field(
        default_factory=dict, description="What jobs ask for, by rule, where the estimate does not fit."
    )
    failures: str | None = Field(
        default=None, description="JSON of items to leave out because they failed; set by zooalign itself."
    )
    gpu_classes: tuple[GpuClass, ...] = Field(default=(), description="GPUs of the cluster, smallest first.")

    @model_validator(mode="after")
    def _removes_what_it_bounds(self) -> Config:
        if self.weights_gib is not None and self.weights == "keep":
            raise ValueError(
                "weights_gib is for weights that are removed again: add `weights: temp`, or leave it out"
            )
        return self
