"""Tables: the joined alignment, the capability table, and the records they are read from."""

from __future__ import annotations

import random

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zooalign.alignment.table import table_schema
from zooalign.errors import StoreError
from zooalign.results import read
from zooalign.tables import alignment, capability_alignment

MODELS = pd.DataFrame(
    [
        ("cnn", "vision", "f1", "supervised", False, False, ""),
        ("vit", "vision", "f2", "self-supervised", False, False, ""),
        ("noise_v", "vision", "random", "random", False, True, ""),
        ("gpt", "language", "f3", "causal", True, False, ""),
        ("bert", "language", "f4", "sentence-encoder", False, False, ""),
        ("noise_l", "language", "random", "random", True, True, ""),
    ],
    columns=["id", "modality", "family", "objective", "causal", "control", "intervention"],
)
SCORES = {
    ("cnn", "gpt"): 0.10,
    ("cnn", "bert"): 0.20,
    ("vit", "gpt"): 0.30,
    ("vit", "bert"): 0.50,
    ("cnn", "noise_l"): 0.04,
    ("vit", "noise_l"): 0.06,
    ("noise_v", "gpt"): 0.03,
    ("noise_v", "bert"): 0.05,
    ("noise_v", "noise_l"): 0.01,
    ("cnn", "vit"): 0.60,
    ("cnn", "noise_v"): 0.08,
    ("vit", "noise_v"): 0.09,
    ("bert", "gpt"): 0.70,
    ("bert", "noise_l"): 0.12,
    ("gpt", "noise_l"): 0.14,
}


def line(x, y, score, dataset="pictures", k=10, metric="mutual_knn"):
    modality = dict(zip(MODELS["id"], MODELS["modality"], strict=True))
    return {
        "dataset": dataset,
        "comparison": f"{modality[x]}-{modality[y]}",
        "metric": metric,
        "k": k,
        "model_x": x,
        "model_y": y,
        "modality_x": modality[x],
        "modality_y": modality[y],
        "score": score,
        "chance": 10 / 1023,
        "n": 1024,
        "layer_x": 0,
        "layer_y": 1,
        "layer_name_x": "a",
        "layer_name_y": "b",
        "tied_x": 0.25,
        "tied_y": None if k == 0 else 0.0,
        "n_layers_x": 1,
        "n_layers_y": 2,
        "digest": f"{x}{y}{k}",
        "matrix": [0.0, score],
        "terms": [score] * 3,
    }


def frame(scores=SCORES, **kwargs):
    return pd.DataFrame([line(x, y, s, **kwargs) for (x, y), s in scores.items()]).drop(columns=["matrix", "terms"])


def capabilities():
    rows = [
        ("bits_per_byte", "gpt", 1.0, 0.02, "bits/byte", False, 100, ""),
        ("bits_per_byte", "noise_l", float("nan"), float("nan"), "bits/byte", False, 0, "out of memory"),
        ("probe", "cnn", 0.9, 0.01, "accuracy", True, 360, ""),
        ("probe", "noise_v", 0.3, 0.02, "accuracy", True, 360, ""),
    ]
    return pd.DataFrame(rows, columns=list(read.CAPABILITY_COLUMNS))


# --- alignment.parquet and .csv -------------------------------------------------------------------------


def write_rows(folder, lines):
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for model in sorted({entry["model_x"] for entry in lines}):
        path = folder / f"{model}.parquet"
        # Narrower integers, other columns first and metadata of its own, as a row file may have.
        table = pa.Table.from_pylist([entry for entry in lines if entry["model_x"] == model])
        table = table.select(sorted(table.column_names)).replace_schema_metadata({"held": "something"})
        table = table.set_column(table.column_names.index("n"), "n", table["n"].cast(pa.int32()))
        pq.write_table(table, path)
        paths.append(path)
    return paths


def all_lines():
    return [line(x, y, s, k=k) for (x, y), s in SCORES.items() for k in (10, 5)]


def test_the_joined_table_is_sorted_and_keeps_matrix_and_terms(tmp_path):
    alignment.make(write_rows(tmp_path / "rows", all_lines()), tmp_path / "a.parquet", tmp_path / "a.csv")
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.num_rows == 30
    assert table.schema.equals(table_schema())
    keys = table.select(alignment.KEY).to_pylist()
    assert keys == sorted(keys, key=lambda key: tuple(key.values()))
    for entry in table.to_pylist():
        assert entry["score"] == SCORES[entry["model_x"], entry["model_y"]]
        assert entry["matrix"] == pytest.approx([0.0, entry["score"]])
        assert len(entry["terms"]) == 3


