"""YAML from outside: read safely, checked against a closed schema, every mistake in one line."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from zooalign.errors import ConfigError, unknown

T = TypeVar("T", bound=BaseModel)


def parse(model: type[T], value: dict[str, Any], where: str) -> T:
    """Build a configuration model, with errors that name `where`."""
    try:
        return model(**value)
    except ValidationError as error:
        raise ConfigError(explain(error, where, model)) from error
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from error


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
