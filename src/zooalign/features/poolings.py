"""Several poolings of one pass: a store each, written batch by batch side by side.

The further stores lie beside the model's own (`{store}.poolings/{pooling}.zarr`). Each has the digest of a row with
that pooling, its own staging folder and its own journal: it is the store that a separate extraction would have
written, and asking for a further pooling changes nothing about the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from zooalign.config.identity import features_digest
from zooalign.errors import FeatureError
from zooalign.features.store import FeatureWriter, finished_attributes

if TYPE_CHECKING:
    import numpy as np

    from zooalign.config.manifest import ModelSpec
    from zooalign.storage.lease import Lease


class PooledStore(NamedTuple):
    """Where features of one pooling lie.

    Attributes
    ----------
    spec : ModelSpec
        The model's row with that pooling.
    path : Path
        FeatureStore.
    digest : str
        Digest that it must have.
    """

    spec: ModelSpec
    path: Path
    digest: str

    def finished(self) -> dict[str, Any] | None:
        """Its attributes; None where it is missing, damaged or made from something else."""
        return finished_attributes(self.path, self.digest)


def pooled_path(path: Path, pooling: str) -> Path:
    """Store of a further pooling, beside the model's own store.

    Examples
    --------
    >>> pooled_path(Path("emoji/vit.zarr"), "mean").as_posix()
    'emoji/vit.zarr.poolings/mean.zarr'
    """
    return path.with_name(f"{path.name}.poolings") / f"{pooling}.zarr"


def pooled_stores(
    spec: ModelSpec, path: Path, dataset: str, reading: Mapping[str, Any], further: Sequence[str]
) -> list[PooledStore]:
    """The model's own store and those of further poolings.

    Parameters
    ----------
    spec : ModelSpec
        The model's row.
    path : Path
        Its own store.
    dataset : str
        Content digest of the dataset.
    reading : dict
        As `identity.features_digest`.
    further : sequence of str
        Poolings besides that of the row.

    Raises
    ------
    FeatureError
        If one of several is prompt_last, which reads other texts than the others do.
    """
    if further and "prompt_last" in (spec.pooling, *further):
        raise FeatureError(f"{spec.id}: prompt_last reads a prompt, so no other pooling is stored in the same pass.")
    rows = [spec, *(spec.model_copy(update={"pooling": pooling}) for pooling in further)]
    paths = [path, *(pooled_path(path, pooling) for pooling in further)]
    return [PooledStore(row, p, features_digest(row, dataset, reading)) for row, p in zip(rows, paths, strict=True)]


class PooledWriters:
    """Writers of several stores that take the same batches.

    A run may end between two of them, and a pooling may be asked for when others are done halfway: batches begin
    where the last of them is, and each writer takes what it lacks. All are cut at the same bounds.

    Parameters
    ----------
    writers : sequence of FeatureWriter
        At least one; of the same samples, order and layers.
    """

    def __init__(self, writers: Sequence[FeatureWriter]) -> None:
        self._writers = writers
        # Batches are only ever cut, so what each has finished ends at one of these.
        self._recut(sorted({bound for writer in writers for bound in writer.plan["bounds"]}))

    def _recut(self, bounds: list[int]) -> None:
        for writer in self._writers:
            if writer.plan["bounds"] != bounds:
                writer.recut(bounds)

    @property
    def _last(self) -> FeatureWriter:
        """The writer that has finished least."""
        return min(self._writers, key=lambda writer: writer.done)

    @property
    def plan(self) -> dict[str, Any]:
        """Plan of all of them; digests apart."""
        return self._last.plan

    @property
    def done(self) -> int:
        """Rows that all have."""
        return self._last.done

    def remaining(self) -> list[tuple[int, int]]:
        """Batches that some lack, as `FeatureWriter.remaining`."""
        return self._last.remaining()

    def halve(self) -> None:
        """Cut every remaining batch in two; raises as `FeatureWriter.halve`."""
        last = self._last
        last.halve()
        self._recut(last.plan["bounds"])

    def append(self, pooled: Sequence[Sequence[np.ndarray]]) -> None:
        """Store the next batch.

        Parameters
        ----------
        pooled : sequence
            For every writer its layers, as `FeatureWriter.append` takes and refuses them.
        """
        start, _ = self.remaining()[0]
        for writer, layers in zip(self._writers, pooled, strict=True):
            if writer.done == start:
                writer.append(layers)

    def finish(self, attributes: Sequence[dict[str, Any]]) -> None:
        """Write the stores, as `FeatureWriter.finish`, from the last to the first, which is the model's own."""
        for writer, own in reversed(list(zip(self._writers, attributes, strict=True))):
            writer.finish(own)


def begin_writers(
    stores: Sequence[PooledStore], plan: Callable[[], dict[str, Any]], lease: Lease | None = None
) -> PooledWriters:
    """Writers of stores that continue what an interrupted run left; where there is nothing, they begin with a plan.

    Parameters
    ----------
    stores : sequence of PooledStore
        At least one.
    plan : callable
        Makes the plan of a `FeatureWriter`, without a digest.
    lease : Lease, optional
        As in `FeatureWriter`.
    """
    writers = [FeatureWriter.resume(store.path, store.digest, lease) for store in stores]
    new = plan() if None in writers else {}
    return PooledWriters(
        [
            writer or FeatureWriter.begin(store.path, {**new, "digest": store.digest}, lease)
            for writer, store in zip(writers, stores, strict=True)
        ]
    )
