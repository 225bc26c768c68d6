"""Which other choices of the sweep are tried, to see whether the order of models depends on them: the cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from zooalign.closed import Closed
from zooalign.config.manifest import ModelSpec
from zooalign.errors import ConfigError, unknown
from zooalign.registry import member, plugin

if TYPE_CHECKING:
    from zooalign.config.schema import Config

# Rows with the sweep's own preparation and a k that its own rows lack.
OWN = "own"
COMPARISON = "vision-language"
_POOLINGS = {"vision": ("cls", "mean"), "language": ("mean", "last")}
_WHERE = "config.yaml, sensitivity"


class SensitivityConfig(Closed):
    """Alternatives to the sweep's own settings, each an axis; without any there are no cells."""

    metric: str | None = Field(
        default=None, description="Metric whose order of models is followed, one of `metrics`; the headline's."
    )
    design: Literal["one_at_a_time", "full"] = Field(
        default="one_at_a_time", description="A cell per alternative, or per combination of all axes."
    )
    k: tuple[int, ...] = Field(default=(), description="Other numbers of neighbours.")
    similarity: tuple[Literal["cosine", "euclidean", "inner_product", "rbf"], ...] = Field(
        default=(), description="Others; rbf has the median distance as bandwidth and is for lists and kernels."
    )
    normalise: tuple[Literal["l2", "none", "centred_l2"], ...] = Field(default=(), description="As in preparation.")
    clamp_quantile: tuple[float, ...] = Field(default=(), description="As in preparation; 1 clips nothing.")
    pooling: tuple[Literal["cls", "mean", "last"], ...] = Field(
        default=(), description="Other poolings, for models that can be pooled so; one extraction stores them all."
    )
    precision: tuple[Literal["float32", "float16", "bfloat16"], ...] = Field(
        default=(), description="What prepared rows are rounded to."
    )

    @field_validator("k")
    @classmethod
    def _positive(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(k < 1 for k in value):
            raise ValueError(f"{list(value)}; give positive whole numbers")
        return value

    @field_validator("clamp_quantile")
    @classmethod
    def _quantiles(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < q <= 1 for q in value):
            raise ValueError(f"{list(value)}; give quantiles above 0, at most 1")
        return value

    @property
    def axes(self) -> dict[str, tuple[Any, ...]]:
        """Alternatives by axis, axes without any left out."""
        named = {name: getattr(self, name) for name in AXES}
        return {name: values for name, values in named.items() if values}


AXES = ("k", "similarity", "normalise", "clamp_quantile", "pooling", "precision")


@dataclass(frozen=True)
class Cell:
    """One choice of settings, named by what differs from the sweep's own.

    Attributes
    ----------
    changes : tuple of (str, value)
        Axis and value, at least one.
    metric : str
        Whose order of models is followed.
    k : int
        Its number of neighbours; 0 where it takes none.
    preparation : str
        Folder of its rows in results/sensitivity: :data:`OWN`, or the id of the changes but for k; empty where the
        sweep's own rows have it.
    same_as : str
        Title of the sweep's own settings or of an earlier cell that gives the same by theory; empty for none.
    """

    changes: tuple[tuple[str, Any], ...]
    metric: str
    k: int
    preparation: str
    same_as: str = ""

    @property
    def id(self) -> str:
        """Safe as a file name: "k-5_similarity-euclidean"."""
        return name_of(self.changes)

    @property
    def title(self) -> str:
        """For people: "k = 5, similarity = euclidean"."""
        return ", ".join(f"{axis} = {value}" for axis, value in self.changes)

    @property
    def pooling(self) -> str | None:
        """Pooling that it asks of models; None for their own."""
        return dict(self.changes).get("pooling")


def name_of(changes: Sequence[tuple[str, Any]]) -> str:
    """Changes as a file name; empty for none."""
    return "_".join(f"{axis}-{value}" for axis, value in changes)


def make_cells(config: Config) -> tuple[Cell, ...]:
    """Cells of a configuration, in the order of its axes; none without the section.

    Raises
    ------
    ConfigError
        For a metric that is not of the sweep or has no such form, a value that is the sweep's own or repeats
        another, or an axis that changes nothing.
    """
    asked = config.sensitivity
    if not asked.axes:
        return ()
    metric, k = followed(config)
    own: dict[str, Any] = {"k": k, **config.preparation.model_dump(), "pooling": None}
    _check(config, metric, own)
    ks = config.metrics[metric].k
    seen = {_meaning(metric, own): "the sweep's own settings"}
    cells: list[Cell] = []
    for changes in _combinations(asked, own):
        settings = {**own, **dict(changes)}
        preparation = name_of([change for change in changes if change[0] != "k"])
        if not preparation and settings["k"] not in ks:
            preparation = OWN
        same_as = seen.get(_meaning(metric, settings), "")
        cells.append(Cell(changes, metric, settings["k"], preparation, same_as))
        seen.setdefault(_meaning(metric, settings), cells[-1].title)
    return tuple(cells)


def followed(config: Config) -> tuple[str, int]:
    """Metric and k (0 where it takes none) whose order of models is followed.

    Raises
    ------
    ConfigError
        If the metric is not one of the sweep, or it is open which k is its own.
    """
    headline, metric = config.headline, config.sensitivity.metric or config.headline.metric
    if metric not in config.metrics:
        raise ConfigError(f"{_WHERE}.metric: {unknown('metric', metric, config.metrics)}")
    ks = list(config.metrics[metric].k)
    if not ks:
        return metric, 0
    if metric == headline.metric or headline.k in ks:
        return metric, headline.k or 0
    if len(ks) > 1:
        raise ConfigError(
            f"{_WHERE}.metric: metrics.{metric} has k {ks}, and none is headline.k, so it is open which one "
            f"alternatives are compared with. Give it headline.k, {headline.k}, too."
        )
    return metric, ks[0]


def _combinations(asked: SensitivityConfig, own: Mapping[str, Any]) -> Iterator[tuple[tuple[str, Any], ...]]:
    """Changes of every cell."""
    if asked.design == "one_at_a_time":
        yield from (((axis, value),) for axis, values in asked.axes.items() for value in values)
        return
    for values in product(*((own[axis], *others) for axis, others in asked.axes.items())):
        changes = tuple((axis, value) for axis, value in zip(asked.axes, values, strict=True) if value != own[axis])
        if changes:
            yield changes


def _check(config: Config, metric: str, own: Mapping[str, Any]) -> None:
    module = plugin("metrics", metric, "metric")
    for axis, values in config.sensitivity.axes.items():
        where = f"{_WHERE}.{axis}"
        if len(set(values)) < len(values):
            raise ConfigError(f"{where}: {list(values)} repeats a value; delete one.")
        if own[axis] in values:
            raise ConfigError(f"{where}: {own[axis]} is the sweep's own setting; name others only.")
        if axis == "k" and not module.TAKES_K:
            raise ConfigError(f"{where}: {metric} takes no k; delete it, or name another sensitivity.metric.")
        if axis == "clamp_quantile" and own["clamp_scope"] == "none":
            raise ConfigError(f"{where}: preparation.clamp_scope is none, so no quantile changes anything.")
        if "rbf" in values and not member("zooalign.indexes.preparation", "RBF_NEEDS") >= module.NEEDS:
            raise ConfigError(
                f"{where}: {metric} has no form with an RBF kernel; metrics of neighbours alone have one, and cka "
                "and unbiased_cka. Delete rbf, or name one of those as sensitivity.metric."
            )


def _meaning(metric: str, settings: Mapping[str, Any]) -> tuple[Any, ...]:
    """What of the settings a metric depends on: two cells of the same meaning give the same scores by theory."""
    needs = plugin("metrics", metric, "metric").NEEDS
    normalise, similarity, quantile = (settings[key] for key in ("normalise", "similarity", "clamp_quantile"))
    ranking: Any = "distance" if similarity == "rbf" else similarity.replace("euclidean", "distance")
    if normalise != "none" or similarity == "cosine":
        ranking = "unit"  # on unit rows all rank alike
    lengths = normalise
    # Lists under cosine do not depend on the lengths of rows, unless these are rounded as they are.
    if needs == {"neighbors"} and ranking == "unit" and normalise == "none" and settings["precision"] == "float32":
        lengths = "l2"
    return (
        settings["k"],
        lengths,
        ranking if "neighbors" in needs else None,
        similarity == "rbf" if "gram" in needs else None,
        quantile,
        settings["pooling"],
        settings["precision"],
    )


def pooling_of(spec: ModelSpec, pooling: str | None) -> str:
    """How a model is pooled where a cell asks for a pooling: the models of the other modality keep their own."""
    return pooling if pooling in _POOLINGS[spec.modality] else spec.pooling


def why_not_pooled(spec: ModelSpec, pooling: str | None) -> str:
    """Why a model cannot be pooled as a cell asks; empty if it can."""
    wanted = pooling_of(spec, pooling)
    if wanted == spec.pooling:
        return ""
    if spec.imported:
        return "its features were imported in another pooling"
    if spec.pooling == "prompt_last":
        return "it reads captions in a prompt (pooling prompt_last)"
    if wanted == "cls" and not spec.class_token:
        return "it has no class token"
    return ""


def check_poolings(config: Config, models: Sequence[ModelSpec]) -> None:
    """Refuse a pooling that changes no model.

    Raises
    ------
    ConfigError
        Names the pooling.
    """
    for pooling in config.sensitivity.pooling:
        able = [m for m in models if not why_not_pooled(m, pooling)]
        if not any(pooling_of(m, pooling) != m.pooling for m in able):
            raise ConfigError(
                f"{_WHERE}.pooling: {pooling} changes no model of the sweep: each has it already or cannot be pooled "
                "so (cls needs class_token: true in the row of a vision model). Delete it."
            )
