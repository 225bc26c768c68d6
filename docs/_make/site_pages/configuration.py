"""Every key of the configuration with type, default, range and meaning, from the schema that checks it."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from site_pages.markdown import plain, table
from zooalign.closed import Closed
from zooalign.config.manifest import DatasetSpec, ModelSpec, ZooFile
from zooalign.config.schema import Config
from zooalign.registry import plugin, plugin_names

_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "any", type(None): "none"}
_BOUNDS = (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
_HEADS = ("key", "type", "default", "meaning")


def pages() -> dict[str, str]:
    """Text of the pages by name."""
    return {
        "configuration.md": _page(
            "config.yaml",
            "Every key of `config.yaml`, as the schema checks it: an unknown key is an error that names the nearest "
            "right ones. [Configuration, explained](../configuration.md) says in words what the keys are for.",
            Config,
        ),
        "zoo-rows.md": _page(
            "Rows of a zoo file",
            "A model is a row of a file in `config/zoo`. `zooalign zoo add` writes rows, `zooalign zoo check` "
            "compares them with their architecture.",
            ZooFile,
            ModelSpec,
        ),
        "dataset-rows.md": _page(
            "Rows of a dataset file",
            "A dataset is a row of a file in `config/datasets`. What `options` may hold depends on the "
            "[family](dataset-families.md).",
            DatasetSpec,
        ),
        "sources.md": _plugins(
            "sources",
            "Options of sources",
            "`source` of a [model's row](zoo-rows.md) names one of these files of `src/zooalign/sources`; `options` "
            "of the row has its keys.",
        ),
        "dataset-families.md": _plugins(
            "datasets",
            "Options of dataset families",
            "`family` of a [dataset's row](dataset-rows.md) names one of these files of `src/zooalign/datasets`; "
            "`options` of the row has its keys.",
        ),
        "capability-kinds.md": _plugins(
            "capability",
            "Options of capabilities",
            "`kind` of an entry under [`capabilities`](configuration.md#capabilities) names one of these files of "
            "`src/zooalign/capability`; `options` of the entry has its keys.",
        ),
    }


def documented(model: type[Closed], name: str = "") -> Iterator[tuple[str, str, FieldInfo]]:
    """Every key of a schema and of those inside it: path of the section, key, field."""
    for key, field in model.model_fields.items():
        yield name, key, field
        for inner in _models(field.annotation):
            yield from documented(inner, f"{name}.{key}".lstrip("."))


def _page(title: str, about: str, *models: type[Closed]) -> str:
    parts = [f"# {title}\n", f"{about}\n"]
    for model in models:
        if len(models) > 1:
            parts.append(f"## {_first_line(model.__doc__).rstrip('.')} {{ #{model.__name__.lower()} }}\n")
        parts.append(_keys(model, ""))
        parts += _sections(model, "")
    return "\n".join(parts)


def _sections(model: type[Closed], path: str) -> Iterator[str]:
    """A section for each schema inside a schema, in the order of the keys."""
    for key, field in model.model_fields.items():
        for inner in _models(field.annotation):
            name = f"{path}.{key}".lstrip(".")
            yield f"## `{name}{_many(field.annotation)}` {{ #{_anchor(name)} }}\n"
            yield f"{plain(_first_line(inner.__doc__))}\n"
            yield _keys(inner, name)
            yield from _sections(inner, name)


def _plugins(room: str, title: str, about: str) -> str:
    """A section for each plug-in of a room, then one for each schema that their options have inside."""
    parts = [f"# {title}\n", f"{about}\n"]
    shared: dict[type[Closed], None] = {}
    for name in plugin_names(room):
        module = plugin(room, name, room)
        parts.append(f"## `{name}` {{ #{_anchor(name)} }}\n")
        parts.append(f"{plain(module.__doc__ or '').strip()}\n")
        if kind := getattr(module, "KIND", None):
            parts.append(f"Its samples are of the kind `{kind}`.\n")
        options = module.Options
        parts.append(_keys(options, name, by_class=True) if options.model_fields else "It has no options.\n")
        shared |= dict.fromkeys(_inside(options))
    for model in sorted(shared, key=lambda model: model.__name__):
        parts.append(f"## {_first_line(model.__doc__).rstrip('.')} {{ #{_class_anchor(model)} }}\n")
        parts.append(_keys(model, _class_anchor(model), by_class=True))
    return "\n".join(parts)


def _inside(model: type[Closed]) -> Iterator[type[Closed]]:
    """Every schema inside a schema, at any depth."""
    for field in model.model_fields.values():
        for inner in _models(field.annotation):
            yield inner
            yield from _inside(inner)


def _class_anchor(model: type[Closed]) -> str:
    return f"keys-of-{model.__name__.lower()}"


def _keys(model: type[Closed], path: str, by_class: bool = False) -> str:
    """Table of the keys of one schema; each key has an anchor, "inference-null"."""
    rows = []
    for key, field in model.model_fields.items():
        anchor, kind = _anchor(f"{path}.{key}".lstrip(".")), _type(field)
        if inner := _models(field.annotation):
            kind = kind.replace("keys", "[keys](#{})").format(
                *(_class_anchor(i) if by_class else anchor for i in inner)
            )
        mark = f"{{ #{anchor} }}" if by_class or not inner else ""
        rows.append((f"`{key}`{mark}", kind, _default(field), field.description or ""))
    return table(_HEADS, rows)


def _anchor(path: str) -> str:
    return path.replace(".", "-").replace("_", "-").lower()


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n\n")[0]


def _models(annotation: Any) -> list[type[Closed]]:
    """Schemas inside a type."""
    if isinstance(annotation, type) and issubclass(annotation, Closed):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


def _many(annotation: Any) -> str:
    """Mark of a schema that is there several times, "[]" or ".NAME"."""
    origin = get_origin(annotation)
    return "[]" if origin in (tuple, list) else ".NAME" if origin is dict else ""


def _type(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {_number(bound)}"
        for limit in field.metadata
        for name, sign in _BOUNDS
        if (bound := getattr(limit, name, None)) is not None
    ]
    least = [n for limit in field.metadata if (n := getattr(limit, "min_length", None)) is not None]
    patterns = [str(p) for limit in field.metadata if (p := getattr(limit, "pattern", None)) is not None]
    said = [_said(field.annotation), *bounds, *(f"at least {n}" for n in least), *(f"as `{p}`" for p in patterns)]
    return ", ".join(said)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _said(annotation: Any) -> str:
    """A type in words."""
    if annotation in _NAMES:
        return _NAMES[annotation]
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _said(inner[0])
    if origin is Literal:
        *first, last = [f"`{value}`" for value in inner]
        return f"{', '.join(first)} or {last}" if first else last
    if origin in (Union, types.UnionType):
        return " or ".join(_said(one) for one in inner if one is not type(None))
    if origin in (tuple, list):
        return f"list of {_said(inner[0])}"
    if origin is dict:
        return f"{_said(inner[1])} by name"
    if isinstance(annotation, type) and issubclass(annotation, Closed):
        return "keys"
    return str(annotation)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "(required)"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    if isinstance(value, Closed):
        return ""
    if value in ((), {}, [], ""):
        return "empty"
    if isinstance(value, tuple) and len(value) > 6:
        return "all of them"
    return f"`{json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value}`"
