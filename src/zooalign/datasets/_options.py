"""Base of the options of every dataset family."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class DatasetOptions(BaseModel):
    """Unknown keys are errors, values cannot change, every key has a description and a unit."""

    model_config = ConfigDict(extra="forbid", frozen=True)
