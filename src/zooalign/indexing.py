"""The index of one model on one dataset: everything that comparing it with any partner needs.

Built once per (model, dataset, preparation), stored as a Zarr v3 group of a few plain arrays (one
uncompressed chunk each), read lazily by memory mapping. An alignment job reads nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zooalign import index_files
from zooalign.errors import MetricError, StoreError, unknown
from zooalign.folders import replace_folder
from zooalign.preparation import CONCATENATED, Preparation, Rows, prepare_layers

if TYPE_CHECKING:
    from zooalign.ownership import Owner

VERSION = 1
_FORMAT = "zooalign-index-1"

# What an index can hold; a metric's NEEDS name a subset.
NEEDS = (
    "neighbors",
    "similarities",
    "centred_similarities",
    "gram",
    "gram_rbf",
    "gram_rbf_median",
    "subspace",
    "sketches",
    "ranks",
    "features",
)
_NOTHING = np.empty((0, 0), np.float32)
_FROM_LISTS = {"neighbors", "similarities", "centred_similarities"}
_FROM_GRAM = {"gram", "gram_rbf", "gram_rbf_median", "ranks", "features"}


class Index:
    """Neighbour lists, kernel matrices and subspaces of every layer of one model.

    Built by :func:`build_index` or read by :meth:`Index.open`; never changed afterwards.

    Parameters
    ----------
    arrays : dict of str to ndarray
        What it holds, by name: "neighbors" (L, n, k_max) integers, best first; "similarities" (L, n, k_max)
        float32, inner products of the prepared rows at those neighbours; "centred_similarities", the same of
        rows minus their mean; "gram" (L, n (n + 1) / 2) float32, the doubly centred linear kernel as
        [diagonal | strict upper triangle times sqrt 2]; "gram_rbf" and "gram_rbf_median", Gaussian kernels
        likewise; "subspace" (L, n, 10) float64, for svcca, and "sketches" (L, 4, n, 10), for the published
        one; "ranks" (L, n (n - 1) / 2) float32, for rsa; "features" (n, sum of d_l) float32, rows minus
        their mean, with "widths" (L,).
    sample_ids, layer_names : list of str
        Length n and L.
    preparation : dict
        Settings under which the features were prepared.
    name : str
        Model id or file, for messages.
    attributes : dict
        What the caller stored with it (digest, provenance).

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((20, 3, 5))
    >>> index = build_index([x[:, layer] for layer in range(3)], k_max=4)
    >>> index.n, len(index.layer_names), index.neighbors.shape
    (20, 3, (3, 20, 4))
    """

    def __init__(
        self,
        arrays: dict[str, np.ndarray],
        sample_ids: list[str],
        layer_names: list[str],
        preparation: dict[str, Any],
        name: str = "index",
        attributes: dict[str, Any] | None = None,
    ) -> None:
        self._arrays = arrays
        self.sample_ids = sample_ids
        self.layer_names = layer_names
        self.preparation = preparation
        self.name = name
        self.attributes = attributes or {}
        self._derived: dict[Any, Any] = {}

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.sample_ids)

    @property
    def n_layers(self) -> int:
        """Number of layers, the concatenation included."""
        return len(self.layer_names)

    @property
    def holds(self) -> set[str]:
        """Names of what is stored."""
        return set(self._arrays)

    @property
    def k_max(self) -> int:
        """Longest neighbour list that can be asked for."""
        return self._get("neighbors").shape[2]

    @property
    def neighbors(self) -> np.ndarray:
        """Neighbour positions, (L, n, k_max), uint16 up to n = 65,536 and int32 above."""
        return self._get("neighbors")

    @property
    def similarities(self) -> np.ndarray:
        """Inner products with those neighbours, (L, n, k_max) float32."""
        return self._get("similarities")

    @property
    def gram(self) -> np.ndarray:
        """Centred linear kernels, packed, (L, n (n + 1) / 2) float32."""
        return self._get("gram")

    def _get(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            raise MetricError(
                f"the index of {self.name} holds {', '.join(sorted(self._arrays)) or 'nothing'} but not "
                f"{name!r}: build it again with needs including {name!r}."
            )
        return self._arrays[name]

    def array(self, name: str) -> np.ndarray:
        """Stored array by name; MetricError naming the index if it does not hold it."""
        return self._get(name)

    def derived(self, key: Any, compute: Callable[[], Any]) -> Any:
        """Value computed once from the stored arrays and kept with the index in memory.

        Parameters
        ----------
        key : hashable
            Names the value and its settings.
        compute : callable
            Called without arguments the first time.

        Returns
        -------
        object
            The value.
        """
        if key not in self._derived:
            self._derived[key] = compute()
        return self._derived[key]

    def features(self, layer: int) -> np.ndarray:
        """Prepared rows of one layer minus their mean, (n, d_l) float32."""
        ends = np.cumsum(self._get("widths"))
        layer %= self.n_layers
        return self._get("features")[:, ends[layer] - self._get("widths")[layer] : ends[layer]]

    def lists(self, k: int) -> np.ndarray:
        """Neighbour lists of length k arranged by sample, (n, L, k), contiguous."""
        return self.derived(("lists", k), lambda: np.ascontiguousarray(self.neighbors[:, :, :k].transpose(1, 0, 2)))

    def save(self, path: str | Path, attributes: dict[str, Any] | None = None, owner: Owner | None = None) -> None:
        """Write the index beside `path` and rename it into place when it is complete.

        Parameters
        ----------
        path : str or Path
            Folder to create or replace; a Zarr v3 group afterwards.
        attributes : dict, optional
            JSON-able values to keep (digest, provenance); default those it has.
        owner : Owner, optional
            Checked before the rename; see `ownership.own`.

        Raises
        ------
        StoreError
            If the disk refuses; nothing half-written is left under `path`.
        """
        import zarr

        path = Path(path)
        staging = owner.staged if owner else path.parent / f".{path.name}.staging-{os.getpid()}"
        shutil.rmtree(staging, ignore_errors=True)
        header = {
            "format": _FORMAT,
            "version": VERSION,
            "sample_ids": self.sample_ids,
            "layer_names": self.layer_names,
            "preparation": self.preparation,
            "arrays": sorted(self._arrays),
            "attributes": self.attributes if attributes is None else attributes,
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            group = zarr.create_group(staging, zarr_format=3, attributes=header)
            for name, values in self._arrays.items():
                stored = group.create_array(
                    name, shape=values.shape, chunks=values.shape, dtype=values.dtype, compressors=None,
                    filters=None, config={"write_empty_chunks": True},
                    chunk_key_encoding={"name": "default", "separator": "."},
                )  # fmt: skip
                stored[...] = np.asarray(values)
            group.attrs["complete"] = True
            replace_folder(staging, path, owner.check if owner else None)
        except OSError as error:
            shutil.rmtree(staging, ignore_errors=True)
            raise StoreError(f"cannot write the index {path}: {error}. Free space or change the folder.") from error
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise

    @classmethod
    def open(cls, path: str | Path, name: str | None = None) -> Index:
        """Open a stored index; arrays are read when they are first used.

        Parameters
        ----------
        path : str or Path
            Folder written by :meth:`save`.
        name : str, optional
            For messages; default the path.

        Returns
        -------
        Index
            Arrays are memory maps; changing them does not change the file.

        Raises
        ------
        StoreError
            If the folder is missing, incomplete, truncated, or not an index; the message names it.
        """
        path = Path(path)
        header = index_files.read_json(path / "zarr.json", path)
        attributes = header.get("attributes", {})
        if attributes.get("format") != _FORMAT:
            raise StoreError(
                f"{path} is not an index of this version (format {attributes.get('format')!r}, not {_FORMAT!r}): "
                "give the folder of an index, or build it again."
            )
        if attributes.get("complete") is not True:
            raise StoreError(f"the index {path} is incomplete: its writing was cut off. Delete it and run again.")
        arrays = {array: index_files.map_array(path, array) for array in attributes["arrays"]}
        return cls(
            arrays,
            attributes["sample_ids"],
            attributes["layer_names"],
            attributes["preparation"],
            name or str(path),
            attributes["attributes"],
        )


def build_index(
    layers: Sequence[np.ndarray],
    preparation: Preparation | None = None,
    k_max: int = 48,
    needs: Iterable[str] = ("neighbors",),
    *,
    sample_ids: Sequence[str] | None = None,
    layer_names: Sequence[str] | None = None,
    name: str = "index",
    attributes: dict[str, Any] | None = None,
) -> Index:
    """Compute the index of one model.

    Parameters
    ----------
    layers : sequence of ndarray of float16, float32 or float64, shape (n, d_l)
        Widths may differ. A lazy sequence (`__len__` and `__getitem__`) is read layer by layer.
    preparation : Preparation, optional
        Default the published one.
    k_max : int
        Length of the neighbour lists; cut to n - 1.
    needs : iterable of str
        Union of the NEEDS of the metrics to come, see :data:`NEEDS`.
    sample_ids, layer_names : sequence of str, optional
        Default "0", "1", ...
    name : str
        For messages.
    attributes : dict, optional
        Kept with the index.

    Returns
    -------
    Index
        In memory.

    Raises
    ------
    FeatureError
        As :func:`zooalign.preparation.prepare_layers`.
    MetricError
        For an unknown need, fewer than 2 samples or k_max < 1.

    Notes
    -----
    For n = 1,024 and d = 768 about 25 ms per layer on one core; 0.2 MB of neighbours, 0.2 MB of
    similarities and 2.1 MB per packed kernel and layer; the subspace of svcca takes another 30 ms.
    """
    preparation = preparation or Preparation()
    wanted = set(needs)
    for need in wanted - set(NEEDS):
        raise MetricError(unknown("need of an index", need, NEEDS))
    if wanted & _FROM_LISTS:
        wanted.add("neighbors")
    if len(layers) == 0:
        n = 0
    else:
        first = np.asarray(layers[0])
        n = first.shape[0] if first.ndim else 0
    ids = [str(i) for i in (range(n) if sample_ids is None else sample_ids)]
    names = [str(i) for i in (range(len(layers)) if layer_names is None else layer_names)]
    if len(layers) and len(ids) < 2:
        raise MetricError(f"{name}: {len(ids)} samples; alignment needs at least 2.")
    if k_max < 1:
        raise MetricError(f"k_max is {k_max}: an index keeps at least 1 neighbour.")
    parts: dict[str, list[np.ndarray]] = {need: [] for need in sorted(wanted)}
    from threadpoolctl import threadpool_limits

    # LAPACK orders its sums by the number of threads; with one, an index has the same bits everywhere.
    with threadpool_limits(1, "blas"):
        for layer in prepare_layers(layers, preparation, names, ids):
            for need, values in _index_layer(layer, preparation, min(k_max, len(ids) - 1), wanted).items():
                parts[need].append(values)
    if preparation.include_concat:
        names = [*names, CONCATENATED]
    arrays = {need: np.stack(values) for need, values in parts.items() if need != "features"}
    if "features" in parts:
        arrays["features"] = np.concatenate(parts["features"], axis=1)  # (n, sum of d_l)
        arrays["widths"] = np.array([values.shape[1] for values in parts["features"]])
    return Index(arrays, ids, names, preparation.settings(), name, attributes)


def is_index(path: str | Path) -> bool:
    """Whether a folder is an index, complete or not.

    Parameters
    ----------
    path : str or Path
        Any folder.

    Returns
    -------
    bool
        False also for an unreadable header.
    """
    try:
        return json.loads((Path(path) / "zarr.json").read_text())["attributes"].get("format") == _FORMAT
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _index_layer(layer: Rows, preparation: Preparation, k: int, wanted: set[str]) -> dict[str, np.ndarray]:
    """Everything wanted of one prepared layer; one float32 product serves neighbours and kernels."""
    from zooalign import kernel_matrices as kernels
    from zooalign.neighbors import centre, centred_gram, nearest, neighbor_products

    found: dict[str, np.ndarray] = {}
    n, d = layer.values.shape
    centred = centre(layer, preparation, ranking=True)
    needs_gram = bool(wanted & (_FROM_GRAM - {"features"}))
    gram = centred_gram(centred) if needs_gram else _NOTHING
    if wanted & _FROM_LISTS:
        lists = nearest(layer, preparation, k, centred, gram if needs_gram else None)
        found["neighbors"] = lists
        if wanted & {"similarities", "centred_similarities"}:
            found["similarities"], found["centred_similarities"] = neighbor_products(layer, lists)
            if not centred.rows.any():
                found["centred_similarities"][:] = 0.0
    # Under cosine without normalisation neighbours are ranked on unit rows, but kernels are not of them.
    if layer.scale is not layer.rank_scale and wanted & _FROM_GRAM:
        centred = centre(layer, preparation, ranking=False)
        gram = centred_gram(centred) if needs_gram else _NOTHING
    if "gram" in wanted:
        found["gram"] = kernels.packed_linear(gram, n)
    if "gram_rbf" in wanted:
        found["gram_rbf"] = kernels.packed_rbf(gram, n, sigma=1.0)
    if "gram_rbf_median" in wanted:
        found["gram_rbf_median"] = kernels.packed_rbf(gram, n, sigma=None)
    if "ranks" in wanted:
        found["ranks"] = kernels.dissimilarity_ranks(gram, n)
    if "features" in wanted:
        found["features"] = centred.rows[:n, :d]
    if "subspace" in wanted:
        found["subspace"] = kernels.leading_subspace(layer)
    if "sketches" in wanted:
        found["sketches"] = kernels.sketches(layer)
    return {need: values for need, values in found.items() if need in wanted}
