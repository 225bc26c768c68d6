"""Blocks of items: one that fails stops no other, a killed job's suspect comes last, receipts tell the truth."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from zooalign.config import load_sweep, read_config
from zooalign.dag import Block, Dag
from zooalign.errors import ZooalignError
from zooalign.layout import Layout
from zooalign.store import FeatureStore
from zooalign.work import _suspects_last, do_block, do_item


def tiny(name, **changes):
    """Row of a small random vision transformer."""
    row = next(m for m in read_config("config/zoo/packaged.yaml")["models"] if m["id"] == "random_vit_s16")
    options = {
        **row["options"],
        "architecture_options": {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3},
        "preprocessing": {**row["options"]["preprocessing"], "input_size": [3, 32, 32]},
        **changes,
    }
    return {**row, "id": name, "options": options}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A sweep of three tiny models, one of them impossible, in a folder of its own."""
    rows = [tiny("a"), tiny("broken", architecture="no_such_vit"), tiny("c", seed=3)]
    (tmp_path / "zoo.yaml").write_text(yaml.safe_dump({"models": rows}))
    config = {
        "zoo": ["zoo.yaml"],
        "dataset_files": os.path.abspath("config/datasets"),
        "datasets": ["synthetic"],
        "metrics": {"mutual_knn": {"k": [10]}},
        "figures": ["heat_map"],
        "extraction": {"workers": 0},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)
    return config


def everything(config, rule, name="all"):
    """Sweep, layout, and one block of all items of a rule."""
    sweep, layout = load_sweep(config), Layout(Path("results"))
    return sweep, layout, Block(rule, name, Dag(sweep, layout).items(rule))


def test_a_failing_item_stops_no_other_and_leaves_no_receipt(place, capfd):
    sweep, layout, block = everything(place, "fetch_weights")
    with pytest.raises(SystemExit) as ended:
        do_block(sweep, layout, block, {}, attempt=1)
    assert ended.value.code == 1
    dag = Dag(sweep, layout)
    assert [dag.is_done(item) for item in block.items] == [True, False, True]
    assert not layout.job_receipt("fetch_weights", "all").exists()
    said = capfd.readouterr()
    assert "1 of 3 items failed: broken" in said.err
    assert "ERROR: model 'broken'" in said.err
    assert "no_such_vit" in layout.log("fetch_weights", "broken").read_text()


def test_a_second_attempt_does_what_is_missing_only(place):
    sweep, layout, block = everything(place, "fetch_weights")
    with pytest.raises(SystemExit):
        do_block(sweep, layout, block, {}, attempt=1)
    before = (layout.weights("a") / "weights.json").stat()
    good = Block("fetch_weights", "good", tuple(i for i in block.items if i.name != "broken"))
    do_block(sweep, layout, good, {}, attempt=2)
    assert (layout.weights("a") / "weights.json").stat() == before
    assert layout.log("fetch_weights", "a").read_text().count("already there") == 1
    receipt = json.loads(layout.job_receipt("fetch_weights", "good").read_text())
    assert [name for name, _ in receipt["items"]] == ["a", "c"]


def test_what_was_at_work_when_a_job_was_killed_comes_last(place):
    _, layout, block = everything(place, "fetch_weights")
    mark = layout.job_receipt("fetch_weights", "all").with_suffix(".now")
    mark.parent.mkdir(parents=True)
    assert [i.name for i in _suspects_last(layout, block)] == ["a", "broken", "c"]
    mark.write_text("a")
    assert [i.name for i in _suspects_last(layout, block)] == ["broken", "c", "a"]


def test_models_side_by_side_give_the_same_features(place):
    place["jobs"] = {"side_by_side": 2}
    sweep, layout, weights = everything(place, "fetch_weights")
    with pytest.raises(SystemExit):
        do_block(sweep, layout, weights, {}, attempt=1)
    do_block(*everything(place, "build_dataset"), {}, attempt=1)
    _, _, block = everything(place, "extract_features")
    good = Block("extract_features", "pair", tuple(i for i in block.items if i.parts[1] != "broken"))
    do_block(sweep, layout, good, {}, attempt=1)
    together = [FeatureStore.open(layout.features("synthetic", m)).layer(-1).copy() for m in "ac"]
    for item in good.items:
        (layout.features(*item.parts) / "zarr.json").unlink()
    alone, _, _ = everything({**place, "jobs": {}}, "extract_features")
    do_block(alone, layout, good, {}, attempt=1)
    again = [FeatureStore.open(layout.features("synthetic", m)).layer(-1) for m in "ac"]
    assert all((x == y).all() for x, y in zip(together, again, strict=True))


def test_no_receipt_stands_beside_artefacts_that_are_being_replaced(place):
    """SIGKILL at random moments of one item: a receipt is there only if the artefacts are whole."""
    program = (
        "import sys; from pathlib import Path; from zooalign.config import *; from zooalign.layout import Layout;"
        "from zooalign.work import do_item; sweep = load_sweep(read_config(Path('config.yaml')));"
        "do_item(sweep, Layout(Path('results')), 'fetch_weights', ('a',), print)"
    )
    sweep, layout, block = everything(place, "fetch_weights")
    item = block.items[0]
    for after in (0.5, 1.5, 2.5, 3.5):
        layout.item_receipt("fetch_weights", "a").unlink(missing_ok=True)
        child = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(after)
        child.send_signal(signal.SIGKILL)
        child.wait()
        if Dag(sweep, layout).is_done(item):
            from zooalign.sources import load_model

            assert load_model(sweep.model("a"), layout.weights("a")).layer_names
    do_item(sweep, layout, "fetch_weights", ("a",), print)
    assert Dag(sweep, layout).is_done(item)


def test_an_unknown_rule_is_named(place):
    sweep, layout, _ = everything(place, "fetch_weights")
    with pytest.raises(ZooalignError, match=r"unknown rule 'extract_featurs': did you mean 'extract_features'"):
        do_item(sweep, layout, "extract_featurs", ("synthetic", "a"), print)
