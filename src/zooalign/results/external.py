"""Capabilities that were measured elsewhere, joined with what the sweep measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zooalign.config.external import External
from zooalign.errors import ConfigError

VERSION = 1  # part of the digest of what this module determines

# What the sweep's own values are called among the sources.
MEASURED = "measured"


def join(
    rows: Sequence[Mapping[str, Any]], external: Sequence[External], ranking: Sequence[str]
) -> list[dict[str, Any]]:
    """The sweep's own capability rows and those of others, one per capability and model, each with its `source`.

    Parameters
    ----------
    rows : sequence of mapping
        Columns of `read.CAPABILITY_COLUMNS`.
    external : sequence of External
        Of models of the sweep.
    ranking : sequence of str
        Sources by trust, the sweep's own are "measured"; where a capability of a model has several values, that of
        the first source named counts.

    Raises
    ------
    ConfigError
        If values of two sources meet and the ranking lacks one of them, or a capability has two units or directions.
    """
    chosen: dict[tuple[str, str], tuple[str, str, dict[str, Any]]] = {}
    # A measurement that failed gives way.
    own = [(MEASURED, "the sweep's own value", dict(row)) for row in rows if not row["reason"]]
    others = [(e.source, e.where, {**e._asdict(), "reason": ""}) for e in external]
    meant: dict[str, tuple[Any, str]] = {}
    for source, where, row in [*own, *others]:
        same = (row["unit"], row["higher_is_better"])
        first, at = meant.setdefault(row["capability"], (same, where))
        if first != same:
            raise ConfigError(
                f"{where}: {row['capability']} has unit and direction {same}, in {at} {first}; rename one of the two."
            )
        key = (row["capability"], row["model"])
        if key not in chosen:
            chosen[key] = (source, where, row)
            continue
        other = chosen[key]
        absent = [name for name in (other[0], source) if name not in ranking]
        if absent or other[0] == source:
            raise ConfigError(
                f"{where}: {row['model']} has its {row['capability']} already in {other[1]}: take one out, or rank the "
                f"sources in config.yaml (capability_sources: [{other[0]}, {source}])."
            )
        if ranking.index(source) < ranking.index(other[0]):
            chosen[key] = (source, where, row)
    failed = [
        {**row, "source": MEASURED}
        for row in rows
        if row["reason"] and (row["capability"], row["model"]) not in chosen
    ]
    return [*({**row, "source": source} for source, _, row in chosen.values()), *failed]