def test_the_csv_has_the_scores_in_fixed_form_and_no_heavy_column(tmp_path):
    alignment.make(write_rows(tmp_path / "rows", all_lines()), tmp_path / "a.parquet", tmp_path / "a.csv")
    text = pd.read_csv(tmp_path / "a.csv", dtype=str, keep_default_na=False)
    assert not {"matrix", "terms"} & set(text.columns)
    assert set(text["chance"]) == {"0.00977517"}
    assert text.set_index(["model_x", "model_y", "k"]).loc[("cnn", "gpt", "10"), "score"] == "0.10000000"
    light = read.read_alignment(tmp_path / "a.parquet")
    assert light["score"].tolist() == pytest.approx(text["score"].astype(float).tolist())


def test_neither_files_nor_rows_in_another_order_change_a_byte(tmp_path):
    lines = all_lines()
    alignment.make(write_rows(tmp_path / "one", lines), tmp_path / "a.parquet", tmp_path / "a.csv")
    random.Random(3).shuffle(lines)
    # The symmetric pairs may lie in either model's row: here all lie in one file.
    for entry in lines:
        entry["row"] = "all"
    path = tmp_path / "all.parquet"
    pq.write_table(pa.Table.from_pylist(lines), path)
    alignment.make([path], tmp_path / "b.parquet", tmp_path / "b.csv")
    for suffix in ("parquet", "csv"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_a_chance_that_there_is_not_stays_empty(tmp_path):
    lines = [{**line("cnn", "gpt", 0.3, k=0, metric="cka"), "chance": None, "terms": None}]
    alignment.make(write_rows(tmp_path, lines), tmp_path / "out" / "a.parquet", tmp_path / "out" / "a.csv")
    assert pd.read_csv(tmp_path / "out" / "a.csv")["chance"].isna().all()
    assert pq.read_table(tmp_path / "out" / "a.parquet")["terms"].null_count == 1


def test_no_rows_at_all_make_an_empty_table(tmp_path):
    alignment.make([], tmp_path / "a.parquet", tmp_path / "a.csv")
    assert pq.read_table(tmp_path / "a.parquet").num_rows == 0
    assert (tmp_path / "a.csv").read_text().startswith("dataset,comparison,metric,k,")


def test_a_pair_that_stands_twice_names_both_files(tmp_path):
    [path] = write_rows(tmp_path, [line("cnn", "gpt", 0.3)])
    other = tmp_path / "other.parquet"
    other.write_bytes(path.read_bytes())
    with pytest.raises(StoreError, match=r"other\.parquet: .*cnn, gpt is already in .*cnn\.parquet"):
        alignment.make([other, path], tmp_path / "a.parquet", tmp_path / "a.csv")
    assert not (tmp_path / "a.parquet").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": float("nan")}, "the mutual_knn of cnn and gpt is not finite"),
        ({"score": None}, "column 'score' has empty fields"),
        ({"digest": None}, "column 'digest' has empty fields"),
        ({"n": "many"}, "not a table of alignment"),
    ],
)
def test_damaged_rows_are_refused(tmp_path, change, message):
    path = tmp_path / "cnn.parquet"
    pq.write_table(pa.Table.from_pylist([{**line("cnn", "gpt", 0.3), **change}]), path)
    with pytest.raises(StoreError, match=rf"cnn\.parquet: {message}"):
        read.read_row_file(path)


def test_a_file_that_is_no_table_is_refused(tmp_path):
    path = tmp_path / "cnn.parquet"
    path.write_bytes(b"not parquet")
    with pytest.raises(StoreError, match=r"cnn\.parquet: not a table"):
        read.read_row_file(path)
    pq.write_table(pa.table({"dataset": ["d"]}), path)
    with pytest.raises(StoreError, match="column 'comparison' is missing"):
        read.read_row_file(path)


# --- capability_alignment -------------------------------------------------------------------------------


