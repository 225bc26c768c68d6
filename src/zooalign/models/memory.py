"""Memory: whether it ran out, and what a model needs of a GPU besides its weights."""

from __future__ import annotations

# On a GPU: CUDA's context, workspaces and what the allocator cannot reuse.
GPU_RESERVE_MB = 1_500


def gpu_overhead_mb(batch_mem_mb: int) -> int:
    """MB that every GPU needs besides weights: context, one batch with its layer outputs."""
    return GPU_RESERVE_MB + 2 * batch_mem_mb


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or numpy means that memory, of the host or the GPU, ran out."""
    import torch

    # torch reports a lack of memory on the CPU as a plain RuntimeError, on a GPU as its subclass.
    text = str(error).lower()
    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or "can't allocate memory" in text
        or "not enough memory" in text
        or "out of memory" in text
        # oneDNN, where it cannot allocate its workspace.
        or "could not create a primitive" in text
        or "could not create a memory" in text
    )
