"""A row of the alignment matrix: one model against its partners, pair by pair, recomputing only what is stale."""

# pyarrow has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.alignment.pairs import VERSION, Pair
from zooalign.alignment.table import table_schema
from zooalign.alignment.update import Key, Lines, update_row
from zooalign.config.identity import score_digests
from zooalign.errors import ZooalignError
from zooalign.progress import Report

if TYPE_CHECKING:
    from zooalign.indexes.index import Index


def align_row(
    model: str,
    pairs: Sequence[Pair],
    index_paths: Mapping[str, Path],
    metrics: Sequence[Mapping[str, Any]],
    table_path: Path,
    receipt_path: Path,
    dataset: str,
    report: Report,
    *,
    save_every_s: float = 30.0,
    lease_timeout_s: float = 60.0,
    anew: bool = False,
) -> dict[str, Any]:
    """Score a model against its partners: one line per (pair, metric, k), see :func:`update.update_row`.

    Parameters
    ----------
    model : str
        Id of the row's model.
    pairs : sequence of Pair
        Pairs that the row shall hold; each has `model` on one side.
    index_paths : dict
        Index of the model and of every partner.
    metrics : sequence of dict
        As `identity.metric_settings` gives them.
    table_path, receipt_path, save_every_s, lease_timeout_s, anew
        As in `update_row`.
    dataset : str
        Id of the dataset.

    Returns
    -------
    dict
        The receipt, as `update_row` gives it.

    Raises
    ------
    StoreError
        If an index is missing, unfinished or damaged.
    MetricError
        If two indexes differ in their sample ids, or k >= n.
    LeaseError
        If another process took the row over.
    """

    def make(key: Key, x: Index, y: Index, digest: str) -> dict[str, Any]:
        return _line(dataset, key, x, y, digest)

    for name in sorted({pair.x for pair in pairs} | {pair.y for pair in pairs}):
        if lacking := not_given(name, metrics):
            report(f"{name} gives no {lacking}")
    lines = Lines("scores", table_schema(), VERSION, lambda ids: score_digests(pairs, metrics, ids), make, _many_ties)
    return update_row(
        lines, model, dataset, pairs, index_paths, table_path, receipt_path, report, save_every_s=save_every_s,
        lease_timeout_s=lease_timeout_s, anew=anew,
    )  # fmt: skip


def not_given(model: str, metrics: Sequence[Mapping[str, Any]]) -> str:
    """Which metrics an imported model does not give, and why: "cka: its file has no gram"; empty for most models.

    Examples
    --------
    >>> lacks = {"without": {"lab": "its file has no gram"}}
    >>> not_given("lab", [{"metric": "cka", "k": 0, **lacks}, {"metric": "mutual_knn", "k": 10}])
    'cka: its file has no gram'
    """
    from zooalign.metrics import label

    reasons: dict[str, list[str]] = {}
    for metric in metrics:
        if model in (without := metric.get("without", {})):
            reasons.setdefault(without[model], []).append(label(metric["metric"], metric["k"] or None))
    return "; ".join(f"{', '.join(labels)}: {reason}" for reason, labels in reasons.items())


def _line(dataset: str, key: Key, x: Index, y: Index, digest: str) -> dict[str, Any]:
    """Score of one pair under one metric: the whole layer matrix, its maximum, and terms at the maximum."""
    import numpy as np

    from zooalign import metrics

    pair, name, k = key[0], key[1], key[2] or None
    module = metrics.get(name)
    try:
        matrix = module.matrix(x, y, k)
        score, i, j = metrics.best(matrix)  # NaN marks layer pairs where the metric is undefined
        tied_x, tied_y = metrics.tied_shares(name, x, y, i, j, k)
        terms = module.terms(x, y, i, j, k) if module.HAS_TERMS else None
    except ZooalignError as error:
        raise error.within(f"{metrics.label(name, k)} of {pair.x} and {pair.y} on {dataset}") from error
    return {
        "dataset": dataset,
        "model_x": pair.x,
        "model_y": pair.y,
        "modality_x": pair.comparison.split("-")[0],
        "modality_y": pair.comparison.split("-")[1],
        "comparison": pair.comparison,
        "metric": name,
        "k": key[2],
        "score": score,
        "layer_x": i,
        "layer_y": j,
        "layer_name_x": x.layer_names[i],
        "layer_name_y": y.layer_names[j],
        "n_layers_x": matrix.shape[0],
        "n_layers_y": matrix.shape[1],
        "tied_x": tied_x,
        "tied_y": tied_y,
        "chance": module.chance(x.n, k),
        "n": x.n,
        "digest": digest,
        "matrix": matrix.astype(np.float32).ravel(),
        "terms": None if terms is None else terms.astype(np.float32),
    }


def _many_ties(lines: Sequence[Mapping[str, Any]]) -> str:
    """What to say about best scores at layers where many samples have tied neighbours; "" for none."""
    from zooalign.metrics import MANY_TIES, label

    def share(line: Mapping[str, Any]) -> float:
        return max(line["tied_x"] or 0.0, line["tied_y"] or 0.0)

    tied = [line for line in lines if share(line) > MANY_TIES]
    if not tied:
        return ""
    worst = max(tied, key=share)
    return (
        f"{len(tied)} of {len(lines)} best scores are at a layer where more than {MANY_TIES:.0%} of the "
        f"samples have tied neighbours (columns tied_x, tied_y), above all {label(worst['metric'], worst['k'])} "
        f"of {worst['model_x']} at {worst['layer_name_x']} ({worst['tied_x']:.0%}) and {worst['model_y']} at "
        f"{worst['layer_name_y']} ({worst['tied_y']:.0%}): see docs/metrics.md, Neighbours"
    )
