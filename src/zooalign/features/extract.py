"""Extraction: every layer of a model in one pass over a dataset, pooled to one row per sample."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.config.identity import features_digest
from zooalign.config.schema import ExtractionConfig
from zooalign.data.samples import Samples, open_samples
from zooalign.features.batches import Reader, make_reader
from zooalign.features.device import place_model
from zooalign.features.poolings import PooledStore, PooledWriters, begin_writers, pooled_stores
from zooalign.features.shards import Shard, whole_of
from zooalign.features.store import finished_attributes
from zooalign.models.memory import is_out_of_memory
from zooalign.models.sublayers import add_sublayers
from zooalign.progress import Progress, Report, peak_mem_mb
from zooalign.provenance import package_versions, stamp
from zooalign.storage.lease import Lease, make_once
from zooalign.storage.scratch import local_copy
from zooalign.storage.visibility import wait_until_visible

if TYPE_CHECKING:
    import numpy as np
    import torch

    from zooalign.config.manifest import ModelSpec

VERSION = 1
# Besides the layer outputs that are kept until they are pooled, a block holds its inner activations (a fourfold
# MLP, attention); a batch is sized so that both fit into batch_mem_mb.
ACTIVATION_FACTOR = 4
# On a CPU larger batches of images are no faster, and their activations outgrow what malloc reuses (page faults).
CPU_IMAGE_BATCH = 8


def extract_features(
    spec: ModelSpec,
    weights_folder: Path,
    dataset_folder: Path,
    path: Path,
    settings: ExtractionConfig,
    report: Report,
    shard: Shard | None = None,
    *,
    poolings: Sequence[str] = (),
    scratch: str | None = None,
    lease_timeout_s: float = 60.0,
    anew: bool = False,
) -> dict[str, Any]:
    """Write the features of one model on one dataset, unless they are stored already, continuing an interrupted run.

    Parameters
    ----------
    spec : ModelSpec
        The model's row.
    weights_folder : Path
        What `loading.fetch_weights` prepared.
    dataset_folder : Path
        What a dataset family built.
    path : Path
        FeatureStore to write, results/features/{dataset}/{model}.zarr.
    settings : ExtractionConfig
        How samples are read and batched.
    shard : Shard, optional
        Do only this part, unless the whole store is complete; `path` is then the shard's.
    poolings : sequence of str
        Poolings to store besides that of the row, in the same pass; a shard is of that of the row only.
    scratch : str, optional
        Folder of this node that weights and images are copied to first; see `scratch.local_copy`.
    lease_timeout_s : float
        As in `lease.hold_lease`: no other job writes the store in the meantime.
    anew : bool
        Make it although one of the same digest is there.

    Returns
    -------
    dict
        The store's attributes.

    Raises
    ------
    WeightsError, DatasetError
        If inputs are missing or damaged.
    FeatureError
        For NaN or infinite features (layer and sample named), and if a single sample does not fit into memory.
    StoreError
        If the disk is full; finished batches are kept.
    LeaseError
        If another process took the store over.
    """
    wait_until_visible([dataset_folder / "dataset.json", weights_folder / "weights.json"], report)
    dataset = open_samples(dataset_folder).digest
    whole = features_digest(spec, dataset, settings.reading())
    stores = pooled_stores(spec, path, dataset, settings.reading(), poolings)
    if shard is not None:
        stores = [PooledStore(spec, path, shard.digest(whole))]
    if shard is not None and not anew and (complete := finished_attributes(whole_of(path), whole)) is not None:
        report(f"{shard}: the whole store is complete already")
        return complete

    def current() -> dict[str, Any] | None:
        found = [store.finished() for store in stores]
        return None if None in found else found[0]

    def extract(lease: Lease) -> dict[str, Any]:
        samples = open_samples(local_copy(dataset_folder, scratch, report, lease_timeout_s))
        wanted = [store for store in stores if anew or store.finished() is None]
        model = place_model(spec, local_copy(weights_folder, scratch, report, lease_timeout_s), settings)
        if settings.layers == "all":
            add_sublayers(model)
        written = _extract(wanted, model, samples, settings, report, shard, whole, lease)
        return current() or written

    return make_once(path, current, extract, report, lease_timeout_s, anew=anew)


def _extract(
    stores: Sequence[PooledStore],
    model: Any,
    samples: Samples,
    settings: ExtractionConfig,
    report: Report,
    shard: Shard | None,
    whole: str,
    lease: Lease,
) -> dict[str, Any]:
    """Run the model and write a store per pooling; `whole` is the digest of all features, not only of a shard's."""
    spec = stores[0].spec
    device = next(model.module.parameters()).device
    report(f"{spec.id} on {samples.name}: {len(samples)} samples, {len(model.layer_names)} layers, {device}")
    if spec.quantisation is not None:
        report(f"weights are quantised to {spec.quantisation}: features are near those of the model, not its own")
    reader = make_reader(spec, model, samples, settings)
    if warning := reader.warning():
        report(warning)

    def plan() -> dict[str, Any]:
        made = _plan(spec, model, samples, reader, settings, device)
        return made if shard is None else shard.cut(made, [reader.cost(i) for i in made["order"]], whole)

    writer = begin_writers(stores, plan, lease)
    if writer.done:
        report(f"continuing after {writer.done} of {len(writer.plan['order'])} samples")
    progress = Progress(len(writer.plan["order"]), reader.unit, report, done=writer.done)
    _run(model, reader, writer, [store.spec.pooling for store in stores], device, progress, report)
    progress.finish()
    attributes = {
        "dataset": {"name": samples.name, "digest": samples.digest},
        "extraction_version": VERSION,
        "settings": settings.model_dump(),
        "reading": reader.description(),
        "device": str(device),
        "versions": package_versions(),
        "stamp": stamp(),
        "elapsed_s": round(progress.elapsed_s, 3),
        "peak_mem_mb": peak_mem_mb(),
        **({} if shard is None else {"shard": writer.plan["shard"]}),
    }
    about = [{"model": store.spec.model_dump(mode="json"), **attributes} for store in stores]
    writer.finish(about)
    report(f"wrote {', '.join(str(store.path) for store in stores)}")
    return about[0]


