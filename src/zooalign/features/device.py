"""Where a model runs: threads, device, precision; one that is larger than a GPU is spread over several."""

from __future__ import annotations

import ctypes
import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from zooalign.errors import FeatureError
from zooalign.models.memory import gpu_overhead_mb

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from zooalign.config.manifest import ModelSpec
    from zooalign.config.schema import ExtractionConfig

MIB = 2**20


def prepare_torch(settings: ExtractionConfig) -> torch.device:
    """Threads and device; results do not depend on either beyond the arithmetic of the device."""
    # Before torch is imported: idle OpenMP threads that spin make a busy machine several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _keep_freed_memory()
    import torch

    torch.set_num_threads(settings.threads)
    torch.backends.cuda.matmul.allow_tf32 = False  # float32 means float32
    torch.backends.cudnn.allow_tf32 = False
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise FeatureError("extraction.device is cuda, but torch sees no GPU; set it to auto or cpu.")
    use_gpu = settings.device != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if use_gpu else "cpu")


def _keep_freed_memory() -> None:
    """Let malloc reuse activations instead of giving them back to the kernel after every layer.

    Page faults took up to a quarter of the CPU time of convolutional networks. glibc only; elsewhere nothing happens.
    """
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(mmap_threshold, 32 * MIB)  # the largest that glibc accepts
    mallopt(trim_threshold, 1024 * MIB)


