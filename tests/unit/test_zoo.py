"""The shipped manifests against their architectures, bad rows, and rows that are written by inspection."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from zooalign.cli.main import app
from zooalign.config.manifest import ModelSpec, read_models, zoo_files
from zooalign.errors import ConfigError, WeightsError
from zooalign.sources._torchvision import import_timm
from zooalign.zoo.add import append, describe
from zooalign.zoo.check import check_row, check_rows

from .hub_server import serve
from .test_sources_folders import save_tiny

ROOT = Path(__file__).parents[2]


def rows(*names):
    """Rows of shipped zoo files, by id."""
    found = {}
    for path in zoo_files(names, lambda path: ROOT / path):
        found |= {spec.id: spec for spec in read_models(path, found.values())}
    return found


def test_the_paper_is_there_whole():
    models = rows("paper")
    vision = [m for m in models.values() if m.modality == "vision"]
    first = [m for m in models.values() if m.slot.of == "language models of the first set"]
    assert len(vision) == 17
    assert sum(m.layers for m in vision) == 352  # as the published code compares
    assert len(first) == 12
    assert sum(m.layers for m in first) == 454
    assert len(models) == 17 + 12 + 8
    assert {m.slot.status for m in models.values()} == {"exact"}


def test_the_lists_have_the_size_that_they_say():
    vision = rows("vision78").values()
    assert len(vision) == 78
    assert all(m.modality == "vision" and m.slot for m in vision)
    assert Counter(m.slot.status for m in vision)["exact"] == 17 + 9
    assert {m.objective for m in vision} == {"supervised", "self-supervised", "contrastive", "random"}
    newer = [m for name, m in rows("newer-llms").items() if name not in rows("paper")]
    assert len(newer) >= 55
    assert min(m.released for m in newer) >= "2024-04"
    assert min(m.parameters for m in newer) < 140e6
    assert max(m.parameters for m in newer) > 70e9
    assert {m.tuned for m in newer} == {"base", "instruct", "distilled"}


def test_no_shipped_row_contradicts_its_architecture():
    names = [path.stem for path in sorted((ROOT / "config/zoo").glob("*.yaml")) if path.stem != "ladder"]
    models = rows("packaged", "ladder", *names)
    verdicts = list(check_rows(list(models.values())))
    assert [v for v in verdicts if v.state == "wrong"] == []
    by_state = Counter(v.state for v in verdicts)
    assert by_state["verified"] > 165
    packaged = rows("packaged", "ladder", "gemma", "nsfwjs", "packaged-more")
    assert {v.model for v in verdicts if v.state == "unverified"} < set(packaged)  # the weights tell


def bad(name, **changes):
    base = rows("vision78", "newer-llms")[name]
    return check_row(base.model_copy(update=changes))


def test_bad_rows_say_what_is_wrong():
    vit = "vit_base_patch16_224_mae"
    assert "timm" in bad(vit, options={"name": "vit_bass_patch16_224.mae"}).reason
    said = bad(vit, options={"name": "vit_base_patch16_224.mea"}).reason
    assert "has no weights 'vit_base_patch16_224.mea'; it has" in said
    assert "vit_base_patch16_224.mae" in said
    assert bad(vit, layers=13).reason == "layers is 13, its architecture has 12"
    assert "parameters is 1,000, its architecture has" in bad(vit, parameters=1000).reason
    assert "gflops is 1, one image takes" in bad(vit, gflops=1.0).reason
    assert bad(vit, options={"name": "vit_base_patch16_224.mae", "image_size": 223}).state == "wrong"
    llm = "qwen3-0.6b"
    architecture = rows("newer-llms")[llm].architecture
    said = bad(llm, architecture={**architecture, "model_type": "qwen9"}).reason
    assert "qwen9" in said
    assert "Newer models need a newer transformers" in said
    assert bad(llm, width=2048).reason == "width is 2,048, its architecture has 1,024"
    assert "architecture" in bad(llm, architecture={**architecture, "num_hidden_layers": "many"}).reason
    assert bad(llm, architecture=None).state == "unverified"


def test_one_model_in_two_rows_is_noticed():
    spec = rows("paper")["gemma-2b"]
    verdicts = list(check_rows([spec, spec.model_copy(update={"id": "again"})]))
    assert verdicts[1].reason == "it is the same model as 'gemma-2b'; delete one of the two rows"


def test_zoo_files_include_each_other_once_and_in_no_circle(tmp_path):
    (tmp_path / "a.yaml").write_text("include: [b.yaml, c.yaml]\nmodels: []\n")
    (tmp_path / "b.yaml").write_text("include: [c.yaml]\n")
    (tmp_path / "c.yaml").write_text("models: []\n")
    found = zoo_files(["a.yaml", "c.yaml"], lambda path: tmp_path / path)
    assert [path.name for path in found] == ["c.yaml", "b.yaml", "a.yaml"]
    (tmp_path / "c.yaml").write_text("include: [a.yaml]\n")
    with pytest.raises(ConfigError, match="includes itself"):
        zoo_files(["a.yaml"], lambda path: tmp_path / path)


def test_a_row_of_timm_is_what_the_manifest_has():
    row = describe("vit_base_patch14_dinov2.lvd142m", model_id="mine")
    known = rows("paper")["vit_base_patch14_dinov2_lvd142m"]
    for key in ("modality", "source", "options", "objective", "pooling", "parameters", "layers", "width", "gflops",
                "features_per_sample", "licence", "homepage"):  # fmt: skip
        assert row[key] == getattr(known, key), key
    assert check_row(ModelSpec.model_validate(row)).state == "verified"


def test_rows_of_folders_can_be_checked_and_swept(tmp_path):
    save_tiny(tmp_path / "My Model", "Llama")
    with pytest.raises(ConfigError, match="give --licence"):
        describe(str(tmp_path / "My Model"))
    row = describe(str(tmp_path / "My Model"), licence="MIT")
    assert row["id"] == "my-model"
    assert row["causal"]
    assert row["layers"] == 3
    timm = import_timm()
    model = timm.create_model("resnet10t", num_classes=3)
    timm.models.save_for_hf(model, tmp_path / "cnn", safe_serialization=True)
    vision = describe(str(tmp_path / "cnn"), licence="MIT", pooling="mean")
    assert (vision["modality"], vision["pooling"], vision["layers"]) == ("vision", "mean", 6)
    zoo = tmp_path / "mine.yaml"
    zoo.write_text("# mine\nmodels: []\n")
    append(row, zoo)
    append(vision, zoo)
    assert zoo.read_text().startswith("# mine\n")
    found = read_models(zoo)
    assert [spec.id for spec in found] == ["my-model", "cnn"]
    assert check_row(found[0]).state == "verified"
    from zooalign.models.loading import fetch_weights, load_model

    for spec in found:
        fetch_weights(spec, tmp_path / "weights" / spec.id)
        assert len(load_model(spec, tmp_path / "weights" / spec.id).layer_names) == spec.layers
    wrong = found[1].model_copy(update={"layers": 7})
    with pytest.raises(ConfigError, match="the row says layers: 7, its weights have 6"):
        load_model(wrong, tmp_path / "weights/cnn")
    with pytest.raises(ConfigError, match="has a model 'cnn' already"):
        append(vision, zoo)
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"config\.json"):
        describe(str(tmp_path / "empty"), licence="MIT")
    (tmp_path / "empty/config.json").write_text("5")
    with pytest.raises(WeightsError, match="no JSON object"):
        describe(str(tmp_path / "empty"), licence="MIT")
    (tmp_path / "empty/config.json").write_text("{}")
    (tmp_path / "empty/other.safetensors").touch()
    with pytest.raises(WeightsError, match=r"has no model\.safetensors"):
        describe(str(tmp_path / "empty"), licence="MIT")
    (tmp_path / "empty/model.safetensors").touch()
    with pytest.raises(WeightsError, match="names neither `model_type`"):
        describe(str(tmp_path / "empty"), licence="MIT")
    (tmp_path / "flow.yaml").write_text(yaml.safe_dump({"models": [vision]}, default_flow_style=True))
    with pytest.raises(ConfigError, match="`models` must be its last key"):
        append(row, tmp_path / "flow.yaml")


def test_a_row_of_the_hub_has_its_commit_licence_and_architecture(tmp_path):
    save_tiny(tmp_path / "saved", "Qwen3")
    with serve() as hub:
        commit = hub.commit("owner/Tiny-Qwen3", {f.name: f.read_bytes() for f in (tmp_path / "saved").iterdir()})
        surroundings = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0"}
        command = [sys.executable, "-m", "zooalign.cli", "zoo", "add", "owner/Tiny-Qwen3", "--to", "mine.yaml"]
        done = subprocess.run(command, cwd=tmp_path, env=surroundings, text=True, capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr
        missing = subprocess.run([*command[:-3], "owner/none", "-n"], cwd=tmp_path, env=surroundings, text=True,
                                 capture_output=True, timeout=300)  # fmt: skip
    assert "the hub has no repository owner/none" in missing.stderr
    (spec,) = read_models(tmp_path / "mine.yaml")
    assert spec.options == {"hub_id": "owner/Tiny-Qwen3", "revision": commit}
    assert (spec.id, spec.licence, spec.released, spec.causal) == ("tiny-qwen3", "apache-2.0", "2024-09", True)
    assert check_row(spec).state == "verified"
    assert not any(method == "GET" and "safetensors" in name for method, name, _ in hub.asked)


def cli(*arguments):
    done = CliRunner().invoke(app, ["zoo", *arguments])
    return done.exit_code, done.output


def test_shipped_files_are_known_in_any_folder(tmp_path, monkeypatch):
    (tmp_path / "config.yaml").write_text("zoo: [small-alexnets]\ndatasets: [emoji]\nmetrics: {cka: {}}\n")
    monkeypatch.chdir(tmp_path)
    assert "14 verified" in cli("check")[1]
    assert "alexnet_stat_wmm" in cli("list", "small-alexnets")[1]


def test_the_list_is_filtered_and_says_what_cannot_be_had(monkeypatch):
    monkeypatch.chdir(ROOT)
    status, text = cli("list", "newer-llms", "--family", "olmo", "--tuned", "base", "--largest", "10")
    assert status == 0
    assert "2 models" in text
    assert "olmo-2-1124-7b" in text
    assert "13b" not in text
    assert "49 x ResNet-18" in cli("list", "vision78")[1]
    assert "0 models" in cli("list", "paper", "--released-after", "2024-12")[1]
    shown = cli("show", "gemma-2b", "--zoo", "paper")[1]
    assert yaml.safe_load(shown)[0]["gated"] is True
    assert shown.rstrip().endswith("# verified")
    assert "gemma-2b" in str(CliRunner().invoke(app, ["zoo", "show", "gema-2b", "--zoo", "paper"]).exception)
