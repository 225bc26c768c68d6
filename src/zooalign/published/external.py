"""Our own CSV form, as `external` in config.yaml takes it; models may also be named as on the hub or in timm."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from zooalign.config.external import NEEDED, check_columns, from_row
from zooalign.config.tables import Row
from zooalign.published._files import Record
from zooalign.published._results import Published, Reading, Result


def recognises(keys: AbstractSet[str]) -> bool:
    """Whether a table has most of the columns that we need; `read` says which one is missing or misspelt."""
    return len(keys & set(NEEDED)) >= 2


def read(records: Sequence[Record]) -> Reading:
    """Read rows as they are.

    Raises
    ------
    ConfigError
        As :func:`zooalign.config.external.read_external`.
    """
    check_columns(list(records[0].values), records[0].where)
    results = []
    for values, where in records:
        cells = {key: "" if value is None else str(value) for key, value in values.items()}
        row = from_row(Row(cells, where), "")
        measured = (row.standard_error, row.higher_is_better, row.n, row.source)
        results.append(Result(Published(row.model, None), row.capability, row.value, row.unit, where, *measured))
    return Reading(results)
