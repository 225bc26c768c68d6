"""What a search in a gallery is given: shapes and ids that fit, and the gallery block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from zooalign.errors import MetricError, unknown
from zooalign.indexes.preparation import Preparation

SCANS = ("auto", "bfloat16", "float32")


def checked_shape(
    queries: np.ndarray, gallery: Any, k: int, preparation: Preparation, scan: str, device: str, block: int
) -> tuple[int, int]:
    """Raise unless everything fits; the gallery's shape."""
    if np.ndim(queries) != 2 or len(gallery.shape) != 2 or np.shape(queries)[1] != gallery.shape[1]:
        raise MetricError(
            f"queries {np.shape(queries)} and gallery {tuple(gallery.shape)}: expected (q, d) and (m, d)."
        )
    m, d = (int(s) for s in gallery.shape)
    if not 1 <= k <= m:
        raise MetricError(f"k = {k} neighbours in a gallery of {m} rows: k must be at least 1 and at most that.")
    for kind, value, known in (("scan", scan, SCANS), ("device", device, ("auto", "cpu", "cuda"))):
        if value not in known:
            raise MetricError(unknown(kind, value, known))
    if preparation.normalise == "centred_l2":
        raise MetricError("a streamed gallery cannot be centred first: set normalise to 'l2' or 'none'.")
    if preparation.precision != "float32":
        raise MetricError("a streamed gallery is not rounded: set precision to 'float32'.")
    if block < 1:
        raise MetricError(f"block is {block}: at least one gallery row has to be in memory.")
    return m, d


def own_positions(q: int, m: int, query_ids: Sequence[str] | None, gallery_ids: Sequence[str] | None) -> np.ndarray:
    """Gallery position of every query's own id, -1 where it has none."""
    for ids, count, kind in ((query_ids, q, "queries"), (gallery_ids, m, "gallery rows")):
        if ids is not None and len(ids) != count:
            raise MetricError(f"{len(ids)} ids for {count} {kind}.")
    if query_ids is None or gallery_ids is None:
        return np.full(q, -1, np.int64)
    wanted = {name: i for i, name in enumerate(query_ids)}
    if len(wanted) != q:
        raise MetricError("an id occurs twice among the queries.")
    own = np.full(q, -1, np.int64)
    for position, name in enumerate(gallery_ids):
        i = wanted.get(name)
        if i is not None:
            if own[i] >= 0:
                raise MetricError(f"id {name!r} occurs twice in the gallery, at rows {own[i]} and {position}.")
            own[i] = position
    return own


class Names(Sequence[str]):
    """Ids of one block of the gallery, looked up only for a message."""

    def __init__(self, names: Any, first: int, count: int) -> None:
        self._names, self._first, self._count = names, first, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, position: Any) -> Any:
        return str(self._names[self._first + position])


def blocks(gallery: Any, m: int, block: int) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of rows with their first position; the next one is read while one is searched."""

    def read(start: int) -> np.ndarray:
        return np.asarray(gallery[start : start + block])

    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read, 0)
        for first in range(0, m, block):
            raw = coming.result()
            if first + block < m:
                coming = reader.submit(read, first + block)
            yield first, raw
