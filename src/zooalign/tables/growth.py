"""How alignment grows with capability: given size and date, within families, and whether it levels off."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from zooalign.results.fits import BROKEN, LINE, SATURATING
from zooalign.results.growth import GIVEN, Growth, growth, said
from zooalign.results.means import OTHER
from zooalign.results.publishing import Column, Shown, Table
from zooalign.results.resampling import LEVEL

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 1

_CURVES = {LINE: "line", SATURATING: "saturating", BROKEN: "broken"}
_NOTES = (
    "Partial rank correlations are of what parameters (log10) or the release date, or both, leave of capability and "
    "alignment, over models whose rows say them; intervals are as in `populations`.",
    "The slope is of alignment on capability within families, each with a level of its own: what differs between "
    "families is not in it. Its interval leaves a family out at a time.",
    "Curves are compared by the error of models that they were not fitted to. The straight line is kept unless a "
    "curve is better by more than the standard error of the difference; nothing is said of what lies beyond them.",
    "Capability counts so that higher is better: bits per byte with its sign turned.",
)


def table(findings: Findings) -> Table:
    """Return a row per dataset, capability and population of models."""
    import pandas as pd

    columns = list(_columns())
    rows = [_row(found) for found in growth(findings)]
    return Table(
        "How alignment grows with capability",
        pd.DataFrame(rows, columns=[column.name for column in columns]),
        columns,
        (
            Shown("models", "population"),
            *(Shown(f"Spearman given {' and '.join(given)}", f"given_{_name(given)}") for given in GIVEN),
            Shown("slope within families", _slope),
            Shown("shape", "shape"),
        ),
        _NOTES,
        section=lambda row: (
            f"{row['capability']} of {row['modality']} models, aligned with {OTHER[row['modality']]} models on "
            f"{row['dataset']}"
        ),
    )


def _name(given: tuple[str, ...]) -> str:
    return "_and_".join(name.replace("release ", "") for name in given)


def _columns() -> Iterator[Column]:
    yield Column("dataset", "dataset of the alignment")
    yield Column("capability", "capability that alignment is set against")
    yield Column("modality", "modality of the models")
    yield Column("population", "which models count")
    for given in GIVEN:
        of = f"partial rank correlation given {' and '.join(given)}"
        yield Column(f"spearman_{_name(given)}", of)
        yield Column(f"low_{_name(given)}", f"lower end of its {LEVEL:.0%} interval")
        yield Column(f"high_{_name(given)}", "upper end")
        yield Column(f"n_{_name(given)}", "models in it", "models")
        yield Column(f"given_{_name(given)}", "the same in words, or why there is none")
    yield Column("slope", "alignment per unit of capability within families", "score per unit")
    yield Column("slope_low", f"lower end of its {LEVEL:.0%} interval", "score per unit")
    yield Column("slope_high", "upper end", "score per unit")
    yield Column("slope_n", "models of families with two or more", "models")
    yield Column("slope_families", "those families", "families")
    yield Column("slope_reason", "why there is no slope or no interval")
    for name, short in _CURVES.items():
        yield Column(f"error_{short}", f"cross-validated error of the {name}", "score")
    yield Column("curve", "curve that is kept; empty for too few models")
    yield Column("shape", "the curves in words")


def _row(found: Growth) -> dict[str, Any]:
    question, slope = found.question, found.slope
    row: dict[str, Any] = {
        "dataset": question.dataset,
        "capability": question.capability,
        "modality": question.modality,
        "population": question.population,
        "slope": slope.slope,
        "slope_low": slope.low,
        "slope_high": slope.high,
        "slope_n": slope.n,
        "slope_families": slope.families,
        "slope_reason": slope.reason,
        "curve": found.shape.chosen,
        "shape": str(found.shape),
    }
    for given, correlation in found.given.items():
        values = (correlation.value, correlation.low, correlation.high, correlation.n, said(correlation))
        names = ("spearman", "low", "high", "n", "given")
        row |= {f"{name}_{_name(given)}": value for name, value in zip(names, values, strict=True)}
    errors = {fit.name: fit.error for fit in found.shape.fits}
    return row | {f"error_{short}": errors.get(name, math.nan) for name, short in _CURVES.items()}


def _slope(row: Mapping[str, Any]) -> str:
    if not math.isfinite(row["slope"]):
        return row["slope_reason"]
    if not math.isfinite(row["slope_low"]):
        return f"{row['slope']:+.3g}, {row['slope_n']} models: {row['slope_reason']}"
    return f"{row['slope']:+.3g} [{row['slope_low']:+.3g}, {row['slope_high']:+.3g}], {row['slope_n']} models"
