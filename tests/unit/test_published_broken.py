"""Published files that are broken: one message that names the file and the place, or what can be read."""

import copy
import csv
import io
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.published_files import (
    EXAMPLES,
    HARNESS,
    LEADERBOARD,
    OPEN_CLIP,
    OWN,
    ZOO,
    imported,
    run,
)
from zooalign.errors import ConfigError
from zooalign.published._importing import import_files, recognised


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", "", r"x\.json: is empty"),
        ("x.csv", "", r"x\.csv: is empty"),
        ("x.csv", OPEN_CLIP.splitlines()[0] + "\n", r"x\.csv: is empty"),
        ("x.json", "[]", r"x\.json: is empty"),
        ("x.json", '{"results": {"a": ', r"x\.json: not valid JSON .*cut off"),
        ("x.jsonl", '{"a": 1}\n{"a": \n', r"x\.jsonl, line 2: not valid JSON"),
        ("x.json", "[" * 100_000, r"x\.json: lists or objects lie too deep"),
        ("x.json", '{"a": ' * 100_000, r"x\.json: lists or objects lie too deep"),
        ("x.json", f'{{"a": {"1" * 5000}}}', r"x\.json: not valid JSON"),
        ("x.json", '{"a": 1, "a": 2}', r"x\.json: the key 'a' occurs twice"),
        ("x.json", "[1]", r"x\.json, item 1: is '1', not an object"),
        ("x.json", "7", r"x\.json: holds '7'"),
        ("x.json", '{"weights": 1}', r"x\.json: is not a format that is known \(clip_benchmark, .*it has 'weights'"),
        ("x.csv", "a,a\n1,2\n", r"x\.csv: column 'a' occurs twice"),
        ("x.csv", OPEN_CLIP + "ViT-B-32,openai,1\n", r"x\.csv, line 8: 3 fields, the header has 8"),
        ("x.csv", OPEN_CLIP + "ViT,o" + ",1" * 7 + "\n", r"x\.csv, line 8: has more fields"),
        ("x.csv", OPEN_CLIP.replace("0.7796", "77.96"), r"line 2: column 'ImageNet 1k' is 77\.96, not between"),
        ("x.csv", OPEN_CLIP.replace("0.7796", "nan"), r"line 2: column 'ImageNet 1k' is 'nan', not a finite number"),
        ("x.csv", LEADERBOARD.replace(",33.0,", ",133.0,"), r"line 2: column 'IFEval' is 133, not between 0 and 100"),
        ("x.csv", LEADERBOARD.replace(",33.0,", ",-3,"), r"line 2: column 'IFEval' is -3, not between 0 and 100"),
        ("x.json", {**HARNESS, "results": {"arc": {"acc,none": 1.5}}}, "'acc,none' of 'arc' is 1.5, not between"),
        ("x.json", {**HARNESS, "results": {"arc": {"acc,none": math.nan}}}, "of 'arc' is 'nan', not a finite"),
        ("x.json", {**HARNESS, "results": {"arc": {"acc,none": 10**400}}}, "of 'arc' is '1000.*not a finite"),
        ("x.json", {**HARNESS, "results": {"arc": {"acc,none": 0.5, "acc_stderr,none": -1}}}, "cannot be negative"),
        ("x.json", {**HARNESS, "results": [1]}, r"x\.json: results is a list, not an object"),
        ("x.json", {**HARNESS, "results": {"arc": 3}}, "results of 'arc' is '3', not an object"),
        ("x.json", {"results": {}, "config": {"model_args": "dtype=auto"}}, "does not say which model it is of"),
        ("x.json", run(task="captioning", acc1=0.5), r"x\.json: the task 'captioning' is unknown \(linear_probe"),
        ("x.json", {**run(lp_acc1=0.5), "dataset": ""}, "the dataset is missing"),
        ("x.json", {**run(lp_acc1=0.5), "model": 3}, "model is '3', not the name"),
        ("x.json", run(lp_acc1="high"), "lp_acc1 is 'high', not a finite number"),
        ("x.json", [run(lp_acc1=0.5), {"other": 1}], r"x\.json, item 2: is not clip_benchmark, as the first is"),
        ("x.parquet", "PAR1 not", r"x\.parquet: cannot be read as Parquet"),
    ],
)  # fmt: skip
def test_mistakes_name_file_and_place(tmp_path, name, content, message):
    with pytest.raises(ConfigError, match=message) as error:
        imported(tmp_path, content, name)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read_and_formats_that_do_not_fit(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"name,pretrained\n\xff\xfe")
    with pytest.raises(ConfigError, match=r"x\.csv: cannot be read as UTF-8"):
        import_files([tmp_path / "x.csv"], ZOO)
    with pytest.raises(ConfigError, match=r"none\.json: cannot be read"):
        import_files([tmp_path / "none.json"], ZOO)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"empty: no \.json files"):
        import_files([tmp_path / "empty"], ZOO)
    with pytest.raises(ConfigError, match="unknown format 'openclip': did you mean 'open_clip'"):
        imported(tmp_path, OPEN_CLIP, "y.csv", form="openclip")
    with pytest.raises(ConfigError, match=r"y\.csv: is not lm_eval; it has 'name', 'pretrained'"):
        imported(tmp_path, OPEN_CLIP, "y.csv", form="lm_eval")
    assert recognised({"name", "colour"}) is None
    with pytest.raises(ConfigError, match="line 2: unknown column 'values': did you mean 'value'"):
        imported(tmp_path, OWN.replace("value", "values"), "mine.csv")


