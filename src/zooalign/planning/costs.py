"""Estimates of what work needs, from the manifest alone: seconds, memory, bytes and files.

They are the same in every process of a run, whatever lies on disk by then. Where records of earlier runs exist,
`zooalign plan` prefers those (`usage.measured_factors`).
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from zooalign.config.sensitivity import COMPARISON
from zooalign.registry import member, plugin

if TYPE_CHECKING:
    from zooalign.config.manifest import DatasetSpec, ModelSpec
    from zooalign.config.schema import ExtractionConfig
    from zooalign.config.sweep import Sweep

# Where nothing was measured yet. Throughput in 10^9 operations per second: one CPU core in float32; one GPU with the
# small batches of an extraction, in float32 without TF32 and in 16 bits.
CPU_GFLOPS = 70.0
GPU_GFLOPS = {"float32": 5_000.0, "bfloat16": 20_000.0, "float16": 20_000.0}
TOKENS_PER_CAPTION = 16
BYTES_PER_TOKEN = 4
N_SAMPLES = 1024
# All answers of a question to choose from, each behind the question; or a question and an answer written out.
TOKENS_PER_QUESTION = 160
BYTES_PER_TEXT = 5_000
# Weights are read, checked by SHA-256 and copied at about this rate.
LOAD_MB_PER_S = 200.0
# Decoding, resizing and normalising one picture, seconds.
DECODE_S = 0.008
# Once per job, seconds: import of the libraries, with torch or without; on a cluster also two Snakemakes and srun.
STARTUP_S = 8.0
LIGHT_STARTUP_S = 2.0
CLUSTER_STARTUP_S = 5.0
# Peak memory of a process, MB, measured over the packaged zoo: with numpy, numba and pyarrow; with torch and
# transformers; with torch and timm and the activations of a batch of images; and what a decoding worker adds.
LIGHT_MEM_MB = 180
LANGUAGE_MEM_MB = 360
VISION_MEM_MB = 580
WORKER_MEM_MB = 60
# Snakemake inside a SLURM job: started twice, MB together.
SNAKEMAKE_MEM_MB = 520
# What the CUDA libraries add on the host.
CUDA_HOST_MEM_MB = 1_500
# Loading peaks at up to 1.35 times the float32 weights (measured over six sources).
LOADING_FACTOR = 1.5
# Width of a layer where only the sum of all widths is known.
TYPICAL_WIDTH = 400
# A line of a row with its layer matrix and the terms of 1,024 samples.
TYPICAL_LINE_BYTES = 6_000
# Linear probe: bytes per value of a layer's features at the peak; iterations of a fit and the rate of its products in
# float64 (10^9 operations per second) on one core. Measured at up to 20,000 x 1,000 features with 100 classes.
PROBE_BYTES = 30
PROBE_ITERATIONS = 130
PROBE_GFLOPS = 30.0
N_CLASSES = 20
# Seconds of one permutation over 325 layer pairs of 1,024 samples, of metrics of neighbour lists and of all others; a
# split takes about five times as long.
LISTS_S = 0.001
KERNELS_S = 0.03
# Above LIGHT_MEM_MB: lists of permuted and halved samples, scipy. Bytes of a file without lines, and of a line.
INFERENCE_MEM_MB = 40
INFERENCE_FILE_BYTES = 12_000
INFERENCE_LINE_BYTES = 120
# Bytes of a picture with its captions, and of a capability record.
SAMPLE_BYTES = 60e3
RECORD_BYTES = 20e3


@cache
def kind(package: str, name: str) -> ModuleType:
    """A room, without looking at its folder again for every item."""
    return plugin(package, name, package)


def startup_seconds(light: bool, cluster: bool) -> float:
    """Seconds from the start of a job, with torch or without, to the start of its work."""
    return (LIGHT_STARTUP_S if light else STARTUP_S) + (CLUSTER_STARTUP_S if cluster else 0.0)


def bytes_per_parameter(spec: ModelSpec) -> int:
    """Bytes of one parameter in the arithmetic of the forward pass."""
    return 4 if spec.precision == "float32" else 2


# Bytes of a quantised parameter with its scale; embeddings, norms and the head stay as they are.
_QUANTISED = {"8bit": 1.05, "4bit": 0.56}
_NOT_QUANTISED = 0.05


def weight_bytes(spec: ModelSpec) -> float:
    """Bytes of the weights as a source holds them while it loads."""
    own = getattr(kind("sources", spec.source), "LOADS_PRECISION", False)
    return float(spec.parameters * (bytes_per_parameter(spec) if own else 4))


def n_samples(dataset: DatasetSpec) -> int:
    """Number of samples of a dataset as its options and their defaults say; 1,024 where they do not.

    Examples
    --------
    >>> from zooalign.config.manifest import DatasetSpec
    >>> n_samples(DatasetSpec(id="few", family="synthetic", options={"n": 12}))
    12
    """
    options = kind("datasets", dataset.family).Options(**dataset.options)
    parts = [getattr(options, key, None) for key in ("n_train", "n_test")]
    if all(parts):
        return sum(part for part in parts if part)
    return getattr(options, "n", None) or N_SAMPLES


def n_layers(spec: ModelSpec) -> int:
    """About how many layers a model has."""
    return max(1, _features_per_sample(spec) // TYPICAL_WIDTH)


def _features_per_sample(spec: ModelSpec) -> int:
    """Sum of the widths of all layers; where the row has none, guessed from the parameters."""
    return spec.features_per_sample or round(20 * spec.parameters**0.5)


def feature_bytes(spec: ModelSpec, n: int) -> int:
    """Bytes of a feature store before compression."""
    return n * _features_per_sample(spec) * (2 if spec.storage_dtype == "float16" else 4)


def index_bytes(spec: ModelSpec, n: int, needs: list[str], k_max: int) -> int:
    """Bytes of an index: neighbour lists with similarities, packed kernels and sets of neighbours."""
    stored_sets = member("zooalign.indexes.index", "stored_sets")
    kernels = sum(need in ("gram", "gram_rbf", "gram_rbf_median", "ranks") for need in needs)
    per_layer = (
        n * k_max * 10 + kernels * 2 * n * n + ("subspace" in needs) * 80 * n + ("sketches" in needs) * 320 * n
    )
    per_layer += len(stored_sets(needs, k_max, n)) * (n * n // 8)
    whole = 4 * n * _features_per_sample(spec) if "features" in needs else 0
    return n_layers(spec) * per_layer + whole


def forward_seconds(spec: ModelSpec, units: float, gpu: bool) -> float:
    """Seconds of the forward passes of `units` images or tokens on one core or one GPU, loading included."""
    per_unit = spec.gflops or 2 * spec.parameters / 1e9
    rate = GPU_GFLOPS[spec.precision] if gpu else CPU_GFLOPS
    load = 1.0 + weight_bytes(spec) / 2**20 / LOAD_MB_PER_S
    return load + units * per_unit / rate


def extraction_seconds(spec: ModelSpec, n: int, gpu: bool, workers: int = 1) -> float:
    """Seconds of one extraction, without the start of the job."""
    if spec.modality == "language":
        return forward_seconds(spec, n * TOKENS_PER_CAPTION, gpu)
    # Pictures are decoded beside the forward pass: the slower of the two counts.
    return max(forward_seconds(spec, n, gpu), n * DECODE_S / max(1, workers))


def scored_tokens(options: Any, n: int) -> float:
    """Tokens that a capability reads, from its own options."""
    if hasattr(options, "num_fewshot"):
        asked = min(n, options.limit or n)
        return asked * TOKENS_PER_QUESTION * (1 + (options.num_fewshot or 0))
    text = n * BYTES_PER_TEXT
    budget = getattr(options, "byte_budget", None)
    return min(text, budget or text) / BYTES_PER_TOKEN


def model_mem_mb(spec: ModelSpec, settings: ExtractionConfig | None = None, gpu: bool = False) -> int:
    """Host memory of a process that runs a model, MB: libraries, weights while loading, layers of a batch."""
    base = VISION_MEM_MB if spec.modality == "vision" else LANGUAGE_MEM_MB
    loading = LOADING_FACTOR * weight_bytes(spec) / 2**20
    batch = 0.0
    if gpu:
        batch = CUDA_HOST_MEM_MB
    elif settings is not None and spec.modality == "language":
        tokens = settings.max_batch * TOKENS_PER_CAPTION
        batch = min(settings.batch_mem_mb, 2 * 4 * tokens * _features_per_sample(spec) / 2**20)
    return round(base + loading + batch)


def gpu_weights_mb(spec: ModelSpec) -> float:
    """MB of the weights on a GPU, with the rounding of its allocator."""
    plain = bytes_per_parameter(spec)
    if spec.quantisation is not None:
        plain = (1 - _NOT_QUANTISED) * _QUANTISED[spec.quantisation] + _NOT_QUANTISED * plain
    return 1.05 * plain * spec.parameters / 2**20


def index_seconds(spec: ModelSpec, n: int) -> float:
    """Seconds to index one model: neighbours and kernels of every layer."""
    return 1.0 + 0.05 * n_layers(spec) * (n / 1024) ** 2


def pair_seconds(layer_pairs: float, n: int, settings: int) -> float:
    """Seconds to compare two models under `settings` metrics and k."""
    return 0.01 + settings * 0.005 * layer_pairs / 325 * (n / 1024) ** 1.5


def row_line_bytes(layer_pairs: float, n: int) -> float:
    """Bytes of one line of a row: the layer matrix and the terms of every sample."""
    return 4 * (layer_pairs + n) + 200


def dataset(sweep: Sweep, name: str) -> tuple[float, float]:
    """Memory of the host in MB, without Snakemake's, and seconds, of building a dataset."""
    n = n_samples(sweep.dataset(name))
    return LIGHT_MEM_MB + 0.05 * n, 10 + 0.03 * n


