"""`zooalign capability import`, and published files that config.yaml names."""

import csv

import pytest
from typer.testing import CliRunner

from tests.unit.published_files import (
    HARNESS,
    OPEN_CLIP,
    write,
)
from zooalign.cli.main import app
from zooalign.config.sweep import load_sweep
from zooalign.errors import ConfigError


def command(*arguments):
    result = CliRunner().invoke(app, ["capability", "import", *map(str, arguments), "--zoo", "vision78"])
    return result


def test_the_command_shows_and_writes(tmp_path):
    path = write(tmp_path, OPEN_CLIP, "openclip_results.csv")
    out = tmp_path / "out.csv"
    shown = command(path)
    assert shown.exit_code == 0, shown.output
    assert "vit_huge_patch14_clip_224_laion2b" in shown.output
    assert "not in the zoo: nllb-clip-base, v1" in shown.output
    assert not out.exists()
    written = command(path, "--output", out)
    assert f"external: [{out}]" in written.output
    assert "capability_sources: [measured, open_clip]" in written.output
    before = out.read_bytes()
    refused = command(path, "--output", out)
    assert isinstance(refused.exception, ConfigError)
    assert "--force" in str(refused.exception)
    assert out.read_bytes() == before
    assert command(path, "--output", out, "--source", "them", "--force").exit_code == 0
    assert {r["source"] for r in csv.DictReader(out.open())} == {"them"}
    assert [f.name for f in tmp_path.iterdir() if f.name.startswith(".")] == []


def test_the_command_writes_nothing_when_nothing_matches(tmp_path):
    path = write(tmp_path, HARNESS)
    result = command(path, "--output", tmp_path / "out.csv")
    assert "no model of the zoo is among those published" in str(result.exception)
    assert "not in the zoo: HuggingFaceTB/SmolLM2-135M" in result.output
    assert not (tmp_path / "out.csv").exists()
    limited = command(write(tmp_path, OPEN_CLIP, "x.csv"), "--limit", 1)
    assert "--limit 0 lists all" in limited.output


def test_a_configuration_may_name_a_published_file(tmp_path):
    path = write(tmp_path, OPEN_CLIP, "openclip_results.csv")
    config = {
        "zoo": ["paper-vits"], "datasets": ["emoji"], "metrics": {"mutual_knn": {"k": [10]}},
        "headline": {"capability": "open_clip_imagenet_1k"}, "external": [str(path)],
    }  # fmt: skip
    external = load_sweep(config, [tmp_path, "."]).external
    assert {(e.model, e.source) for e in external} == {("vit_huge_patch14_clip_224_laion2b", "open_clip")}
    twice = OPEN_CLIP + OPEN_CLIP.splitlines()[1].replace("0.7796", "0.7") + "\n"
    write(tmp_path, twice, "openclip_results.csv")
    with pytest.raises(ConfigError, match=r"several values of open_clip_imagenet_1k.*capability import.*--output"):
        load_sweep(config, [tmp_path, "."])
    (tmp_path / "odd.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"odd\.json: is not a format that is known"):
        load_sweep({**config, "external": ["odd.json"]}, [tmp_path, "."])


def test_names_of_others_cannot_steer_the_terminal(tmp_path):
    path = write(tmp_path, OPEN_CLIP.replace("nllb-clip-base,v1", "[b]\x1b[2Jevil,[/v1]"), "x.csv")
    shown = command(path)
    assert shown.exit_code == 0, shown.exception
    assert "not in the zoo: [b]\N{REPLACEMENT CHARACTER}[2Jevil, [/v1]" in shown.output
