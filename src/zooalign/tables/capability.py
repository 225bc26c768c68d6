"""Every capability of every model, a row each, with its interval and source."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from zooalign.results.external import MEASURED
from zooalign.results.frames import (
    CONTROL_MARK,
    INTERVENTION_MARK,
    CapabilityRow,
    ModelRow,
    capability_rows,
    model_rows,
    where,
)
from zooalign.results.intervals import Interval, of_ratio, of_value
from zooalign.results.markdown import number, with_error
from zooalign.results.populations import LEVEL, REPLICATES
from zooalign.results.publishing import Column, Shown, Table
from zooalign.results.read import Documents, check_models

if TYPE_CHECKING:
    import pandas as pd

    from zooalign.results.findings import Findings

VERSION = 2

_BITS = "bits/byte"

_COLUMNS = (
    Column("capability", "what was measured; empty for a model that is not in the sweep"),
    Column("model", "model"),
    Column("family", "models that have more in common than the modality"),
    Column("modality", "vision or language"),
    Column("control", "whether it was never trained"),
    Column("intervention", "how it was changed on purpose; empty as released"),
    Column("value", "the capability", "column unit"),
    Column("standard_error", "of the value", "column unit"),
    Column("low", f"lower end of the {LEVEL:.0%} interval", "column unit"),
    Column("high", f"upper end of the {LEVEL:.0%} interval", "column unit"),
    Column("interval", "how the interval was found"),
    Column("n", "samples or documents; 0 where that is not known"),
    Column("unit", "unit of the value"),
    Column("higher_is_better", "which way the capability counts"),
    Column("source", "where the value is from"),
    Column("reason", "why there is no value"),
)
_NOTES = (
    "± is one standard error, n the number of samples or documents; 0 where it is not known.",
    f"Intervals are {LEVEL:.0%}, of the samples that were tested, not of the training: Wilson's for a share of "
    f"samples, quantiles of {REPLICATES:,} resamples of the documents for bits per byte, 1.96 standard errors else.",
    "A capability in bits per byte has further rows `1 - {capability}`: the axis of the paper.",
    f"{CONTROL_MARK} marks random controls, {INTERVENTION_MARK} interventions: models changed on purpose.",
    "A model without a number cannot have it, or failed; the last column says which.",
)


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


def table(findings: Findings) -> Table:
    """Return every capability of every model; what cannot be had has no number and a reason."""
    frame = rows(
        findings.capability, findings.models, sources=findings.sources, documents=findings.documents,
        absent=_absent(findings), left_out=findings.sweep.left_out,
    )  # fmt: skip
    marks = {row.id: row.mark for row in model_rows(findings.models)}
    elsewhere, listed = where(frame, "capability", ""), frame.loc[frame["capability"] != ""]
    return Table(
        "Capability of every model",
        frame,
        _COLUMNS,
        (
            Shown("model", lambda row: row["model"] + marks.get(row["model"], "")),
            Shown("family", "family"),
            Shown("value", lambda row: with_error(row["value"], row["standard_error"])),
            Shown(f"{LEVEL:.0%} interval", _interval),
            Shown("n", lambda row: "" if row["reason"] else f"{row['n']:,}"),
            Shown("source", "source"),
            Shown("missing", "reason"),
        ),
        [*_NOTES, *(f"{name}: {why}." for name, why in zip(elsewhere["model"], elsewhere["reason"], strict=True))],
        section=_section,
        rows_shown=_best_first(listed),
    )


def rows(
    capability: pd.DataFrame,
    models: pd.DataFrame,
    *,
    sources: Mapping[tuple[str, str], str] | None = None,
    documents: Mapping[tuple[str, str], Documents] | None = None,
    absent: Iterable[tuple[str, str, str]] = (),
    left_out: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """List every capability of every model.

    Parameters
    ----------
    capability : DataFrame
        As `zooalign.results.read.read_capability` gives it.
    models : DataFrame
        id, modality, family, objective, causal, control, intervention: every model of the sweep.
    sources : mapping, optional
        Where a value is from, by capability and model; "measured" unless given.
    documents : mapping, optional
        Documents of a value, by capability and model, for the interval of bits per byte.
    absent : iterable of (capability, model, reason), optional
        What is asked for and cannot be had.
    left_out : mapping of str to str, optional
        Models of the zoo that are not in the sweep, with the reason; a row each, without a capability.

    Returns
    -------
    DataFrame
        Sorted by capability and model. `low` to `high` is the 95 % interval and `interval` says how it was found.
        Where there is no value there is no number, and `reason` says why.

    Raises
    ------
    StoreError
        If `models` cannot be joined.
    """
    import pandas as pd

    check_models(models)
    by_id = {row.id: row for row in model_rows(models)}
    known = [row for row in capability_rows(capability) if row.model in by_id]
    lines = list(_measured(known, by_id, sources or {}, documents or {}))
    lines += [_without(by_id[model], name, reason) for name, model, reason in absent]
    lines += [
        _without(ModelRow(name, "", "", "", False, False, ""), "", f"not in the sweep: {why}")
        for name, why in (left_out or {}).items()
    ]
    lines.sort(key=lambda row: (row.capability, row.model))
    frame = pd.DataFrame(lines, columns=list(_Line._fields))
    frame["higher_is_better"] = frame["higher_is_better"].astype("boolean")
    return frame


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


def _interval(row: Mapping[str, Any]) -> str:
    return "" if math.isnan(row["low"]) else f"{number(row['low'])} to {number(row['high'])}"


def _section(row: Mapping[str, Any]) -> str:
    return f"{row['capability']}{row['direction']}"


def _best_first(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of each capability with the best first and those without a value last, and which way it counts."""
    import pandas as pd

    parts = []
    for _, part in frame.groupby("capability", sort=True):
        known, absent = where(part, "reason", ""), part.loc[part["reason"] != ""]
        if len(known):
            up = bool(known["higher_is_better"].iloc[0])
            said = f" ({known['unit'].iloc[0]}, {'higher' if up else 'lower'} is better)"
            known = known.sort_values(["value", "model"], ascending=[not up, True], kind="stable")
            part = pd.concat([known, absent]).assign(direction=said)
        else:
            part = part.assign(direction="")
        parts.append(part)
    return pd.concat(parts) if parts else frame.assign(direction="")
