"""Frames of the results as typed rows: pandas' own types do not say what a frame holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

if TYPE_CHECKING:
    import pandas as pd

CONTROL_MARK, INTERVENTION_MARK, IMPORTED_MARK = "†", "‡", "⇣"
IMPORTED_NOTE = f"{IMPORTED_MARK} imported: neighbour lists or features made elsewhere, without weights here"


class ModelRow(NamedTuple):
    """A model of the sweep, as `Findings.models` lists it."""

    id: str
    modality: str
    family: str
    objective: str
    causal: bool
    control: bool
    intervention: str  # empty for a model as it was released
    imported: bool = False

    @property
    def mark(self) -> str:
        """Put after its name in tables and figures: a random control or an intervention is no released model."""
        return f" {CONTROL_MARK}" if self.control else f" {INTERVENTION_MARK}" if self.intervention else ""

    @property
    def shown(self) -> str:
        """Its name with all marks: an imported model is a released one, and is marked besides."""
        return self.id + self.mark + (f" {IMPORTED_MARK}" if self.imported else "")


class CapabilityRow(NamedTuple):
    """A capability of one model; value and standard error are NaN where there is none, and `reason` says why."""

    capability: str
    model: str
    value: float
    standard_error: float
    unit: str
    higher_is_better: bool
    n: int
    reason: str


def model_rows(models: pd.DataFrame) -> list[ModelRow]:
    """Rows of a frame of models, in its order."""
    # Frames that list models of no sweep may leave out what has a default.
    fields = [name for name in ModelRow._fields if name in models or name not in ModelRow._field_defaults]
    return [ModelRow(*row) for row in zip(*(models[name] for name in fields), strict=True)]


def imported_note(models: pd.DataFrame) -> list[str]:
    """What the mark of imported models says, where there are any."""
    return [f"{IMPORTED_NOTE}."] if any(row.imported for row in model_rows(models)) else []


def capability_rows(capability: pd.DataFrame) -> list[CapabilityRow]:
    """Rows of a frame of capabilities, in its order."""
    return [CapabilityRow(*row) for row in zip(*(capability[name] for name in CapabilityRow._fields), strict=True)]


def where(frame: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    """Rows whose `column` equals `value`."""
    # A frame indexed by booleans is a frame; its annotation allows a series.
    return cast("pd.DataFrame", frame[frame[column] == value])


def n_samples(rows: pd.DataFrame) -> int:
    """Largest number of samples of some rows of the alignment table."""
    return max(int(n) for n in rows["n"])
