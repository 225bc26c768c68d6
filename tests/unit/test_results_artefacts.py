"""Provenance and cost: what is on disk is told, what is missing or damaged is left empty."""

from __future__ import annotations

import json

import pytest

from tests.unit import sweeps
from zooalign.results.artefacts import artefacts
from zooalign.results.publishing import publish, read_csv
from zooalign.tables import provenance

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time"
STAMP = {"command": "x", "time": "2026-01-02T03:04:05Z", "host": "node7", "process_id": "1"}


def benchmark(found, rule, *parts, line):
    path = found.layout.benchmark(rule, *parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEADER}\n{line}\n")


@pytest.fixture
def found(tmp_path):
    found = sweeps.found(tmp_path / "results", sweeps.few(), capability={"quiz": ("accuracy", {"gpt_a": 0.5})})
    folder = found.layout.weights("cnn_a")
    folder.mkdir(parents=True)
    (folder / "weights.json").write_text(json.dumps({"sha256": "abc", "options": {"revision": "f00"}}))
    (folder / "model.bin").write_bytes(b"x" * 1000)
    store = found.layout.features("pictures", "cnn_a")
    (store / "features").mkdir(parents=True)
    attributes = {"digest": "d1", "versions": {"torch": "2.0", "numpy": "1.0"}, "stamp": STAMP}
    (store / "zarr.json").write_text(json.dumps({"attributes": attributes}))
    (store / "features/c").write_bytes(b"y" * 500)
    benchmark(found, "fetch_weights", "cnn_a", line="10.5\t0:00:10\t200.5\t1\t1\t1\t1\t1\t1\t4.25")
    benchmark(found, "align_row", "pictures", "cnn_b", line="3\t0:00:03\t100\t1\t1\t1\t1\t1\t1\t2")
    benchmark(found, "align_row", "pictures", "vit_a", line="4\t0:00:04\t300\t1\t1\t1\t1\t1\t1\tNA")
    return found


def test_every_artefact_on_disk_has_what_made_it_and_what_it_took(found):
    by_item = {(a.rule, a.dataset or a.capability, a.model): a for a in artefacts(found)}
    weights = by_item["fetch_weights", "", "cnn_a"]
    assert (weights.sha256, weights.revision, weights.licence) == ("abc", "f00", "MIT")
    assert (weights.seconds, weights.cpu_s, weights.peak_mem_mb) == (10.5, 4.25, 200.5)
    assert weights.n_bytes == 1000 + (found.layout.weights("cnn_a") / "weights.json").stat().st_size
    store = by_item["extract_features", "pictures", "cnn_a"]
    assert (store.versions, store.host, store.time, store.digest) == (
        "numpy 1.0, torch 2.0", "node7", "2026-01-02T03:04:05Z", "d1",
    )  # fmt: skip
    assert store.seconds is None
    assert by_item["align_row", "pictures", "vit_a"].cpu_s is None
    assert by_item["measure_capability", "quiz", "gpt_a"].digest == "quizgpt_a0.5"
    assert len(by_item) == 1 + 1 + len(sweeps.few()) + 1


def test_totals_add_up_and_the_bytes_repeat(found, tmp_path):
    files = publish(provenance.table(found), found.header, tmp_path / "provenance")
    rows = read_csv(files[1])
    total = {row["rule"]: row for row in rows if row["item"].endswith("(total)")}
    assert list(total) == ["fetch_weights", "extract_features", "align_row", "measure_capability"]
    row = total["align_row"]
    assert (float(row["seconds"]), float(row["cpu_s"]), float(row["peak_mem_mb"])) == (7, 2, 300)
    assert int(row["items"]) == len(sweeps.few())
    own = [int(r["n_bytes"]) for r in rows if r["rule"] == "align_row" and not r["item"].endswith("(total)")]
    assert int(row["n_bytes"]) == sum(own)
    assert total["extract_features"]["seconds"] == ""
    assert rows[len(total)]["item"] == "cnn_a"
    before = [file.read_bytes() for file in files]
    publish(provenance.table(found), found.header, tmp_path / "provenance")
    assert [file.read_bytes() for file in files] == before


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"[1, 2]", b'{"attributes": 3, "stamp": [], "sha256": 7}', None]
)
def test_damaged_files_leave_fields_empty(found, content):
    layout = found.layout
    places = [
        layout.weights("cnn_a") / "weights.json",
        layout.features("pictures", "cnn_a") / "zarr.json",
        layout.benchmark("fetch_weights", "cnn_a"),
        found.row_paths[0].with_name("cnn_a.receipt.json"),
    ]
    for place in places:
        place.unlink() if content is None else place.write_bytes(content)
    by_item = {(a.rule, a.model): a for a in artefacts(found)}
    weights, store = by_item["fetch_weights", "cnn_a"], by_item["extract_features", "cnn_a"]
    assert (weights.sha256, weights.revision, weights.seconds) == ("", "", None)
    assert (store.versions, store.host, store.digest) == ("", "", "")
    assert weights.n_bytes >= 1000


def test_a_sweep_without_anything_on_disk_has_an_empty_table(found):
    from dataclasses import replace

    from zooalign.config.sweep import Sweep

    nothing = replace(found, sweep=Sweep(found.sweep.config, (), {}, {}), row_paths=(), capability_paths=())
    assert provenance.table(nothing).frame.empty
