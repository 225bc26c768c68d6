"""Does the order of models depend on choices of the sweep: a row per model and choice of settings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from zooalign.results.markdown import number
from zooalign.results.publishing import Column, Shown, Table
from zooalign.results.sensitivity import FEWEST, NO_CELLS, STABLE, CellOrder, Place, Sensitivity, sensitivities

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zooalign.results.findings import Findings

VERSION = 1
READS_SENSITIVITY = True

OWN = "the sweep's own settings"
_COLUMNS = (
    Column("dataset", "dataset of the alignment"),
    Column("modality", "modality of the models"),
    Column("cell", f'what differs from the sweep; "{OWN}" for nothing'),
    Column("same_as", "settings that give the same by theory; empty for none"),
    Column("tau", "Kendall's tau-b of the cell's order and the sweep's own, -1 to 1"),
    Column("n", "models that both orders have", "models"),
    Column("model", "model"),
    Column("mean", "mean alignment with the released models of the other modality", "score"),
    Column("rank", "1 is the highest; equal means share a rank"),
)
_NOTES = (
    "Each cell is the sweep with other settings, on the same features. Released models of a modality are ordered by "
    "their mean alignment with those of the other, and tau compares that order with the one under the sweep's own "
    "settings.",
    f"An order is called stable where tau is at least {STABLE:.1f} in every cell. Fewer than {FEWEST} models have no "
    "tau.",
    "Means of different cells are on different scales; only orders compare.",
)


def table(findings: Findings) -> Table:
    """Return the order of models in every cell, with tau, and in words whether it is stable."""
    import pandas as pd

    found = sensitivities(findings)
    frame = pd.DataFrame([row for one in found for row in _rows(one)], columns=[c.name for c in _COLUMNS])
    said = [f"{one.modality.capitalize()} models on {one.dataset}: {one.sentence}." for one in found]
    people = pd.DataFrame([row for one in found for row in _summary(one)])
    return Table(
        "Does the order of models depend on choices of the sweep?",
        frame,
        _COLUMNS,
        (
            Shown("settings", "cell"),
            Shown("tau", lambda row: "" if math.isnan(row["tau"]) else f"{row['tau']:+.2f}"),
            Shown("models", "n"),
            Shown("the same by theory as", "same_as"),
            Shown("order, best first (mean)", "order"),
        ),
        [*(said or [NO_CELLS]), *_NOTES],
        section=lambda row: f"{row['modality'].capitalize()} models on {row['dataset']}",
        rows_shown=people,
    )


def _orders(one: Sensitivity) -> Iterator[tuple[str, str, float, int, Sequence[Place]]]:
    """Title, what is the same by theory, tau, models and order of the sweep's own settings and of every cell."""
    yield OWN, "", 1.0 if len(one.default) >= FEWEST else math.nan, len(one.default), one.default
    for cell in one.cells:
        yield _title(cell), cell.cell.same_as, cell.tau, cell.n, cell.places


def _title(cell: CellOrder) -> str:
    return cell.cell.title


def _rows(one: Sensitivity) -> Iterator[Mapping[str, Any]]:
    for title, same_as, tau, n, places in _orders(one):
        for place in places:
            yield {
                "dataset": one.dataset,
                "modality": one.modality,
                "cell": title,
                "same_as": same_as,
                "tau": tau,
                "n": n,
                **place._asdict(),
            }


def _summary(one: Sensitivity) -> Iterator[Mapping[str, Any]]:
    """A row per cell, worst first after the sweep's own."""
    first, *others = _orders(one)
    for title, same_as, tau, n, places in [first, *sorted(others, key=lambda o: (math.isnan(o[2]), o[2]))]:
        order = ", ".join(f"{place.model} ({number(place.mean)})" for place in places)
        yield {
            "dataset": one.dataset,
            "modality": one.modality,
            "cell": title,
            "same_as": same_as,
            "tau": tau,
            "n": n,
            "order": order,
        }
