"""The manifest: which models and datasets there are, checked."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from zooalign.closed import Closed
from zooalign.errors import ConfigError, unknown
from zooalign.registry import plugin, plugin_names

VISION_POOLINGS = ("cls", "mean")
LANGUAGE_POOLINGS = ("mean", "last", "prompt_last")

T = TypeVar("T", bound=BaseModel)

# An id becomes a file name in results/, so nothing that could leave the folder is let in.
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class ModelSpec(Closed):
    """One row of the zoo: a model and how its features are taken."""

    id: Id = Field(description="Name of the model in file names, tables and figures.")
    modality: Literal["vision", "language"] = Field(description="What the model takes: images or captions.")
    source: str = Field(description="File of src/zooalign/sources/ that loads it.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the source, checked by it.")
    weights_sha256: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the published weight file."
    )
    family: str = Field(description="Models of one family are not independent; statistics cluster by it.")
    objective: Literal[
        "supervised",
        "self-supervised",
        "contrastive",
        "causal",
        "sentence-encoder",
        "masked",
        "static",
        "random",
    ] = Field(description="Training objective; `random` marks a control that was never trained.")
    causal: bool = Field(default=False, description="Whether it predicts the next token (bits per byte).")
    pooling: Literal["cls", "mean", "last", "prompt_last"] = Field(
        description="Vision: cls (class token) or mean. Language: mean, last or prompt_last (last token)."
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="Arithmetic of the forward pass."
    )
    storage_dtype: Literal["float16", "float32"] = Field(
        default="float16", description="How features are stored; all later arithmetic is float32."
    )
    parameters: int = Field(gt=0, description="Number of parameters, for estimates of memory and time.")
    gflops: float | None = Field(
        default=None, gt=0, description="10^9 operations of the forward pass of one image or token, for estimates."
    )
    features_per_sample: int | None = Field(
        default=None, gt=0, description="Sum of the widths of all layers, for estimates of storage."
    )
    licence: str = Field(description="Licence of the weights, shown to the user.")
    homepage: str | None = Field(default=None, description="Where the weights come from.")
    terms: str | None = Field(
        default=None, description="Name of terms the user must accept in config.yaml (accept_terms)."
    )
    requires: tuple[str, ...] = Field(
        default=(), description="Programs that must be on the PATH; the row is left out where they are not."
    )
    notes: str | None = Field(default=None, description="Anything a reader of the tables should know.")

    @model_validator(mode="after")
    def _consistent(self) -> ModelSpec:
        allowed = VISION_POOLINGS if self.modality == "vision" else LANGUAGE_POOLINGS
        if self.pooling not in allowed:
            raise ValueError(f"pooling {self.pooling!r} is not for {self.modality} models ({', '.join(allowed)})")
        if self.objective != "random" and self.weights_sha256 is None:
            raise ValueError("weights_sha256 is missing (only objective: random has no weights)")
        return self

    @property
    def control(self) -> bool:
        """Whether the model is a random control."""
        return self.objective == "random"


class DatasetSpec(Closed):
    """One dataset: its family and the options that determine its content."""

    id: Id = Field(description="Name of the dataset in file names, tables and figures.")
    family: str = Field(description="File of src/zooalign/datasets/ that builds it.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the family, checked by it.")
    description: str = Field(default="", description="One line for people.")

    @property
    def kind(self) -> str:
        """What its samples are: "pairs", "labels" or "texts"."""
        return plugin("datasets", self.family, "dataset family").KIND


class _ModelFile(Closed):
    models: list[dict[str, Any]]


class _DatasetFile(Closed):
    datasets: list[dict[str, Any]]


def explain(error: ValidationError, where: str, model: type[BaseModel]) -> str:
    """One line for the first thing pydantic found wrong, with the nearest names of a misspelt key."""
    # A misspelt key is also a missing one: say the first.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    # Where a key takes one of several types, pydantic names the type that it tried: nothing that the user wrote.
    place = ".".join(str(part) for part in first["loc"] if not re.search(r"[\[\]()]", str(part)))
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _keys_at(model, first["loc"][:-1])
        return f"{where}: {unknown('key', str(first['loc'][-1]), known)[:-1]} (at {place}).{more}"
    message = first["msg"].removeprefix("Value error, ").replace("a valid tuple", "a list")
    if first["type"] == "missing":
        message = "this key is missing"
    if first["type"] == "string_pattern_mismatch":
        message = f"{first['input']!r} is not of the form {first.get('ctx', {}).get('pattern')}"
    return f"{where}: {place + ': ' if place else ''}{message}.{more}"


def _keys_at(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Keys that the schema allows at a place inside `model`."""
    for part in place:
        field = model.model_fields.get(str(part))
        if field is None:
            continue
        inner = [a for a in [field.annotation, *getattr(field.annotation, "__args__", ())] if _is_model(a)]
        if inner:
            model = inner[0]  # type: ignore[assignment]
    return list(model.model_fields)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


