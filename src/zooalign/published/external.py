"""Our own CSV form, as `external` in config.yaml takes it; models may also be named as on the hub or in timm."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from zooalign.config.external import COLUMNS, NEEDED, from_row
from zooalign.config.tables import Row
from zooalign.published._files import Record
from zooalign.published._results import Published, Reading, Result

VERSION = 1


def recognises(keys: AbstractSet[str]) -> bool:
    """Whether a table has our columns and no others."""
    return set(NEEDED) <= keys <= set(COLUMNS)


def read(records: Sequence[Record]) -> Reading:
    """Read rows as they are.

    Raises
    ------
    ConfigError
        As :func:`zooalign.config.external.read_external`.
    """
    results = []
    for values, where in records:
        cells = {key: "" if value is None else str(value) for key, value in values.items()}
        row = from_row(Row(cells, where), "")
        measured = (row.standard_error, row.higher_is_better, row.n, row.source)
        results.append(Result(Published(row.model, None), row.capability, row.value, row.unit, where, *measured))
    return Reading(results)
