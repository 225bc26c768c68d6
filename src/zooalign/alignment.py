"""A row of the alignment matrix: one model against its partners, pair by pair, recomputing only what is stale."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.errors import OwnershipError, ZooalignError
from zooalign.folders import wait_until_visible
from zooalign.progress import Progress, Report
from zooalign.provenance import digest, package_versions, stamp, write_json
from zooalign.row_table import held_pairs, read_digests, read_lines, write_table

if TYPE_CHECKING:
    from zooalign.indexing import Index
    from zooalign.ownership import Owner

VERSION = 1


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
    *,
    save_every_s: float = 30.0,
    owner_timeout_s: float = 60.0,
) -> dict[str, Any]:
    """Bring one row up to date: keep what is fresh, compute what is missing or stale, drop what left the sweep.

    A row that is interrupted keeps the pairs that it saved, and is the same file in the end.

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
        JSON that names the digests the row covers; written last, and not there while the row is being changed.
    dataset : str
        Id of the dataset.
    report : callable
        Takes lines for the log.
    save_every_s : float
        Seconds after which computed pairs are written to the table; the work since then is lost in a kill.
    owner_timeout_s : float
        As in `ownership.own`: no other job writes the row in the meantime.

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
    OwnershipError
        If another process took the row over.
    """
    from zooalign.ownership import own

    wait_until_visible([path / "zarr.json" for path in index_paths.values()], report)
    identities = {name: _identity(path) for name, path in index_paths.items()}
    wanted = {
        (pair, m["metric"], m["k"]): pair_digest(identities[pair.x], identities[pair.y], m)
        for pair in pairs
        for m in metrics
    }
    digests = {f"{p.x}|{p.y}|{name}@{k}": d for (p, name, k), d in sorted(wanted.items())}
    receipt = _current(table_path, receipt_path, pairs, digests)
    if receipt is None:
        with own(table_path, report, owner_timeout_s) as owner:
            receipt = _current(table_path, receipt_path, pairs, digests)
            if receipt is None:
                row = _Row(table_path, pairs, wanted, owner, save_every_s)
                receipt_path.unlink(missing_ok=True)
                _compute(row, index_paths, metrics, dataset, report)
                receipt = {
                    "model": model,
                    "dataset": dataset,
                    "computed": row.computed,
                    "computed_pairs": row.computed_pairs,
                    "kept": row.kept,
                    "dropped": row.former - row.kept,
                    "digests": digests,
                    "versions": package_versions(("zooalign", "numpy", "numba", "zarr", "pyarrow")),
                    "stamp": stamp(),
                }
                owner.check()
                write_json(receipt_path, receipt)
    report(
        f"{model} on {dataset}: {receipt['computed_pairs']} pairs computed ({receipt['computed']} scores), "
        f"{receipt['kept']} scores kept, {receipt['dropped']} dropped"
    )
    return receipt


def _current(
    table_path: Path, receipt_path: Path, pairs: Sequence[Pair], digests: Mapping[str, str]
) -> dict[str, Any] | None:
    """What the receipt says if row and receipt are those that are wanted, with nothing computed."""
    try:
        receipt = json.loads(receipt_path.read_bytes())
        if receipt["digests"] != digests or held_pairs(table_path) != {(p.x, p.y) for p in pairs}:
            return None
        if read_digests(table_path) != sorted(digests.values()):
            return None
        return {**receipt, "computed": 0, "computed_pairs": 0, "kept": len(digests), "dropped": 0}
    except (OSError, ValueError, KeyError, TypeError):
        return None


class _Row:
    """A row that grows pair by pair and is saved now and then.

    Attributes
    ----------
    todo : dict
        For every pair with missing or stale scores, their (metric, k).
    former, kept, computed, computed_pairs : int
        Lines of the former table, those that stay, and what was computed since.
    """

    def __init__(
        self,
        path: Path,
        pairs: Sequence[Pair],
        wanted: Mapping[tuple[Pair, str, int], str],
        owner: Owner,
        save_every_s: float,
    ) -> None:
        self._path, self._owner, self._every_s = path, owner, save_every_s
        self._held = sorted([p.x, p.y] for p in pairs)
        self.wanted = wanted
        lines = read_lines(path)
        fresh = {key: line for line in lines if wanted.get(key := _key(line)) == line["digest"]}
        self._lines = list(fresh.values())
        self.former, self.kept = len(lines), len(fresh)
        self.computed = self.computed_pairs = 0
        self.todo: dict[Pair, set[tuple[str, int]]] = {}
        for pair, name, k in wanted:
            if (pair, name, k) not in fresh:
                self.todo.setdefault(pair, set()).add((name, k))
        self._saved = time.monotonic()
        self._unsaved = False

    def add(self, lines: Sequence[dict[str, Any]]) -> None:
        """Take the computed lines of a pair; write the table if the last time is long ago."""
        self._lines += lines
        self.computed += len(lines)
        self.computed_pairs += 1
        self._unsaved = True
        begin = time.monotonic()
        if begin - self._saved >= self._every_s:
            self.save()
            # Saving a large row must not become the work: ten times as long is spent on computing.
            self._every_s = max(self._every_s, 10 * (time.monotonic() - begin))

    def save(self) -> None:
        """Write the table with what there is so far; it claims all planned pairs, so that no other row takes them."""
        write_table(self._path, self._lines, self._held, self._owner)
        self._saved, self._unsaved = time.monotonic(), False

    def rescue(self) -> None:
        """Write what was computed since the last time, if anything."""
        if self._unsaved:
            self.save()


def _key(line: Mapping[str, Any]) -> tuple[Pair, str, int]:
    return Pair(line["model_x"], line["model_y"], line["comparison"]), line["metric"], line["k"]


def _compute(
    row: _Row, index_paths: Mapping[str, Path], metrics: Sequence[Mapping[str, Any]], dataset: str, report: Report
) -> None:
    """Compute what a row lacks and write it."""
    from zooalign.indexing import Index

    progress = Progress(len(row.todo), "pairs", report)
    opened: dict[str, Index] = {}
    try:
        for pair, todo in row.todo.items():
            # The row's own index stays open: what is derived from it is derived once.
            opened = {name: opened.get(name) or Index.open(index_paths[name], name) for name in (pair.x, pair.y)}
            x, y = opened[pair.x], opened[pair.y]
            due = [m for m in metrics if (m["metric"], m["k"]) in todo]
            row.add([_line(dataset, pair, x, y, m, row.wanted[pair, m["metric"], m["k"]]) for m in due])
            progress.advance(1)
    except BaseException as error:
        # Ctrl-C as well as an error of one pair: what the others took is not lost.
        if not isinstance(error, OwnershipError):
            row.rescue()
        raise
    progress.finish()
    row.save()


def _identity(path: Path) -> str:
    from zooalign.model_index import read_index_attributes

    return read_index_attributes(path)["digest"]


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
