"""Rooms depend on each other in one direction, counted over every import, lazy ones and those for types."""

import ast
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
ROOT = "zooalign"

# A room may import what stands above it.
ORDER = [
    "errors",
    "progress",
    "provenance",
    "network",
    "hub",
    "registry",
    "closed",
    "layout",
    "kernels",
    "storage",
    "config",
    "models",
    "sources",
    "zoo",
    "published",
    "data",
    "datasets",
    "features",
    "indexes",
    "metrics",
    "capability",
    "alignment",
    "training",
    "results",
    "tables",
    "figures",
    "report",
    "sharing",
    "slurm",
    "planning",
    "workflow",
    "submit",
    "cli",
]
LARGEST_ROOT = 10


@cache
def modules() -> dict[str, Path]:
    """Every module of the library, by its name below the library."""
    found = {}
    for path in sorted((SOURCE / ROOT).rglob("*.py")):
        parts = path.relative_to(SOURCE / ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(text: str, package: str, known: set[str]) -> set[str]:
    """Modules of the library that a text imports, wherever in it the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    within = {name.removeprefix(f"{ROOT}.") for name in names if name.startswith(f"{ROOT}.")}
    return {
        ".".join(parts[:i]) for name in within if (parts := name.split(".")) for i in [_longest(parts, known)] if i
    }


def _longest(parts: list[str], known: set[str]) -> int:
    return next((i for i in range(len(parts), 0, -1) if ".".join(parts[:i]) in known), 0)


@cache
def arrows() -> dict[tuple[str, str], list[str]]:
    """From room to room (a module of the root is its own), the imports that make the arrow."""
    known = set(modules()) - {""}
    found: dict[tuple[str, str], list[str]] = {}
    for name, path in modules().items():
        package = ".".join([ROOT, *([name] if path.stem == "__init__" else name.split(".")[:-1])]).rstrip(".")
        for other in imported(path.read_text(), package, known):
            pair = room_of(name), room_of(other)
            if pair[0] != pair[1] and pair[0]:
                found.setdefault(pair, []).append(f"{name} imports {other}")
    return found


def room_of(module: str) -> str:
    return module.split(".")[0]


def rooms() -> list[str]:
    return sorted({room_of(name) for name, path in modules().items() if path.stem == "__init__" and name})


def reachable(start: str) -> dict[str, list[str]]:
    """Rooms that one leads to, each with the way there."""
    ways, waiting = {}, [(start, [])]
    while waiting:
        here, way = waiting.pop()
        for a, b in arrows():
            if a == here and b not in ways:
                ways[b] = [*way, arrows()[a, b][0]]
                waiting.append((b, ways[b]))
    return ways


def test_imports_are_seen_wherever_they_stand():
    text = """
from typing import TYPE_CHECKING
import zooalign.zoo
from zooalign import errors as e, score
if TYPE_CHECKING:
    from zooalign.features.store import FeatureStore
def f():
    from .samples import Samples
    from ..storage import lease
"""
    known = {"zoo", "errors", "features", "features.store", "data", "data.samples", "storage", "storage.lease"}
    expected = {"zoo", "errors", "features.store", "data.samples", "storage.lease"}
    assert imported(text, "zooalign.data", known) == expected


@pytest.mark.parametrize("room", rooms())
def test_no_room_leads_back_to_itself(room):
    assert room not in (ways := reachable(room)), f"a circle: {'; '.join(ways[room])}"


def test_every_room_has_its_place_and_arrows_point_upwards():
    place = {room: i for i, room in enumerate(ORDER)}
    assert {room_of(name) for name in modules() if name} == set(place)
    wrong = [way for (a, b), ways in arrows().items() if place[b] > place[a] for way in ways]
    assert not wrong


def test_few_modules_lie_at_the_root():
    root = [name for name, path in modules().items() if name and "." not in name and path.stem != "__init__"]
    assert len(root) <= LARGEST_ROOT, root


@pytest.mark.parametrize("room", rooms())
def test_a_room_says_what_it_is_for_what_it_may_import_and_what_it_gives(room):
    doc = ast.get_docstring(ast.parse(modules()[room].read_text())) or ""
    lines = [line for line in doc.splitlines() if line][:3]
    assert len(lines) == 3, doc
    assert " may import " in lines[1]
    assert " give" in lines[2]