def weights(sweep: Sweep, model: str) -> tuple[float, float]:
    """The same of fetching a model's weights."""
    spec = sweep.weights[model]
    # Weights that are not converted are only copied and hashed.
    converted = hasattr(kind("sources", spec.source), "prepare")
    mem_mb = LANGUAGE_MEM_MB + LOADING_FACTOR * weight_bytes(spec) / 2**20 if converted else LIGHT_MEM_MB
    return mem_mb, 5 + 2 * weight_bytes(spec) / 2**20 / LOAD_MB_PER_S


def extraction(sweep: Sweep, dataset: str, model: str, gpu: bool) -> tuple[float, float]:
    """The same of extracting features, on a GPU or on CPUs."""
    spec, n, settings = sweep.model(model), n_samples(sweep.dataset(dataset)), sweep.config.extraction
    # A worker holds the pictures of one batch and its own heap.
    decoding = WORKER_MEM_MB * settings.workers if spec.modality == "vision" else 0
    mem_mb = model_mem_mb(spec, settings, gpu) + decoding
    return mem_mb, extraction_seconds(spec, n, gpu, settings.workers)


def imported_features(sweep: Sweep, dataset: str, model: str) -> tuple[float, float]:
    """The same of making a store of an imported file."""
    # What is read, a layer that is being encoded, and its bytes.
    size = feature_bytes(sweep.model(model), n_samples(sweep.dataset(dataset)))
    return LIGHT_MEM_MB + 3 * size / 2**20, 5 + size / 50e6


