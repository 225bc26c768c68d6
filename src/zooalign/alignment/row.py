"""A row of the alignment matrix: one model against its partners, pair by pair, recomputing only what is stale."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.alignment.pairs import VERSION, Pair
from zooalign.alignment.table import held_pairs, partial_table, read_digests, read_lines, write_table
from zooalign.config.identity import score_digests
from zooalign.errors import LeaseError, ZooalignError
from zooalign.progress import Progress, Report
from zooalign.provenance import file_sha256, package_versions, read_object, stamp
from zooalign.storage.atomic import write_json
from zooalign.storage.visibility import wait_until_visible

if TYPE_CHECKING:
    from zooalign.indexes.index import Index
    from zooalign.storage.lease import Lease


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
    save_every_s : float
        Seconds after which computed pairs are written beside the table; the work since then is lost in a kill.
    lease_timeout_s : float
        As in `lease.hold_lease`: no other job writes the row in the meantime.
    anew : bool
        Compute every pair, also those whose scores are stored.

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
    LeaseError
        If another process took the row over.
    """
    from zooalign.storage.lease import hold_lease

    wait_until_visible([path / "zarr.json" for path in index_paths.values()], report)
    identities = {name: _identity(path) for name, path in index_paths.items()}
    wanted = score_digests(pairs, metrics, identities)
    digests = by_name(wanted)
    receipt = None if anew else current_receipt(table_path, receipt_path, pairs, digests)
    if receipt is None:
        with hold_lease(table_path, report, lease_timeout_s) as lease:
            receipt = None if anew else current_receipt(table_path, receipt_path, pairs, digests)
            if receipt is None:
                row = _Row(table_path, pairs, wanted, lease, save_every_s, anew)
                _compute(row, index_paths, metrics, dataset, report)
                warning = row.many_ties()
                if warning:
                    report(f"{model} on {dataset}: {warning}")
                receipt = {
                    "model": model,
                    "dataset": dataset,
                    "computed": row.computed,
                    "computed_pairs": row.computed_pairs,
                    "kept": row.kept,
                    "dropped": max(0, row.former - row.kept),
                    "version": VERSION,
                    "digests": digests,
                    "bytes": table_path.stat().st_size,
                    "sha256": file_sha256(table_path),
                    "versions": package_versions(("zooalign", "numpy", "numba", "zarr", "pyarrow")),
                    "stamp": stamp(),
                }
                lease.check()
                write_json(receipt_path, receipt)
    report(
        f"{model} on {dataset}: {receipt['computed_pairs']} pairs computed ({receipt['computed']} scores), "
        f"{receipt['kept']} scores kept, {receipt['dropped']} dropped"
    )
    return receipt


def by_name(scores: Mapping[tuple[Pair, str, int], str]) -> dict[str, str]:
    """Digests of scores by "x|y|metric@k", as a receipt has them."""
    return {f"{p.x}|{p.y}|{name}@{k}": d for (p, name, k), d in sorted(scores.items())}


def current_receipt(
    table_path: Path, receipt_path: Path, pairs: Sequence[Pair], digests: Mapping[str, str]
) -> dict[str, Any] | None:
    """What the receipt says if row and receipt are those that are wanted, with nothing computed."""
    try:
        receipt = read_object(receipt_path)
        # A row without pairs has no digest that a new column could change.
        if receipt.get("version", 1) != VERSION or receipt["digests"] != digests:
            return None
        if held_pairs(table_path) != {(p.x, p.y) for p in pairs}:
            return None
        if "sha256" not in receipt:  # written before receipts had it
            if read_digests(table_path) != digests:
                return None
        elif [table_path.stat().st_size, file_sha256(table_path)] != [receipt["bytes"], receipt["sha256"]]:
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
        lease: Lease,
        save_every_s: float,
        anew: bool,
    ) -> None:
        self._path, self._lease, self._every_s = path, lease, save_every_s
        self._held = sorted([p.x, p.y] for p in pairs)
        self.wanted = wanted
        self._partial = partial_table(path)
        lines = read_lines(path)
        self.former = len(lines)
        lines += read_lines(self._partial)
        fresh = {key: line for line in lines if wanted.get(key := _key(line)) == line["digest"] and not anew}
        self._lines = list(fresh.values())
        self.kept = len(fresh)
        self.computed = self.computed_pairs = 0
        self.todo: dict[Pair, set[tuple[str, int]]] = {}
        for pair, name, k in wanted:
            if (pair, name, k) not in fresh:
                self.todo.setdefault(pair, set()).add((name, k))
        self._saved = time.monotonic()
        self._unsaved = False

    def add(self, lines: Sequence[dict[str, Any]]) -> None:
        """Take the computed lines of a pair; save them if the last time is long ago."""
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
        """Write what there is so far beside the table, which changes only when the whole row is there."""
        write_table(self._partial, self._lines, self._held, self._lease)
        self._saved, self._unsaved = time.monotonic(), False

    def finish(self) -> None:
        """Write the table."""
        write_table(self._path, self._lines, self._held, self._lease)
        self._partial.unlink(missing_ok=True)

    def many_ties(self) -> str:
        """What to say about best scores at layers where many samples have tied neighbours; "" for none."""
        from zooalign.metrics import MANY_TIES, label

        def share(line: Mapping[str, Any]) -> float:
            return max(line["tied_x"] or 0.0, line["tied_y"] or 0.0)

        tied = [line for line in self._lines if share(line) > MANY_TIES]
        if not tied:
            return ""
        worst = max(tied, key=share)
        return (
            f"{len(tied)} of {len(self._lines)} best scores are at a layer where more than {MANY_TIES:.0%} of the "
            f"samples have tied neighbours (columns tied_x, tied_y), above all {label(worst['metric'], worst['k'])} "
            f"of {worst['model_x']} at {worst['layer_name_x']} ({worst['tied_x']:.0%}) and {worst['model_y']} at "
            f"{worst['layer_name_y']} ({worst['tied_y']:.0%}): see docs/metrics.md, Neighbours"
        )

    def rescue(self) -> None:
        """Save what was computed since the last time, if anything."""
        if self._unsaved:
            self.save()


def _key(line: Mapping[str, Any]) -> tuple[Pair, str, int]:
    return Pair(line["model_x"], line["model_y"], line["comparison"]), line["metric"], line["k"]


def _compute(
    row: _Row, index_paths: Mapping[str, Path], metrics: Sequence[Mapping[str, Any]], dataset: str, report: Report
) -> None:
    """Compute what a row lacks and write it."""
    from zooalign.indexes.index import Index

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
        if not isinstance(error, LeaseError):
            row.rescue()
        raise
    progress.finish()
    row.finish()


def _identity(path: Path) -> str:
    from zooalign.indexes.from_features import read_index_attributes

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
        tied_x, tied_y = metrics.tied_shares(metric["metric"], x, y, i, j, k)
        terms = module.terms(x, y, i, j, k) if module.HAS_TERMS else None
    except ZooalignError as error:
        raise error.within(f"{metrics.label(metric['metric'], k)} of {pair.x} and {pair.y} on {dataset}") from error
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
        "tied_x": tied_x,
        "tied_y": tied_y,
        "chance": module.chance(x.n, k),
        "n": x.n,
        "digest": key,
        "matrix": matrix.astype(np.float32).ravel(),
        "terms": None if terms is None else terms.astype(np.float32),
    }