def _plan(
    spec: ModelSpec,
    model: Any,
    samples: Samples,
    reader: Reader,
    settings: ExtractionConfig,
    device: torch.device,
) -> dict[str, Any]:
    """Order and batches. They follow from shapes and settings alone, so a repeated run makes the same ones."""
    order = reader.order()
    bounds, widths = _batches(spec.pooling, model, reader, order, settings, device)
    return {
        "sample_ids": samples.ids,
        "order": order,
        "bounds": bounds,
        "layer_names": list(model.layer_names),
        "widths": widths,
        "dtype": spec.storage_dtype,
    }


def _batches(
    pooling: str, model: Any, reader: Reader, order: list[int], settings: ExtractionConfig, device: torch.device
) -> tuple[list[int], list[int]]:
    """Ends of the batches, and widths of the pooled layers, from one pass over the first sample."""
    first = next(iter(reader.batches([(0, 1)], order)))
    (layers,), unpooled_bytes = _forward(model, [t.to(device) for t in first], [pooling])
    images = len(first) == 1
    per_unit = unpooled_bytes / (1 if images else first[0].shape[1])
    budget = max(1, int(settings.batch_mem_mb * 2**20 / (ACTIVATION_FACTOR * per_unit)))
    largest = min(settings.max_batch, CPU_IMAGE_BATCH) if images and device.type == "cpu" else settings.max_batch
    return batch_bounds([reader.cost(i) for i in order], budget, largest), [layer.shape[1] for layer in layers]