def index(sweep: Sweep, dataset: str, model: str, preparation: str = "") -> tuple[float, float]:
    """The same of indexing a model's features."""
    spec, n, settings = sweep.model(model), n_samples(sweep.dataset(dataset)), sweep.index_settings(preparation)
    size = index_bytes(spec, n, settings["needs"], settings["k_max"])
    # Every layer is kept until the index is stacked and written; four n x n products besides.
    return LIGHT_MEM_MB + (size + 16 * n * n) / 2**20, index_seconds(spec, n)


def inferred(sweep: Sweep) -> set[tuple[str, int]]:
    """(metric, k) whose scores get a null or an interval."""
    return sweep.inferred("null") | sweep.inferred("intervals")


def inference_seconds(sweep: Sweep, layer_pairs: float, n: int) -> float:
    """Seconds of the nulls and intervals of one pair of models."""
    asked, seconds = sweep.config.inference, 0.005
    kinds: tuple[tuple[Literal["null", "intervals"], int, float], ...] = (
        ("null", asked.permutations, 1.0),
        ("intervals", asked.splits, 5.0),
    )
    for which, matrices, per_matrix in kinds:
        for name, _ in sweep.inferred(which):
            lists = {"neighbors"} == kind("metrics", name).NEEDS
            rate, power = (LISTS_S, 1) if lists else (KERNELS_S, 2)
            seconds += matrices * per_matrix * rate * layer_pairs / 325 * (n / 1024) ** power
    return seconds


def inference(sweep: Sweep, dataset: str, model: str) -> tuple[float, float]:
    """The same of the nulls and intervals of a model's row, if it held all pairs of the model."""
    spec, n = sweep.model(model), n_samples(sweep.dataset(dataset))
    own, layers = n_layers(spec), [n_layers(m) for m in partners(sweep, dataset, spec)]
    seconds = sum(inference_seconds(sweep, own * other, n) for other in layers)
    kernels = any({"neighbors"} != kind("metrics", name).NEEDS for name, _ in inferred(sweep))
    # Unpacked kernels of two models, and those of permuted or halved samples.
    copies = (8 * n * n if kernels else 0) * (own + max(layers, default=1))
    return LIGHT_MEM_MB + INFERENCE_MEM_MB + copies / 2**20, 1 + seconds


