"""Rows that are brought up to date: what is fresh is kept, what is missing or stale is computed, pair by pair."""

# pyarrow has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.alignment.pairs import Pair
from zooalign.alignment.table import held_pairs, partial_table, read_digests, read_lines, write_table
from zooalign.errors import LeaseError
from zooalign.progress import Progress, Report
from zooalign.provenance import file_sha256, package_versions, read_object, stamp
from zooalign.storage.atomic import write_json
from zooalign.storage.visibility import wait_until_visible

if TYPE_CHECKING:
    import pyarrow as pa

    from zooalign.indexes.index import Index
    from zooalign.storage.lease import Lease

Key = tuple[Pair, str, int]
Line = dict[str, Any]


@dataclass(frozen=True)
class Lines:
    """What the lines of a row are: one per (pair, metric, k).

    Attributes
    ----------
    called : str
        What messages call them, "scores".
    schema : Schema
        Their columns.
    version : int
        VERSION of what makes them; a receipt of another one is stale.
    digests : callable
        Digest of every line that the row shall hold, by (pair, metric, k), from the index digests of its models.
    make : callable
        Line of a pair, a metric and k from the indexes of x and y, and its digest.
    remark : callable
        What to say about the lines of a row that was computed; "" for nothing.
    """

    called: str
    schema: pa.Schema
    version: int
    digests: Callable[[Mapping[str, str]], dict[Key, str]]
    make: Callable[[Key, Index, Index, str], Line]
    remark: Callable[[Sequence[Line]], str] = lambda lines: ""


def update_row(
    lines: Lines,
    model: str,
    dataset: str,
    pairs: Sequence[Pair],
    index_paths: Mapping[str, Path],
    table_path: Path,
    receipt_path: Path,
    report: Report,
    *,
    save_every_s: float,
    lease_timeout_s: float,
    anew: bool,
) -> dict[str, Any]:
    """Bring one row up to date: keep what is fresh, compute what is missing or stale, drop what left the sweep.

    A row that is interrupted keeps the pairs that it saved, and is the same file in the end.

    Parameters
    ----------
    lines : Lines
        What it is made of.
    model, dataset : str
        Whose row it is.
    pairs : sequence of Pair
        Pairs that the row shall hold; each has `model` on one side.
    index_paths : dict
        Index of the model and of every partner.
    table_path : Path
        The row: a parquet file.
    receipt_path : Path
        JSON that names the digests the row covers; written last, and not there while the row is being changed.
    save_every_s : float
        Seconds after which computed pairs are written beside the table; the work since then is lost in a kill.
    lease_timeout_s : float
        As in `lease.hold_lease`: no other job writes the row in the meantime.
    anew : bool
        Compute every pair, also those whose lines are stored.

    Returns
    -------
    dict
        The receipt: "computed", "kept" and "dropped" count lines; "digests" by "x|y|metric@k".

    Raises
    ------
    StoreError
        If an index is missing, unfinished or damaged.
    LeaseError
        If another process took the row over.
    ZooalignError
        Whatever `lines.make` raises.
    """
    from zooalign.storage.lease import hold_lease

    wait_until_visible([path / "zarr.json" for path in index_paths.values()], report)
    wanted = lines.digests({name: _identity(path) for name, path in index_paths.items()})
    digests = by_name(wanted)

    def current() -> dict[str, Any] | None:
        return None if anew else current_receipt(table_path, receipt_path, pairs, digests, lines.version)

    receipt = current()
    if receipt is None:
        with hold_lease(table_path, report, lease_timeout_s) as lease:
            receipt = current()
            if receipt is None:
                row = _Row(table_path, pairs, wanted, lines.schema, lease, save_every_s, anew)
                _compute(row, lines.make, index_paths, report)
                if remark := lines.remark(row.lines):
                    report(f"{model} on {dataset}: {remark}")
                receipt = {
                    "model": model,
                    "dataset": dataset,
                    "computed": row.computed,
                    "computed_pairs": row.computed_pairs,
                    "kept": row.kept,
                    "dropped": max(0, row.former - row.kept),
                    "version": lines.version,
                    "digests": digests,
                    "bytes": table_path.stat().st_size,
                    "sha256": file_sha256(table_path),
                    "versions": package_versions(("zooalign", "numpy", "numba", "zarr", "pyarrow")),
                    "stamp": stamp(),
                }
                lease.check()
                write_json(receipt_path, receipt)
    report(
        f"{model} on {dataset}: {receipt['computed_pairs']} pairs computed ({receipt['computed']} {lines.called}), "
        f"{receipt['kept']} {lines.called} kept, {receipt['dropped']} dropped"
    )
    return receipt


def by_name(digests: Mapping[Key, str]) -> dict[str, str]:
    """Digests of lines by "x|y|metric@k", as a receipt has them."""
    return {f"{p.x}|{p.y}|{name}@{k}": d for (p, name, k), d in sorted(digests.items())}


def current_receipt(
    table_path: Path, receipt_path: Path, pairs: Sequence[Pair], digests: Mapping[str, str], version: int
) -> dict[str, Any] | None:
    """What the receipt says if row and receipt are those that are wanted, with nothing computed."""
    try:
        receipt = read_object(receipt_path)
        # A row without pairs has no digest that a new column could change.
        if receipt.get("version", 1) != version or receipt["digests"] != digests:
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
        For every pair with missing or stale lines, their keys in the order of `wanted`.
    lines : list of dict
        What stays of the former table, and what was computed since.
    former, kept, computed, computed_pairs : int
        Lines of the former table, those that stay, and what was computed since.
    """

    def __init__(
        self,
        path: Path,
        pairs: Sequence[Pair],
        wanted: Mapping[Key, str],
        schema: pa.Schema,
        lease: Lease,
        save_every_s: float,
        anew: bool,
    ) -> None:
        self._path, self._schema, self._lease, self._every_s = path, schema, lease, save_every_s
        self._held = sorted([p.x, p.y] for p in pairs)
        self.wanted = wanted
        self._partial = partial_table(path)
        lines = read_lines(path, schema)
        self.former = len(lines)
        lines += read_lines(self._partial, schema)
        fresh = {key: line for line in lines if wanted.get(key := _key(line)) == line["digest"] and not anew}
        self.lines = list(fresh.values())
        self.kept = len(fresh)
        self.computed = self.computed_pairs = 0
        self.todo: dict[Pair, list[Key]] = {}
        for key in wanted:
            if key not in fresh:
                self.todo.setdefault(key[0], []).append(key)
        self._saved = time.monotonic()
        self._unsaved = False

    def add(self, lines: Sequence[Line]) -> None:
        """Take the computed lines of a pair; save them if the last time is long ago."""
        self.lines += lines
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
        write_table(self._partial, self.lines, self._held, self._lease, self._schema)
        self._saved, self._unsaved = time.monotonic(), False

    def finish(self) -> None:
        """Write the table."""
        write_table(self._path, self.lines, self._held, self._lease, self._schema)
        self._partial.unlink(missing_ok=True)

    def rescue(self) -> None:
        """Save what was computed since the last time, if anything."""
        if self._unsaved:
            self.save()


def _key(line: Mapping[str, Any]) -> Key:
    return Pair(line["model_x"], line["model_y"], line["comparison"]), line["metric"], line["k"]


def _compute(
    row: _Row, make: Callable[[Key, Index, Index, str], Line], index_paths: Mapping[str, Path], report: Report
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
            row.add([make(key, x, y, row.wanted[key]) for key in todo])
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
