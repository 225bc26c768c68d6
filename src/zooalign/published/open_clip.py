"""open_clip's tables of zero-shot results: docs/openclip_results.csv and those beside it."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from zooalign.published._files import Record
from zooalign.published._results import Reading, Result, capability_id, clip, fraction

_MODEL = ("name", "pretrained")
_SIZES = ("params (M)", "FLOPs (B)")  # older tables have none
# Columns that are no top-1 accuracy or mean recall of classes.
_UNITS = {"Flickr": "recall", "MSCOCO": "recall", "WinoGAViL": "Jaccard score", "Average": "mean score"}


def recognises(keys: AbstractSet[str]) -> bool:
    """Whether a table with these columns is one of open_clip's."""
    averaged = any(key.startswith("Average perf. on ") for key in keys)
    return keys >= set(_MODEL) and (averaged or keys >= set(_SIZES))


def read(records: Sequence[Record]) -> Reading:
    """Read every column of datasets as a capability `open_clip_{column}`, fractions.

    Raises
    ------
    ConfigError
        For a cell that is no fraction; names line and column.
    """
    results = []
    for values, where in records:
        model = clip(values["name"], values["pretrained"], where)
        for column in values:
            if column in (*_MODEL, *_SIZES):
                continue
            value = fraction(values[column], f"column {column!r}", where)
            if value is not None:
                unit = next((unit for word, unit in _UNITS.items() if column.startswith(word)), "accuracy")
                results.append(Result(model, capability_id("open_clip", column), value, unit, where))
    return Reading(results)
