"""What a user hands to `zooalign.score`: arrays, tensors, files, stores or indexes, as layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from zooalign.alignment.files import as_array, read_arrays
from zooalign.errors import FeatureError, StoreError, unknown
from zooalign.indexes.index import Index, is_index


def load(side: Any, title: str) -> tuple[Any, list[str] | None, list[str] | None, str]:
    """Layers of one model from whatever a user has.

    Parameters
    ----------
    side : array, sequence, mapping, Index, str or Path
        As :func:`zooalign.alignment.score.score`.
    title : str
        Name for messages where the input has none.

    Returns
    -------
    layers : sequence of ndarray, or Index
        (n, d_l) each.
    sample_ids, layer_names : list of str or None
        None where the input has none.
    name : str
        For messages.

    Raises
    ------
    FeatureError, StoreError
        For a shape or file that cannot be used.
    """
    if isinstance(side, Index):
        return side, side.sample_ids, None, side.name
    if isinstance(side, (str, Path)):
        return _load_path(str(side))
    if isinstance(side, Mapping):
        named = cast("Mapping[Any, Any]", side)
        return [as_array(v) for v in named.values()], None, [str(name) for name in named], title
    if isinstance(side, Sequence):
        layers = cast("Sequence[Any]", side)
        return [as_array(v) for v in layers], None, None, title
    return _split(as_array(side), title), None, None, title


def _load_path(text: str) -> tuple[Any, list[str] | None, list[str] | None, str]:
    path, _, wanted = text.partition(".npz:")
    file = Path(path + ".npz" if wanted else text)
    if not file.exists():
        raise StoreError(f"there is no file or store {file}.")
    if file.is_dir():
        if is_index(file):
            index = Index.open(file, file.stem)
            return index, index.sample_ids, None, index.name
        from zooalign.features.store import FeatureStore

        store = FeatureStore.open(file)
        return _StoreLayers(store), list(store.sample_ids), list(store.layer_names), file.stem
    arrays, ids = read_arrays(file)
    if wanted:
        if wanted not in arrays:
            raise StoreError(f"{file}: " + unknown("array", wanted, arrays))
        arrays = {wanted: arrays[wanted]}
    if not arrays:
        raise FeatureError(f"{file} holds no arrays of numbers.")
    if len(arrays) == 1:
        return _split(next(iter(arrays.values())), text), ids, None, text
    if any(a.ndim != 2 for a in arrays.values()):
        raise FeatureError(
            f"{file} holds {', '.join(f'{n} {a.shape}' for n, a in arrays.items())}: several arrays are taken as "
            f"layers of shape (n, d). Pick one with {file}:NAME, or save it alone."
        )
    return list(arrays.values()), ids, list(arrays), text


class _StoreLayers(Sequence[np.ndarray]):
    """The layers of a feature store, read one at a time."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __len__(self) -> int:
        return len(self._store.layer_names)

    def __getitem__(self, position: Any) -> Any:
        if not 0 <= position < len(self):
            raise IndexError(position)
        return self._store.layer(position)


def _split(x: np.ndarray, title: str) -> list[np.ndarray]:
    if x.ndim == 2:
        return [x]
    if x.ndim == 3:
        if x.shape[0] < x.shape[1]:
            raise FeatureError(
                f"{title} has shape {x.shape}: read as (n, layers, d) that is {x.shape[0]} samples and {x.shape[1]} "
                "layers. If layers come first, swap the first two axes; otherwise give a list of layers."
            )
        return [x[:, layer] for layer in range(x.shape[1])]
    raise FeatureError(f"{title} has shape {x.shape}: expected (n, layers, d), or (n, d) for one layer.")