def make(tmp_path, table=None, capability=None, models=MODELS, name="t", left_out=None, **options):
    table = frame() if table is None else table
    chosen = {"metric": "mutual_knn", "k": 10, "symmetric": True, "datasets": sorted(set(table["dataset"]))}
    result = capability_alignment.make(
        table,
        capabilities() if capability is None else capability,
        models,
        capability_alignment.Options(**chosen | options),
        tmp_path / f"{name}.csv",
        tmp_path / f"{name}.md",
        left_out,
    )
    return result.set_index("id")


def test_means_are_over_the_trained_models_of_the_other_modality(tmp_path):
    table = make(tmp_path)
    assert table.loc["cnn", "pictures_other"] == pytest.approx((0.10 + 0.20) / 2)
    assert table.loc["gpt", "pictures_other"] == pytest.approx((0.10 + 0.30) / 2)
    assert table.loc["noise_v", "pictures_other"] == pytest.approx((0.03 + 0.05) / 2)
    assert table["pictures_other_n"].tolist() == [2] * 6


def test_means_within_a_modality_leave_out_the_model_and_the_controls(tmp_path):
    table = make(tmp_path)
    assert table.loc["cnn", "pictures_within"] == pytest.approx(0.60)
    assert table.loc["noise_v", "pictures_within"] == pytest.approx((0.08 + 0.09) / 2)
    assert table.loc["cnn", "pictures_within_n"] == 1
    assert table.loc["noise_l", "pictures_within_n"] == 2


def test_ranks_are_among_trained_models_of_a_modality(tmp_path):
    table = make(tmp_path)
    assert table.loc[["vit", "cnn", "bert", "gpt"], "pictures_rank"].tolist() == [1, 2, 1, 2]
    assert table.loc[["noise_v", "noise_l"], "pictures_rank"].isna().all()
    assert table.index.tolist() == ["vit", "cnn", "noise_v", "bert", "gpt", "noise_l"]


def test_interventions_are_marked_and_in_no_mean_and_no_rank(tmp_path):
    changed = MODELS.copy()
    changed.loc[changed["id"] == "bert", "intervention"] = "weight noise 0.2"
    plain, table = (make(tmp_path, models=models) for models in (MODELS, changed))
    assert "| bert ‡ | f4 | sentence-encoder (weight noise 0.2) |" in (tmp_path / "t.md").read_text()
    assert table.loc["bert", "pictures_other"] == plain.loc["bert", "pictures_other"]
    assert pd.isna(table.loc["bert", "pictures_rank"])
    assert table.loc["gpt", "pictures_rank"] == 1
    assert table.loc["cnn", "pictures_other"] == SCORES["cnn", "gpt"]  # bert is no partner
    assert list(table.index)[-3:] == ["gpt", "bert", "noise_l"]


def test_equal_means_share_a_rank(tmp_path):
    same = {
        pair: 0.2 if pair[0] in ("cnn", "vit") and pair[1] in ("gpt", "bert") else s for pair, s in SCORES.items()
    }
    assert make(tmp_path, frame(same)).loc[["cnn", "vit"], "pictures_rank"].tolist() == [1, 1]


def test_a_missing_score_is_no_zero_and_is_told(tmp_path):
    table = make(tmp_path, frame({pair: s for pair, s in SCORES.items() if pair != ("cnn", "bert")}))
    assert table.loc["cnn", "pictures_other"] == pytest.approx(0.10)
    assert table.loc["cnn", "pictures_other_n"] == 1
    assert "pictures: no score with bert (1 in the mean)" in table.loc["cnn", "reason"]
    assert pd.isna(table.loc["cnn", "pictures_rank"])  # its mean is over other partners
    assert table.loc["vit", "pictures_rank"] == 1


def test_a_model_that_failed_altogether_is_in_nobodys_mean(tmp_path):
    table = make(tmp_path, frame({pair: s for pair, s in SCORES.items() if "bert" not in pair}))
    assert pd.isna(table.loc["bert", "pictures_other"])
    assert table.loc["bert", "pictures_other_n"] == 0
    assert "no score with cnn, vit" in table.loc["bert", "reason"] or "any trained" in table.loc["bert", "reason"]
    assert table.loc[["vit", "cnn"], "pictures_rank"].tolist() == [1, 2]
    assert table.loc["cnn", "pictures_other"] == pytest.approx(0.10)
    assert "bert" not in table.loc["cnn", "reason"]
    fields = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False).set_index("id")
    assert fields.loc["bert", "pictures_other"] == ""


