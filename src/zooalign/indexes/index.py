"""The index of one model on one dataset: everything that comparing it with any partner needs.

Built once per (model, dataset, preparation), stored as a Zarr v3 group of a few plain arrays (one
uncompressed chunk each), read lazily by memory mapping. An alignment job reads nothing else.
"""

# zarr.create_group does not say all that it takes.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zooalign.errors import MetricError, StoreError
from zooalign.indexes import files
from zooalign.provenance import is_sealed, object_in, sealed
from zooalign.storage.atomic import replacing

if TYPE_CHECKING:
    from zooalign.storage.lease import Lease

# Of what an index holds: raised when building or storing it changes.
VERSION = 3
_FORMAT = "zooalign-index-1"

# What an index can hold, beside "sets@K" for any K, see :func:`set_name`; a metric's NEEDS name a subset.
NEEDS = (
    "neighbors",
    "similarities",
    "centred_similarities",
    "gram",
    "kernel_offsets",
    "gram_rbf",
    "gram_rbf_median",
    "subspace",
    "sketches",
    "ranks",
    "features",
)
# Arrays that come with neighbour lists, whatever was asked for.
WITH_LISTS = {"tie_counts", "constant"}
_SETS, _TIES = "sets@", "ties@"


class Index:
    """Neighbour lists, kernel matrices and subspaces of every layer of one model.

    Built by :func:`zooalign.indexes.build.build_index` or read by :meth:`Index.open`; never changed afterwards.

    Parameters
    ----------
    arrays : dict of str to ndarray
        What it holds, by name: "neighbors" (L, n, k_max) integers, best first, and with them "tie_counts"
        (L, k_max) int32, see :class:`zooalign.indexes.neighbors.Neighbors`, and "constant" (L,) uint8, 1 for a layer
        that is the same for every sample and has no neighbours that mean anything; "sets@K" (L, n, ceil(n / 8))
        uint8, the K nearest neighbours where the lists are shorter, and "ties@K" (L,) int32, both as
        :func:`zooalign.indexes.neighbors.nearest_sets` gives them; "similarities" (L, n, k_max)
        float32, inner products of the prepared rows at those neighbours; "centred_similarities", the same of
        rows minus their mean; "gram" (L, n (n + 1) / 2) float32, the doubly centred linear kernel as
        [diagonal | strict upper triangle times sqrt 2]; "kernel_offsets" (L, n) float64, <x_i, m> - <m, m> / 2 of
        the prepared rows x_i with mean m: those of both samples added to an entry of "gram" give the kernel as it
        was before it was centred; "gram_rbf" and "gram_rbf_median", Gaussian kernels
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
    >>> from zooalign.indexes.build import build_index
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
        # Checks of stored arrays that were not read yet.
        self._unread: dict[str, Callable[[], None]] = {}

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
    def constant(self) -> np.ndarray:
        """Whether a layer is the same for every sample, so that no neighbour metric is defined there, (L,) bool."""
        return self._get("constant").astype(bool)

    def tied_share(self, k: int) -> np.ndarray:
        """Share of samples whose k nearest neighbours depend on the order of ties.

        Parameters
        ----------
        k : int
            1 ... k_max, the K of a stored set, or n - 1.

        Returns
        -------
        ndarray of float64, shape (L,)
            In [0, 1]; the k-th and the (k + 1)-th neighbour of these samples are equally near. 1 for a layer that
            is the same for every sample, 0 at k = n - 1.
        """
        if k == self.n - 1:
            return np.zeros(self.n_layers)
        if k > self.k_max:
            return self._get(ties_name(k)) / self.n
        return self._get("tie_counts")[:, k - 1] / self.n

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
            held = sorted(held for held in self.holds - WITH_LISTS if not held.startswith(_TIES))
            raise MetricError(
                f"the index of {self.name} holds {', '.join(held) or 'nothing'} but not "
                f"{name!r}: build it again with needs including {name!r}."
            )
        if name in self._unread:
            self._unread[name]()
            del self._unread[name]
        return self._arrays[name]

    def array(self, name: str) -> np.ndarray:
        """Stored array by name; MetricError naming the index if it does not hold it, StoreError if it is damaged."""
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

    def sets(self, k: int) -> np.ndarray:
        """The k nearest neighbours as bits, (L, n, ceil(n / 8)) uint8; of the lists, where they are that long."""
        if k > self.k_max:
            return self._get(set_name(k))

        def compute() -> np.ndarray:
            from zooalign.indexes.neighbors import sets_of_lists

            return np.stack([sets_of_lists(lists, k) for lists in self.neighbors])

        return self.derived(("sets", k), compute)

    def lists(self, k: int) -> np.ndarray:
        """Neighbour lists of length k arranged by sample, (n, L, k), contiguous."""
        return self.derived(("lists", k), lambda: np.ascontiguousarray(self.neighbors[:, :, :k].transpose(1, 0, 2)))

    def save(self, path: str | Path, attributes: dict[str, Any] | None = None, lease: Lease | None = None) -> None:
        """Write the index beside `path` and rename it into place when it is complete.

        Parameters
        ----------
        path : str or Path
            Folder to create or replace; a Zarr v3 group afterwards.
        attributes : dict, optional
            JSON-able values to keep (digest, provenance); default those it has.
        lease : Lease, optional
            Checked before the rename; see `lease.hold_lease`.

        Raises
        ------
        StoreError
            If the disk refuses; nothing half-written is left under `path`.
        """
        import zarr

        path = Path(path)
        header = {
            "format": _FORMAT,
            "version": VERSION,
            "sample_ids": self.sample_ids,
            "layer_names": self.layer_names,
            "preparation": self.preparation,
            "arrays": {name: files.checksum(self._get(name)) for name in sorted(self._arrays)},
            "attributes": self.attributes if attributes is None else attributes,
        }
        with replacing(path, lease) as staging:
            group = zarr.create_group(staging, zarr_format=3, attributes=sealed(header))
            for name, values in self._arrays.items():
                stored = group.create_array(
                    name, shape=values.shape, chunks=values.shape, dtype=values.dtype, compressors=None,
                    filters=None, config={"write_empty_chunks": True},
                    chunk_key_encoding={"name": "default", "separator": "."},
                )  # fmt: skip
                stored[...] = np.asarray(values)
            group.attrs["complete"] = True

    @classmethod
    def open(cls, path: str | Path, name: str | None = None) -> Index:
        """Open a stored index; arrays are read, and compared with their checksums, when they are first used.

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
        header = files.read_json(path / "zarr.json", path)
        attributes = object_in(header, "attributes")
        if attributes.get("format") != _FORMAT:
            raise StoreError(
                f"{path} is not an index of this version (format {attributes.get('format')!r}, not {_FORMAT!r}): "
                "give the folder of an index, or build it again."
            )
        if attributes.get("version") != VERSION:
            raise StoreError(
                f"the index {path} was written by another version of zooalign (index version "
                f"{attributes.get('version')}, not {VERSION}): build it again from its features."
            )
        if attributes.get("complete") is not True:
            raise StoreError(f"the index {path} is incomplete: its writing was cut off. Delete it and run again.")
        if not is_sealed({key: value for key, value in attributes.items() if key != "complete"}):
            raise files.damaged(path, "zarr.json was edited or cut off")
        try:
            checksums = dict[str, str](attributes["arrays"])
            arrays = {array: files.map_array(path, array) for array in checksums}
            index = cls(
                arrays,
                attributes["sample_ids"],
                attributes["layer_names"],
                attributes["preparation"],
                name or str(path),
                attributes["attributes"],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise files.damaged(path, repr(error)) from error
        for array, expected in checksums.items():
            index._unread[array] = partial(files.check_array, path, array, arrays[array], expected, index.n)
        return index


def set_name(k: int) -> str:
    """Name of the sets of the k nearest neighbours among what an index can hold: "sets@k"."""
    return f"{_SETS}{k}"


def ties_name(k: int) -> str:
    """Name of the counts of ties that come with these sets: "ties@k"."""
    return f"{_TIES}{k}"


def is_set(need: str) -> bool:
    """Whether this names sets of neighbours.

    Examples
    --------
    >>> is_set("sets@512"), is_set("gram"), is_set("sets@many")
    (True, False, False)
    """
    return need.startswith(_SETS) and need.removeprefix(_SETS).isdecimal()


def stored_sets(needs: Iterable[str], k_max: int, n: int) -> list[int]:
    """For which k sets must be stored: those that no list gives and that are not all other samples.

    Parameters
    ----------
    needs : iterable of str
        What is asked of an index; only "sets@K" counts.
    k_max : int
        Length of its lists.
    n : int
        Number of samples.

    Examples
    --------
    >>> stored_sets(["gram", "sets@10", "sets@512", "sets@1023"], 48, 1024)
    [512]
    """
    return sorted(k for k in (int(need.removeprefix(_SETS)) for need in needs if is_set(need)) if k_max < k < n - 1)


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


def index_sha256(index: Index, names: Iterable[str]) -> str:
    """SHA-256 of some of an index's arrays and of its sample ids: what a metric that needs them depends on."""

    def compute() -> str:
        sha = hashlib.sha256(json.dumps([index.sample_ids, index.layer_names]).encode())
        for name in sorted({*names, *({"widths", "constant"} & index.holds)}):
            values = np.ascontiguousarray(index.array(name))
            sha.update(f"{name} {values.dtype} {values.shape}".encode())
            sha.update(values.data)
        return sha.hexdigest()

    return index.derived(("sha256", *sorted(names)), compute)