def features_in_memory(
    model: Any, reader: Reader, pooling: str, settings: ExtractionConfig, storage_dtype: str = "float16"
) -> dict[str, np.ndarray]:
    """The features that a store would hold, of a model that is in memory already; nothing is written.

    Parameters
    ----------
    model : VisionModel or LanguageModel
        On its device, in evaluation mode.
    reader : Reader
        Feeds it the samples.
    pooling : str
        As in a model's row.
    settings : ExtractionConfig
        Sizes of the batches.
    storage_dtype : str
        "float16" or "float32".

    Returns
    -------
    dict of str to ndarray of `storage_dtype`, shape (n, d_l)
        By name of the layer, in the order of the samples. The same order, batches, pooling and rounding as those of
        :func:`extract_features`, so on the same device with as many threads the same bits.

    Raises
    ------
    FeatureError
        As :func:`zooalign.models.pooling.pool_language` and :func:`zooalign.models.pooling.pool_vision`.
    """
    import numpy as np

    device = next(model.module.parameters()).device
    order = reader.order()
    ends, widths = _batches(pooling, model, reader, order, settings, device)
    layers = [np.empty((len(order), width), storage_dtype) for width in widths]
    bounds = list(zip([0, *ends[:-1]], ends, strict=True))
    for (start, stop), batch in zip(bounds, reader.batches(bounds, order), strict=True):
        (pooled,), _ = _forward(model, [t.to(device) for t in batch], [pooling])
        with np.errstate(over="ignore"):  # what is too large becomes infinite, which the preparation refuses by name
            for layer, rows in zip(layers, pooled, strict=True):
                layer[order[start:stop]] = rows.cpu().numpy()
    return dict(zip(model.layer_names, layers, strict=True))


def batch_bounds(costs: Sequence[int], budget: int, largest: int) -> list[int]:
    """Ends of batches of consecutive samples.

    Parameters
    ----------
    costs : sequence of int
        Cost of each sample in reading order (tokens; 1 for an image).
    budget : int
        Most that samples x largest cost may be in one batch; a single sample may exceed it.
    largest : int
        Most samples in one batch.

    Returns
    -------
    list of int
        Increasing; the last is len(costs).

    Examples
    --------
    >>> batch_bounds([5, 5, 2, 2, 2], budget=10, largest=3)
    [2, 5]
    """
    ends, start, widest = [], 0, 0
    for i, cost in enumerate(costs):
        widest = max(widest, cost)
        if i > start and ((i + 1 - start) * widest > budget or i - start >= largest):
            ends.append(i)
            start, widest = i, cost
    return [*ends, len(costs)]


def _run(
    model: Any,
    reader: Reader,
    writer: PooledWriters,
    poolings: Sequence[str],
    device: torch.device,
    progress: Progress,
    report: Report,
) -> None:
    """All remaining batches; one that does not fit into memory is cut in two and tried again."""
    while writer.remaining():
        try:
            # A shard's rows are in the order of its own samples; "reads" are their places in the dataset.
            for batch in reader.batches(writer.remaining(), writer.plan.get("reads", writer.plan["order"])):
                pooled, _ = _forward(model, [t.to(device, non_blocking=True) for t in batch], poolings)
                writer.append([[layer.cpu().numpy() for layer in layers] for layers in pooled])
                progress.advance(len(batch[0]))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            start, stop = writer.remaining()[0]
            report(f"out of memory with a batch of {stop - start}; halving the batches that remain")
        else:
            continue
        # Outside the handler, so that the failed batch's tensors are not kept alive by its traceback.
        writer.halve()
        _release(device)


def _forward(model: Any, batch: list[torch.Tensor], poolings: Sequence[str]) -> tuple[list[list[torch.Tensor]], int]:
    """Pooled layers of every pooling, float32 (B, d_l), and the bytes of the layers before pooling."""
    import torch

    from zooalign.models.pooling import pool_language, pool_vision

    # Not inference_mode: what a model in training caches in this pass must remain fit for its next step.
    with torch.no_grad():
        if len(batch) == 1:
            outputs = model.layers(batch[0])
            size = sum(t.nbytes for layer in outputs for t in layer if t is not None)
            return [[pool_vision(layer, how) for layer in outputs] for how in poolings], size
        ids, mask = batch
        states = model.layers(ids, mask)
        pooled = [[pool_language(state, mask, how) for state in states] for how in poolings]
        return pooled, sum(s.nbytes for s in states)


def _release(device: torch.device) -> None:
    import gc

    import torch

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