@pytest.mark.parametrize("depth", [10, 300, 900, 950, 970, 980, 985, 990, 995, 2000])
@pytest.mark.parametrize(
    "part", ['{"model_name": "m", "results": ', "[", '{"dataset": "d", "model_fullname": "m p", "metrics": ']
)
def test_what_lies_deep_gives_a_message_or_nothing(tmp_path, depth, part):
    text = part * depth + "1" + {"[": "]"}.get(part, "}") * depth
    try:
        result = imported(tmp_path, text, "x.json")
    except ConfigError as error:
        assert "x.json" in str(error)  # noqa: PT017
    else:
        assert result.rows == []
        assert "no metric that is read here" in result.remarks[0]


JUNK = [None, True, -1, 0.5, 10**30, 1e400, math.nan, "", "x", "\x1b[2J", [], [1], {}, {"a": {}}, "N/A", "0.5"]


def places(value, here=()):
    """Where something stands inside a value of JSON."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(place for key, inner in inside for place in places(inner, (*here, key)))]


@given(data=st.data(), name=st.sampled_from(["clip_benchmark", "lm_eval", "open_llm_leaderboard", "runs"]))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_in_a_file_is_read_or_refused_in_one_line(tmp_path, data, name):
    rows = list(csv.DictReader(io.StringIO(LEADERBOARD)))
    content = {"open_llm_leaderboard": rows, "runs": [run(lp_acc1=0.5, acc5=0.9, fewshot_k=3)]}.get(name)
    content = copy.deepcopy(content or EXAMPLES[name][0])
    for _ in range(data.draw(st.integers(1, 3))):
        *above, key = data.draw(st.sampled_from([place for place in places(content) if place]))
        inner = content
        for part in above:
            inner = inner[part]
        if data.draw(st.booleans()):
            inner[key] = copy.deepcopy(data.draw(st.sampled_from(JUNK)))
        elif isinstance(inner, dict):
            inner[data.draw(st.sampled_from(["", "acc,none", "acc1", "Average", "dataset"]))] = inner.pop(key)
        if not content:
            return
    try:
        result = imported(tmp_path, content)
    except ConfigError as error:
        assert "results.json" in str(error)  # noqa: PT017
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert all(math.isfinite(r.value) and r.capability for r in result.rows)
        assert all(0 <= r.value <= 1 for r in result.rows if r.unit == "accuracy")


@given(data=st.data(), name=st.sampled_from(["open_clip", "open_llm_leaderboard", "external"]))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_changed_in_a_table_is_read_or_refused_in_one_line(tmp_path, data, name):
    text = EXAMPLES[name][0]
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    part = data.draw(st.sampled_from(["", '"', ",", "\n", "nan", "1e999", "-1", "\x1b", '""', "x,x"]))
    try:
        result = imported(tmp_path, text[:start] + part + text[end:], "x.csv")
    except ConfigError as error:
        assert "x.csv" in str(error)  # noqa: PT017
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert all(math.isfinite(r.value) and r.capability for r in result.rows)
