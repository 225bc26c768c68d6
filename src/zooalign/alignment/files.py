"""Files of features that other tools write: arrays by name, and ids of samples where there are any.

numpy (.npy, .npz), torch (.pt, .pth: a tensor, a list or a dictionary of them, as platonic-rep and thingsvision
save), safetensors, HDF5 (.h5, .hdf5), Matlab up to version 7.2 (.mat), text (.txt, .csv) and Parquet. Nothing in
them runs.
"""

# These libraries have no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from zooalign.errors import StoreError
from zooalign.storage.tensors import read_safetensors, read_torch

# Arrays of text by one of these names are ids of samples.
IDS = ("ids", "sample_ids", "id", "filenames", "file_names")
# platonic-rep keeps features beside parameters and losses of the model.
FEATURES = ("feats", "features")


def read_arrays(file: Path) -> tuple[dict[str, np.ndarray], list[str] | None]:
    """Arrays of numbers in a file, and ids of samples.

    Parameters
    ----------
    file : Path
        Its suffix says the format.

    Returns
    -------
    arrays : dict of str to ndarray
        By name; "" for the only array of a file without names.
    ids : list of str or None
        From an array or column of text named as in `IDS`.

    Raises
    ------
    StoreError
        If the suffix is not known, or the file is damaged or would run code; names it.
    """
    read = _READERS.get(file.suffix.lower())
    if read is None:
        raise StoreError(f"{file}: features are read from {', '.join(_READERS)}; save them as one of these.")
    try:
        content = read(file)
    except MemoryError:
        raise
    except Exception as error:  # each library has its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise StoreError(f"cannot read {file} as {file.suffix}: {reason}") from error
    ids = next((content.pop(name) for name in IDS if name in content and content[name].dtype.kind in "UOS"), None)
    chosen = next((name for name in FEATURES if name in content), None)
    arrays = {chosen: content[chosen]} if chosen else {n: a for n, a in content.items() if a.dtype.kind in "fiub"}
    listed = None if ids is None else [i.decode() if isinstance(i, bytes) else str(i) for i in ids.ravel()]
    return arrays, listed


def as_array(values: Any) -> np.ndarray:
    """A numpy array of a numpy or torch one; bfloat16, which numpy lacks, becomes float32."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":
            values = values.float()
        values = values.numpy()
    return np.asarray(values)


def _numpy(file: Path) -> dict[str, np.ndarray]:
    content = np.load(file, allow_pickle=False)
    if isinstance(content, np.ndarray):
        return {"": content}
    return {name: content[name] for name in content.files}


def _torch(file: Path) -> dict[str, np.ndarray]:
    content = read_torch(file)
    if isinstance(content, dict):
        chosen = next((content[name] for name in FEATURES if name in content), None)
        if isinstance(chosen, list | tuple):
            return {f"layer_{i}": as_array(layer) for i, layer in enumerate(chosen)}
        return {str(name): as_array(v) for name, v in content.items() if hasattr(v, "detach") or _are_texts(v)}
    if isinstance(content, list | tuple):
        return {f"layer_{i}": as_array(layer) for i, layer in enumerate(content)}
    return {"": as_array(content)}


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)


def _safetensors(file: Path) -> dict[str, np.ndarray]:
    return {name: as_array(tensor) for name, tensor in read_safetensors(file).items()}


def _hdf5(file: Path) -> dict[str, np.ndarray]:
    import h5py

    arrays: dict[str, np.ndarray] = {}
    with h5py.File(file) as group:

        def take(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                arrays[name] = item[()]

        group.visititems(take)
    return arrays


def _matlab(file: Path) -> dict[str, np.ndarray]:
    from scipy.io import loadmat

    return {name: np.asarray(v) for name, v in loadmat(file).items() if not name.startswith("__")}


def _text(file: Path) -> dict[str, np.ndarray]:
    return {"": np.loadtxt(file, delimiter="," if file.suffix == ".csv" else None, ndmin=2)}


def _parquet(file: Path) -> dict[str, np.ndarray]:
    import pandas as pd

    frame = pd.read_parquet(file)
    ids = next((name for name in IDS if name in frame.columns), None)
    texts = {} if ids is None else {"ids": frame.pop(ids).astype(str).to_numpy(object)}
    lists = [name for name in frame.columns if frame[name].dtype == object]
    if lists:
        return texts | {str(name): np.stack(list(frame[name])) for name in lists}
    return texts | {"": frame.to_numpy()}


_READERS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    ".npy": _numpy, ".npz": _numpy, ".pt": _torch, ".pth": _torch, ".safetensors": _safetensors, ".h5": _hdf5,
    ".hdf5": _hdf5, ".mat": _matlab, ".txt": _text, ".csv": _text, ".parquet": _parquet,
}  # fmt: skip
