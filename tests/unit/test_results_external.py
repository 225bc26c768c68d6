"""Capabilities measured elsewhere: read, joined by trust, refused with file and line."""

import math
from types import SimpleNamespace

import pytest

from zooalign.config.external import read_external
from zooalign.config.identity import result_digest
from zooalign.config.sweep import load_sweep
from zooalign.errors import ConfigError
from zooalign.results.external import join

MODELS = [SimpleNamespace(id=name) for name in ("gpt", "bert", "smollm2_135m")]


def write(folder, text, name="leaderboard.csv"):
    path = folder / name
    path.write_text(text)
    return path


def test_columns_have_defaults(tmp_path):
    path = write(tmp_path, "model,capability,value,source\ngpt,gsm8k,0.51,paper\nbert,gsm8k,0.12,\n")
    first, second = read_external([path], MODELS)
    assert (first.model, first.capability, first.value, first.source) == ("gpt", "gsm8k", 0.51, "paper")
    assert (second.source, second.unit, second.higher_is_better, second.n) == ("leaderboard", "", True, 0)
    assert math.isnan(second.standard_error)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,value\ngpt,1\n", r"leaderboard\.csv: column 'capability' is missing"),
        ("model,capability,value,sauce\n", r"unknown column 'sauce': did you mean 'source'"),
        (
            "model,capability,value\ngtp,gsm8k,1\n",
            r"\.csv, line 2: unknown model 'gtp': did you mean 'gpt'",
        ),
        ("model,capability,value\ngpt,gsm8k,1\ngpt,arc,high\n", r"line 3: value is 'high', not a finite number"),
        ("model,capability,value\ngpt,gsm8k,inf\n", r"value is 'inf', not a finite number"),
        ("model,capability,value,standard_error\ngpt,gsm8k,1,-1\n", "it cannot be negative"),
        ("model,capability,value,higher_is_better\ngpt,gsm8k,1,maybe\n", "write true or false"),
        ("model,capability,value\ngpt,gsm8k,1,2\n", "more fields than the header"),
        ("model,capability,value\ngpt,,1\n", "capability is empty"),
        ("", "column 'model' is missing"),
        ("model,model,capability,value\ngpt,gpt,gsm8k,1\n", "column 'model' occurs twice"),
        (
            f"model,capability,value\ngpt,gsm8k,{'1' * 200_000}\n",
            r"leaderboard\.csv, line 2: (field larger|value is '1{40}', not)",
        ),
    ],
)
def test_mistakes_name_file_and_line(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read_external([write(tmp_path, text)], MODELS)


def test_files_that_are_no_text_are_named(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"x\.csv: cannot be read as UTF-8"):
        read_external([tmp_path / "x.csv"], MODELS)
    with pytest.raises(ConfigError, match=r"none\.csv: cannot be read"):
        read_external([tmp_path / "none.csv"], MODELS)


def own(model, value, reason=""):
    return {"capability": "gsm8k", "model": model, "value": value, "standard_error": 0.01, "unit": "",
            "higher_is_better": True, "n": 100, "reason": reason}  # fmt: skip


def test_one_value_per_capability_and_model_by_trust(tmp_path):
    a = write(tmp_path, "model,capability,value\ngpt,gsm8k,0.5\nbert,gsm8k,0.1\n", "a.csv")
    b = write(tmp_path, "model,capability,value\ngpt,gsm8k,0.6\n", "b.csv")
    rows = [own("gpt", 0.4), own("smollm2_135m", None, "out of memory")]
    external = read_external([a, b], MODELS)

    def values(*ranking):
        return {row["model"]: row["value"] for row in join(rows, external, ranking)}

    assert values("measured", "a", "b") == {"gpt": 0.4, "bert": 0.1, "smollm2_135m": None}
    assert values("b", "a", "measured")["gpt"] == 0.6
    with pytest.raises(ConfigError, match=r"a\.csv, line 2: gpt has its gsm8k already in the sweep's own.*rank"):
        values()
    with pytest.raises(ConfigError, match=r"b\.csv, line 2.*capability_sources: \[a, b\]"):
        join([], external, ())
    # Where ours failed, theirs counts.
    assert join([own("gpt", None, "failed")], read_external([b], MODELS), ())[0]["value"] == 0.6


def test_units_and_directions_agree(tmp_path):
    path = write(tmp_path, "model,capability,value,unit\nbert,gsm8k,12,percent\n")
    with pytest.raises(ConfigError, match="rename one of the two"):
        join([own("gpt", 0.4)], read_external([path], MODELS), ())


def test_a_sweep_takes_them_and_is_stale_when_they_change(tmp_path):
    path = write(tmp_path, "model,capability,value\nsmollm2_135m,gsm8k,0.05\n")
    config = {
        "zoo": ["packaged"], "datasets": ["emoji"], "metrics": {"mutual_knn": {"k": [10]}},
        "headline": {"capability": "gsm8k"}, "external": [str(path)],
    }  # fmt: skip

    def digest(**changes):
        return result_digest(load_sweep({**config, **changes}, [tmp_path, "."]), "tables", "populations", {}, {}, {})

    first = digest()
    # Where a value stands changes nothing, nor do values of models that are not in the sweep.
    other = "model,capability,value,source\n\nsmollm2_135m,gsm8k,0.05,leaderboard\n"
    write(tmp_path, other, "other.csv")
    assert digest(external=["other.csv"]) == first
    write(tmp_path, other + "minilm_l6,arc,0.2,leaderboard\n", "other.csv")
    one = {"models": ["smollm2_135m"]}
    assert digest(external=["other.csv"], **one) == digest(**one)
    assert digest(external=["other.csv"]) != first
    write(tmp_path, "model,capability,value\nsmollm2_135m,gsm8k,0.06\n")
    assert digest() != first
    assert digest(external=[], figures=[]) != first
    with pytest.raises(ConfigError, match="needs the capability 'gsm8k'"):
        load_sweep({**config, "external": []}, ".")