def results(sweep: Sweep) -> tuple[float, float]:
    """The same of a table or figure."""
    lines = n_lines(sweep)
    return LIGHT_MEM_MB + lines * 4 * TYPICAL_LINE_BYTES / 2**20, 5 + 2e-4 * lines


def capability_options(sweep: Sweep, capability: str) -> Any:
    """Options of a capability with their defaults."""
    row = sweep.capability(capability)
    return kind("capability", row.kind).Options(**row.options)


def capability(sweep: Sweep, name: str, model: str, gpu: bool) -> tuple[float, float]:
    """The same of measuring a capability, on a GPU or on CPUs."""
    row, spec = sweep.capability(name), sweep.model(model)
    n = n_samples(sweep.dataset(row.dataset))
    options = capability_options(sweep, name)
    if kind("capability", row.kind).NEEDS == "features":
        return _probe(sweep.dataset(row.dataset), spec, options)
    mem_mb = model_mem_mb(spec, gpu=gpu) + getattr(options, "logits_mib", 0)
    return mem_mb, forward_seconds(spec, scored_tokens(options, n), gpu)


def _probe(dataset: DatasetSpec, spec: ModelSpec, options: Any) -> tuple[float, float]:
    """The same of a capability that is read off features, as a linear probe is: what its options lack counts once."""
    n, classes, width = n_samples(dataset), n_classes(dataset), spec.width or TYPICAL_WIDTH
    n_train = getattr(kind("datasets", dataset.family).Options(**dataset.options), "n_train", None) or n
    layers = n_layers(spec) if getattr(options, "layer", None) in ("best", "all") else 1
    splits = 1 if dataset.kind == "labels" else getattr(options, "folds", 1)
    fits = layers * splits * (len(getattr(options, "strengths", ())) + 1)
    # The problem is solved in the span of the train samples where that is smaller than the width.
    products = 4 * n_train * min(width, n_train) * classes / 1e9
    mem_mb = LIGHT_MEM_MB + 60 + n * (PROBE_BYTES * width + 32 * classes) / 2**20
    return mem_mb, 5 + 0.001 * n + fits * PROBE_ITERATIONS * products / PROBE_GFLOPS


def n_classes(dataset: DatasetSpec) -> int:
    """Number of classes as a dataset's family or options say; 20 where they do not."""
    family = kind("datasets", dataset.family)
    known = getattr(family.Options(**dataset.options), "classes", None) or getattr(family, "CLASSES", None)
    if isinstance(known, tuple):  # their names
        return len(known)
    return known if isinstance(known, int) else N_CLASSES


def logits_mem_mb(options: Any) -> int:
    """MB of a capability's logits and their logarithms in float32."""
    return 3 * getattr(options, "logits_mib", 0)


def partners(sweep: Sweep, dataset: str, spec: ModelSpec, preparation: str = "") -> list[ModelSpec]:
    """Models that a model is compared with on a dataset; which row holds a pair is known on disk only."""
    sides = set()
    for comparison in (COMPARISON,) if preparation else sweep.comparisons(dataset):
        first, second = comparison.split("-")
        if spec.modality in (first, second):
            sides.add(second if spec.modality == first else first)
    return [m for m in sweep.compared(dataset, preparation) if m.modality in sides and m.id != spec.id]


def n_settings(sweep: Sweep, preparation: str = "") -> int:
    """Number of (metric, k) of the sweep's rows, or those of a preparation."""
    if preparation:
        return len({cell.k for cell in sweep.cells if cell.preparation == preparation})
    return sum(len(metric.k) or 1 for metric in sweep.config.metrics.values())


def n_lines(sweep: Sweep) -> float:
    """About how many lines all rows have together."""
    return len(sweep.models) ** 2 / 2 * n_settings(sweep) * len(sweep.config.datasets)


def row(sweep: Sweep, dataset: str, model: str, preparation: str = "") -> tuple[float, float]:
    """The same of a model's row, if it held all pairs of the model."""
    spec, n = sweep.model(model), n_samples(sweep.dataset(dataset))
    settings, own = n_settings(sweep, preparation), n_layers(spec)
    layers = [n_layers(m) for m in partners(sweep, dataset, spec, preparation)]
    seconds = sum(pair_seconds(own * other, n, settings) for other in layers)
    lines = settings * sum(row_line_bytes(own * other, n) for other in layers)
    # Indexes are memory maps, but a metric copies some of what it reads of two of them.
    copies = 2 * n * n * (own + max(layers, default=1))
    return LIGHT_MEM_MB + (lines + copies) / 2**20, 1 + seconds
