"""Configuration files as people and enemies write them: one message that names the file and the key, at once."""

import copy
import itertools
import math
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zooalign.config.manifest import read_models
from zooalign.config.reading import check_values, read_yaml
from zooalign.config.sweep import load_sweep, read_config
from zooalign.datasets import folder as folder_family
from zooalign.errors import ConfigError, DatasetError

ROOT = Path(__file__).parents[2]
NAMES = "abcdefghij"
BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in itertools.pairwise(NAMES)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x: .nan", "x: nan is not a finite number"),
        ("x: {y: [1, -.inf]}", "x.y.1: -inf is not a finite number"),
        (f"x: {10**30}", "the number 10000000000000000000... is too large"),
        (BOMB, "its anchors stand for more than 1,000,000 values"),
        ("x: &x [*x]", "recursive"),
        ("x: 1\ny: 2\nx: 3", "line 3: duplicate key 'x'"),
        ("x: {y: 1, y: 2}", "line 1: duplicate key 'y'"),
        ("? [1]\n: 2", "line 1: a key must be a name"),
        ("x: " + "[" * 3000 + "]" * 3000, "too deep"),
        ("x: 2026-13-45", "not valid YAML"),
        ("- 1", "expected a mapping"),
    ],
)
def test_a_file_that_means_nothing_is_one_message(tmp_path, text, said):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"x\.yaml") as error:
        read_yaml(tmp_path / "x.yaml")
    assert said in str(error.value)


def test_anchors_that_do_not_multiply_are_fine(tmp_path):
    (tmp_path / "x.yaml").write_text("a: &a [1, 2]\nb: *a\nc: [*a, *a]")
    assert read_yaml(tmp_path / "x.yaml")["c"] == [[1, 2], [1, 2]]


@pytest.mark.parametrize("results", ["", "  ", "a{b}", "{model}", "a\nb"])
def test_a_results_folder_that_cannot_be_one_is_refused(results):
    with pytest.raises(ConfigError, match=r"results: .* cannot be the folder of results"):
        load_sweep({**read_config(ROOT / "config.yaml"), "results": results}, ROOT)


def test_values_of_the_command_line_are_checked_too():
    with pytest.raises(ConfigError, match=r"extraction\.workers: inf is not a finite number"):
        load_sweep({**read_config(ROOT / "config.yaml"), "extraction": {"workers": math.inf}}, ROOT)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["all", "emoji", "cka", "mutual_knn", "../..", "/etc", "{x}", "0" * 200, "1e400"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)


def places(value, place=()):
    """Every place inside a nested value."""
    yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*place, key))


def changed(value, place, new):
    """A copy with another value at a place."""
    if not place:
        return new
    value = copy.deepcopy(value)
    part = value
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = new
    return value


CONFIG = read_config(ROOT / "config.yaml")
ROWS = yaml.safe_load((ROOT / "config/zoo/packaged.yaml").read_text())
FUZZ = settings(max_examples=100, deadline=5000, suppress_health_check=list(HealthCheck))


def refused(call, *errors):
    """Message of one of our errors; "" where it is accepted. Any other error fails the test."""
    try:
        call()
    except errors as error:
        return str(error)
    return ""


@FUZZ
@given(place=st.sampled_from(list(places(CONFIG))[1:]), new=VALUES)
def test_any_configuration_loads_or_is_refused(place, new):
    refused(lambda: load_sweep(changed(CONFIG, place, new), ROOT), ConfigError, DatasetError)


@FUZZ
@given(place=st.sampled_from(list(places(ROWS))[1:]), new=VALUES)
def test_any_row_of_a_zoo_loads_or_is_refused(tmp_path_factory, place, new):
    path = tmp_path_factory.mktemp("rows") / "zoo.yaml"
    path.write_text(yaml.safe_dump(changed(ROWS, place, new)))
    said = refused(lambda: read_models(path), ConfigError)
    assert not said or "zoo.yaml" in said


CELLS = st.sampled_from(["image", "caption", "id", "a.png", "..", "", '"', "x,y", "\0", "caption", "image"])
LINES = st.lists(st.lists(CELLS, max_size=4).map(",".join), max_size=4).map("\n".join)


@FUZZ
@given(
    table=st.binary(max_size=300) | (st.text(max_size=300) | LINES).map(str.encode),
    suffix=st.sampled_from(["csv", "tsv", "jsonl"]),
)
def test_any_table_of_captions_is_read_or_refused(tmp_path_factory, table, suffix):
    path = tmp_path_factory.mktemp("tables") / f"t.{suffix}"
    path.write_bytes(table)
    options = folder_family.Options(table=str(path))
    for call in (lambda: folder_family.fingerprint(options, "mine"), lambda: folder_family.size(options, "mine")):
        said = refused(call, DatasetError)
        assert not said or str(path) in said or "image" in said


def test_check_values_names_the_place():
    with pytest.raises(ConfigError, match=r"here: a\.2\.b: nan"):
        check_values({"a": [0, 1, {"b": math.nan}]}, "here")
