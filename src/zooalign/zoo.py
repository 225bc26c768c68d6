"""The manifest: which models and datasets there are, checked, each with a digest of what determines it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from zooalign.discovery import room, rooms
from zooalign.errors import ConfigError, unknown
from zooalign.provenance import digest

VISION_POOLINGS = ("cls", "mean")
LANGUAGE_POOLINGS = ("mean", "last", "prompt_last")

T = TypeVar("T", bound=BaseModel)

# An id becomes a file name in results/, so nothing that could leave the folder is let in.
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class Closed(BaseModel):
    """Base of every configuration model: unknown keys are errors, values cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


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

    def weights_digest(self) -> str:
        """Digest of what determines the prepared weights: source, its VERSION and options, the file's hash."""
        version = room("sources", self.source, "source").VERSION
        return digest("weights", self.source, version, self.options, self.weights_sha256)

    def features_digest(self, dataset: str, reading: dict[str, Any]) -> str:
        """Digest of what determines the features on one dataset.

        Parameters
        ----------
        dataset : str
            Digest of the dataset.
        reading : dict
            How samples are read (text density, prompt); see `config.ExtractionConfig.reading`.
        """
        from zooalign import pooling

        return digest(
            "features",
            self.weights_digest(),
            self.pooling,
            pooling.VERSION,
            self.precision,
            self.storage_dtype,
            dataset,
            reading if self.modality == "language" else None,
        )


class DatasetSpec(Closed):
    """One dataset: its family and the options that determine its content."""

    id: Id = Field(description="Name of the dataset in file names, tables and figures.")
    family: str = Field(description="File of src/zooalign/datasets/ that builds it.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the family, checked by it.")
    description: str = Field(default="", description="One line for people.")

    @property
    def kind(self) -> str:
        """What its samples are: "pairs", "labels" or "texts"."""
        return room("datasets", self.family, "dataset family").KIND

    def digest(self) -> str:
        """Digest of what determines its content: family, VERSION, options, and the user's files if any."""
        module = room("datasets", self.family, "dataset family")
        fingerprint = getattr(module, "fingerprint", None)
        options = module.Options(**self.options)
        return digest(
            "dataset", self.family, module.VERSION, self.options, fingerprint(options) if fingerprint else None
        )


class _ModelFile(Closed):
    models: list[dict[str, Any]]


class _DatasetFile(Closed):
    datasets: list[dict[str, Any]]


def explain(error: ValidationError, where: str, model: type[BaseModel]) -> str:
    """One line for the first thing pydantic found wrong, with the nearest names of a misspelt key."""
    # A misspelt key is also a missing one: say the first.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    place = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _keys_at(model, first["loc"][:-1])
        return f"{where}: {unknown('key', str(first['loc'][-1]), known)[:-1]} (at {place}).{more}"
    message = first["msg"].removeprefix("Value error, ")
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


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping safely; a duplicate key is an error, not the last one wins.

    Raises
    ------
    ConfigError
        If the file is missing, is no YAML, is not a mapping, or repeats a key; names the file and line.
    """

    class Loader(yaml.SafeLoader):
        pass

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
        seen: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node, deep=True)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise ConfigError(f"{path}, line {line}: key {key!r} stands twice; delete one.")
            seen[key] = loader.construct_object(value_node, deep=True)
        return seen

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        text = path.read_text(encoding="utf-8")
        value = yaml.load(text, Loader)  # noqa: S506  (a subclass of SafeLoader)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file. Check its name, and the folder you are in.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 ({error}). Save it as UTF-8.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a mapping at the top level.")
    return value


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
    if spec.source not in rooms("sources"):
        raise ConfigError(f"{where}: {unknown('source', spec.source, rooms('sources'))}")
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
    found: dict[str, DatasetSpec] = {}
    for path in sorted(folder.glob("*.yaml")):
        for i, row in enumerate(parse(_DatasetFile, read_yaml(path), str(path)).datasets):
            where = f"{path}, dataset {row.get('id', f'number {i + 1}')!r}"
            spec = parse(DatasetSpec, row, where)
            if spec.family not in rooms("datasets"):
                raise ConfigError(f"{where}: {unknown('dataset family', spec.family, rooms('datasets'))}")
            check_options("datasets", spec.family, spec.options, where)
            if spec.id in found:
                raise ConfigError(f"{where}: a dataset of this id stands twice; rename one.")
            found[spec.id] = spec
    return found


def check_options(package: str, name: str, options: dict[str, Any], where: str) -> None:
    """Let a room check the options of a row; its error names the row."""
    module = room(package, name, package)
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
            raise ConfigError(f"{path}: model id {spec.id!r} stands already in {seen[key]}; rename one of them.")
        seen[key] = path
