"""zooalign.score: arrays, files and stores in; table and JSON out; messages that say what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from zooalign.alignment.score import score, score_command
from zooalign.errors import ConfigError, FeatureError, MetricError, StoreError, ZooalignError
from zooalign.indexes.build import build_index
from zooalign.indexes.preparation import Preparation

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def arrays():
    with np.load(DATA / "layers_256.npz") as file:
        return file["A"], file["B"]


def test_known_answers_through_the_command(tmp_path):
    table = score_command(
        f"{DATA / 'layers_256.npz'}:A",
        f"{DATA / 'layers_256.npz'}:B",
        metric="mutual_knn,cycle_knn,lcs_knn,cka,cknna",
        k="5,10",
        json_file=str(tmp_path / "out" / "scores.json"),
    )
    found = json.loads((tmp_path / "out" / "scores.json").read_text())
    answers = json.loads((DATA / "layers_256.json").read_text())["scores"]
    expected = {f"{m}@{k}" for m in ("mutual_knn", "cycle_knn", "lcs_knn", "cknna") for k in (5, 10)} | {"cka"}
    assert set(found["scores"]) == expected
    for name, values in found["scores"].items():
        np.testing.assert_allclose(values, answers[name], atol=1e-6, rtol=0)
    assert found["best"]["mutual_knn@10"]["layer_x"] == 1
    assert found["best"]["mutual_knn@10"]["layer_y"] == 2
    assert not {"null", "interval"} & set(found)
    assert found["settings"]["preparation"]["clamp_quantile"] == 0.95
    assert table.splitlines()[0].split()[:2] == ["metric", "score"]
    assert any(line.startswith("mutual_knn@10  0.3809") for line in table.splitlines())


def test_every_form_of_input_gives_the_same(arrays, tmp_path):
    a, b = arrays
    expected = score(a, b, "mutual_knn,cka").as_dict()["scores"]
    np.save(tmp_path / "a.npy", a)
    np.savez(tmp_path / "layers.npz", **{f"block{i}": a[:, i] for i in range(3)})
    index = build_index([b[:, i] for i in range(4)], k_max=10, needs=("neighbors", "gram"))
    index.save(tmp_path / "b.zarr")
    forms_a = [
        tmp_path / "a.npy",
        str(tmp_path / "layers.npz"),
        [a[:, i] for i in range(3)],
        {"l0": a[:, 0], "l1": a[:, 1], "l2": a[:, 2]},
    ]
    for form in forms_a:
        assert score(form, b, "mutual_knn,cka").as_dict()["scores"] == expected
    for form in (index, tmp_path / "b.zarr"):
        assert score(a, form, "mutual_knn,cka").as_dict()["scores"] == expected
    named = score(str(tmp_path / "layers.npz"), b)
    assert named.best["mutual_knn@10"]["layer_name_x"] == "block1"


def test_torch_tensors_of_any_precision(arrays):
    torch = pytest.importorskip("torch")
    a, b = (torch.from_numpy(v) for v in arrays)
    expected = score(*arrays).scores["mutual_knn@10"]
    np.testing.assert_array_equal(score(a.requires_grad_(), b).scores["mutual_knn@10"], expected)
    rounded = score(a.bfloat16(), b.half()).scores["mutual_knn@10"]
    assert 0 < np.abs(rounded - expected).max() < 0.02


def test_null_and_intervals(arrays):
    a, b = arrays
    found = score(a, b, "mutual_knn,cka,svcca,svcca_published", k=5, null=19, splits=6, seed=4)
    assert set(found.null) == set(found.interval) == {"mutual_knn@5", "cka", "svcca", "svcca_published"}
    assert found.null["mutual_knn@5"]["p_value"] == 0.05
    assert len(found.null["cka"]["maxima"]) == 19
    for name in ("mutual_knn@5", "cka", "svcca"):
        interval = found.interval[name]
        assert interval["of"] == "the best of 12 layer pairs"
        assert interval["low"] < found.best[name]["score"] == interval["score"] < interval["high"]
    assert "random draws" in found.interval["svcca_published"]["none"]
    json.dumps(found.as_dict(), allow_nan=False)
    lines = str(found).splitlines()
    assert lines[0].endswith("95% interval (split-half, score of the best of 12 layer pairs)")
    assert lines[-1].startswith("no interval for svcca_published: ")
    assert score(a[:, 1], b[:, 2], k=5, splits=6).interval["mutual_knn@5"]["of"] == "this layer pair"
    again = score(a, b, "mutual_knn,cka,svcca,svcca_published", k=5, null=19, splits=6, seed=4)
    assert again.as_dict() == found.as_dict()


def test_groups_from_labels_and_from_a_file(arrays, tmp_path):
    a, b = arrays
    labels = np.repeat(np.arange(64), 4)
    found = score(a, b, "cka", null=9, splits=6, groups=labels)
    assert found.settings["groups"] == {"count": 64, "sizes": {"4": 64}}
    assert found.null["cka"]["groups"] == found.interval["cka"]["groups"] == 64
    assert found.as_dict() != score(a, b, "cka", null=9, splits=6).as_dict()
    (tmp_path / "groups.txt").write_text("\n".join(map(str, labels)) + "\n")
    assert score(a, b, "cka", null=9, splits=6, groups=tmp_path / "groups.txt").as_dict() == found.as_dict()
    uneven = score(a, b, "cka", null=9, groups=[0] * 6 + list(range(1, 251)))
    assert uneven.null["cka"]["fixed_samples"] == 6
    assert "6 of 256 samples are in groups whose size no other group has" in str(uneven)


def test_near_duplicates_are_warned_about_unless_groups_are_given():
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(20), 5)
    x, y = (rng.standard_normal((20, d))[codes] + 0.02 * rng.standard_normal((100, d)) for d in (12, 9))
    found = score(x, y, null=9)
    assert "100 of 100 samples have a near-duplicate" in found.warnings[0]
    assert found.as_dict()["warnings"] == found.warnings
    assert str(found).splitlines()[-1].startswith("warning: 100 of 100")
    assert not score(x, y, null=9, groups=codes).warnings
    assert not score(x, y).warnings


def test_fixed_k_and_no_repeats(arrays):
    assert list(score(*arrays, "mutual_knn@3, mutual_knn, cka,mutual_knn@3", k=[5, 3]).scores) == [
        "mutual_knn@3",
        "mutual_knn@5",
        "cka",
    ]


def test_preparation_in_every_form(arrays):
    a, b = arrays
    plain = Preparation(clamp_scope="none", include_concat=True)
    expected = score(a, b, prepare=plain).as_dict()["scores"]
    assert score(a, b, prepare={"clamp_scope": "none", "include_concat": True}).as_dict()["scores"] == expected
    assert score(a, b, prepare="clamp_scope=none, include_concat=true").as_dict()["scores"] == expected
    assert score(a, b, prepare="clamp_quantile=0.9").as_dict()["scores"] != expected
    assert len(expected["mutual_knn@10"]) == 4


def test_tied_shares_are_shown_and_warned_about():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 80, 5))
    y[:8] = y[0]
    found = score(x, y, "mutual_knn@3,cka")
    assert found.as_dict()["best"]["mutual_knn@3"]["tied_x"] == 0.0
    share = found.as_dict()["best"]["mutual_knn@3"]["tied_y"]
    assert 0.1 <= share < 0.5  # the eight equal samples, and those whose third neighbour is one of them
    assert found.best["cka"]["tied_x"] is None
    table = str(found).splitlines()
    assert table[0].endswith("tied (x, y)")
    assert table[1].endswith(f"0.0%, {share:.1%}")
    assert table[2].endswith(" -")
    assert table[3].startswith(f"warning: mutual_knn@3: at layer 0 of y for {share:.0%} of samples")
    assert len(str(score(x, x, "mutual_knn@3")).splitlines()) == 2


def test_undefined_scores_are_null_in_json():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 2, 4))
    x[:, 0] = 1.0
    found = score(x, rng.standard_normal((30, 5)), "cka")
    assert found.as_dict()["scores"]["cka"][0] == [None]
    assert found.best["cka"]["layer_x"] == 1


def bad(array, row, value):
    array = array.copy()
    array[row] = value
    return array


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        (lambda a: a[:200], {}, MetricError, "x has 200 samples and y has 256"),
        (lambda a: a.ravel(), {}, FeatureError, r"x has shape \(36864,\)"),
        (lambda a: bad(a, (9, 1, 3), np.nan), {}, FeatureError, r"layer '1'.*sample '9'"),
        (lambda a: bad(a, (7, 2), 0.0), {}, FeatureError, r"layer '2'.*sample '7'.*all zero"),
        (lambda a: a, {"k": 256}, MetricError, "k = 256 with n = 256"),
        (lambda a: a, {"k": 0}, MetricError, "k = 0"),
        (lambda a: a, {"k": []}, MetricError, "no metric to score"),
        (lambda a: a, {"metric": "mutal_knn"}, MetricError, "did you mean 'mutual_knn'"),
        (lambda a: a, {"metric": "mutual_knn@ten"}, MetricError, "after @ stands"),
        (lambda a: a, {"prepare": "normalize=l2"}, ConfigError, "did you mean 'normalise'"),
        (lambda a: a, {"prepare": {"normalise": "l1"}}, ConfigError, "unknown normalise 'l1'"),
        (lambda a: a, {"null": -1}, ConfigError, "negative"),
        (lambda a: a, {"groups": [1, 2]}, MetricError, "2 group labels for 256"),
        (lambda a: "nowhere.npy", {}, StoreError, "there is no file or store nowhere.npy"),
        (lambda a: f"{DATA / 'layers_256.npz'}", {}, FeatureError, "Pick one with"),
        (lambda a: f"{DATA / 'layers_256.npz'}:C", {}, StoreError, "unknown array 'C'"),
        (lambda a: DATA / "layers_256.json", {}, StoreError, "features are read from"),
    ],
)
def test_bad_input_says_what_is_wrong(arrays, change, options, error, message):
    a, b = arrays
    with pytest.raises(error, match=message):
        score(change(a), b, **options)


def test_settings_that_do_not_match_an_index_are_refused(arrays, tmp_path):
    build_index([arrays[1][:, 0]], Preparation(normalise="none"), 10).save(tmp_path / "b.zarr")
    with pytest.raises(ConfigError, match="was prepared with"):
        score(arrays[0], tmp_path / "b.zarr")


def test_command_refuses_what_is_no_number_and_unwritable_files(tmp_path, arrays):
    np.save(tmp_path / "a.npy", arrays[0])
    file = str(tmp_path / "a.npy")
    with pytest.raises(ConfigError, match="k is 'ten'"):
        score_command(file, file, k="ten")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="cannot write"):
        score_command(file, file, json_file=str(tmp_path / "folder"))
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a.npy", "folder"]


def test_every_error_is_ours(arrays):
    with pytest.raises(ZooalignError):
        score(np.zeros((0, 2, 3)), arrays[1])
    with pytest.raises(ZooalignError):
        score([], arrays[1])
