"""A row of the matrix: exactly the stale pairs are computed, and what is kept stays as it was."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from zooalign.alignment.pairs import Pair
from zooalign.alignment.row import align_row
from zooalign.alignment.table import held_pairs, partial_table, read_lines
from zooalign.errors import LeaseError, MetricError, StoreError
from zooalign.indexes.build import build_index

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

    def run(partners=LANGUAGE, metrics=METRICS, **settings):
        return align_row(
            "v",
            [Pair("v", p, "vision-language") for p in partners],
            {name: tmp_path / f"{name}.zarr" for name in ["v", *partners]},
            metrics,
            tmp_path / "v.parquet",
            tmp_path / "v.receipt.json",
            "toy",
            lambda message: None,
            **settings,
        )

    run.folder, run.features = tmp_path, features
    return run


def lines(folder):
    return {(x["model_y"], x["metric"], x["k"]): x for x in pq.read_table(folder / "v.parquet").to_pylist()}


def test_tied_shares_stand_beside_the_best_layers_and_are_warned_about(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, N)
    said = []
    for name, layers in (
        ("v", [np.eye(4)[labels], np.ones((N, 3))]),
        ("l1", [np.eye(4)[labels] @ np.eye(4, 9) * 2.0]),
    ):
        index = build_index(layers, k_max=20, needs=["neighbors", "gram"], name=name)
        index.save(tmp_path / f"{name}.zarr", {"digest": name})
    align_row(
        "v", [Pair("v", "l1", "vision-language")], {m: tmp_path / f"{m}.zarr" for m in ("v", "l1")}, METRICS,
        tmp_path / "v.parquet", tmp_path / "v.receipt.json", "toy", said.append,
    )  # fmt: skip
    found = lines(tmp_path)
    cka, tied = found["l1", "cka", 0], found["l1", "mutual_knn", 5]
    assert (cka["tied_x"], cka["tied_y"]) == (None, None)
    assert (tied["layer_x"], tied["tied_x"], tied["tied_y"]) == (0, 1.0, 1.0)
    assert np.isnan(tied["matrix"][1])
    warnings = [line for line in said if "tied neighbours" in line]
    assert len(warnings) == 1
    assert "2 of 3 best scores are at a layer where more than 5%" in warnings[0]


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


def test_a_finished_row_is_not_touched(row):
    row()
    files = ["v.parquet", "v.receipt.json"]
    before = [(row.folder / f).stat().st_mtime_ns for f in files]
    row()
    assert [(row.folder / f).stat().st_mtime_ns for f in files] == before


@pytest.mark.parametrize("damage", ["table", "receipt", "no receipt", "no table"])
def test_a_damaged_or_missing_part_of_a_finished_row_is_made_again(row, damage):
    row()
    table, receipt = row.folder / "v.parquet", row.folder / "v.receipt.json"
    whole = table.read_bytes()
    if damage == "table":
        table.write_bytes(whole[: len(whole) // 2])
    elif damage == "receipt":
        receipt.write_text("{")
    else:
        (receipt if damage == "no receipt" else table).unlink()
    row()
    assert table.read_bytes() == whole
    assert len(json.loads(receipt.read_text())["digests"]) == 6
    assert sorted(p.name for p in row.folder.glob("*v.*")) == ["v.parquet", "v.receipt.json", "v.zarr"]


def test_an_interrupted_row_ends_as_the_same_bytes(row, tmp_path, monkeypatch):
    """Ctrl-C after each pair in turn, with rows saved at once, late or not at all before it."""
    from zooalign.alignment import row as module

    partners = [f"p{i}" for i in range(4)]
    for seed, name in enumerate(partners, start=10):
        write_index(row.folder, name, seed)
    row(partners)
    whole = (row.folder / "v.parquet").read_bytes()
    compute = module._line
    for save_every_s in (0.0, 1e9):
        for file in ("v.parquet", "v.receipt.json"):
            (row.folder / file).unlink()
        for _ in partners:
            left = [len(METRICS)]  # one pair, and the first score of the next

            def interrupted(*arguments, left=left):
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
                return compute(*arguments)

            monkeypatch.setattr(module, "_line", interrupted)
            try:
                row(partners, save_every_s=save_every_s)
            except KeyboardInterrupt:
                assert held_pairs(row.folder / ".v.partial.parquet") == {("v", p) for p in partners}
                assert not (row.folder / "v.parquet").exists()  # it changes in one step
        monkeypatch.undo()
        assert (row.folder / "v.receipt.json").exists()
        assert not (row.folder / ".v.partial.parquet").exists()
        assert (row.folder / "v.parquet").read_bytes() == whole


def test_a_row_that_was_taken_over_writes_nothing_more(row, monkeypatch):
    from zooalign.alignment import row as module

    row(["l1"])
    before = (row.folder / "v.parquet").read_bytes()
    compute = module._line

    def lose(*arguments):
        (row.folder / "v.parquet.lease").unlink(missing_ok=True)
        return compute(*arguments)

    monkeypatch.setattr(module, "_line", lose)
    with pytest.raises(LeaseError, match=r"v\.parquet lost its record"):
        row(save_every_s=0.0)
    assert (row.folder / "v.parquet").read_bytes() == before


KILLED = """
import sys, time
from pathlib import Path
from zooalign.alignment import row
from zooalign.alignment.pairs import Pair
from zooalign.alignment.row import align_row
folder, partners, metrics = Path(sys.argv[1]), sys.argv[2].split(","), {metrics!r}
compute = row._line

