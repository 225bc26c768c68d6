"""The manifest: which models and datasets there are, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from zooalign.closed import Closed
from zooalign.config.intervention import Intervention
from zooalign.config.reading import parse, read_yaml
from zooalign.config.tags import Slot, Training, Unavailable
from zooalign.errors import ConfigError, unknown
from zooalign.registry import member, plugin, plugin_names

VISION_POOLINGS = ("cls", "mean")
LANGUAGE_POOLINGS = ("mean", "last", "prompt_last")

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
    class_token: bool = Field(
        default=False, description="Vision: whether a model whose pooling is mean has a class token, too."
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
    layers: int | None = Field(default=None, gt=0, description="Number of layers whose features are taken.")
    width: int | None = Field(default=None, gt=0, description="Width of the last layer.")
    architecture: dict[str, Any] | None = Field(
        default=None, description="transformers' configuration of a hub model: what `zooalign zoo check` builds."
    )
    released: str | None = Field(
        default=None, pattern=r"^\d{4}-(0[1-9]|1[0-2])$", description="Month of its release, 2024-09."
    )
    tuned: Literal["base", "instruct", "distilled"] | None = Field(
        default=None,
        description="Language models: as pre-trained, tuned for conversation, or distilled.",
    )
    training: Training | None = Field(default=None, description="What it was trained on.")
    slot: Slot | None = Field(default=None, description="Its place in a published list of models.")
    licence: str = Field(description="Licence of the weights, shown to the user.")
    gated: bool = Field(default=False, description="Whether the hub asks for an account that accepted its terms.")
    homepage: str | None = Field(default=None, description="Where the weights come from.")
    terms: str | None = Field(
        default=None, description="Name of terms the user must accept in config.yaml (accept_terms)."
    )
    requires: tuple[str, ...] = Field(
        default=(), description="Programs that must be on the PATH; the row is left out where they are not."
    )
    notes: str | None = Field(default=None, description="Anything a reader of the tables should know.")
    variant_of: Id | None = Field(
        default=None,
        description="Id of the row whose weights and other keys this row takes, changed by intervention.",
    )
    intervention: Intervention | None = Field(
        default=None, description="What the row changes in the model that it is a variant of."
    )

    @model_validator(mode="after")
    def _consistent(self) -> ModelSpec:
        allowed = VISION_POOLINGS if self.modality == "vision" else LANGUAGE_POOLINGS
        if self.pooling not in allowed:
            raise ValueError(f"pooling {self.pooling!r} is not for {self.modality} models ({', '.join(allowed)})")
        if self.objective != "random" and self.weights_sha256 is None and not self.download and not self.imported:
            raise ValueError(
                "weights_sha256 is missing (only what is random, or recorded when it is fetched, has none)"
            )
        if (self.variant_of is None) != (self.intervention is None):
            raise ValueError("a variant has both `variant_of` and `intervention`, another row has neither")
        change = self.intervention
        if self.quantisation and change and (change.weight_noise or change.reset_blocks):
            raise ValueError("weight_noise and reset_blocks change weights, and those of the row are quantised")
        if self.intervention and self.intervention.shuffle_input and self.pooling == "prompt_last":
            raise ValueError("shuffle_input would shuffle the prompt, too: choose another pooling than prompt_last")
        return self

    @property
    def download(self) -> str | None:
        """What its weights are fetched from: a repository of the hub, "owner/name", or an address; None: nothing."""
        named = self.source == "timm" and self.options.get("name")
        of_timm = f"timm/{named}" if named else None
        place = self.options.get("hub_id") or self.options.get("url") or of_timm
        return None if place is None else str(place)

    @property
    def quantisation(self) -> str | None:
        """What its weights are quantised to while they are loaded, "8bit" or "4bit"."""
        return self.options.get("quantisation")

    @property
    def weights(self) -> str:
        """Id of the row whose prepared weights the model is loaded from: variants share those of their row."""
        return self.variant_of or self.id

    def unchanged(self) -> ModelSpec:
        """The row that a variant's weights are those of; the row itself if it is no variant."""
        if self.variant_of is None:
            return self
        return self.model_copy(update={"id": self.variant_of, "variant_of": None, "intervention": None})

    @property
    def imported(self) -> bool:
        """Whether its neighbour lists or features were imported, so that there are no weights."""
        return self.source == "imported"

    @property
    def control(self) -> bool:
        """Whether the model is a random control."""
        return self.objective == "random"


# VTAB (Zhai et al., 2019): photographs of usual things, photographs by special instruments, and scenes whose geometry
# is asked for.
TaskGroup = Literal["natural", "specialised", "structured"]


