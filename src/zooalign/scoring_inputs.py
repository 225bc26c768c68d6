"""What a user hands to `zooalign.score`: arrays, tensors, files, stores or indexes, as layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zooalign.errors import FeatureError, StoreError, unknown
from zooalign.indexing import Index, is_index


def load(side: Any, title: str) -> tuple[Any, list[str] | None, list[str] | None, str]:
    """Layers of one model from whatever a user has.

    Parameters
    ----------
    side : array, sequence, mapping, Index, str or Path
        As :func:`zooalign.scoring.score`.
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
        return [_numpy(v) for v in side.values()], None, [str(name) for name in side], title
    if isinstance(side, Sequence):
        return [_numpy(v) for v in side], None, None, title
    return _split(_numpy(side), title), None, None, title


def _load_path(text: str) -> tuple[Any, list[str] | None, list[str] | None, str]:
    path, _, wanted = text.partition(".npz:")
    file = Path(path + ".npz" if wanted else text)
    if not file.exists():
        raise StoreError(f"there is no file or store {file}.")
    if file.is_dir():
        if is_index(file):
            index = Index.open(file, file.stem)
            return index, index.sample_ids, None, index.name
        from zooalign.store import FeatureStore

        store = FeatureStore.open(file)
        return _StoreLayers(store), list(store.sample_ids), list(store.layer_names), file.stem
    try:
        content = np.load(file, allow_pickle=False)
        arrays = {"": content} if isinstance(content, np.ndarray) else {n: content[n] for n in content.files}
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise StoreError(f"cannot read {file} as .npy or .npz: {error}") from error
    if wanted:
        if wanted not in arrays:
            raise StoreError(f"{file}: " + unknown("array", wanted, arrays))
        arrays = {wanted: arrays[wanted]}
    if len(arrays) == 1:
        return _split(next(iter(arrays.values())), text), None, None, text
    if any(a.ndim != 2 for a in arrays.values()):
        raise FeatureError(
            f"{file} holds {', '.join(f'{n} {a.shape}' for n, a in arrays.items())}: several arrays are taken as "
            f"layers of shape (n, d). Pick one with {file}:NAME."
        )
    return list(arrays.values()), None, list(arrays), text


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


def _numpy(values: Any) -> np.ndarray:
    """A numpy array of a numpy or torch one; bfloat16, which numpy lacks, becomes float32."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":
            values = values.float()
        values = values.numpy()
    return np.asarray(values)


def _split(x: np.ndarray, title: str) -> list[np.ndarray]:
    if x.ndim == 2:
        return [x]
    if x.ndim == 3:
        return [x[:, layer] for layer in range(x.shape[1])]
    raise FeatureError(f"{title} has shape {x.shape}: expected (n, layers, d), or (n, d) for one layer.")
