"""What made every artefact and what it cost: a row per item of the workflow, and the total of every rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from zooalign.results.artefacts import Artefact, artefacts
from zooalign.results.markdown import is_absent
from zooalign.results.publishing import Column, Shown, Table

if TYPE_CHECKING:
    import pandas as pd

    from zooalign.results.findings import Findings

VERSION = 2

_TOTAL = "(total)"
_COLUMNS = (
    Column("rule", "rule of the workflow"),
    Column("item", f"dataset or capability, and model, of the artefact; {_TOTAL} for the whole rule"),
    Column("items", "artefacts that the row is of", "artefacts"),
    Column("dataset", "dataset; empty where it has none"),
    Column("capability", "capability; empty where it has none"),
    Column("model", "model; empty where it has none"),
    Column("seconds", "wall clock of the last job; of a total, the sum", "s"),
    Column("cpu_s", "CPU time of the last job; of a total, the sum", "s"),
    Column("peak_mem_mb", "largest resident memory of the last job; of a total, the largest", "MB"),
    Column("n_bytes", "size on disk; of a total, the sum", "bytes"),
    Column("versions", "libraries that made it"),
    Column("host", "machine that it was made on"),
    Column("time", "when it was made, UTC"),
    Column("digest", "what it was made for"),
    Column("sha256", "of the published weight file, or of the file that was imported"),
    Column("revision", "commit that the weights were fetched at"),
    Column("licence", "of the weights or samples"),
)
_NOTES = (
    "Time and memory are those of the last job of each artefact, as Snakemake's benchmark files have them; a job "
    "that only added to a row or continued an earlier one took less than the whole. Without a benchmark file they "
    "are empty, and no part of a total.",
    "Tables and figures are not listed: they are made with this one.",
    "The table is made again when a score or a capability changes. Jobs that ran again with the same result do not "
    "make it again; `snakemake -R make_tables` does.",
    "Versions, digests, licences and hashes are in the CSV and Parquet files.",
)


def table(findings: Findings) -> Table:
    """Return every artefact with what made it, after the totals."""
    import pandas as pd

    items = artefacts(findings)
    rows = [{**one._asdict(), "item": _item(one), "items": 1} for one in items]
    names = [column.name for column in _COLUMNS]
    numbers = {"seconds": "float64", "cpu_s": "float64", "peak_mem_mb": "float64", "n_bytes": "Int64"}
    single = pd.DataFrame(rows, columns=names).astype(numbers)
    frame = pd.concat([_totals(single), single], ignore_index=True) if rows else single
    return Table(
        "Provenance and cost",
        frame,
        _COLUMNS,
        (
            Shown("item", "item"),
            Shown("artefacts", lambda row: str(row["items"])),
            Shown("seconds", _rounded("seconds", "{:,.1f}")),
            Shown("CPU s", _rounded("cpu_s", "{:,.1f}")),
            Shown("peak MB", _rounded("peak_mem_mb", "{:,.0f}")),
            Shown("size, MB", _rounded("n_bytes", "{:,.1f}", 1e-6)),
            Shown("made", "time"),
            Shown("on", "host"),
        ),
        _NOTES,
        section=lambda row: "Totals" if row["item"].endswith(_TOTAL) else row["rule"],
    )


def _item(one: Artefact) -> str:
    return "/".join(part for part in (one.dataset, one.capability, one.model) if part)


def _totals(single: pd.DataFrame) -> pd.DataFrame:
    """A row per rule, in the order of the workflow; a sum of nothing is empty."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for rule, group in single.groupby("rule", sort=False):
        sums = {name: group[name].sum(min_count=1) for name in ("seconds", "cpu_s", "n_bytes")}
        rows.append({"rule": rule, "item": f"{rule} {_TOTAL}", "items": len(group), **sums,
                     "peak_mem_mb": group["peak_mem_mb"].max()})  # fmt: skip
    totals = pd.DataFrame(rows, columns=list(single.columns))
    text = [name for name in single.columns if single[name].dtype == object or str(single[name].dtype) == "str"]
    totals[text] = totals[text].fillna("")
    return totals.astype({name: single[name].dtype for name in single.columns})


def _rounded(name: str, form: str, scale: float = 1.0) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: "" if is_absent(row[name]) else form.format(row[name] * scale)