class DatasetSpec(Closed):
    """One dataset: its family and the options that determine its content."""

    id: Id = Field(description="Name of the dataset in file names, tables and figures.")
    family: str = Field(description="File of src/zooalign/datasets/ that builds it.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the family, checked by it.")
    description: str = Field(default="", description="One line for people.")
    group: TaskGroup | None = Field(
        default=None, description="Group of a label task, as VTAB groups its own; tables group by it."
    )

    @property
    def kind(self) -> str:
        """What its samples are: "pairs", "labels", "texts" or "questions"."""
        return plugin("datasets", self.family, "dataset family").KIND


class ZooFile(Closed):
    """A zoo file."""

    include: tuple[str, ...] = Field(default=(), description="Other zoo files beside this one, read before it.")
    models: list[dict[str, Any]] = Field(default_factory=list, description="A row per model.")
    unavailable: tuple[Unavailable, ...] = Field(
        default=(), description="Models of a published list that cannot be had."
    )


class _DatasetFile(Closed):
    datasets: list[dict[str, Any]]


def read_models(path: Path, above: Iterable[ModelSpec] = ()) -> list[ModelSpec]:
    """Read the models of one zoo file, in its order.

    Parameters
    ----------
    path : Path
        The file.
    above : iterable of ModelSpec
        Rows of other files that its rows may be variants of.

    Raises
    ------
    ConfigError
        For an unknown key, source or option and for wrong values; names the file and the model.
    """
    known = {spec.id: spec for spec in above}
    models = []
    for i, row in enumerate(read_zoo_file(path).models):
        where = f"{path}, model {row.get('id', f'number {i + 1}')!r}"
        spec = _model(row if row.get("variant_of") is None else _variant(row, known, where), where)
        if spec.imported:
            located = member("zooalign.config.imported", "located")
            spec = spec.model_copy(update={"options": located(spec.options, path.parent)})
        models.append(spec)
        known[models[-1].id] = models[-1]
    return models


def read_zoo_file(path: Path) -> ZooFile:
    """Read a zoo file whose rows are not checked yet; raises as :func:`read_models`."""
    return parse(ZooFile, read_yaml(path), str(path))


def zoo_files(names: Iterable[str], resolve: Callable[[str], Path]) -> list[Path]:
    """Every zoo file that a configuration names, and those that these include, each once.

    Parameters
    ----------
    names : iterable of str
        Paths, or names of files in config/zoo without ".yaml".
    resolve : callable
        From a path in the configuration to the file.

    Returns
    -------
    list of Path
        A file comes after those that it includes.

    Raises
    ------
    ConfigError
        If a file is missing, or includes itself.
    """
    files: dict[Path, None] = {}

    def add(path: Path, open_files: tuple[Path, ...]) -> None:
        if path in open_files:
            raise ConfigError(f"{path}: include: the file includes itself; take it out.")
        if path not in files:
            for name in read_zoo_file(path).include:
                add(path.parent / name, (*open_files, path))
            files[path] = None

    for name in names:
        add(resolve(name if "/" in name or "." in name else f"config/zoo/{name}.yaml"), ())
    return list(files)


def read_zoo(names: Iterable[str], resolve: Callable[[str], Path]) -> list[ModelSpec]:
    """Every model of the zoo files that are named, and of those that these include, in their order.

    Parameters
    ----------
    names, resolve
        As in :func:`zoo_files`.

    Raises
    ------
    ConfigError
        As :func:`zoo_files` and :func:`read_models`; also if two rows share an id.
    """
    rows: list[tuple[ModelSpec, Path]] = []
    for path in zoo_files(names, resolve):
        rows += [(spec, path) for spec in read_models(path, [spec for spec, _ in rows])]
    check_unique(rows)
    return [spec for spec, _ in rows]


# What a variant may say itself; all else is its row's.
_OWN = ("id", "variant_of", "intervention", "notes")


def _variant(row: dict[str, Any], known: Mapping[str, ModelSpec], where: str) -> dict[str, Any]:
    """A variant's row with the keys of the row that it is a variant of."""
    name = row["variant_of"]
    own = [spec for spec in known.values() if spec.variant_of is None]
    base = next((spec for spec in own if spec.id == name and not spec.imported), None)
    if base is None:
        hint = unknown("model", str(name), [spec.id for spec in own])
        raise ConfigError(f"{where}: variant_of: {hint} Its row stands above, in this file or one listed before.")
    if other := sorted(set(row) - set(_OWN)):
        raise ConfigError(f"{where}: {other[0]} is that of {name!r}: a variant gives {', '.join(_OWN)} only.")
    # The note of the row is about the unchanged model.
    return {**base.model_dump(exclude={"notes"}), **row}


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
