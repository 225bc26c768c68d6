"""`weights: temp`: fetched weights go after their last reader, and come back when something reads them."""

import copy
import json
import os
import subprocess
import sys

import pytest

from ..unit.hub_server import serve
from ..unit.test_sources_folders import save_tiny
from .conftest import Checkout, counted, tiny_vit

pytestmark = pytest.mark.workflow

NAMES = ("first", "second", "third")


def language(name, repository):
    return {
        "id": name, "modality": "language", "source": "transformers", "options": {"hub_id": repository},
        "family": "tiny", "objective": "causal", "causal": True, "pooling": "mean", "parameters": 20_000,
        "licence": "none",
    }  # fmt: skip


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A finished sweep of three models of the hub whose weights were removed, and what Snakemake said."""
    folder = tmp_path_factory.mktemp("temporary")
    with serve() as hub, pytest.MonkeyPatch.context() as environment:
        for name, value in {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hub"), "HF_HUB_OFFLINE": "0",
                            "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1"}.items():  # fmt: skip
            environment.setenv(name, value)
        for seed, name in enumerate(NAMES):
            save_tiny(folder / name, "Llama", seed=seed)
            hub.commit(f"owner/{name}", {file.name: file.read_bytes() for file in (folder / name).iterdir()})
        checkout = Checkout(folder / "checkout")
        checkout.models = [tiny_vit("vit_a", 1), *(language(name, f"owner/{name}") for name in NAMES)]
        # Another row of the first download, as the second tower of a checkpoint is.
        checkout.models.append({**language("first_last", "owner/first"), "pooling": "last"})
        # 20,000 parameters in float32 are 80,000 bytes: one model at a time.
        checkout.config |= {"weights": "temp", "weights_gib": 1e5 / 2**30, "capabilities": []}
        checkout.config["tables"] = ["alignment"]
        hub.checkout, hub.folder = checkout, folder
        hub.said = checkout.snakemake().stderr
        yield hub


def weights(checkout, name):
    """What is left of a model's weights."""
    return sorted(file.name for file in (checkout.folder / "results/weights" / name).iterdir())


def blobs(hub):
    return list((hub.folder / "hub/hub").glob("*/blobs/*"))


def test_weights_go_after_their_last_reader_and_one_model_at_a_time(swept):
    checkout = swept.checkout
    for name in NAMES:
        assert weights(checkout, name) == ["weights.json"]
        record = json.loads((checkout.folder / f"results/weights/{name}.removed.json").read_text())
        assert record["bytes"] > 50_000
    assert blobs(swept) == []
    assert "model.safetensors" not in weights(checkout, "vit_a")  # nothing was fetched for it
    starts = [swept.said.index(f"Weights of {name}: find") for name in NAMES]
    gone = [swept.said.index(f"Weights of {name}: remove") for name in NAMES]
    assert swept.said.index("Features of first_last") < gone[0]
    assert weights(checkout, "first_last") == ["weights.json"]
    assert starts[0] < gone[0] < starts[1] < gone[1] < starts[2] < gone[2]
    # Everything is there: nothing is fetched again.
    assert checkout.due() == {}


def test_what_reads_them_fetches_them_again_and_nothing_else_runs(swept, tmp_path):
    checkout = copy.copy(swept.checkout)
    checkout.config = {
        **checkout.config,
        "datasets": ["synthetic"],
        "metrics": {"mutual_knn": {"k": [10]}, "cka": {}},
    }
    checkout.config["extraction"] = {"workers": 0, "text": "caption"}
    # Another metric reads indexes only.
    assert "fetch_weights" not in checkout.due()
    # Other features of one model: it alone is fetched, and removed again.
    checkout.config = dict(swept.checkout.config)
    checkout.models = [{**row, "pooling": "last"} if row["id"] == "second" else row for row in checkout.models]
    due = checkout.due()
    assert due["fetch_weights"] == due["extract_features"] == due["index_features"] == due["remove_weights"] == 1
    asked = len(swept.asked)
    said = checkout.snakemake().stderr
    assert "Features of second" in said
    assert "Features of first" not in said
    assert [one for one in swept.asked[asked:] if one[0] == "GET" and one[1] == "model.safetensors"]
    assert weights(checkout, "second") == ["weights.json"]
    assert blobs(swept) == []
    # Asked for by name, features are made again, so the weights are needed.
    due = counted(checkout.snakemake("-n", "--quiet", "rules", "-R", "extract_features").stdout)
    assert (due["fetch_weights"], due["extract_features"]) == (4, 5)
    # And back: its features are made once more, at the commit that was recorded.
    swept.checkout.snakemake()
    assert swept.checkout.due() == {}


