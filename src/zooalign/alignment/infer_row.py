"""Nulls and intervals of a row of the alignment matrix: every pair of it, recomputing only what is stale."""

# pyarrow has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.alignment.pairs import Pair
from zooalign.alignment.update import Key, Lines, update_row
from zooalign.config.identity import inference_digests
from zooalign.errors import MetricError, ZooalignError
from zooalign.progress import Report

if TYPE_CHECKING:
    import pyarrow as pa

    from zooalign.alignment.groups import Groups
    from zooalign.indexes.index import Index

VERSION = 1

_NOT_ASKED = "not asked for"


def inference_schema() -> pa.Schema:
    """Columns of the nulls and intervals of a row.

    Notes
    -----
    `observed` is the best score over layer pairs, as in the row; the null and the interval are of that maximum, too.
    `permutations` to `calibrated` and `alpha`, `fixed_samples` are empty where there is no null, and `null_reason`
    says why; `low` to `interval_of` are empty where there is no interval, and `interval_reason` says why. `groups` is
    empty where single samples were permuted and split.
    """
    import pyarrow as pa

    return pa.schema(
        [
            ("dataset", pa.string()),
            ("comparison", pa.string()),
            ("metric", pa.string()),
            ("k", pa.int64()),
            ("model_x", pa.string()),
            ("model_y", pa.string()),
            ("observed", pa.float64()),
            ("permutations", pa.int64()),
            ("null_mean", pa.float64()),
            ("threshold", pa.float64()),
            ("p", pa.float64()),
            ("calibrated", pa.float64()),
            ("alpha", pa.float64()),
            ("seed", pa.int64()),
            ("groups", pa.int64()),
            ("fixed_samples", pa.int64()),
            ("null_reason", pa.string()),
            ("low", pa.float64()),
            ("high", pa.float64()),
            ("standard_error", pa.float64()),
            ("level", pa.float64()),
            ("splits", pa.int64()),
            ("interval_of", pa.string()),
            ("interval_reason", pa.string()),
            ("digest", pa.string()),
        ]
    )


def infer_row(
    model: str,
    pairs: Sequence[Pair],
    index_paths: Mapping[str, Path],
    metrics: Sequence[Mapping[str, Any]],
    inference: Mapping[str, Any],
    dataset_folder: Path | None,
    table_path: Path,
    receipt_path: Path,
    dataset: str,
    report: Report,
    *,
    save_every_s: float = 30.0,
    lease_timeout_s: float = 60.0,
    anew: bool = False,
) -> dict[str, Any]:
    """Compute the null and the interval of every score of a row, see :func:`update.update_row`.

    Parameters
    ----------
    model : str
        Id of the row's model.
    pairs : sequence of Pair
        Pairs that the row shall hold; each has `model` on one side.
    index_paths : dict
        Index of the model and of every partner.
    metrics : sequence of dict
        As `identity.inference_settings` gives them: which metrics get a null, which an interval.
    inference : dict
        Settings of `schema.InferenceConfig`.
    dataset_folder : Path or None
        Dataset whose groups are permuted and split as wholes; None for single samples.
    table_path, receipt_path, save_every_s, lease_timeout_s, anew
        As in `update_row`; the table has the columns of :func:`inference_schema`.
    dataset : str
        Id of the dataset.

    Returns
    -------
    dict
        The receipt, as `update_row` gives it.

    Raises
    ------
    StoreError
        If an index or the dataset is missing, unfinished or damaged.
    MetricError
        If two indexes differ in their sample ids, or k >= n. A pair without a null or interval is no error: its line
        says why.
    LeaseError
        If another process took the row over.
    """
    asked = {(m["metric"], m["k"]): m for m in metrics}

    @cache
    def together(sample_ids: tuple[str, ...]) -> tuple[Groups | None, str]:
        return _groups(dataset_folder, sample_ids)

    def make(key: Key, x: Index, y: Index, digest: str) -> dict[str, Any]:
        groups, reason = together(tuple(x.sample_ids))
        try:
            found = _inferred(asked[key[1:]], inference, x, y, groups, reason)
        except ZooalignError as error:
            where = f"{key[1]}{f'@{key[2]}' if key[2] else ''} of {key[0].x} and {key[0].y} on {dataset}"
            raise error.within(where) from error
        return {**_names(dataset, key), **found, "digest": digest}

    lines = Lines(
        "nulls and intervals", inference_schema(), VERSION,
        lambda ids: inference_digests(pairs, metrics, inference, ids), make,
    )  # fmt: skip
    return update_row(
        lines, model, dataset, pairs, index_paths, table_path, receipt_path, report, save_every_s=save_every_s,
        lease_timeout_s=lease_timeout_s, anew=anew,
    )  # fmt: skip


