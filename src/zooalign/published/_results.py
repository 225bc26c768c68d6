"""What readers give: a model as its publisher names it, and a value of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from zooalign.errors import ConfigError


class Published(NamedTuple):
    """A model as a file names it.

    Attributes
    ----------
    name : str
        What the file calls it: a repository of the hub, a name of timm, an id, or "architecture, tag" of open_clip.
    modality : "vision", "language" or None
        What its results are about; language results are of causal models. None: whatever the row is.
    architecture, tag : str
        open_clip's pair, where the file has one.
    precision : str
        Arithmetic of the run, where known.
    quantisation : str or None
        What its weights were quantised to ("8bit"); None: not at all.
    revision : str
        Commit or branch of the repository, where it is not the newest.
    """

    name: str
    modality: Literal["vision", "language"] | None
    architecture: str = ""
    tag: str = ""
    precision: str = ""
    quantisation: str | None = None
    revision: str = ""

    @property
    def label(self) -> str:
        """The name with what makes the run one of other weights.

        Examples
        --------
        >>> Published("org/model", "language", quantisation="4bit", revision="step1000").label
        'org/model at step1000, 4bit'
        """
        named = f"{self.name} at {self.revision}" if self.revision else self.name
        return f"{named}, {self.quantisation}" if self.quantisation else named


class Result(NamedTuple):
    """One value of one model; fields as in `External`. `source` is empty where the file does not say it."""

    model: Published
    capability: str
    value: float
    unit: str
    where: str
    standard_error: float = math.nan
    higher_is_better: bool = True
    n: int = 0
    source: str = ""


class Reading(NamedTuple):
    """What a reader found, and in words what it left out."""

    results: list[Result]
    remarks: tuple[str, ...] = ()


def clip(architecture: Any, tag: Any, where: str) -> Published:
    """A vision model by open_clip's architecture and tag of its weights, or by its repository on the hub.

    Raises
    ------
    ConfigError
        If one of the two is not a name.
    """
    if not isinstance(architecture, str) or not architecture.strip():
        raise ConfigError(f"{where}: model is {shown(architecture)}, not the name of a model.")
    if "/" in architecture:
        return Published(architecture.removeprefix("hf-hub:"), "vision")
    if not isinstance(tag, str):
        raise ConfigError(f"{where}: pretrained is {shown(tag)}, not the name of weights.")
    # As open_clip's `_clean_tag`.
    return Published(f"{architecture}, {tag}", "vision", architecture, tag.lower().replace("-", "_"))


def capability_id(*parts: str) -> str:
    """Id of a capability: lower case, words joined by underscores.

    Examples
    --------
    >>> capability_id("open_clip", "ImageNet 1k"), capability_id("vtab+/caltech101", "", "probe")
    ('open_clip_imagenet_1k', 'vtab_plus_caltech101_probe')
    """
    text = "_".join(part for part in parts if part).lower().replace("+", "_plus_")
    return re.sub(r"[^a-z0-9]+", "_", text).strip("_")


def shown(value: Any) -> str:
    """Beginning of a value for a message; of what holds others, what it is.

    Examples
    --------
    >>> shown("high"), shown([1]), shown({}), shown(None)
    ("'high'", 'a list', 'an object', 'empty')
    """
    if isinstance(value, Mapping | list):
        return "an object" if isinstance(value, Mapping) else "a list"
    return "empty" if value is None else repr(str(value)[:40])


def number(value: Any, what: str, where: str) -> float | None:
    """A finite number; None for an empty cell.

    Raises
    ------
    ConfigError
        Names the place, the column or key, and the beginning of the value.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        result = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        result = math.nan
    if not math.isfinite(result):
        raise ConfigError(f"{where}: {what[:100]} is {shown(value)}, not a finite number. Correct or delete it.")
    return result


def fraction(value: Any, what: str, where: str, whole: float = 1.0) -> float | None:
    """A number between 0 and `whole` (100 for percent), as a fraction; None for an empty cell.

    Raises
    ------
    ConfigError
        As :func:`number`, and for a number outside the range.
    """
    result = number(value, what, where)
    if result is not None and not 0 <= result <= whole:
        raise ConfigError(f"{where}: {what[:100]} is {result:g}, not between 0 and {whole:g}. Correct or delete it.")
    return None if result is None else result / whole


def mapping(value: Any, what: str, where: str) -> Mapping[str, Any]:
    """An object inside a record.

    Raises
    ------
    ConfigError
        If it is something else.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: {what[:100]} is {shown(value)}, not an object.")
    return value
