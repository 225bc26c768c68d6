"""Models of the hub, from a server on this machine: fetched, resumed, checked, pinned; refusals name the remedy."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from zooalign.models.loading import fetch_weights, load_model

from .hub_server import serve
from .test_sources_folders import row, save_tiny

FETCH = """\
import json, sys
from pathlib import Path
from zooalign.config.manifest import ModelSpec
from zooalign.errors import ZooalignError
from zooalign.models.loading import fetch_weights, load_model

spec = ModelSpec.model_validate(json.loads(sys.argv[1]))
try:
    record = fetch_weights(spec, Path(sys.argv[2]), print)
    model = load_model(spec, Path(sys.argv[2]))
except ZooalignError as error:
    sys.exit(f"{type(error).__name__}: {error}")
print(json.dumps({"layers": len(model.layer_names), "files": sorted(record["files"])}))
"""


@pytest.fixture
def hub(tmp_path):
    """A hub with one repository, owner/tiny."""
    save_tiny(tmp_path / "saved", "Llama")
    files = {file.name: file.read_bytes() for file in (tmp_path / "saved").iterdir()}
    with serve() as served:
        served.first = served.commit("owner/tiny", {**files, "README.md": b"# tiny"})
        served.files = files
        yield served


@pytest.fixture
def fetch(hub, tmp_path):
    """Function that fetches the weights in a process of its own, as the rule does; (status, what it said)."""

    def call(name="owner/tiny", revision=None, folder="weights", **environment):
        options = {"hub_id": name, **({"revision": revision} if revision else {})}
        row = {"id": "tiny", "modality": "language", "source": "transformers", "options": options, "family": "tiny",
               "objective": "causal", "causal": True, "pooling": "mean", "parameters": 10_000,
               "licence": "none"}  # fmt: skip
        surroundings = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0",
                        "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1", **environment}  # fmt: skip
        surroundings.pop("HF_TOKEN", None)
        done = subprocess.run([sys.executable, "-c", FETCH, json.dumps(row), str(tmp_path / folder)], text=True,
                              capture_output=True, env=surroundings, timeout=300)  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return call


def revision(tmp_path, folder="weights"):
    return json.loads((tmp_path / f"{folder}.revision.json").read_text())["revision"]


def test_a_repository_is_fetched_at_its_newest_commit_which_is_kept(hub, fetch, tmp_path):
    status, said = fetch()
    assert status == 0, said
    found = json.loads(said.splitlines()[-1])
    assert found["layers"] == 3
    assert {"config.json", "model.safetensors", "revision.json", "tokenizer.json"} <= set(found["files"])
    assert "README.md" not in found["files"]
    assert revision(tmp_path) == hub.first
    # The repository moves on, the weights are lost: the same commit comes back.
    hub.commit("owner/tiny", {**hub.files, "config.json": b"{}"})
    (tmp_path / "weights/model.safetensors").unlink()
    asked = len(hub.asked)
    status, said = fetch()
    assert status == 0, said
    assert revision(tmp_path) == hub.first
    assert not [one for one in hub.asked[asked:] if one[0] == "GET"]  # the cache has it all
    # Somewhere else the newest counts, unless the row names a commit.
    assert "WeightsError" in fetch(folder="other")[1]
    assert fetch(folder="third", revision=hub.first)[0] == 0


def test_a_record_of_a_former_repository_means_nothing_to_a_folder(hub, tmp_path):
    (tmp_path / "weights.revision.json").write_text(json.dumps({"repository": "owner/tiny", "revision": hub.first}))
    spec = row({"path": str(tmp_path / "saved")})
    fetch_weights(spec, tmp_path / "weights")
    assert load_model(spec, tmp_path / "weights").layer_names


def test_a_transfer_that_breaks_off_goes_on_where_it_was(hub, fetch, tmp_path):
    whole = np.random.default_rng(0).bytes(25_000_000)  # the client writes 10 MB at a time
    hub.commit("owner/large", {**hub.files, "model.safetensors": whole})
    hub.broken["model.safetensors"] = 15_000_000
    said = fetch("owner/large")[1]
    if "what has arrived is kept" in said:  # the client gave up: the same command goes on
        said = fetch("owner/large")[1]
    assert "cannot be read" in said  # it has arrived, and is no model
    assert (tmp_path / "weights/model.safetensors").read_bytes() == whole
    ranges = [one[2] for one in hub.asked if one[:2] == ("GET", "model.safetensors")]
    assert len(ranges) == 2
    assert ranges[1].startswith("bytes=")
    assert 0 < int(ranges[1].removeprefix("bytes=").rstrip("-")) <= 15_000_000


def test_damage_on_the_way_is_fetched_again_and_never_taken(hub, fetch, tmp_path):
    hub.damaged["model.safetensors"] = 1
    status, said = fetch()
    assert status == 0, said
    hub.damaged["model.safetensors"] = 100
    status, said = fetch(folder="again", HF_HOME=str(tmp_path / "another cache"))
    assert status != 0
    assert "Traceback" not in said
    assert "damaged" in said or "onsistency" in said


def test_refusals_name_the_remedy(hub, fetch, tmp_path):
    hub.gated.add("owner/tiny")
    assert "owner/tiny is gated: accept its terms at" in fetch()[1]
    hub.gated.clear()
    assert "the hub has no repository owner/tinny" in fetch("owner/tinny")[1]
    assert f"has no commit {'0' * 40}" in fetch(revision="0" * 40)[1]
    assert fetch()[0] == 0
    hub.repositories["owner/tiny"].clear()  # a history that was rewritten
    hub.commit("owner/tiny", {**hub.files, "extra.json": b"{}"})
    (tmp_path / "weights/weights.json").unlink()
    said = fetch()[1]
    assert f"has no commit {hub.first}" in said
    assert "delete results/weights/MODEL.revision.json" in said
    hub.commit("owner/evil", {**hub.files, "../../../evil.json": b"{}"})
    assert "lists a file outside itself, '../../../evil.json'" in fetch("owner/evil", folder="evil")[1]
    hub.commit("owner/bare", {"pytorch_model.bin": b"pickle", "config.json": hub.files["config.json"]})
    assert "has no model.safetensors" in fetch("owner/bare", folder="bare")[1]
    (tmp_path / "weights.revision.json").write_text("{")
    assert "weights.revision.json cannot be read: delete it" in fetch()[1]