def _names(dataset: str, key: Key) -> dict[str, Any]:
    pair, name, k = key
    return {"dataset": dataset, "comparison": pair.comparison, "metric": name, "k": k,
            "model_x": pair.x, "model_y": pair.y}  # fmt: skip


def _groups(folder: Path | None, sample_ids: Sequence[str]) -> tuple[Groups | None, str]:
    """Groups of a dataset, None where every sample is its own; and why its samples cannot be unpaired at all."""
    from zooalign.alignment.groups import as_groups, read_groups

    if folder is None:
        return None, ""
    labels = read_groups(folder, sample_ids)
    try:
        groups = as_groups(labels, len(sample_ids))
    except MetricError as error:  # all of one group
        return None, str(error)
    return (groups if groups.count < len(sample_ids) else None), ""


def _inferred(
    metric: Mapping[str, Any], asked: Mapping[str, Any], x: Index, y: Index, groups: Groups | None, reason: str
) -> dict[str, Any]:
    """The best score of a pair over all layer pairs, its null and its interval."""
    from zooalign import metrics

    name, k = metric["metric"], metric["k"] or None
    return {
        "observed": metrics.best(metrics.get(name).matrix(x, y, k))[0],
        "seed": asked["seed"],
        "groups": None if groups is None else groups.count,
        **(_null(x, y, name, k, asked, groups, reason) if metric["null"] else {"null_reason": _NOT_ASKED}),
        **(
            _interval(x, y, name, k, asked, groups, reason) if metric["interval"] else {"interval_reason": _NOT_ASKED}
        ),
    }


def _null(
    x: Index, y: Index, name: str, k: int | None, asked: Mapping[str, Any], groups: Groups | None, reason: str
) -> dict[str, Any]:
    from zooalign.alignment.inference import permutation_null

    if groups is not None:
        try:
            groups.check_permutable(asked["alpha"])
        except MetricError as error:
            reason = str(error)
    if reason:
        return {"null_reason": reason}
    null = permutation_null(
        x, y, name, k, permutations=asked["permutations"], alpha=asked["alpha"], seed=asked["seed"], groups=groups
    )
    return {
        "permutations": len(null.null),
        "null_mean": float(null.null.mean()),
        "threshold": null.threshold,
        "p": null.p_value,
        "calibrated": null.calibrated,
        "alpha": null.alpha,
        "fixed_samples": null.fixed_samples,
        "null_reason": "",
    }


def _interval(
    x: Index, y: Index, name: str, k: int | None, asked: Mapping[str, Any], groups: Groups | None, reason: str
) -> dict[str, Any]:
    from zooalign.alignment.intervals import no_interval, split_half

    reason = reason or no_interval(x, y, name, k) or ""
    if reason:
        return {"interval_reason": reason}
    try:
        found = split_half(
            x, y, name, k, splits=asked["splits"], groups=groups, level=asked["level"], seed=asked["seed"]
        )
    except MetricError as error:  # too few samples or groups for halves: the score itself is defined
        return {"interval_reason": str(error)}
    return {
        "low": found.low,
        "high": found.high,
        "standard_error": found.standard_error,
        "level": found.level,
        "splits": found.splits,
        "interval_of": found.of,
        "interval_reason": "",
    }
