"""The file in which neighbour lists or features of one model travel: safetensors with a sealed header.

It comes from strangers: nothing in it runs, and nothing of it is used before it was checked.
"""

# safetensors does not say all that it takes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, ValidationError

from zooalign.closed import Closed
from zooalign.config.manifest import Id, ModelSpec
from zooalign.errors import ShareError
from zooalign.indexes.files import checksum
from zooalign.provenance import is_sealed, package_versions, sealed, stamp
from zooalign.registry import version
from zooalign.storage.atomic import replacing

VERSION = 1
_KEY, _FORMAT = "zooalign", "zooalign-shared"
# The header of safetensors follows its length (8 bytes), and begins with our key.
_BEGIN = b'{"__metadata__":{"zooalign":'
# Modules that determine neighbour lists: those of another VERSION are not comparable.
_LISTS_MADE_BY = ("indexes.index", "indexes.neighbors", "indexes.preparation")
# Arrays beside the lists themselves.
_WITH_LISTS = ("constant", "neighbors", "tie_counts")
_SIMILARITIES = ("similarities", "centred_similarities")
_PACKAGES = ("zooalign", "numpy", "torch", "timm", "transformers")
# What of a model's row travels: what says which model it is, nothing of how or from where it was loaded.
_ROW = (
    "id", "modality", "family", "objective", "causal", "pooling", "class_token", "precision", "storage_dtype",
    "parameters", "features_per_sample", "layers", "width", "released", "tuned", "training", "licence", "homepage",
    "notes",
)  # fmt: skip
_AGAIN = "Ask for the file again, or export it again."

Name = Annotated[str, Field(min_length=1, max_length=1000)]


class OfDataset(Closed):
    """The dataset that the samples are of."""

    name: Id
    digest: str = Field(pattern=r"^[0-9a-f]{16,64}$")


class Header(Closed):
    """What a shared file says of its arrays; no part of it is trusted to be true of this sweep.

    Attributes
    ----------
    holds : tuple of str
        "features"; or "neighbors", and similarities of these where they were exported.
    dataset : OfDataset
        Id and content digest.
    sample_ids, layer_names : tuple of str
        In the order of the arrays' axes.
    model : dict
        The model's row, without source and options.
    preparation : dict
        Settings under which neighbours were found; empty for features.
    made_with : dict of str to int
        VERSION of every module that determines neighbour lists; empty for features.
    provenance : dict
        Source and SHA-256 of the weights, versions of libraries, time.
    checksums : dict of str to str
        Of every array.
    """

    format: Literal["zooalign-shared"]
    format_version: Literal[1]
    holds: tuple[Literal["neighbors", "similarities", "centred_similarities", "features"], ...] = Field(min_length=1)
    dataset: OfDataset
    sample_ids: tuple[Name, ...] = Field(min_length=2)
    layer_names: tuple[Name, ...] = Field(min_length=1, max_length=10_000)
    model: dict[str, Any]
    # Keys of these are shown in messages.
    preparation: dict[Id, Any]
    made_with: dict[Id, int]
    provenance: dict[str, Any]
    checksums: dict[Id, str]
    seal: str


class Shared(NamedTuple):
    """A shared file whose arrays were checked.

    Attributes
    ----------
    path : Path
        For messages.
    header : Header
        See there.
    arrays : dict of str to ndarray
        Of lists "neighbors" (L, n, k), "tie_counts" (L, k), "constant" (L,), and (L, n, k) float32 similarities; of
        features "layer_0", "layer_1", ... (n, d_l), float16 or float32.
    """

    path: Path
    header: Header
    arrays: dict[str, np.ndarray]

    @property
    def layers(self) -> list[np.ndarray]:
        """Features in the order of the layers, (n, d_l) each."""
        return [self.arrays[f"layer_{i}"] for i in range(len(self.header.layer_names))]


def is_shared(path: Path) -> bool:
    """Whether a file begins as one of these, whole or not."""
    try:
        with open(path, "rb") as file:
            return file.read(200)[8:].startswith(_BEGIN)
    except OSError:
        return False


def row_of(spec: ModelSpec) -> dict[str, Any]:
    """What of a model's row travels with its results."""
    return spec.model_dump(mode="json", include=set(_ROW), exclude_none=True)


def lists_made_with() -> dict[str, int]:
    """VERSION of every module that determines neighbour lists."""
    return {name: version(f"zooalign.{name}") for name in _LISTS_MADE_BY}


def write_shared(
    path: Path,
    arrays: dict[str, np.ndarray],
    *,
    holds: Sequence[str],
    dataset: dict[str, str],
    sample_ids: Sequence[str],
    layer_names: Sequence[str],
    model: dict[str, Any],
    preparation: dict[str, Any] | None = None,
    provenance: dict[str, Any] | None = None,
) -> None:
    """Write a shared file in one step.

    Parameters
    ----------
    path : Path
        Where it goes.
    arrays : dict of str to ndarray
        As `Shared.arrays`.
    holds, sample_ids, layer_names, model, preparation
        As in `Header`.
    dataset : dict
        "name" and "digest".
    provenance : dict, optional
        Of an export; time and versions of libraries are added where it has none.

    Raises
    ------
    StoreError
        If the disk is full.
    """
    from safetensors.numpy import save_file

    # Command line, host and folders of the exporter are nobody's business.
    made = {"time": stamp()["time"], "versions": package_versions(_PACKAGES)}
    header = {
        "format": _FORMAT,
        "format_version": VERSION,
        "holds": list(holds),
        "dataset": dataset,
        "sample_ids": list(sample_ids),
        "layer_names": list(layer_names),
        "model": model,
        "preparation": preparation or {},
        "made_with": lists_made_with() if "neighbors" in holds else {},
        "provenance": {**made, **(provenance or {})},
        "checksums": {name: checksum(values) for name, values in arrays.items()},
    }
    stored = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    with replacing(path) as staged:
        save_file(stored, staged, metadata={_KEY: json.dumps(sealed(header), ensure_ascii=False)})


