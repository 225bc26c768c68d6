"""Features to import, from whatever file they are in: layers by name, ids of samples, what it says of itself."""

# These libraries have no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zooalign.alignment.files import read_arrays
from zooalign.errors import ShareError, StoreError

# Key under which an export says what its features are of.
ABOUT = "zooalign"
# These list arrays by name, not as they were written.
_UNORDERED = (".safetensors", ".h5", ".hdf5")

_AGAIN = "Ask for the file again, or save it again."


class Found(NamedTuple):
    """Features of one model as a file has them.

    Attributes
    ----------
    layers : dict of str to ndarray
        (n, d_l), float16 or float32, finite.
    ids : list of str or None
        Of the rows; None where the file has none.
    about : dict
        Of our own exports: "model" (row), "dataset" ("name", "digest"), "provenance"; else empty.
    """

    layers: dict[str, np.ndarray]
    ids: list[str] | None
    about: dict[str, Any]


def read_features(path: Path) -> Found:
    """Read features and check them.

    Parameters
    ----------
    path : Path
        A file as `alignment.files.read_arrays` takes it; a feature store; or an export of one (Zarr, Parquet, or a
        folder for Hugging Face).

    Returns
    -------
    Found
        float16 stays; all other numbers become float32.

    Raises
    ------
    ShareError
        If nothing is there, or it is damaged or holds no layers of one number of rows; names the file.
    """
    if not path.exists():
        raise ShareError(f"{path}: no such file or folder. Check its name.")
    try:
        found = _read_folder(path) if path.is_dir() else _read_file(path)
    except StoreError as error:
        said = str(error) if str(path) in str(error) else f"{path}: {error}"
        raise ShareError(f"{said.rstrip('.')}. {_AGAIN}") from error
    return found._replace(layers=_checked(path, found.layers, found.ids))


def _read_folder(path: Path) -> Found:
    parquet = sorted(path.glob("data/*.parquet"))
    if parquet:
        if len(parquet) > 1:
            raise ShareError(f"{path}: has {len(parquet)} Parquet files in data/; import a folder with one.")
        return _read_file(parquet[0])
    if not (path / "zarr.json").is_file():
        raise ShareError(f"{path}: neither a feature store, nor a Zarr group, nor a folder with data/*.parquet.")
    import zarr

    try:
        attributes = json.loads((path / "zarr.json").read_bytes()).get("attributes", {})
        if ABOUT not in attributes:
            return _read_store(path)
        group: Any = zarr.open_group(path, mode="r")
        about = json.loads(attributes[ABOUT])
        widths = [int(width) for width in np.asarray(group["width"][...])]
        names, ids = (np.asarray(group[name][...]).tolist() for name in ("layer", "sample"))
        layers = {
            str(name): np.asarray(group["features"][i, :, :width])
            for i, (name, width) in enumerate(zip(names, widths, strict=True))
        }
        return Found(layers, [str(name) for name in ids], about)
    except (StoreError, ShareError, MemoryError):
        raise
    except Exception as error:  # of whatever layer of zarr, or of a header that is none
        raise ShareError(f"{path}: damaged, or no Zarr group of features ({_first_line(error)}). {_AGAIN}") from error


def _read_store(path: Path) -> Found:
    from zooalign.features.store import FeatureStore

    store = FeatureStore.open(path)
    layers = dict(zip(store.layer_names, store.layers(), strict=True))
    about = {"model": store.attributes["model"], "dataset": store.attributes["dataset"],
             "provenance": {"versions": store.attributes.get("versions", {})}}  # fmt: skip
    return Found(layers, list(store.sample_ids), about)


def _read_file(path: Path) -> Found:
    about: dict[str, Any] = {}
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        try:
            about = json.loads((pq.read_schema(path).metadata or {}).get(ABOUT.encode(), b"{}"))
            if about:
                return _read_own_parquet(path, about)
        except MemoryError:
            raise
        except Exception as error:  # of pyarrow, or of a header that is none
            raise ShareError(f"{path}: damaged, or no Parquet file ({_first_line(error)}). {_AGAIN}") from error
    arrays, ids = read_arrays(path)
    if len(arrays) == 1:
        name, values = next(iter(arrays.items()))
        if values.ndim == 3:
            if values.shape[0] < values.shape[1]:
                raise ShareError(
                    f"{path}: an array of shape {values.shape} is read as (samples, layers, features), and has fewer "
                    "samples than layers. Swap its first two axes, or save an array per layer."
                )
            return Found({f"layer_{i}": values[:, i] for i in range(values.shape[1])}, ids, about)
        return Found({name or "layer_0": values}, ids, about)
    if path.suffix.lower() in _UNORDERED:
        arrays = {name: arrays[name] for name in sorted(arrays, key=_natural)}
    return Found(arrays, ids, about)


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Key by which layer_2 comes before layer_10."""
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"([0-9]+)", name)]


def _read_own_parquet(path: Path, about: dict[str, Any]) -> Found:
    """An export of ours, whose columns keep their type."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    ids = [str(name) for name in table["sample_id"].to_pylist()]
    layers = {
        name: table[name].combine_chunks().flatten().to_numpy().reshape(len(ids), -1) for name in about["layer_names"]
    }
    return Found(layers, ids, about)


def _checked(path: Path, layers: dict[str, np.ndarray], ids: list[str] | None) -> dict[str, np.ndarray]:
    """Layers as float16 or float32, of one type and one number of rows."""
    if not layers:
        raise ShareError(f"{path}: holds no arrays of numbers.")
    shapes = ", ".join(f"{name or 'array'} {values.shape}" for name, values in list(layers.items())[:8])
    rows = {values.shape[0] for values in layers.values() if values.ndim == 2 and values.shape[1]}
    if any(values.ndim != 2 for values in layers.values()) or len(rows) != 1 or (ids and rows != {len(ids)}):
        named = f" and {len(ids)} ids" if ids else ""
        raise ShareError(
            f"{path}: holds {shapes}{named}: expected layers of shape (samples, features), equally long."
        )
    half = all(values.dtype == np.float16 for values in layers.values())
    with np.errstate(over="ignore"):  # reported below, by name
        checked = {name: np.asarray(values, np.float16 if half else np.float32) for name, values in layers.items()}
    for name, values in checked.items():
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
            raise ShareError(
                f"{path}: layer {name!r}, row {row}: NaN or infinite feature in {values.dtype}. Leave the layer out, "
                "or correct the file."
            )
    return checked


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
