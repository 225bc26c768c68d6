"""A row of the matrix: exactly the stale pairs are computed, and what is kept stays as it was."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from zooalign.alignment import Pair, align_row, held_pairs
from zooalign.errors import MetricError, StoreError
from zooalign.indexing import build_index

N = 60
METRICS = [
    {"metric": "cka", "k": 0, "version": 1},
    {"metric": "mutual_knn", "k": 5, "version": 1},
    {"metric": "mutual_knn", "k": 10, "version": 1},
]
LANGUAGE = ["l1", "l2"]


def write_index(folder, name, seed, n=N, digest=None, ids=None):
    rng = np.random.default_rng(seed)
    common = np.random.default_rng(0).standard_normal((n, 6))
    layers = [np.hstack([common, rng.standard_normal((n, 4 + 3 * i))]).astype(np.float32) for i in range(3)]
    index = build_index(layers, k_max=20, needs=["neighbors", "gram"], sample_ids=ids, name=name)
    index.save(folder / f"{name}.zarr", {"digest": digest or f"{name}-{seed}"})
    return layers


@pytest.fixture
def row(tmp_path):
    """Function that brings the row of `v` up to date and returns its receipt."""
    features = {name: write_index(tmp_path, name, seed) for seed, name in enumerate(["v", *LANGUAGE], start=1)}

    def run(partners=LANGUAGE, metrics=METRICS):
        return align_row(
            "v",
            [Pair("v", p, "vision-language") for p in partners],
            {name: tmp_path / f"{name}.zarr" for name in ["v", *partners]},
            metrics,
            tmp_path / "v.parquet",
            tmp_path / "v.receipt.json",
            "toy",
            lambda message: None,
        )

    run.folder, run.features = tmp_path, features
    return run


def lines(folder):
    return {(x["model_y"], x["metric"], x["k"]): x for x in pq.read_table(folder / "v.parquet").to_pylist()}


def test_scores_agree_with_a_plain_computation(row):
    row()
    line = lines(row.folder)["l1", "mutual_knn", 5]
    a, b = row.features["v"], row.features["l1"]

    def nearest(x, t):
        x = np.clip(x, -t, t)
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        s = x @ x.T
        np.fill_diagonal(s, -2)
        return [set(r) for r in np.argsort(-s, axis=1)[:, :5]]

    def threshold(layers):
        values = np.sort(np.abs(np.concatenate([x.ravel() for x in layers])))
        return values[int(0.95 * values.size)]

    plain = [
        [
            np.mean([len(p & q) / 5 for p, q in zip(nearest(x, threshold(a)), nearest(y, threshold(b)), strict=True)])
            for y in b
        ]
        for x in a
    ]
    np.testing.assert_allclose(np.reshape(line["matrix"], (3, 3)), plain, atol=1e-6)
    assert line["score"] == pytest.approx(np.max(plain), abs=1e-6)
    assert np.mean(line["terms"]) == pytest.approx(line["score"], abs=1e-6)
    assert (line["n"], line["n_layers_x"], line["chance"]) == (N, 3, pytest.approx(5 / (N - 1)))
    assert (line["modality_x"], line["modality_y"]) == ("vision", "language")


def test_second_run_computes_nothing_and_keeps_the_bytes(row):
    assert row()["computed_pairs"] == 2
    before = (row.folder / "v.parquet").read_bytes()
    receipt = row()
    assert (receipt["computed"], receipt["kept"], receipt["dropped"]) == (0, 6, 0)
    assert (row.folder / "v.parquet").read_bytes() == before


def test_new_partner_computes_one_pair(row):
    row(["l1"])
    receipt = row()
    assert (receipt["computed_pairs"], receipt["computed"], receipt["kept"]) == (1, 3, 3)


def test_changed_index_makes_its_pairs_stale_and_no_others(row):
    row()
    before = lines(row.folder)
    write_index(row.folder, "l1", seed=9)
    receipt = row()
    assert (receipt["computed_pairs"], receipt["kept"]) == (1, 3)
    after = lines(row.folder)
    assert after["l2", "cka", 0] == before["l2", "cka", 0]
    assert after["l1", "cka", 0]["score"] != before["l1", "cka", 0]["score"]


def test_touched_index_is_not_stale(row):
    row()
    for file in row.folder.rglob("*"):
        file.touch()
    assert row()["computed"] == 0


def test_further_k_computes_only_that_k(row):
    row(metrics=METRICS[:2])
    receipt = row()
    assert (receipt["computed"], receipt["kept"]) == (2, 4)


def test_new_version_of_a_metric_recomputes_that_metric(row):
    row()
    receipt = row(metrics=[METRICS[0] | {"version": 2}, *METRICS[1:]])
    assert (receipt["computed"], receipt["kept"]) == (2, 4)


def test_removed_partner_is_dropped(row):
    row()
    receipt = row(["l2"])
    assert (receipt["computed"], receipt["kept"], receipt["dropped"]) == (0, 3, 3)
    assert {key[0] for key in lines(row.folder)} == {"l2"}
    assert held_pairs(row.folder / "v.parquet") == {("v", "l2")}


def test_damaged_row_is_computed_anew(row):
    row()
    (row.folder / "v.parquet").write_bytes(b"PAR1 torn")
    assert held_pairs(row.folder / "v.parquet") is None
    assert row()["computed_pairs"] == 2


def test_receipt_lists_the_digest_of_every_line(row):
    row()
    receipt = json.loads((row.folder / "v.receipt.json").read_text())
    assert sorted(receipt["digests"].values()) == sorted(x["digest"] for x in lines(row.folder).values())


def test_different_sample_ids_name_both_models(row):
    write_index(row.folder, "l2", seed=3, ids=[f"other{i}" for i in range(N)])
    with pytest.raises(MetricError, match=r"of v and l2 on toy: .*other0"):
        row()
    assert not (row.folder / "v.parquet").exists()
    assert not (row.folder / "v.receipt.json").exists()


def test_k_not_below_n_is_refused(row):
    with pytest.raises(MetricError, match=rf"mutual_knn@{N} of v and l1 on toy: .*{N}"):
        row(metrics=[{"metric": "mutual_knn", "k": N, "version": 1}])


def test_missing_index_is_named(row):
    with pytest.raises(StoreError, match=r"nobody.zarr: no index"):
        align_row("v", [Pair("v", "nobody", "vision-language")],
                  {"v": row.folder / "v.zarr", "nobody": row.folder / "nobody.zarr"},
                  METRICS, row.folder / "v.parquet", row.folder / "r.json", "toy", print)  # fmt: skip


def test_an_alignment_job_imports_no_heavy_library(row):
    """It starts in half a second because torch and zarr stay out (zarr only writes indexes)."""
    import subprocess
    import sys

    code = f"""
import sys
from pathlib import Path
from zooalign.job import job
from zooalign.alignment import Pair, align_row
folder = Path({str(row.folder)!r})
with job(folder / "log", "align_row v") as report:
    align_row("v", [Pair("v", "l1", "vision-language")], {{m: folder / f"{{m}}.zarr" for m in ("v", "l1")}},
              {METRICS!r}, folder / "t.parquet", folder / "r.json", "toy", report)
print(sorted({{"torch", "zarr", "pydantic", "matplotlib", "sklearn"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"
