"""Doing items outside Snakemake, and what a job leaves behind when it ends before its time."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from zooalign.config.sweep import load_sweep, read_config
from zooalign.errors import ZooalignError
from zooalign.layout import Layout
from zooalign.workflow.job import job, workflow_job
from zooalign.workflow.work import Item, Work


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


def open_work(config, **options):
    return Work(load_sweep(config), Layout(Path("results")), **options)


def test_an_item_is_done_once_and_again_only_if_it_is_asked_for(place):
    item, said = Item("fetch_weights", ("a",)), []
    work = open_work(place)
    work.do(item, said.append)
    assert work.is_done(item)
    record = work.file(*item)
    before = record.stat().st_ino
    work.do(item, said.append)
    assert record.stat().st_ino == before
    assert said[-1].startswith("already there")
    open_work(place, anew=("fetch_weights",)).do(item, said.append)
    assert record.stat().st_ino != before


def test_what_passes_for_done_after_a_kill_can_be_loaded(place):
    """SIGKILL at random moments of one item."""
    program = (
        "from pathlib import Path; from zooalign.config.sweep import *; from zooalign.layout import Layout;"
        "from zooalign.workflow.work import Item, Work; sweep = load_sweep(read_config(Path('config.yaml')));"
        "Work(sweep, Layout(Path('results')), anew=('*',)).do(Item('fetch_weights', ('a',)), print)"
    )
    item = Item("fetch_weights", ("a",))
    for after in (0.5, 1.5, 2.5, 3.5):
        child = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(after)
        child.send_signal(signal.SIGKILL)
        child.wait()
        work = open_work(place)
        if work.is_done(item):
            from zooalign.models.loading import load_model

            assert load_model(work.sweep.model("a"), work.layout.weights("a")).layer_names
    work.do(item, print)
    assert work.is_done(item)


def test_a_job_logs_and_records_what_it_took_and_leaves_no_empty_folder(place):
    work = open_work(place)
    item = Item("fetch_weights", ("a",))
    about, log = work.about(item), work.log(item)
    work.file(*item).parent.mkdir(parents=True)  # as Snakemake does before a job
    with pytest.raises(SystemExit), workflow_job(str(log), about, {"attempt": 2, "mem_mb": 900}):
        raise ZooalignError("no such thing")
    assert not work.file(*item).parent.exists()
    assert "ERROR: no such thing" in log.read_text()
    with workflow_job(str(log), about, {}):
        work.do(item, print)
    with workflow_job(str(log), about, {}):
        pass
    lines = [
        json.loads(line)
        for f in Path("results/logs/accounting").glob("*")
        for line in f.read_text().split("\n")
        if line
    ]
    assert [(line["items"][0]["state"], line["attempt"]) for line in lines] == [
        ("failed", 2),
        ("done", 1),
        ("kept", 1),
    ]
    assert {tuple(line["items"][0]["parts"]) for line in lines} == {("a",)}


SCRIPT = """\
import atexit, ctypes, json, sys
from zooalign.workflow.job import workflow_job
atexit.register(print, "what was registered runs")
libc = ctypes.CDLL(None)
libc.__cxa_atexit(libc.abort, None, None)  # as threads of a native library do when their owner is taken apart
snakemake = json.load(sys.stdin)
with workflow_job(snakemake["log"], snakemake["about"], {}):
    print("work", 1 / (not snakemake["fails"]) and "done")
"""


@pytest.mark.parametrize("fails", [False, True])
def test_a_library_that_aborts_while_python_ends_does_not_fail_a_job_that_is_done(place, fails):
    work = open_work(place)
    item = Item("fetch_weights", ("a",))
    given = {"log": str(work.log(item)), "about": work.about(item), "fails": fails}
    done = subprocess.run([sys.executable, "-c", SCRIPT], input=json.dumps(given), text=True, capture_output=True)
    assert done.returncode == (-signal.SIGABRT if fails else 0), done.stderr
    assert done.stdout == ("" if fails else "work done\n") + "what was registered runs\n"


def test_a_log_holds_all_attempts_though_snakemake_removes_it_before_each(tmp_path):
    log = tmp_path / "logs/extract_features/emoji/m.log"
    for attempt in ("first", "second", "third"):
        with job(log, "extract_features emoji/m") as report:
            report(attempt)
            if attempt == "first":
                log.unlink()  # as a second job for the same output does while the first one runs
                with job(log, "extract_features emoji/m") as other:
                    other("meanwhile")
                report("goes on")
        said = [line.partition(" ")[2] for line in log.read_text().splitlines()]
        assert attempt in said
        log.unlink()
    assert [word for word in said if word in ("first", "meanwhile", "goes on", "second", "third")] == [
        "first", "meanwhile", "goes on", "second", "third",
    ]  # fmt: skip