def test_a_comparison_that_is_not_made_is_no_failure(tmp_path):
    cross = {pair: s for pair, s in SCORES.items() if line(*pair, s)["comparison"] == "vision-language"}
    table = make(tmp_path, frame(cross))
    assert table["pictures_within"].isna().all()
    assert table.loc["cnn", "reason"] == ""


def test_capabilities_stand_in_their_columns_with_reasons(tmp_path):
    table = make(tmp_path)
    assert table.loc["gpt", ["bits_per_byte", "bits_per_byte_se"]].tolist() == [1.0, 0.02]
    assert pd.isna(table.loc["noise_l", "bits_per_byte"])
    assert "bits_per_byte: out of memory" in table.loc["noise_l", "reason"]
    assert table.loc["bert", "reason"] == "bits_per_byte: not a causal model"
    assert table.loc["vit", "reason"] == "probe: not measured"
    assert table.loc["cnn", "reason"] == ""


def test_several_datasets_have_columns_each(tmp_path):
    both = pd.concat([frame(), frame({p: s / 2 for p, s in SCORES.items()}, dataset="emoji")])
    table = make(tmp_path, both, datasets=("pictures", "emoji"))
    assert table.loc["cnn", "emoji_other"] == pytest.approx(0.075)
    assert table.columns.get_loc("pictures_other") < table.columns.get_loc("emoji_other")


def test_only_the_metric_and_k_asked_for_enter(tmp_path):
    both = pd.concat(
        [
            frame(),
            frame(dict.fromkeys(SCORES, 0.9), k=5),
            frame(dict.fromkeys(SCORES, 0.8), metric="cka", k=0),
        ]
    )
    assert make(tmp_path, both).loc["cnn", "pictures_other"] == pytest.approx(0.15)
    assert make(tmp_path, both, metric="cka", k=0).loc["cnn", "pictures_other"] == pytest.approx(0.8)
    with pytest.raises(StoreError, match=r"no k = 7; there are \[5, 10\]"):
        make(tmp_path, both, k=7)
    with pytest.raises(StoreError, match="did you mean 'mutual_knn'"):
        make(tmp_path, both, metric="mutal_knn")


def test_a_directed_metric_is_not_turned_round(tmp_path):
    table = make(tmp_path, frame({("cnn", "gpt"): 0.1, ("gpt", "cnn"): 0.3}), symmetric=False)
    assert table.loc["cnn", "pictures_other"] == pytest.approx(0.1)
    assert table.loc["gpt", "pictures_other"] == pytest.approx(0.3)


def test_the_bytes_do_not_depend_on_the_order_of_anything(tmp_path):
    make(tmp_path, name="a")
    make(
        tmp_path,
        frame().sample(frac=1, random_state=1),
        capabilities().iloc[::-1],
        MODELS.iloc[::-1],
        name="b",
    )
    for suffix in ("csv", "md"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_the_table_for_people_says_who_is_in_the_means(tmp_path):
    make(tmp_path, left_out={"gemma": "its terms are not accepted"})
    text = (tmp_path / "t.md").read_text(encoding="utf-8")
    assert "Means over vision models are over the 2 trained ones: cnn, vit." in text
    assert "noise_v †" in text
    assert "cnn †" not in text
    assert "Chance level on pictures (n = 1,024): 0.0098." in text
    assert "bits_per_byte (bits/byte, lower is better)" in text
    assert "Not in the sweep: gemma (its terms are not accepted)." in text
    vision, language = text.split("## Language models")
    assert "probe" in vision
    assert "bits_per_byte" not in vision
    assert "bits_per_byte" in language
    for part in (vision, language):  # every row of a table has as many cells as its head
        assert len({row.count(" | ") for row in part.splitlines() if row.startswith("| ")}) == 1


def test_models_that_cannot_be_joined_are_refused(tmp_path):
    with pytest.raises(StoreError, match="column 'control' is missing"):
        make(tmp_path, models=MODELS.drop(columns="control"))
    with pytest.raises(StoreError, match="'cnn' occurs twice"):
        make(tmp_path, models=pd.concat([MODELS, MODELS.head(1)]))
