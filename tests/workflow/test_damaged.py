"""Files of a sweep that hold anything else than what was written: noticed, named, and never a traceback."""

import os
import shutil
import subprocess
import sys

import pytest

from zooalign.config.sweep import load_sweep, read_config
from zooalign.layout import Layout
from zooalign.storage.lease import hold_lease
from zooalign.workflow import session
from zooalign.workflow.work import Item, Work

from .conftest import ROOT

pytestmark = pytest.mark.workflow

FILES = {
    "datasets/synthetic/dataset.json": ("build_dataset", "synthetic"),
    "weights/vit_a/weights.json": ("fetch_weights", "vit_a"),
    "features/synthetic/vit_a.zarr/zarr.json": ("extract_features", "synthetic", "vit_a"),
    "indexes/synthetic/vit_b.zarr/zarr.json": ("index_features", "synthetic", "vit_b"),
    "indexes/synthetic/vit_b.zarr/neighbors/zarr.json": ("index_features", "synthetic", "vit_b"),
    "alignment/synthetic/wordllama.receipt.json": ("align_row", "synthetic", "wordllama"),
    "alignment/synthetic/wordllama.parquet": ("align_row", "synthetic", "wordllama"),
    "inference/synthetic/wordllama.receipt.json": ("infer_row", "synthetic", "wordllama"),
    "inference/synthetic/wordllama.parquet": ("infer_row", "synthetic", "wordllama"),
    "capability/shapes/vit_a.json": ("measure_capability", "shapes", "vit_a"),
    "tables/provenance/alignment.json": ("make_tables", "alignment"),
    "figures/provenance/heat_map_synthetic.json": ("make_figures", "heat_map", "synthetic"),
    "provenance/report.json": ("make_report", "report"),
}
CONTENTS = (
    b"", b"[]", b"{}", b"null", b"3", b'"text"', b"\xff\xfe\x00", b'["\xc3"]',
    b'{"attributes": []}', b'{"attributes": {"complete": true}}',
    b'{"attributes": {"complete": true, "attributes": 3}}',
    b'{"attributes": {"format": "zooalign-features", "complete": true, "format_version": 1}}',
    b'{"digests": 3, "version": 1}', b'{"digests": [], "version": 2, "sizes": [3], "files": [1]}',
    b'{"shape": 3, "codecs": [1], "chunk_grid": []}', b'{"shape": [4], "codecs": {"name": 1}}',
)  # fmt: skip


@pytest.fixture(scope="module")
def copy(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged") / "checkout"
    shutil.copytree(finished.folder, folder, symlinks=True)
    return folder


@pytest.mark.parametrize("file", FILES)
def test_foreign_content_is_noticed_and_no_error(copy, file):
    sweep = load_sweep(read_config(copy / "config.yaml"), copy)
    rule, *parts = FILES[file]
    item, path = Item(rule, tuple(parts)), copy / "results" / file
    assert Work(sweep, Layout(copy / "results")).verdict(item).is_done
    whole = path.read_bytes()
    for content in CONTENTS:
        path.write_bytes(content)
        work = Work(sweep, Layout(copy / "results"))
        verdicts = {other: work.verdict(other).state for other in work.all_items()}
        assert verdicts[item] in ("missing", "stale", "damaged"), content
        assert set(verdicts.values()) <= {"done", "missing", "stale", "damaged"}, content
    path.write_bytes(whole)
    assert Work(sweep, Layout(copy / "results")).verdict(item).is_done


def test_a_flipped_bit_fails_one_job_and_the_same_command_makes_it_again(sweep):
    """Through Snakemake: an index is read by a row that is due, its record goes, and the next run makes both."""
    tables = ("tables/alignment.parquet", "tables/alignment.csv")
    wanted = sweep.bytes(*tables)
    results = sweep.folder / "results"
    gram = next((results / "indexes/synthetic/vit_b.zarr/gram").glob("c*"))
    gram.write_bytes(gram.read_bytes()[:-3] + bytes([gram.read_bytes()[-3] ^ 1]) + gram.read_bytes()[-2:])
    for row in (results / "alignment/synthetic").glob("*.parquet"):
        row.unlink()
    failed = sweep.snakemake(check=False)
    said = failed.stdout + failed.stderr
    assert failed.returncode != 0
    assert "vit_b.zarr is damaged: array 'gram' changed since it was written" in said
    assert "was removed, so the same command makes it again" in said
    assert "Traceback" not in said
    assert sweep.due()["index_features"] == 1
    sweep.snakemake()
    assert sweep.bytes(*tables) == wanted


def test_a_second_run_in_one_results_folder_is_refused_and_says_who_is_there(sweep):
    (sweep.folder / "results/tables/alignment.csv").unlink()
    with hold_lease(sweep.folder / "results/run", print):
        refused = sweep.snakemake(check=False)
    assert refused.returncode != 0
    said = " ".join((refused.stdout + refused.stderr).split())
    assert "another run of the workflow uses the results folder" in said
    assert f"process {os.getpid()}" in said
    assert not (sweep.folder / "results/tables/alignment.csv").exists()
    sweep.snakemake()
    assert (sweep.folder / "results/tables/alignment.csv").exists()
    assert not list((sweep.folder / "results").glob("*run*lease*"))


def test_a_run_that_did_not_make_everything_does_not_end_with_success(finished, monkeypatch):
    sweep = load_sweep(read_config(finished.folder / "config.yaml"), finished.folder)
    work = Work(sweep, Layout(finished.folder / "results"))
    at_the_end = []
    monkeypatch.setattr(session.atexit, "register", at_the_end.append)
    session.end(work, failed=False, items=[], interrupted=False, folder=".", whole=True)
    assert len(at_the_end) == 1
    monkeypatch.setattr(work, "is_due", lambda item: item.rule == "make_tables")
    session.end(work, failed=False, items=[], interrupted=False, folder=".", whole=False)
    assert len(at_the_end) == 2
    session.end(work, failed=False, items=[], interrupted=False, folder=".", whole=True)
    ended = []
    monkeypatch.setattr(session.os, "_exit", ended.append)
    # In the order in which Python calls them: the last first.
    assert len(at_the_end) == 4
    at_the_end[2]()
    assert ended == [1]


def test_a_k_that_no_dataset_has_samples_for_is_refused_before_anything_runs(sweep):
    sweep.config["metrics"]["mutual_knn"]["k"] = [5, 10, 64]
    refused = sweep.snakemake("-n", check=False)
    assert refused.returncode != 0
    assert (
        "metrics.mutual_knn: k = 64 needs more than 64 samples, and synthetic has 64"
        in refused.stdout + refused.stderr
    )


def test_a_key_that_occurs_twice_is_refused_by_snakemake_too(sweep):
    sweep.write()
    config = sweep.folder / "config.yaml"
    config.write_text(config.read_text() + "figures: []\n")
    for command in ([sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "-n"],
                    [sys.executable, "-m", "zooalign.cli", "status"]):  # fmt: skip
        done = subprocess.run(command, cwd=sweep.folder, text=True, capture_output=True, check=False)
        assert done.returncode != 0
        assert "duplicate key 'figures'" in " ".join((done.stdout + done.stderr).split())
