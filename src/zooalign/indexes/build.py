"""Build the index of one model from its features, layer by layer."""

# threadpoolctl has no types.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from zooalign.errors import MetricError, unknown
from zooalign.indexes.index import NEEDS, WITH_LISTS, Index, is_set, set_name, stored_sets, ties_name
from zooalign.indexes.preparation import CONCATENATED, RBF_NEEDS, Preparation, Rows, prepare_layers

_NOTHING = np.empty((0, 0), np.float32)
_FROM_LISTS = {"neighbors", "similarities", "centred_similarities"}
_FROM_GRAM = {"gram", "features"}
_FROM_COLUMNS = {"subspace", "sketches"}
_FROM_DISTANCES = {"gram_rbf", "gram_rbf_median", "ranks"}


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
        Union of the NEEDS of the metrics to come, see :data:`zooalign.indexes.index.NEEDS`; of "sets@K" those that
        the lists do not give are kept.
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
        As :func:`zooalign.indexes.preparation.prepare_layers`.
    MetricError
        For an unknown need, one that there is not under `rbf`, fewer than 2 samples or k_max < 1.

    Notes
    -----
    For n = 1,024 and d = 768 about 25 ms per layer on one core; 0.2 MB of neighbours, 0.2 MB of
    similarities, 2.1 MB per packed kernel and layer, .13 MB per set; the subspace of svcca takes another 30 ms.
    """
    preparation = preparation or Preparation()
    wanted = set(needs)
    for need in wanted - set(NEEDS):
        if not is_set(need):
            raise MetricError(unknown("need of an index", need, NEEDS))
    rbf = preparation.similarity == "rbf"
    if rbf and wanted - RBF_NEEDS:
        raise MetricError(f"{name}: {', '.join(sorted(wanted - RBF_NEEDS))}: not with similarity 'rbf', which is for "
                          "metrics of neighbours alone or of kernels (cka, unbiased_cka).")  # fmt: skip
    if wanted & _FROM_LISTS or any(map(is_set, wanted)):
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
    lengths = stored_sets(wanted, k_max, len(ids))
    wanted = {need for need in wanted if not is_set(need)}
    wanted |= {name(k) for k in lengths for name in (set_name, ties_name)}
    kept = sorted(wanted | (WITH_LISTS if "neighbors" in wanted else set()))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in kept}
    from threadpoolctl import threadpool_limits

    # LAPACK orders its sums by the number of threads; with one, an index has the same bits everywhere.
    with threadpool_limits(1, "blas"):
        for layer in prepare_layers(layers, preparation, names, ids):
            for need, values in _index_layer(layer, preparation, min(k_max, len(ids) - 1), lengths, wanted).items():
                parts[need].append(values)
    if preparation.include_concat:
        names = [*names, CONCATENATED]
    arrays = {need: np.stack(values) for need, values in parts.items() if need != "features"}
    if "features" in parts:
        arrays["features"] = np.concatenate(parts["features"], axis=1)  # (n, sum of d_l)
        arrays["widths"] = np.array([values.shape[1] for values in parts["features"]])
    return Index(arrays, ids, names, preparation.settings(), name, attributes)


def _index_layer(
    layer: Rows, preparation: Preparation, k: int, lengths: Sequence[int], wanted: set[str]
) -> dict[str, Any]:
    """Everything wanted of one prepared layer; one float32 product serves neighbours and kernels."""
    from zooalign.indexes import gram as kernels
    from zooalign.indexes import subspaces
    from zooalign.indexes.neighbors import centre, centred_gram, nearest, nearest_sets, neighbor_products

    arrays: dict[str, Any] = {}
    n, d = layer.values.shape
    centred = centre(layer, preparation, ranking=True)
    rbf = preparation.similarity == "rbf"
    needs_gram = "gram" in wanted and not rbf
    gram = centred_gram(centred) if needs_gram else _NOTHING
    if wanted & _FROM_LISTS:
        product = gram if needs_gram else None
        lists, tie_counts, dots = nearest(layer, preparation, k, centred, product)
        for length in lengths:
            bits, tied = nearest_sets(layer, preparation, length, centred, product)
            arrays[set_name(length)], arrays[ties_name(length)] = bits, np.int32(tied)
        arrays["neighbors"], arrays["tie_counts"] = lists, tie_counts
        arrays["constant"] = np.uint8(centred.constant)
        if wanted & {"similarities", "centred_similarities"}:
            arrays["similarities"], arrays["centred_similarities"] = neighbor_products(layer, lists, dots)
            if centred.constant:
                arrays["centred_similarities"][:] = 0.0
    # Under cosine without normalisation neighbours are ranked on unit rows, but kernels are not of them.
    if layer.scale is not layer.rank_scale and wanted & _FROM_GRAM:
        centred = centre(layer, preparation, ranking=False)
        gram = centred_gram(centred) if needs_gram else _NOTHING
    from_distances = wanted & _FROM_DISTANCES or (rbf and "gram" in wanted)
    distances = kernels.squared_distances(layer) if from_distances else kernels.NO_DISTANCES
    if "gram" in wanted:
        arrays["gram"] = kernels.packed_rbf(distances, None) if rbf else kernels.packed_linear(gram, n)
    if "kernel_offsets" in wanted:
        arrays["kernel_offsets"] = kernels.kernel_offsets(layer)
    if "gram_rbf" in wanted:
        arrays["gram_rbf"] = kernels.packed_rbf(distances, sigma=1.0)
    if "gram_rbf_median" in wanted:
        arrays["gram_rbf_median"] = kernels.packed_rbf(distances, sigma=None)
    if "ranks" in wanted:
        arrays["ranks"] = kernels.dissimilarity_ranks(distances)
    if "features" in wanted:
        arrays["features"] = centred.rows[:n, :d]
    if wanted & _FROM_COLUMNS:
        columns = subspaces.standardise(layer)
        if "subspace" in wanted:
            arrays["subspace"] = subspaces.leading_subspace(columns)
        if "sketches" in wanted:
            arrays["sketches"] = subspaces.sketches(columns)
    return {name: values for name, values in arrays.items() if name in wanted or name in WITH_LISTS}