# Values that a file may hold once its anchors are written out, and what an integer of a setting may be at most.
_MOST_VALUES, _LARGEST = 1_000_000, 2**63 - 1


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping safely; a duplicate key is an error, not the last one wins.

    Raises
    ------
    ConfigError
        If the file is missing, is no YAML, is not a mapping, or repeats a key, or for what
        :func:`check_values` refuses; names the file and line or key.
    """

    class Loader(yaml.SafeLoader):
        pass

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
        seen: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if isinstance(key, list | dict | set):
                raise ConfigError(f"{path}, line {line}: a key must be a name, not a list or a mapping.")
            if key in seen:
                raise ConfigError(f"{path}, line {line}: duplicate key {key!r}; delete one.")
            seen[key] = loader.construct_object(value_node, deep=True)
        return seen

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        text = path.read_text(encoding="utf-8")
        value = yaml.load(text, Loader)  # noqa: S506  (a subclass of SafeLoader)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file. Check its name, and the folder you are in.") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 ({error}). Save it as UTF-8.") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: lists or mappings lie too deep in one another.") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a mapping at the top level.")
    check_values(value, str(path))
    return value


def check_values(value: Any, where: str) -> None:
    """Refuse what no setting can be: numbers not finite or too large, anchors that multiply or go in a circle.

    Parameters
    ----------
    value : any
        What a YAML or JSON file holds.
    where : str
        For the message.

    Raises
    ------
    ConfigError
        Names the key.
    """
    sizes: dict[int, int] = {}

    def size(part: Any, place: str) -> int:
        if isinstance(part, float) and not math.isfinite(part):
            raise ConfigError(f"{where}: {place}: {part} is not a finite number.")
        if isinstance(part, int) and not -_LARGEST <= part <= _LARGEST:
            raise ConfigError(f"{where}: {place}: the number {str(part)[:20]}... is too large.")
        if not isinstance(part, dict | list):
            return 1
        known = sizes.get(id(part))
        if known == 0:
            raise ConfigError(f"{where}: {place}: an anchor contains itself; write the values out.")
        if known is None:
            sizes[id(part)] = 0  # until its parts are known
            items = part.items() if isinstance(part, dict) else enumerate(part)
            known = 1 + sum(size(inner, f"{place}.{key}" if place else str(key)) for key, inner in items)
            sizes[id(part)] = known
        if known > _MOST_VALUES:
            raise ConfigError(f"{where}: {place}: its anchors stand for more than {_MOST_VALUES:,} values.")
        return known

    try:
        size(value, "")
    except RecursionError as error:
        raise ConfigError(f"{where}: lists or mappings lie too deep in one another.") from error


def read_models(path: Path) -> list[ModelSpec]:
    """Read the models of one zoo file, in its order.

    Raises
    ------
    ConfigError
        For an unknown key, source or option and for wrong values; names the file and the model.
    """
    value = read_yaml(path)
    rows = parse(_ModelFile, value, str(path)).models
    return [_model(row, f"{path}, model {row.get('id', f'number {i + 1}')!r}") for i, row in enumerate(rows)]


def _model(row: dict[str, Any], where: str) -> ModelSpec:
    spec = parse(ModelSpec, row, where)
    if spec.source not in plugin_names("sources"):
        raise ConfigError(f"{where}: {unknown('source', spec.source, plugin_names('sources'))}")
    check_options("sources", spec.source, spec.options, where)
    return spec


@lru_cache
def read_datasets(folder: Path) -> dict[str, DatasetSpec]:
    """Read every dataset row of a folder of YAML files, by id.

    Raises
    ------
    ConfigError
        As :func:`read_models`; also if two rows share an id.
    """
    datasets: dict[str, DatasetSpec] = {}
    for path in sorted(folder.glob("*.yaml")):
        for i, row in enumerate(parse(_DatasetFile, read_yaml(path), str(path)).datasets):
            where = f"{path}, dataset {row.get('id', f'number {i + 1}')!r}"
            spec = parse(DatasetSpec, row, where)
            if spec.family not in plugin_names("datasets"):
                raise ConfigError(f"{where}: {unknown('dataset family', spec.family, plugin_names('datasets'))}")
            check_options("datasets", spec.family, spec.options, where)
            if spec.id in datasets:
                raise ConfigError(f"{where}: another dataset has this id; rename one.")
            datasets[spec.id] = spec
    return datasets


def check_options(package: str, name: str, options: dict[str, Any], where: str) -> None:
    """Let a room check the options of a row; its error names the row."""
    module = plugin(package, name, package)
    parse(module.Options, options, f"{where}, options")


def parse(model: type[T], value: dict[str, Any], where: str) -> T:
    """Build a configuration model, with errors that name `where`."""
    try:
        return model(**value)
    except ValidationError as error:
        raise ConfigError(explain(error, where, model)) from error
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from error


def check_unique(models: list[tuple[ModelSpec, Path]]) -> None:
    """Refuse two rows of one id, in whatever files they stand.

    Raises
    ------
    ConfigError
        Naming the id and both files.
    """
    seen: dict[str, Path] = {}
    for spec, path in models:
        # Case-insensitive: results/ may lie on a file system that does not tell "A" from "a".
        key = spec.id.lower()
        if key in seen:
            raise ConfigError(f"{path}: model id {spec.id!r} is already in {seen[key]}; rename one of them.")
        seen[key] = path
