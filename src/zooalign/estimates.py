"""Estimates of what a job needs, from the manifest alone: for plans and for the resources that rules ask for."""

from __future__ import annotations

from zooalign.zoo import ModelSpec

# Where nothing was measured yet. Throughputs in 10^9 operations per second: one CPU core in float32, one GPU.
CPU_GFLOPS = 70.0
GPU_GFLOPS = 20_000.0
TOKENS_PER_CAPTION = 16
N_SAMPLES = 1024
BYTES_PER_TEXT = 5_000
# Import of the libraries and loading of a model, seconds.
STARTUP_S = 8.0
# What an interpreter with torch takes before a model is loaded, MB.
BASE_MEM_MB = 900


def extraction_seconds(spec: ModelSpec, n: int, gpu: bool) -> float:
    """Seconds of one extraction on one core or one GPU, from the manifest."""
    per_unit = spec.gflops or 2 * spec.parameters / 1e9
    units = n * (1 if spec.modality == "vision" else TOKENS_PER_CAPTION)
    return STARTUP_S + units * per_unit / (GPU_GFLOPS if gpu else CPU_GFLOPS)


def model_mem_mb(spec: ModelSpec, batch_mem_mb: int) -> int:
    """Memory of a job that runs a model, MB: interpreter, weights (twice while loading), one batch."""
    per_parameter = 4 if spec.precision == "float32" else 2
    return BASE_MEM_MB + round(2 * spec.parameters * per_parameter / 2**20) + 2 * batch_mem_mb


def feature_bytes(spec: ModelSpec, n: int) -> int:
    """Bytes of a feature store before compression; unknown widths are guessed from the parameters."""
    per_sample = spec.features_per_sample or round(20 * spec.parameters**0.5)
    return n * per_sample * (2 if spec.storage_dtype == "float16" else 4)