def read_shared(path: Path) -> Shared:
    """Read a shared file and check everything that can be checked without this sweep.

    Parameters
    ----------
    path : Path
        A file written by :func:`write_shared`, by whomever.

    Raises
    ------
    ShareError
        If the file is missing, damaged, of another format or version, or its arrays are not what they should be
        (shapes, dtypes, neighbours outside the samples, a sample as its own neighbour or twice in a list, numbers
        that are not finite); names the file and the remedy.
    """
    from safetensors import safe_open

    if not path.is_file():
        raise ShareError(f"{path}: no such file. Check its name.")
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no dictionary)
    except MemoryError:
        raise
    except Exception as error:  # of the library, of numpy for a dtype that it lacks
        raise ShareError(f"{path}: truncated or damaged, or no safetensors file. {_AGAIN}") from error
    if _KEY not in metadata:
        raise ShareError(
            f"{path}: has no header of zooalign, so it is no export of neighbour lists or features. Features of "
            "another tool are imported with --dataset and --id."
        )
    shared = Shared(path, _header(path, metadata[_KEY]), arrays)
    expected = shared.header.checksums
    if arrays.keys() != expected.keys() or any(checksum(a) != expected[name] for name, a in arrays.items()):
        raise ShareError(f"{path}: damaged: an array is not the one that was exported. {_AGAIN}")
    problem = _features_problem(shared) if "features" in shared.header.holds else _lists_problem(shared)
    if problem:
        raise ShareError(f"{path}: cannot be used: {problem}. {_AGAIN}")
    return shared


def _header(path: Path, text: str) -> Header:
    try:
        record = json.loads(text)
        if record["format"] == _FORMAT and record["format_version"] != VERSION:
            raise ShareError(
                f"{path}: written by another version of zooalign (format {record['format_version']!r}, this one "
                f"reads {VERSION}). Install the version that wrote it, or ask for an export by yours."
            )
        if not is_sealed(record):
            raise ShareError(f"{path}: damaged: its header was edited or cut off. {_AGAIN}")
        return Header(**record)
    except (ValueError, KeyError, TypeError, RecursionError, ValidationError) as error:
        raise ShareError(f"{path}: damaged: its header cannot be read. {_AGAIN}") from error


def _lists_problem(shared: Shared) -> str:
    """What is wrong with neighbour lists; empty if nothing is."""
    header, arrays = shared.header, shared.arrays
    n, n_layers = len(header.sample_ids), len(header.layer_names)
    further = tuple(name for name in header.holds if name in _SIMILARITIES)
    if sorted(arrays) != sorted((*_WITH_LISTS, *further)):
        return f"it holds {', '.join(sorted(arrays))}"
    lists = arrays["neighbors"]
    if lists.ndim != 3 or lists.shape[:2] != (n_layers, n) or not 1 <= (k := lists.shape[2]) < n:
        return f"neighbour lists of shape {lists.shape} for {n_layers} layers of {n} samples"
    expected = {
        "neighbors": (lists.shape, np.uint16 if n <= 2**16 else np.int32),
        "tie_counts": ((n_layers, k), np.int32),
        "constant": ((n_layers,), np.uint8),
        **dict.fromkeys(further, (lists.shape, np.float32)),
    }
    for name, (shape, dtype) in expected.items():
        if (arrays[name].shape, arrays[name].dtype) != (shape, np.dtype(dtype)):
            return f"{name} has shape {arrays[name].shape} and type {arrays[name].dtype}"
    if arrays["constant"].max() > 1 or arrays["tie_counts"].min() < 0 or arrays["tie_counts"].max() > n:
        return "counts of ties or marks of constant layers out of their range"
    if not all(np.isfinite(arrays[name]).all() for name in further):
        return "a similarity is not finite"
    return next(filter(None, (_list_problem(layer, n) for layer in lists)), "")


def _list_problem(lists: np.ndarray, n: int) -> str:
    """What is wrong with the lists (n, k) of one layer."""
    if int(lists.min()) < 0 or int(lists.max()) >= n:
        return f"a neighbour is not among the {n} samples"
    if (lists == np.arange(n)[:, None]).any():
        return "a sample is its own neighbour"
    in_order = np.sort(lists, axis=1)
    return "a neighbour is twice in a list" if (in_order[:, 1:] == in_order[:, :-1]).any() else ""


def _features_problem(shared: Shared) -> str:
    """What is wrong with features; empty if nothing is."""
    n, names = len(shared.header.sample_ids), shared.header.layer_names
    if shared.arrays.keys() != {f"layer_{i}" for i in range(len(names))}:
        return f"it holds {len(shared.arrays)} arrays for {len(names)} layers"
    if len({layer.dtype for layer in shared.layers}) != 1:
        return "its layers have several types"
    for name, layer in zip(names, shared.layers, strict=True):
        if layer.ndim != 2 or len(layer) != n or layer.shape[1] < 1 or layer.dtype not in (np.float16, np.float32):
            return f"layer {name!r} has shape {layer.shape} and type {layer.dtype} for {n} samples"
        if not np.isfinite(layer).all():
            return f"layer {name!r} has a NaN or infinite feature"
    return ""