def test_a_removal_that_is_broken_off_is_finished(swept):
    checkout = swept.checkout
    left = checkout.folder / "results/weights/third/model.safetensors"
    left.write_bytes(b"half")
    assert checkout.due() == {"remove_weights": 1}
    checkout.snakemake()
    assert not left.exists()


def test_what_was_in_the_cache_before_stays(swept, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    cache = tmp_path / "hub/hub"
    # In a process of its own: the hub's client reads its settings when it is imported.
    fetch = "import huggingface_hub as h; print(h.snapshot_download('owner/first', allow_patterns='*.safetensors'))"
    before = subprocess.run([sys.executable, "-c", fetch], capture_output=True, text=True, check=True).stdout.strip()
    checkout = Checkout(tmp_path / "checkout")
    checkout.config = dict(swept.checkout.config)
    checkout.models = swept.checkout.models[:2]
    checkout.snakemake()
    assert weights(checkout, "first") == ["weights.json"]
    assert os.listdir(before) == ["model.safetensors"]
    assert (cache / "models--owner--first/snapshots").is_dir()


def test_failed_readers_keep_weights_only_until_the_second_pass(swept, tmp_path, monkeypatch):
    """A model that cannot be run does not stop those that wait for its room."""
    checkout = Checkout(tmp_path / "checkout")
    checkout.config = dict(swept.checkout.config)
    checkout.models = copy.deepcopy(swept.checkout.models)
    checkout.models[1]["layers"] = 99  # its weights have others, which loading tells
    done = checkout.snakemake(check=False)
    assert done.returncode != 0
    assert "FAILED extract_features synthetic/first" in done.stderr + done.stdout
    for name in ("second", "third"):
        assert weights(checkout, name) == ["weights.json"]
        assert (checkout.folder / f"results/features/synthetic/{name}.zarr").exists()
    assert weights(checkout, "first") == ["weights.json"]


def refused(checkout):
    done = checkout.snakemake("-n", check=False)
    assert done.returncode != 0
    return done.stdout + done.stderr


def test_bounds_that_cannot_hold_are_refused(swept, tmp_path):
    checkout = Checkout(tmp_path / "checkout")
    checkout.models = swept.checkout.models
    checkout.config = {**swept.checkout.config, "weights_gib": 1e-5}
    assert "weights_gib: the weights of first alone take 7.45e-05 GiB, and 1e-05 are allowed" in refused(checkout)
    checkout.config = {**swept.checkout.config, "weights": "keep"}
    assert "add `weights: temp`" in refused(checkout)


def test_the_plan_names_the_most_that_lies_there(swept, tmp_path):
    checkout = Checkout(tmp_path / "checkout")
    checkout.models = swept.checkout.models
    checkout.config = {**swept.checkout.config, "weights_gib": 0.25}
    checkout.models = [{**row, "parameters": 20_000_000} if row["id"] in NAMES else row for row in checkout.models]
    text = " ".join(checkout.cli("plan").stdout.split())
    # 20 million parameters in float32 are .0745 GiB: three of them fit.
    assert "of which at most 0.22 GiB fetched ones at a time" in text
    checkout.config["weights_gib"] = 0.16
    assert "of which at most 0.15 GiB" in " ".join(checkout.cli("plan").stdout.split())
    assert "remove_weights" in text
