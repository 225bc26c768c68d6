"""Layers of features as they come: checked when they are read, each by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zooalign.errors import FeatureError


class CheckedLayers(Sequence[np.ndarray]):
    """The layers, each checked as it is read."""

    def __init__(self, layers: Sequence[np.ndarray], names: Sequence[str], ids: Sequence[str]) -> None:
        self._layers, self._names, self._ids = layers, names, ids

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, position: Any) -> Any:
        if not 0 <= position < len(self._layers):
            raise IndexError(position)
        name = str(self._names[position])
        return checked_layer(self._layers[int(position)], name, self._ids)


def checked_layer(x: np.ndarray, name: str, ids: Sequence[str]) -> np.ndarray:
    """A layer as float16 or float32 after the checks that every public entry promises."""
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[0] != len(ids) or x.shape[1] == 0:
        raise FeatureError(
            f"layer {name!r} has shape {x.shape}: expected (n, d) with n = {len(ids)} samples and d > 0."
        )
    if x.dtype.kind not in "fiu":
        raise FeatureError(f"layer {name!r} has type {x.dtype}: expected floating-point features.")
    if x.dtype != np.float16:
        with np.errstate(over="ignore"):  # an overflow to infinity is reported below, by name
            x = x.astype(np.float32, copy=False)
    if not all_finite(x):
        row, column = (int(v) for v in np.argwhere(~np.isfinite(x))[0])
        raise FeatureError(
            f"layer {name!r}: feature {column} of sample {ids[row]!r} (row {row}) is {x[row, column]}. "
            "Extract this model again in float32, or leave the layer out."
        )
    return x


def all_finite(x: np.ndarray) -> bool:
    """By the exponent bits of the largest magnitude: infinity and NaN lie above every number."""
    from zooalign.kernels import rows as kernels

    if x.dtype == np.float16:
        return bool(kernels.largest_half(flat(x).view(np.uint16)) < 0x7C00)
    return bool(kernels.largest_single(flat(x).view(np.uint32)) < 0x7F800000)


def flat(x: np.ndarray) -> np.ndarray:
    """Values of an array of any shape, in one row."""
    return np.ascontiguousarray(x).reshape(-1)
