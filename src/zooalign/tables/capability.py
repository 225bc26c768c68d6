"""Every capability of every model, a line each: results/tables/capability.parquet, .csv and .md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from zooalign.closed import Closed
from zooalign.results.external import MEASURED
from zooalign.results.frames import (
    CONTROL_MARK,
    INTERVENTION_MARK,
    CapabilityRow,
    ModelRow,
    capability_rows,
    model_rows,
)
from zooalign.results.intervals import Interval, of_ratio, of_value
from zooalign.results.markdown import head, line, number, with_error
from zooalign.results.populations import LEVEL, REPLICATES
from zooalign.results.read import Documents, check_models
from zooalign.storage.atomic import replacing, write_bytes, write_text

if TYPE_CHECKING:
    import pandas as pd

    from zooalign.results.findings import Findings

VERSION = 1
SUFFIXES = (".parquet", ".csv", ".md")
# What the sweep asks for decides which lines say that there is none.
READS_ASKED = True

_BITS = "bits/byte"


class Options(Closed):
    """There is nothing to set: every capability of the sweep is listed."""


class _Line(NamedTuple):
    """A line of the table; NaN and "" where there is nothing, with the reason in `reason`."""

    capability: str
    model: str
    family: str
    modality: str
    control: bool
    intervention: str
    value: float
    standard_error: float
    low: float
    high: float
    interval: str
    n: int
    unit: str
    higher_is_better: bool | None
    source: str
    reason: str


def write(findings: Findings, path: Path) -> None:
    """Write `path`.parquet, .csv and .md from what a sweep found."""
    files = (Path(f"{path}{suffix}") for suffix in SUFFIXES)
    make(
        findings.capability, findings.models, *files, sources=findings.sources, documents=findings.documents,
        absent=_absent(findings), left_out=findings.sweep.left_out,
    )  # fmt: skip


def make(
    capability: pd.DataFrame,
    models: pd.DataFrame,
    parquet_path: Path | str,
    csv_path: Path | str,
    md_path: Path | str,
    *,
    sources: Mapping[tuple[str, str], str] | None = None,
    documents: Mapping[tuple[str, str], Documents] | None = None,
    absent: Iterable[tuple[str, str, str]] = (),
    left_out: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """List every capability of every model, and write the list three times.

    Parameters
    ----------
    capability : DataFrame
        As `zooalign.results.read.read_capability` gives it.
    models : DataFrame
        id, modality, family, objective, causal, control, intervention: every model of the sweep.
    parquet_path, csv_path, md_path : path
        Where to write.
    sources : mapping, optional
        Where a value is from, by capability and model; "measured" unless given.
    documents : mapping, optional
        Documents of a value, by capability and model, for the interval of bits per byte.
    absent : iterable of (capability, model, reason), optional
        What is asked for and cannot be had.
    left_out : mapping of str to str, optional
        Models of the zoo that are not in the sweep, with the reason; a line each, without a capability.

    Returns
    -------
    DataFrame
        As written, sorted by capability and model. `low` to `high` is the 95 % interval and `interval` says how it
        was found. A capability in bits per byte has further lines `1 - {capability}`: the paper's axis. Where
        there is no value there is no number, and `reason` says why.

    Raises
    ------
    StoreError
        If `models` cannot be joined.
    """
    import pandas as pd

    check_models(models)
    by_id = {row.id: row for row in model_rows(models)}
    rows = [row for row in capability_rows(capability) if row.model in by_id]
    lines = list(_measured(rows, by_id, sources or {}, documents or {}))
    lines += [_without(by_id[model], name, reason) for name, model, reason in absent]
    lines += [
        _without(ModelRow(name, "", "", "", False, False, ""), "", f"not in the sweep: {why}")
        for name, why in (left_out or {}).items()
    ]
    lines.sort(key=lambda row: (row.capability, row.model))
    table = pd.DataFrame(lines, columns=list(_Line._fields))
    table["higher_is_better"] = table["higher_is_better"].astype("boolean")
    _write_parquet(table, Path(parquet_path))
    write_bytes(csv_path, table.to_csv(index=False, float_format="%.6f", lineterminator="\n").encode())
    write_text(md_path, _markdown(lines, by_id))
    return table


def _absent(findings: Findings) -> Iterator[tuple[str, str, str]]:
    """What the sweep asks for and cannot have: a capability of a model of its modality without a value."""
    known, sweep = set(findings.sources), findings.sweep
    for row in sweep.config.capabilities:
        for model in sweep.applies_to(row):
            if (row.id, model.id) not in known:
                yield row.id, model.id, sweep.why_not_measured(row, model) or "not measured"


def _measured(
    rows: Sequence[CapabilityRow],
    models: Mapping[str, ModelRow],
    sources: Mapping[tuple[str, str], str],
    documents: Mapping[tuple[str, str], Documents],
) -> Iterator[_Line]:
    for row in rows:
        key = (row.capability, row.model)
        source = sources.get(key, MEASURED)
        interval = of_value(row)
        if source == MEASURED and row.unit == _BITS and key in documents:
            interval = of_ratio(*documents[key]) or interval
        yield _with(models[row.model], row, interval, source)
        if row.unit == _BITS:
            opposite = row._replace(
                capability=f"1 - {row.capability}", value=1 - row.value, unit=f"1 - {_BITS}", higher_is_better=True
            )
            yield _with(models[row.model], opposite, interval and interval.one_minus(), source)


def _with(model: ModelRow, row: CapabilityRow, interval: Interval | None, source: str) -> _Line:
    low, high, method = interval or (math.nan, math.nan, "")
    return _Line(
        row.capability, model.id, model.family, model.modality, model.control, model.intervention, row.value,
        row.standard_error, low, high, method, row.n, row.unit, row.higher_is_better, source, row.reason,
    )  # fmt: skip


def _without(model: ModelRow, capability: str, reason: str) -> _Line:
    nan = math.nan
    about = (capability, model.id, model.family, model.modality, model.control, model.intervention)
    return _Line(*about, nan, nan, nan, nan, "", 0, "", None, "", reason)


def _write_parquet(table: pd.DataFrame, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with replacing(path) as staged:
        content = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
        pq.write_table(content, staged, compression="zstd")


def _markdown(lines: Sequence[_Line], models: Mapping[str, ModelRow]) -> str:
    """Write the table for people: a section per capability, best first, then what cannot be had."""
    text = ["# Capabilities", ""]
    for name in dict.fromkeys(row.capability for row in lines if row.capability):
        part = [row for row in lines if row.capability == name]
        values = [row for row in part if not row.reason]
        about = values[0] if values else part[0]
        direction = f" ({about.unit}, {'higher' if about.higher_is_better else 'lower'} is better)" if values else ""
        text += [f"## {name}{direction}", ""]
        text += head(["model", "family", "value", f"{LEVEL:.0%} interval", "n", "source", "missing"])
        sign = -1 if about.higher_is_better else 1
        values.sort(key=lambda row: (sign * row.value, row.model))
        text += [line(_cells(row, models)) for row in [*values, *(row for row in part if row.reason)]]
        text.append("")
    elsewhere = [row for row in lines if not row.capability]
    text += [
        "## How to read it",
        "",
        "- ± is one standard error, n the number of samples or documents; 0 where it is not known.",
        f"- Intervals are {LEVEL:.0%}, of the samples that were tested, not of the training: Wilson's for a share of",
        f"  samples, quantiles of {REPLICATES:,} resamples of the documents for bits per byte, 1.96 standard errors",
        "  otherwise.",
        f"- {CONTROL_MARK} marks random controls, {INTERVENTION_MARK} interventions: models changed on purpose.",
        "- A model without a number cannot have it, or failed; the last column says which.",
        *(f"- {row.model}: {row.reason}." for row in elsewhere),
    ]
    return "\n".join(text) + "\n"


def _cells(row: _Line, models: Mapping[str, ModelRow]) -> list[str]:
    interval = "" if math.isnan(row.low) else f"{number(row.low)} to {number(row.high)}"
    n = "" if row.reason else f"{row.n:,}"
    mark = models[row.model].mark
    return [
        row.model + mark,
        row.family,
        with_error(row.value, row.standard_error),
        interval,
        n,
        row.source,
        row.reason,
    ]
