"""The record that every capability module returns, and what the modules share in making it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pydantic import model_validator

from zooalign.closed import Closed
from zooalign.errors import ZooalignError

VERSION = 1  # part of the digest of what this module determines


class CapabilityError(ZooalignError):
    """A capability cannot be measured on this model or dataset; names both and the remedy."""


class Measured(Closed):
    """What a capability module measures; the workflow adds which model, and the digest, and stores it.

    A capability that could not be measured is kept as a record too: `value` is None and
    `details["reason"]` says why, so that tables can tell a failure from an absence.
    """

    capability: str
    value: float | None
    standard_error: float | None
    unit: str
    higher_is_better: bool
    n: int
    details: dict[str, Any]
    settings: dict[str, Any]
    versions: dict[str, str]

    @model_validator(mode="after")
    def _honest(self) -> Measured:
        for name in ("value", "standard_error"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise ValueError(f"{name} is {number}, not a finite number")
        if self.standard_error is not None and self.standard_error < 0:
            raise ValueError(f"standard_error is {self.standard_error}, below zero")
        if self.n < 0:
            raise ValueError(f"n is {self.n}, below zero")
        if self.value is None and not str(self.details.get("reason", "")).strip():
            raise ValueError("value is missing and details.reason does not say why")
        return self


class CapabilityRecord(Measured):
    """A stored capability: results/capability/{capability}/{model}.json."""

    model: str
    digest: str
    stamp: dict[str, str] | None = None  # who measured it, when and where; no part of the value
    seal: str | None = None  # digest of all the rest


def ratio_standard_error(numerators: Sequence[float], denominators: Sequence[float]) -> float | None:
    """Compute the standard error of sum(numerators) / sum(denominators) over independently drawn pairs.

    Parameters
    ----------
    numerators, denominators : sequence of float, length m
        One pair per document: bits and bytes.

    Returns
    -------
    float or None
        sqrt(m / (m - 1) * sum((a_i - R b_i)^2)) / sum(b_i), R the ratio (linearisation); None for m < 2,
        where no spread can be seen.

    References
    ----------
    Cochran, Sampling Techniques (3rd ed.), section 6.4, without the finite-population factor.
    """
    import numpy as np

    a, b = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    m = a.size
    if m < 2:
        return None
    residual = a - a.sum() / b.sum() * b
    return float(np.sqrt(m / (m - 1) * np.square(residual).sum()) / b.sum())
