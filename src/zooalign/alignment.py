"""A row of the alignment matrix: one model against its partners, pair by pair, recomputing only what is stale."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.errors import StoreError, ZooalignError
from zooalign.progress import Progress, Report
from zooalign.provenance import digest, package_versions, stamp, write_json

if TYPE_CHECKING:
    import pyarrow as pa

    from zooalign.indexing import Index

VERSION = 1
PAIRS_KEY = b"zooalign.pairs"


@dataclass(frozen=True, order=True)
class Pair:
    """Two models compared on one dataset, always in the same order.

    Attributes
    ----------
    x, y : str
        Model ids. In a vision-language pair x is the vision model; otherwise x < y.
    comparison : str
        "vision-language", "vision-vision" or "language-language".
    """

    x: str
    y: str
    comparison: str

    def partner(self, model: str) -> str:
        """The other model."""
        return self.y if model == self.x else self.x


def all_pairs(modalities: Mapping[str, str], comparisons: Iterable[str]) -> list[Pair]:
    """Every pair that the comparisons ask for, each once, sorted.

    Parameters
    ----------
    modalities : dict
        "vision" or "language" by model id.
    comparisons : iterable of str
        As in `Pair.comparison`.
    """
    vision = sorted(m for m, kind in modalities.items() if kind == "vision")
    language = sorted(m for m, kind in modalities.items() if kind == "language")
    pairs = []
    for name in comparisons:
        first, second = ({"vision": vision, "language": language}[side] for side in name.split("-"))
        if first is second:
            pairs += [Pair(a, b, name) for i, a in enumerate(first) for b in first[i + 1 :]]
        else:
            pairs += [Pair(a, b, name) for a in first for b in second]
    return sorted(pairs)


def assign_pairs(pairs: Iterable[Pair], held: Mapping[str, set[tuple[str, str]]]) -> dict[str, list[Pair]]:
    """Decide which model's row holds each pair.

    A pair stays in the row that holds it. A new pair goes to the model that has no row yet, so that adding a model
    computes its own row and touches no other; where that does not decide, to the language model, then to the later
    id. So neither the order of the manifest nor the order in which jobs finish moves a pair.

    Parameters
    ----------
    pairs : iterable of Pair
        The pairs of the sweep.
    held : dict
        For every model that has a row on disk, the (x, y) that it holds.

    Returns
    -------
    dict of str to list of Pair
        Sorted pairs by the model whose row holds them.
    """
    rows: dict[str, list[Pair]] = {}
    for pair in sorted(pairs):
        rows.setdefault(_owner(pair, held), []).append(pair)
    return rows


def _owner(pair: Pair, held: Mapping[str, set[tuple[str, str]]]) -> str:
    holders = [m for m in (pair.y, pair.x) if (pair.x, pair.y) in held.get(m, ())]
    if holders:
        return holders[0]
    newcomers = [m for m in (pair.y, pair.x) if m not in held]
    # y is the language model, or the later id.
    return newcomers[0] if newcomers else pair.y


def held_pairs(table: Path) -> set[tuple[str, str]] | None:
    """Pairs that a row on disk holds, or None if there is no readable row."""
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(table).metadata
    except (OSError, ValueError):  # missing, or not a parquet file: the row is made anew
        return None
    if not metadata or PAIRS_KEY not in metadata:
        return None
    return {tuple(pair) for pair in json.loads(metadata[PAIRS_KEY])}


def pair_digest(identity_x: str, identity_y: str, metric: Mapping[str, Any]) -> str:
    """Digest of what determines one score: both indexes, and the metric with its k and VERSION."""
    return digest("pair", VERSION, identity_x, identity_y, metric["metric"], metric["k"], metric["version"])


def align_row(
    model: str,
    pairs: Sequence[Pair],
    index_paths: Mapping[str, Path],
    metrics: Sequence[Mapping[str, Any]],
    table_path: Path,
    receipt_path: Path,
    dataset: str,
    report: Report,
) -> dict[str, Any]:
    """Bring one row up to date: keep what is fresh, compute what is missing or stale, drop what left the sweep.

    Parameters
    ----------
    model : str
        Id of the row's model.
    pairs : sequence of Pair
        Pairs that the row shall hold; each has `model` on one side.
    index_paths : dict
        Index of the model and of every partner.
    metrics : sequence of dict
        "metric" (name), "k" (0 where it takes none), "version" (of the metric's module).
    table_path : Path
        The row: a parquet file, one line per (pair, metric, k).
    receipt_path : Path
        JSON that names the digests the row covers; written last.
    dataset : str
        Id of the dataset.
    report : callable
        Takes lines for the log.

    Returns
    -------
    dict
        The receipt: "computed", "kept" and "dropped" count lines; "digests" by "x|y|metric@k".

    Raises
    ------
    StoreError
        If an index is missing, unfinished or damaged.
    MetricError
        If two indexes differ in their sample ids, or k >= n.
    """
    from zooalign.indexing import Index

    identities = {name: _identity(path) for name, path in index_paths.items()}
    wanted = {
        (pair, m["metric"], m["k"]): pair_digest(identities[pair.x], identities[pair.y], m)
        for pair in pairs
        for m in metrics
    }
    kept, former = _fresh_lines(table_path, wanted)
    by_pair: dict[Pair, list[Mapping[str, Any]]] = {}
    for m in metrics:
        for pair in pairs:
            if (pair, m["metric"], m["k"]) not in kept:
                by_pair.setdefault(pair, []).append(m)
    lines = list(kept.values())
    progress = Progress(len(by_pair), "pairs", report)
    opened: dict[str, Index] = {}
    for pair, todo in by_pair.items():
        # The row's own index stays open: what is derived from it is derived once.
        opened = {name: opened.get(name) or Index.open(index_paths[name], name) for name in (pair.x, pair.y)}
        x, y = opened[pair.x], opened[pair.y]
        lines += [_line(dataset, pair, x, y, m, wanted[pair, m["metric"], m["k"]]) for m in todo]
        progress.advance(1)
    progress.finish()
    receipt = {
        "model": model,
        "dataset": dataset,
        "computed": sum(map(len, by_pair.values())),
        "computed_pairs": len(by_pair),
        "kept": len(kept),
        "dropped": former - len(kept),
        "digests": {f"{p.x}|{p.y}|{name}@{k}": d for (p, name, k), d in sorted(wanted.items())},
        "versions": package_versions(("zooalign", "numpy", "numba", "zarr", "pyarrow")),
        "stamp": stamp(),
    }
    _write_table(table_path, lines, pairs)
    write_json(receipt_path, receipt)
    report(
        f"{model} on {dataset}: {receipt['computed_pairs']} pairs computed ({receipt['computed']} scores), "
        f"{receipt['kept']} scores kept, {receipt['dropped']} dropped"
    )
    return receipt


def _identity(path: Path) -> str:
    from zooalign.model_index import read_index_attributes

    return read_index_attributes(path)["digest"]


def _fresh_lines(
    table_path: Path, wanted: Mapping[tuple[Pair, str, int], str]
) -> tuple[dict[tuple[Pair, str, int], dict[str, Any]], int]:
    """Lines of the former table whose digest still holds, and the number of lines there were."""
    import pyarrow.parquet as pq

    if not table_path.exists():
        return {}, 0
    try:
        lines = pq.read_table(table_path).to_pylist()
    except (OSError, ValueError):
        # A damaged row is only a cache: it is computed anew.
        return {}, 0
    kept = {}
    for line in lines:
        key = (Pair(line["model_x"], line["model_y"], line["comparison"]), line["metric"], line["k"])
        if wanted.get(key) == line["digest"]:
            kept[key] = line
    return kept, len(lines)


def _line(dataset: str, pair: Pair, x: Index, y: Index, metric: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Score of one pair under one metric: the whole layer matrix, its maximum, and terms at the maximum."""
    import numpy as np

    from zooalign import metrics

    module = metrics.get(metric["metric"])
    k = metric["k"] or None
    try:
        matrix = module.matrix(x, y, k)
        score, i, j = metrics.best(matrix)  # NaN marks layer pairs where the metric is undefined
        terms = module.terms(x, y, i, j, k) if module.HAS_TERMS else None
    except ZooalignError as error:
        raise type(error)(
            f"{metrics.label(metric['metric'], k)} of {pair.x} and {pair.y} on {dataset}: {error}"
        ) from error
    return {
        "dataset": dataset,
        "model_x": pair.x,
        "model_y": pair.y,
        "modality_x": pair.comparison.split("-")[0],
        "modality_y": pair.comparison.split("-")[1],
        "comparison": pair.comparison,
        "metric": metric["metric"],
        "k": metric["k"],
        "score": score,
        "layer_x": i,
        "layer_y": j,
        "layer_name_x": x.layer_names[i],
        "layer_name_y": y.layer_names[j],
        "n_layers_x": matrix.shape[0],
        "n_layers_y": matrix.shape[1],
        "chance": module.chance(x.n, k),
        "n": x.n,
        "digest": key,
        "matrix": matrix.astype(np.float32).ravel(),
        "terms": None if terms is None else terms.astype(np.float32),
    }


def table_schema() -> pa.Schema:
    """Columns of a row and of alignment.parquet; `matrix` is row-major (n_layers_x, n_layers_y), `terms` (n,)."""
    import pyarrow as pa

    return pa.schema(
        [
            ("dataset", pa.string()),
            ("comparison", pa.string()),
            ("metric", pa.string()),
            ("k", pa.int64()),
            ("model_x", pa.string()),
            ("model_y", pa.string()),
            ("modality_x", pa.string()),
            ("modality_y", pa.string()),
            ("score", pa.float64()),
            ("chance", pa.float64()),
            ("n", pa.int64()),
            ("layer_x", pa.int64()),
            ("layer_y", pa.int64()),
            ("layer_name_x", pa.string()),
            ("layer_name_y", pa.string()),
            ("n_layers_x", pa.int64()),
            ("n_layers_y", pa.int64()),
            ("digest", pa.string()),
            ("matrix", pa.list_(pa.float32())),
            ("terms", pa.list_(pa.float32())),
        ]
    )


def _write_table(path: Path, lines: list[dict[str, Any]], pairs: Sequence[Pair]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    lines = sorted(lines, key=lambda line: (line["model_x"], line["model_y"], line["metric"], line["k"]))
    table = pa.Table.from_pylist(lines, schema=table_schema())
    held = json.dumps(sorted([p.x, p.y] for p in pairs))
    table = table.replace_schema_metadata({PAIRS_KEY: held.encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        pq.write_table(table, staged, compression="zstd")
        os.replace(staged, path)
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise StoreError(
            f"cannot write {path}: {error}. Free disk space and run again; the former row is untouched."
        ) from error