def place_model(spec: ModelSpec, weights_folder: Path, settings: ExtractionConfig) -> Any:
    """Load a model and put it on its device in its precision, ready for inference.

    Parameters
    ----------
    spec : ModelSpec
        The model's row.
    weights_folder : Path
        What `loading.fetch_weights` prepared.
    settings : ExtractionConfig
        Device, threads and the memory of a batch.

    Returns
    -------
    VisionModel or LanguageModel
        On one device; on all GPUs of the job if one cannot hold it.

    Raises
    ------
    WeightsError
        If the weights are missing or are not those of the manifest.
    FeatureError
        If the settings ask for a GPU and there is none, or all GPUs of the job cannot hold the model.
    """
    device = prepare_torch(settings)
    import torch

    from zooalign.models.loading import load_model

    # To several GPUs blocks are laid out from the host.
    straight = str(device) if device.type == "cuda" and torch.cuda.device_count() == 1 else "cpu"
    model: Any = load_model(spec, weights_folder, straight)  # torch's stubs know no `to` with a memory format
    precision = getattr(torch, spec.precision)
    # Convolutions run up to 1.4 times as fast on channels-last weights; a transformer has only its patch embedding.
    layout = torch.channels_last
    if device.type == "cuda" and torch.cuda.device_count() > 1:
        gpus = [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
        overhead = MIB * gpu_overhead_mb(settings.batch_mem_mb)
        free = [torch.cuda.mem_get_info(gpu)[0] - overhead for gpu in gpus]
        _cast(spec, model.module, precision, layout)
        if _bytes(model.module) > free[0]:
            spread(model, gpus, free, spec.id)
            model.module.eval()
            return model
    _cast(spec, model.module, precision, layout)
    model.module.to(device)
    model.module.eval()
    return model


def _cast(spec: ModelSpec, module: Any, precision: torch.dtype, layout: Any) -> None:
    """Weights in the row's precision; tables that a language model computes for itself stay in float32.

    Rotary frequencies in 16 bits turn far positions by wrong angles; transformers, too, keeps them in float32.
    """
    if spec.modality == "vision":
        module.to(dtype=precision, memory_format=layout)
        return
    for part in module.modules():
        computed = part._non_persistent_buffers_set
        for name, buffer in part._buffers.items():
            if buffer is not None and buffer.is_floating_point() and name not in computed:
                part._buffers[name] = buffer.to(precision)
        for parameter in part._parameters.values():
            if parameter is not None and parameter.is_floating_point():
                parameter.data = parameter.data.to(precision)


def spread(model: Any, gpus: Sequence[torch.device], room: Sequence[int], name: str = "model") -> list[int]:
    """Spread the blocks of a model over several GPUs, in order, so that all are about equally full.

    Everything that is no block (embeddings, final norm, heads) stays on the first GPU, where inputs go and layers
    come back to. Each block fetches its inputs, so whatever runs the model need not know of it.

    Parameters
    ----------
    model : VisionModel or LanguageModel
        On the CPU, in its precision; changed in place.
    gpus : sequence of torch.device
        Where to.
    room : sequence of int
        Bytes that weights may take on each.
    name : str
        Id of the model, for messages.

    Returns
    -------
    list of int
        Position in `gpus` of every block.

    Raises
    ------
    FeatureError
        If the model has no chain of equal blocks, blocks share weights, or the GPUs cannot hold it.

    Notes
    -----
    Only one GPU works at a time: several make a large model possible, not faster. `accelerate` moves tensors in a
    hook of the whole network's `forward`, which reading every layer does not go through.
    """
    module = model.module
    blocks = _find_blocks(module, name)
    inside = {id(p) for block in blocks for p in block.parameters()}
    sizes = [_bytes(block) for block in blocks]
    rest = _bytes(module) - sum(sizes)
    places = share_out(sizes, rest, room)
    if places is None:
        raise FeatureError(
            f"model {name!r} has {_bytes(module) / MIB:,.0f} MB of weights; the {len(gpus)} GPUs of this job have "
            f"room for {sum(max(0, r) for r in room) / MIB:,.0f} MB beside a batch. Ask for more with "
            f"resources.extract_features.models.{name}.gpus in config.yaml, or lower extraction.batch_mem_mb."
        )
    members = {id(m) for block in blocks for m in block.modules()}
    for block, place in zip(blocks, places, strict=True):
        block.to(gpus[place])
        block.register_forward_pre_hook(_fetching(gpus[place]), with_kwargs=True)
    blocks[-1].register_forward_hook(lambda _, inputs, output: moved(output, gpus[0]))
    for part in module.modules():
        if id(part) not in members:
            if any(id(p) in inside for p in part.parameters(recurse=False)):
                raise FeatureError(
                    f"model {name!r} shares weights between its blocks and the rest: one GPU must hold it."
                )
            part._apply(lambda tensor: tensor.to(gpus[0]), recurse=False)
    layers = model.layers
    model.layers = lambda *inputs: moved(layers(*inputs), inputs[0].device)
    return places


def share_out(sizes: Sequence[int], rest: int, room: Sequence[int]) -> list[int] | None:
    """GPU of every block: in order, the fullest GPU as little filled as possible; None if they do not fit.

    Parameters
    ----------
    sizes : sequence of int
        Bytes of the blocks.
    rest : int
        Bytes that the first GPU holds already.
    room : sequence of int
        Bytes of each GPU.

    Examples
    --------
    >>> share_out([4, 4, 4, 4, 4], rest=4, room=[10, 10, 10])
    [0, 1, 1, 2, 2]
    """

    def fill(part: float) -> list[int] | None:
        places, gpu, used = [], 0, float(rest)
        for size in sizes:
            while gpu < len(room) and used + size > part * room[gpu]:
                gpu, used = gpu + 1, 0.0
            if gpu == len(room):
                return None
            places.append(gpu)
            used += size
        return places if rest <= part * room[0] else None

    best = fill(1.0)
    low, high = 0.0, 1.0
    for _ in range(40 if best else 0):
        middle = (low + high) / 2
        places = fill(middle)
        if places is None:
            low = middle
        else:
            best, high = places, middle
    return best


def moved(value: Any, device: torch.device) -> Any:
    """Tensors moved to a device, also those inside tuples, lists and mappings; anything else as it is."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(moved(v, device) for v in value))
    if isinstance(value, tuple | list):
        return type(value)(moved(v, device) for v in value)
    if type(value) is dict:
        return {key: moved(v, device) for key, v in value.items()}
    return value


def _fetching(gpu: torch.device) -> Callable[[Any, tuple[Any, ...], dict[str, Any]], tuple[Any, Any]]:
    """Hook that brings a block's inputs to its GPU."""
    return lambda _, inputs, options: (moved(inputs, gpu), moved(options, gpu))


def _find_blocks(module: torch.nn.Module, name: str) -> list[torch.nn.Module]:
    """The chain of equal blocks that holds most of the weights."""
    import torch

    longest: list[torch.nn.Module] = []
    for chain in module.modules():
        blocks = list(chain.children())
        alike = Counter(type(b) for b in blocks).most_common(1)
        if isinstance(chain, torch.nn.ModuleList | torch.nn.Sequential) and alike and alike[0][1] > 1:
            # The outermost of equals: a chain of stages rather than the largest stage.
            longest = blocks if sum(map(_bytes, blocks)) > sum(map(_bytes, longest)) else longest
    if not longest:
        raise FeatureError(
            f"model {name!r} is larger than one GPU and has no chain of blocks that could be spread over several "
            f"({type(module).__name__}). Use a larger GPU, or device: cpu."
        )
    holders = Counter(id(p) for block in longest for p in set(block.parameters()))
    if holders and max(holders.values()) > 1:
        raise FeatureError(f"model {name!r} shares weights between its blocks: one GPU must hold it.")
    return longest


def _bytes(module: torch.nn.Module) -> int:
    """Bytes of parameters and buffers, shared ones once."""
    tensors = {id(t): t.nbytes for t in [*module.parameters(), *module.buffers()]}
    return sum(tensors.values())
