"""What is asked of a pair, and the indexes of its two sides that answer it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from zooalign import metrics
from zooalign.alignment.inputs import load
from zooalign.errors import ConfigError, MetricError, unknown
from zooalign.indexes.build import build_index
from zooalign.indexes.index import Index
from zooalign.indexes.preparation import Preparation

# Lists as long as all k are kept up to here; longer ones only for metrics that need them.
_LISTS = 48


def asked_metrics(metric: str | Sequence[str], k: int | Sequence[int]) -> list[tuple[str, int | None]]:
    """Metrics with their k, unknown names refused before anything is read.

    Parameters
    ----------
    metric, k
        As :func:`zooalign.alignment.score.score`.

    Raises
    ------
    MetricError
        For an unknown metric, a k that is no number, or no metric at all.

    Examples
    --------
    >>> asked_metrics("mutual_knn, cknna@20, cka", [5, 10])
    [('mutual_knn', 5), ('mutual_knn', 10), ('cknna', 20), ('cka', None)]
    """
    names = metric.split(",") if isinstance(metric, str) else list(metric)
    lengths = [k] if isinstance(k, (int, np.integer)) else list(k)
    asked: list[tuple[str, int | None]] = []
    for name in (n.strip() for n in names):
        bare, _, fixed = name.partition("@")
        if not metrics.get(bare).TAKES_K:
            asked.append((bare, None))
        elif fixed:
            if not fixed.isdigit():
                raise MetricError(f"{name!r}: after @ stands the number of neighbours, as in mutual_knn@10.")
            asked.append((bare, int(fixed)))
        else:
            asked += [(bare, length) for length in lengths]
    if not asked:
        raise MetricError(f"no metric to score: give one of {', '.join(metrics.names())}, and k where it takes one.")
    return list(dict.fromkeys(asked))


def lists_and_needs(asked: Sequence[tuple[str, int | None]]) -> tuple[int, set[str]]:
    """Length of the neighbour lists, and what else an index must hold; see `metrics.lists_and_needs`."""
    depth = max(length or 1 for _, length in asked)
    return metrics.lists_and_needs(asked, min(depth, _LISTS))


def preparation_of(prepare: Preparation | Mapping[str, Any] | str | None) -> Preparation:
    """Settings of the preparation from what a user gives; ConfigError for an unknown one.

    Examples
    --------
    >>> preparation_of("clamp_quantile=1,normalise=none").normalise
    'none'
    """
    if prepare is None:
        return Preparation()
    if isinstance(prepare, Preparation):
        return prepare
    if isinstance(prepare, str):
        pairs = [part.partition("=") for part in prepare.split(",") if part.strip()]
        prepare = {key.strip(): _value(text.strip()) for key, _, text in pairs}
    known = list(Preparation.__dataclass_fields__)
    for key in prepare:
        if key not in known:
            raise ConfigError(unknown("setting of the preparation", key, known))
    return Preparation(**prepare)


def _value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return float(text)
    except ValueError:
        return text


def index_sides(
    sides: Mapping[str, Any],
    preparation: Preparation,
    k_max: int,
    needs: Iterable[str],
    sample_ids: Sequence[str] | None = None,
) -> list[Index]:
    """An index of each of several models on the same samples.

    Parameters
    ----------
    sides : mapping of str to what `score` takes
        By name, which messages show where the input has none of its own.
    preparation : Preparation
        Of all.
    k_max, needs
        As :func:`zooalign.indexes.build.build_index`.
    sample_ids : sequence of str, optional
        Ids of arrays, which have none; default those of the first side that has.

    Returns
    -------
    list of Index
        In the order of `sides`. Arrays of as many samples as there are ids get them; a stored index is what it is.

    Raises
    ------
    ConfigError
        If a stored index was prepared otherwise.
    FeatureError, StoreError
        For a shape, value or file that cannot be used.
    """
    loaded = [load(side, name) for name, side in sides.items()]
    ids = sample_ids if sample_ids is not None else next((ids for _, ids, _, _ in loaded if ids is not None), None)
    built: list[Index] = []
    for layers, own_ids, names, title in loaded:
        if isinstance(layers, Index):
            built.append(layers)
            continue
        n = len(layers[0]) if len(layers) else 0
        chosen = own_ids if own_ids is not None else (ids if ids is not None and len(ids) == n else None)
        built.append(build_index(layers, preparation, k_max, needs, sample_ids=chosen, layer_names=names, name=title))
    for index in built:
        if index.preparation != preparation.settings():
            raise ConfigError(
                f"the index {index.name} was prepared with {index.preparation}, not {preparation.settings()}: "
                "give the same settings, or score the features themselves."
            )
    return built