def slow(*arguments):
    time.sleep(0.02)
    return compute(*arguments)

row._line = slow
print("start", flush=True)
receipt = align_row("v", [Pair("v", p, "vision-language") for p in partners],
                    {{m: folder / f"{{m}}.zarr" for m in ["v", *partners]}}, metrics,
                    folder / "killed.parquet", folder / "killed.json", "toy", lambda line: None, save_every_s=0.0)
print(receipt["computed_pairs"], receipt["kept"])
"""


def test_a_killed_row_keeps_what_it_saved_and_two_jobs_never_write_it_at_once(row, tmp_path):
    """SIGKILL again and again, always with a second job that waits for the first or takes over from it."""
    import subprocess
    import sys
    import time

    partners = [f"p{i}" for i in range(10)]
    for seed, name in enumerate(partners, start=10):
        write_index(row.folder, name, seed)
    row(partners)
    whole = (row.folder / "v.parquet").read_bytes()
    command = [sys.executable, "-c", KILLED.format(metrics=METRICS), str(row.folder), ",".join(partners)]
    table, saved = row.folder / "killed.parquet", [0]

    def start():
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "start\n"
        return process

    def pairs():
        return len(read_lines(partial_table(table)) or read_lines(table)) // len(METRICS)

    for turn in range(4):
        both = [start(), start()]
        while pairs() <= saved[-1] and any(process.poll() is None for process in both):
            time.sleep(0.002)
        # The first to go is now the one that writes, now the one that waits and would take over.
        for process in both if turn % 2 else both[::-1]:
            process.kill()
            process.communicate()
        saved.append(pairs())
    assert 0 < saved[1] < saved[2] < saved[3] < saved[4] < len(partners)
    last, other = start(), start()
    computed = [list(map(int, process.communicate(timeout=300)[0].split())) for process in (last, other)]
    # One of the two did what was missing and no more; the other waited and found nothing to do.
    assert sorted(computed) == sorted([[len(partners) - saved[-1], saved[-1] * len(METRICS)], [0, 30]])
    assert table.read_bytes() == whole


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
    # What was computed before the error is kept beside the row.
    assert {line["model_y"] for line in read_lines(row.folder / ".v.partial.parquet")} == {"l1"}
    assert not (row.folder / "v.parquet").exists()
    write_index(row.folder, "l2", seed=3)
    assert (row()["computed_pairs"], row()["computed_pairs"]) == (1, 0)


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
from zooalign.workflow.job import job
from zooalign.alignment.pairs import Pair
from zooalign.alignment.row import align_row
folder = Path({str(row.folder)!r})
with job(folder / "log", "align_row v") as report:
    align_row("v", [Pair("v", "l1", "vision-language")], {{m: folder / f"{{m}}.zarr" for m in ("v", "l1")}},
              {METRICS!r}, folder / "t.parquet", folder / "r.json", "toy", report)
print(sorted({{"torch", "zarr", "pydantic", "matplotlib", "sklearn"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.strip() == "[]"


def test_a_row_that_is_edited_by_hand_is_made_again_and_only_on_demand_is_everything(row):
    row(["l1"])
    table = row.folder / "v.parquet"
    whole = table.read_bytes()
    assert row(["l1"])["computed"] == 0
    table.write_bytes(whole[:-200])
    assert row(["l1"])["computed_pairs"] == 1
    assert table.read_bytes() == whole
    # A byte of the data is another one: the lines can be read, the file is not what was written.
    edited = bytearray(whole)
    edited[len(whole) // 2] ^= 1
    table.write_bytes(edited)
    row(["l1"])
    assert table.read_bytes() == whole
    assert row(["l1"], anew=True)["computed_pairs"] == 1


def test_whatever_pyarrow_raises_for_damaged_bytes_a_row_is_computed_again(tmp_path, monkeypatch):
    """Some of it is neither a ValueError nor an OSError: a flipped bit made an integer of fewer than eight."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from zooalign.alignment import table

    path = tmp_path / "row.parquet"
    pq.write_table(pa.table({"a": [1]}), path)

    def refuse(*arguments, **options):
        raise pa.ArrowException("Integers with less than 8 bits")

    monkeypatch.setattr(pq, "read_metadata", refuse)
    monkeypatch.setattr(pq, "read_table", refuse)
    assert table.held_pairs(path) is None
    assert table.read_lines(path) == []
    with pytest.raises(ValueError, match="less than 8 bits"):
        table.read_digests(path)
