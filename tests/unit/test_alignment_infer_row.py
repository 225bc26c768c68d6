"""Nulls and intervals of a row: what `zooalign.score` gives, kept, resumed, and with reasons where there are none."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import zooalign
from zooalign.alignment import infer_row as module
from zooalign.alignment.groups import as_groups
from zooalign.alignment.infer_row import infer_row, inference_schema
from zooalign.alignment.pairs import Pair
from zooalign.alignment.table import held_pairs, partial_table, read_lines, write_table
from zooalign.errors import MetricError, StoreError
from zooalign.indexes.build import build_index
from zooalign.indexes.index import Index
from zooalign.results.inference import read_inference
from zooalign.storage.lease import hold_lease

N = 60
SETTINGS = {"permutations": 19, "alpha": 0.1, "splits": 8, "level": 0.9, "seed": 3, "groups": True}


def metric(name, k, null=True, interval=True):
    return {"metric": name, "k": k, "version": 1, "null": null, "interval": interval, "from_features": False}


METRICS = [metric("cka", 0), metric("mutual_knn", 5)]


def write_index(folder, name, seed, k_max=40, ids=None):
    rng = np.random.default_rng(seed)
    common = np.random.default_rng(0).standard_normal((N, 6))
    layers = [np.hstack([common, rng.standard_normal((N, 4 + 3 * i))]).astype(np.float32) for i in range(3)]
    needs = ["neighbors", "similarities", "gram"]
    index = build_index(layers, k_max=k_max, needs=needs, sample_ids=ids, name=name)
    index.save(folder / f"{name}.zarr", {"digest": f"{name}-{seed}"})


@pytest.fixture
def row(tmp_path, monkeypatch):
    """Function that brings the nulls and intervals of `v` up to date and returns the receipt."""
    for seed, name in enumerate(["v", "l1", "l2"], start=1):
        write_index(tmp_path, name, seed)

    def run(partners=("l1", "l2"), metrics=METRICS, labels=None, anew=False, save_every_s=30.0, **changed):
        monkeypatch.setattr("zooalign.alignment.groups.read_groups", lambda folder, ids: labels)
        return infer_row(
            "v",
            [Pair("v", p, "vision-language") for p in partners],
            {name: tmp_path / f"{name}.zarr" for name in ["v", *partners]},
            metrics,
            {**SETTINGS, **changed},
            None if labels is None else tmp_path,
            tmp_path / "n.parquet",
            tmp_path / "n.receipt.json",
            "toy",
            lambda message: None,
            anew=anew,
            save_every_s=save_every_s,
        )

    run.folder = tmp_path
    return run


def lines(folder):
    return {(x["model_y"], x["metric"], x["k"]): x for x in pq.read_table(folder / "n.parquet").to_pylist()}


@pytest.mark.parametrize("labels", [None, [str(i // 3) for i in range(N)]])
def test_a_line_is_what_score_gives_for_the_pair(row, labels):
    row(labels=labels)
    x, y = (Index.open(row.folder / f"{name}.zarr") for name in ("v", "l1"))
    scores = zooalign.score(x, y, "mutual_knn,cka", 5, null=19, splits=8, groups=labels, alpha=0.1, level=0.9, seed=3)
    for label, key in (("mutual_knn@5", ("l1", "mutual_knn", 5)), ("cka", ("l1", "cka", 0))):
        line, null, interval = lines(row.folder)[key], scores.null[label], scores.interval[label]
        assert line["observed"] == scores.best[label]["score"] == null["observed"]
        assert line["p"] == null["p_value"]
        assert {name: line[name] for name in ("null_mean", "threshold", "calibrated", "fixed_samples", "groups")} == {
            name: null[name] for name in ("null_mean", "threshold", "calibrated", "fixed_samples", "groups")
        }
        assert [line[name] for name in ("low", "high", "standard_error", "level", "splits", "interval_of")] == [
            interval[name] for name in ("low", "high", "standard_error", "level", "splits", "of")
        ]
        assert line["interval_of"] == "the best of 9 layer pairs"
        assert (line["null_reason"], line["interval_reason"], line["seed"]) == ("", "", 3)
        assert line["groups"] == (None if labels is None else 20)


def test_columns_are_the_declared_ones(row):
    row()
    assert pq.read_table(row.folder / "n.parquet").schema.names == inference_schema().names


def test_an_interval_is_the_same_whatever_the_length_of_the_lists(row):
    row(metrics=[metric("mutual_knn", 5)])
    before = lines(row.folder)
    for seed, name in enumerate(["v", "l1", "l2"], start=1):
        write_index(row.folder, name, seed, k_max=50)
    row(metrics=[metric("mutual_knn", 5)], anew=True)
    assert lines(row.folder) == before


def test_a_finished_row_is_not_touched_and_a_new_partner_computes_one_pair(row):
    assert row(["l1"])["computed_pairs"] == 1
    before = (row.folder / "n.parquet").stat().st_mtime_ns
    assert row(["l1"])["computed"] == 0
    assert (row.folder / "n.parquet").stat().st_mtime_ns == before
    receipt = row()
    assert (receipt["computed_pairs"], receipt["kept"]) == (1, 2)
    assert sorted(receipt["digests"].values()) == sorted(x["digest"] for x in lines(row.folder).values())


@pytest.mark.parametrize(
    ("changed", "computed"),
    [
        ({"seed": 4}, 4),
        ({"permutations": 20}, 4),
        ({"alpha": 0.2}, 4),
        ({"splits": 9}, 2),  # of mutual_knn, which alone has an interval
        ({"level": 0.8}, 2),
        ({"groups": False}, 4),
    ],
)
def test_a_changed_setting_makes_stale_what_it_determines(row, changed, computed):
    metrics = [metric("cka", 0, interval=False), metric("mutual_knn", 5)]
    row(metrics=metrics)
    receipt = row(metrics=metrics, **changed)
    assert (receipt["computed"], receipt["kept"]) == (computed, 4 - computed)


@pytest.mark.parametrize("name", ["groups", "inference", "intervals", "infer_row"])
def test_a_raised_version_computes_every_line_again(row, monkeypatch, name):
    row()
    monkeypatch.setattr(f"zooalign.alignment.{name}.VERSION", 1000)
    assert row()["computed"] == 4


def test_a_changed_index_makes_its_pairs_stale_and_no_others(row):
    row()
    write_index(row.folder, "l1", seed=9)
    receipt = row()
    assert (receipt["computed_pairs"], receipt["kept"]) == (1, 2)


@pytest.mark.parametrize("save_every_s", [0.0, 1e9])
def test_an_interrupted_row_computes_only_the_rest_and_ends_as_the_same_bytes(row, monkeypatch, save_every_s):
    row()
    whole = (row.folder / "n.parquet").read_bytes()
    for file in ("n.parquet", "n.receipt.json"):
        (row.folder / file).unlink()
    compute, left = module._inferred, [3]  # one pair, and the first line of the next

    def interrupted(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return compute(*arguments)

    monkeypatch.setattr(module, "_inferred", interrupted)
    with pytest.raises(KeyboardInterrupt):
        row(save_every_s=save_every_s)
    assert not (row.folder / "n.parquet").exists()
    kept = read_lines(partial_table(row.folder / "n.parquet"), inference_schema())
    assert {line["model_y"] for line in kept} == {"l1"}
    monkeypatch.setattr(module, "_inferred", compute)
    receipt = row()
    assert (receipt["computed_pairs"], receipt["kept"]) == (1, 2)
    assert (row.folder / "n.parquet").read_bytes() == whole
    assert held_pairs(row.folder / "n.parquet") == {("v", "l1"), ("v", "l2")}


def test_what_is_not_asked_for_is_not_there_and_says_so(row):
    row(metrics=[metric("cka", 0, interval=False), metric("mutual_knn", 5, null=False)])
    found = lines(row.folder)
    cka, knn = found["l1", "cka", 0], found["l1", "mutual_knn", 5]
    assert (cka["low"], cka["interval_of"], cka["interval_reason"]) == (None, None, "not asked for")
    assert (knn["p"], knn["permutations"], knn["null_reason"]) == (None, None, "not asked for")
    assert cka["p"] is not None
    assert knn["low"] < knn["observed"] < knn["high"]


def test_samples_that_are_their_own_groups_are_no_groups(row):
    row(metrics=[metric("mutual_knn", 5)])
    single = lines(row.folder)["l1", "mutual_knn", 5]
    row(metrics=[metric("mutual_knn", 5)], labels=[f"own {i}" for i in range(N)], anew=True)
    assert lines(row.folder)["l1", "mutual_knn", 5] == single
    assert single["groups"] is None


@pytest.mark.parametrize(
    ("labels", "null", "interval", "count"),
    [
        # Every group has a size of its own.
        (["a"] * 8 + ["b"] * 10 + ["c"] * 12 + ["d"] * 14 + ["e"] * 16, "fewer than 1 / alpha = 10 ways", "", 5),
        (["a"] * N, "all samples are of one group", "all samples are of one group", None),
        (["a", "b"] * (N // 2), "fewer than 1 / alpha", "a half needs at least 2 groups", 2),
    ],
)
def test_groups_that_allow_no_null_or_interval_give_a_reason(row, labels, null, interval, count):
    assert row(metrics=[metric("mutual_knn", 5)], labels=labels)["computed"] == 2
    line = lines(row.folder)["l1", "mutual_knn", 5]
    assert null in line["null_reason"]
    assert interval in line["interval_reason"]
    assert (line["p"], line["groups"]) == (None, count)
    assert (line["low"] is None) is bool(interval)
    assert line["observed"] > 0


def test_a_metric_without_interval_says_why(row):
    row(metrics=[metric("mutual_knn", 30)])
    line = lines(row.folder)["l1", "mutual_knn", 30]
    assert line["interval_reason"] == "k = 30 is not below half the number of samples, 60"
    assert line["p"] is not None


def test_samples_that_differ_fail_and_name_the_pair(row):
    write_index(row.folder, "l2", 3, ids=[f"other{i}" for i in range(N)])
    with pytest.raises(MetricError, match=r"mutual_knn@5 of v and l2 on toy: .*other0"):
        row(metrics=[metric("mutual_knn", 5)])


# --- read back ---


def test_p_values_are_adjusted_over_all_pairs_of_a_metric(row):
    row()
    frame = read_inference([row.folder / "n.parquet"])
    assert list(frame.columns) == [*(c for c in inference_schema().names if c != "digest"), "q"]
    assert frame[["metric", "model_y"]].to_numpy().tolist() == [
        ["cka", "l1"], ["cka", "l2"], ["mutual_knn", "l1"], ["mutual_knn", "l2"],
    ]  # fmt: skip
    for _, of_metric in frame.groupby("metric"):
        p, q = of_metric["p"].to_numpy(), of_metric["q"].to_numpy()
        np.testing.assert_allclose(q, np.minimum(np.maximum(p.max(), 0), 2 * np.maximum(p, p.max() / 2)))
    assert len(read_inference([])) == 0
    assert "q" in read_inference([])


def test_without_a_null_there_is_no_q(row):
    row(metrics=[metric("cka", 0, null=False), metric("mutual_knn", 5)])
    frame = read_inference([row.folder / "n.parquet"]).set_index("metric")
    assert frame.loc["cka", "q"].isna().all()
    assert frame.loc["mutual_knn", "q"].notna().all()
    assert frame.loc["cka", "permutations"].isna().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p": float("nan")}, "p of mutual_knn of v and l1 is not finite"),
        ({"p": 1.5}, r"p-value lies outside \[0, 1\]"),
        ({"p": None}, "'p' does not agree with 'null_reason'"),
        ({"high": None}, "'high' does not agree with 'interval_reason'"),
        ({"observed": None}, "'observed' has empty fields"),
    ],
)
def test_lines_that_cannot_be_are_refused(row, change, message):
    row(metrics=[metric("mutual_knn", 5)])
    path = row.folder / "n.parquet"
    stored = read_lines(path, inference_schema())
    stored[0] |= change
    with hold_lease(path, print, 60.0) as lease:
        write_table(path, stored, [["v", "l1"], ["v", "l2"]], lease, inference_schema())
    with pytest.raises(StoreError, match=message):
        read_inference([path])


def test_damaged_files_and_repeated_pairs_are_refused(row):
    row(["l1"])
    path = row.folder / "n.parquet"
    with pytest.raises(StoreError, match="two rows hold cka of v and l1"):
        read_inference([path, path])
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["p"]), row.folder / "less.parquet")
    with pytest.raises(StoreError, match="column 'p' is missing"):
        read_inference([row.folder / "less.parquet"])
    seeds = pa.array([8] * table.num_rows, pa.int64())
    pq.write_table(table.set_column(table.schema.get_field_index("seed"), "seed", seeds), path)
    with pytest.raises(StoreError, match="its content changed since it was written"):
        read_inference([path])
    path.write_bytes(b"PAR1 torn")
    with pytest.raises(StoreError, match="not a table"):
        read_inference([path])
    assert row(["l1"])["computed_pairs"] == 1
    assert json.loads((row.folder / "n.receipt.json").read_text())["version"] == module.VERSION


def test_permutations_of_groups_are_drawn_as_before():
    """Every draw of a seed is a setting of a result: known ones must not change."""
    generator = np.random.default_rng(5)
    groups = as_groups("aabbccdde", 9)
    order = groups.order(generator)
    members = [np.flatnonzero(groups.codes == c) for c in range(5)]
    again = np.random.default_rng(5)
    expected = np.arange(9)
    for size in (1, 2):
        equal = np.stack([m for m in members if len(m) == size])
        expected[equal] = equal[again.permutation(len(equal))]
    np.testing.assert_array_equal(order, expected)
    single = as_groups(range(9), 9)
    first, second = single.halves(np.random.default_rng(5))
    drawn = np.random.default_rng(5).permutation(9)
    assert [*first, *second] == [*drawn[:8]]
