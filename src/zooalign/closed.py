"""Base of everything that is read from configuration or from a record of our own."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Closed(BaseModel):
    """Unknown keys are errors, and values cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
