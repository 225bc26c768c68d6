"""Tables: the joined alignment, capability beside alignment, and the rows that they are read from."""

from __future__ import annotations

import math
import random

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.synthetic_findings import (
    MODELS,
    SCORES,
    findings,
    frame_of,
    line,
    lines_of,
    model,
    published,
    write_row,
    write_rows,
)
from zooalign.alignment.table import table_schema
from zooalign.config.external import External
from zooalign.config.schema import HeadlineConfig
from zooalign.errors import StoreError
from zooalign.results import read
from zooalign.results.findings import Findings
from zooalign.results.means import ShownAlignment
from zooalign.tables import alignment, capability_alignment

# --- alignment ------------------------------------------------------------------------------------------


def all_lines():
    return lines_of(settings=(("mutual_knn", 10), ("mutual_knn", 5)))


def joined(folder, lines):
    return published("alignment", findings(folder, lines=lines), folder / "tables")


def test_the_joined_table_is_sorted_and_keeps_matrix_and_terms(tmp_path):
    made = joined(tmp_path, all_lines())
    table = pq.read_table(f"{made.path}.parquet")
    assert table.num_rows == 30
    kinds, stored = (dict(zip(s.names, s.types, strict=True)) for s in (table.schema, table_schema()))
    assert {name: kinds[name] for name in stored} == stored
    assert kinds.keys() == stored.keys() | {column.name for column in made.table.columns}
    keys = table.select(alignment.KEY).to_pylist()
    assert keys == sorted(keys, key=lambda key: tuple(key.values()))
    for entry in table.to_pylist():
        assert entry["score"] == SCORES[entry["model_x"], entry["model_y"]]
        assert entry["matrix"] == pytest.approx([0.0, entry["score"]])
        assert len(entry["terms"]) == 3


def test_the_csv_has_the_scores_in_fixed_form_and_no_heavy_column(tmp_path):
    made = joined(tmp_path, all_lines())
    text = made.read(dtype=str, keep_default_na=False)
    assert not {"matrix", "terms"} & set(text.columns)
    assert set(text["chance"]) == {"0.00488759", "0.00977517"}  # 5 and 10 of 1,023
    assert text.set_index(["model_x", "model_y", "k"]).loc[("cnn", "gpt", "10"), "score"] == "0.10000000"
    assert made.frame["score"].tolist() == pytest.approx(text["score"].astype(float).tolist())
    assert "pictures,vision-language,mutual_knn,10,cnn,gpt,vision,language,0.10000000," in made.csv


def test_people_see_the_headline_metric_highest_first(tmp_path):
    text = joined(tmp_path, all_lines()).markdown
    sections = text.split("## ")[1:-1]
    assert [s.splitlines()[0] for s in sections] == [
        "language-language on pictures", "vision-language on pictures", "vision-vision on pictures",
    ]  # fmt: skip
    rows = [row for row in sections[1].splitlines() if row.startswith("| ")][2:]
    assert rows[0] == "| vit | bert | 0.5000 |  |  |  | block_0, block_1 |"  # neither interval nor null was asked for
    assert len(rows) == 9  # and not those of k = 5


def test_neither_files_nor_rows_in_another_order_change_a_byte(tmp_path):
    lines = all_lines()
    one = findings(tmp_path / "one", lines=lines)
    random.Random(3).shuffle(lines)
    # The symmetric pairs may lie in either model's row: here all lie in one file.
    path = write_row(tmp_path / "two/alignment/pictures/all.parquet", lines)
    two = Findings(one.sweep, (path,), one.capability_paths)
    reversed_ = Findings(one.sweep, one.row_paths[::-1], one.capability_paths[::-1])
    first, *others = (published("alignment", f, tmp_path / name) for f, name in
                      ((one, "a"), (two, "b"), (reversed_, "c")))  # fmt: skip
    assert all(other.bytes() == first.bytes() for other in others)


def test_rows_of_other_forms_are_read_alike(tmp_path):
    """Narrower integers, other columns first and metadata of its own, as a row file may have."""
    plain = joined(tmp_path, all_lines())
    paths = []
    for path in write_rows(tmp_path / "rows", all_lines()):
        table = pq.read_table(path)
        table = table.select(sorted(table.column_names)).replace_schema_metadata({"held": "something"})
        table = table.set_column(table.column_names.index("n"), "n", table["n"].cast(pa.int32()))
        paths.append(tmp_path / "other" / "pictures" / path.name)
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, paths[-1])
    found = findings(tmp_path, lines=all_lines())
    other = published("alignment", Findings(found.sweep, tuple(paths), found.capability_paths), tmp_path / "b")
    assert other.bytes() == plain.bytes()


def test_a_chance_that_there_is_not_stays_empty(tmp_path):
    lines = [line("cnn", "gpt", 0.3, k=0, metric="cka", terms=None)]
    found = findings(tmp_path, lines=lines, headline=HeadlineConfig(metric="cka", k=None))
    made = published("alignment", found, tmp_path / "tables")
    assert made.read()["chance"].isna().all()
    stored = pq.read_table(f"{made.path}.parquet")
    assert stored["terms"].null_count == stored["chance"].null_count == 1


def test_no_rows_at_all_make_an_empty_table(tmp_path):
    made = joined(tmp_path, [])
    assert pq.read_table(f"{made.path}.parquet").num_rows == 0
    assert made.read().columns.tolist()[:4] == ["dataset", "comparison", "metric", "k"]
    assert "There are no rows." in made.markdown


def test_a_pair_that_is_in_two_files_names_both(tmp_path):
    found = findings(tmp_path, lines=[line("cnn", "gpt", 0.3)])
    [path] = found.row_paths
    other = write_row(path.with_name("other.parquet"), [line("cnn", "gpt", 0.3)])
    twice = Findings(found.sweep, (other, path), ())
    with pytest.raises(StoreError, match=r"cnn\.parquet: .*cnn, gpt is already in .*other\.parquet"):
        published("alignment", twice, tmp_path / "tables")
    assert not (tmp_path / "tables/alignment.parquet").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": float("nan")}, "the mutual_knn of cnn and gpt is not finite"),
        ({"score": None}, "column 'score' has empty fields"),
        ({"digest": None}, "column 'digest' has empty fields"),
        ({"n": "many"}, "not a table of alignment"),
    ],
)
@pytest.mark.parametrize("reader", [read.read_row_file, read.read_light_rows])
def test_damaged_rows_are_refused(tmp_path, change, message, reader):
    path = tmp_path / "cnn.parquet"
    pq.write_table(pa.Table.from_pylist([{**line("cnn", "gpt", 0.3), **change}]), path)
    with pytest.raises(StoreError, match=rf"cnn\.parquet: {message}"):
        reader(path)


@pytest.mark.parametrize("reader", [read.read_row_file, read.read_light_rows])
def test_a_file_that_is_no_table_is_refused(tmp_path, reader):
    path = tmp_path / "cnn.parquet"
    with pytest.raises(StoreError, match=r"cnn\.parquet: not a table"):
        reader(path)
    path.write_bytes(b"not parquet")
    with pytest.raises(StoreError, match=r"cnn\.parquet: not a table"):
        reader(path)
    pq.write_table(pa.table({"dataset": ["d"]}), path)
    with pytest.raises(StoreError, match="column 'comparison' is missing"):
        reader(path)


# --- capability_alignment -------------------------------------------------------------------------------

MEASURED = {
    "bits_per_byte": {"gpt": 1.0, "noise_l": "out of memory"},
    "probe": {"cnn": 0.9, "noise_v": 0.3},
}


def beside(folder, **options):
    """The table of a sweep, published."""
    return published("capability_alignment", findings(folder, capabilities=MEASURED, **options), folder / "tables")


def make(folder, scores=SCORES, **options):
    return beside(folder, scores=scores, **options).frame.set_index("id")


def changed(name, **keys):
    """The models, one of them another row."""
    return [model(m.id, m.modality, m.family, **keys) if m.id == name else m for m in MODELS]


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
    keys = {"objective": "sentence-encoder", "variant_of": "gpt", "intervention": {"weight_noise": 0.2}}
    plain = make(tmp_path / "plain")
    made = beside(tmp_path / "changed", models=changed("bert", **keys))
    table = made.frame.set_index("id")
    assert "| bert ‡ | f4 | sentence-encoder (weight noise 0.2) |" in made.markdown
    assert table.loc["bert", "pictures_other"] == plain.loc["bert", "pictures_other"]
    assert pd.isna(table.loc["bert", "pictures_rank"])
    assert table.loc["gpt", "pictures_rank"] == 1
    assert table.loc["cnn", "pictures_other"] == SCORES["cnn", "gpt"]  # bert is no partner
    assert list(table.index)[-3:] == ["gpt", "bert", "noise_l"]


def test_equal_means_share_a_rank(tmp_path):
    same = {
        pair: 0.2 if pair[0] in ("cnn", "vit") and pair[1] in ("gpt", "bert") else s for pair, s in SCORES.items()
    }
    assert make(tmp_path, same).loc[["cnn", "vit"], "pictures_rank"].tolist() == [1, 1]


def without(*pair):
    return {own: s for own, s in SCORES.items() if not set(pair) <= set(own)}


def test_a_missing_score_is_no_zero_and_is_said(tmp_path):
    table = make(tmp_path, without("cnn", "bert"))
    assert table.loc["cnn", "pictures_other"] == pytest.approx(0.10)
    assert table.loc["cnn", "pictures_other_n"] == 1
    assert "pictures: no score with bert (1 in the mean)" in table.loc["cnn", "reason"]
    assert pd.isna(table.loc["cnn", "pictures_rank"])  # its mean is over other partners
    assert table.loc["vit", "pictures_rank"] == 1


def test_a_model_that_failed_altogether_is_in_nobodys_mean(tmp_path):
    made = beside(tmp_path, scores=without("bert"))
    table = made.frame.set_index("id")
    assert pd.isna(table.loc["bert", "pictures_other"])
    assert table.loc["bert", "pictures_other_n"] == 0
    assert "no score with any trained vision model" in table.loc["bert", "reason"]
    assert table.loc[["vit", "cnn"], "pictures_rank"].tolist() == [1, 2]
    assert table.loc["cnn", "pictures_other"] == pytest.approx(0.10)
    assert "bert" not in table.loc["cnn", "reason"]
    fields = made.read(dtype=str, keep_default_na=False).set_index("id")
    assert fields.loc["bert", "pictures_other"] == ""


def test_what_failed_is_the_reason_for_all_else(tmp_path):
    failed = {"extract_features": {"pictures/bert": "out of memory"}}
    table = make(tmp_path, without("bert"), failures=failed)
    assert table.loc["bert", "reason"] == "extract_features on pictures failed: out of memory"


def test_a_comparison_that_is_not_made_is_no_failure(tmp_path):
    cross = {pair: s for pair, s in SCORES.items() if line(*pair, s)["comparison"] == "vision-language"}
    table = make(tmp_path, cross)
    assert table["pictures_within"].isna().all()
    assert table.loc["cnn", "reason"] == ""


def test_capabilities_are_in_columns_of_their_own_with_reasons(tmp_path):
    table = make(tmp_path)
    assert table.loc["gpt", ["bits_per_byte", "bits_per_byte_se"]].tolist() == [1.0, 0.02]
    assert pd.isna(table.loc["noise_l", "bits_per_byte"])
    assert "bits_per_byte: out of memory" in table.loc["noise_l", "reason"]
    assert table.loc["bert", "reason"] == "bits_per_byte: not a causal model"
    assert table.loc["vit", "reason"] == "probe: not measured"
    assert table.loc["cnn", "reason"] == ""


def test_several_datasets_have_columns_each(tmp_path):
    lines = [*lines_of(), *lines_of({pair: s / 2 for pair, s in SCORES.items()}, datasets=("emoji",))]
    table = make(tmp_path, lines=lines, datasets=("pictures", "emoji"))
    assert table.loc["cnn", "emoji_other"] == pytest.approx(0.075)
    assert table.loc["cnn", "pictures_other"] == pytest.approx(0.15)
    assert table.columns.get_loc("pictures_other") < table.columns.get_loc("emoji_other")


def test_only_the_metric_and_k_asked_for_enter(tmp_path):
    lines = [
        *lines_of(),
        *lines_of(dict.fromkeys(SCORES, 0.9), settings=(("mutual_knn", 5),)),
        *lines_of(dict.fromkeys(SCORES, 0.8), settings=(("cka", 0),)),
    ]
    assert make(tmp_path / "a", lines=lines).loc["cnn", "pictures_other"] == pytest.approx(0.15)
    cka = HeadlineConfig(metric="cka", k=None)
    assert make(tmp_path / "b", lines=lines, headline=cka).loc["cnn", "pictures_other"] == pytest.approx(0.8)
    with pytest.raises(StoreError, match=r"no k = 7; there are \[5, 10\]"):
        make(tmp_path / "c", lines=lines, headline=HeadlineConfig(k=7))
    found = findings(tmp_path / "d", lines=lines)
    options = ShownAlignment(metric="mutal_knn", k=10, datasets=("pictures",))
    with pytest.raises(StoreError, match="did you mean 'mutual_knn'"):
        capability_alignment.rows(found.alignment, found.capability, found.models, options)


def test_a_directed_metric_is_not_turned_round(tmp_path):
    lines = lines_of({("cnn", "gpt"): 0.1, ("gpt", "cnn"): 0.3}, settings=(("cycle_knn", 10),))
    table = make(tmp_path, lines=lines, headline=HeadlineConfig(metric="cycle_knn", k=10))
    assert table.loc["cnn", "pictures_other"] == pytest.approx(0.1)
    assert table.loc["gpt", "pictures_other"] == pytest.approx(0.3)


def test_the_bytes_do_not_depend_on_the_order_of_anything(tmp_path):
    found = findings(tmp_path, capabilities=MEASURED)
    again = findings(tmp_path, capabilities=MEASURED, models=MODELS[::-1])
    turned = Findings(again.sweep, again.row_paths[::-1], again.capability_paths[::-1])
    one, other = (published("capability_alignment", f, tmp_path / n) for f, n in ((found, "a"), (turned, "b")))
    assert one.bytes() == other.bytes()


def test_the_table_for_people_says_who_is_in_the_means(tmp_path):
    text = beside(tmp_path, left_out={"gemma": "its terms are not accepted"}).markdown
    assert "Means over vision models are over the 2 released ones: cnn, vit." in text
    assert "noise_v †" in text
    assert "cnn †" not in text
    assert "chance is 0.0098" in text
    assert "pictures (1,024 samples)" in text
    assert "bits_per_byte (bits/byte, lower is better)" in text
    assert "Not in the sweep: gemma (its terms are not accepted)." in text
    vision, language = text.split("## Language models")
    assert "| vit |" in vision
    assert "| gpt |" in language
    for part in (vision, language):  # every row of a table has as many cells as its head
        assert len({row.count(" | ") for row in part.splitlines() if row.startswith("| ")}) == 1


def test_models_that_cannot_be_joined_are_refused(tmp_path):
    found = findings(tmp_path)
    models = frame_of(MODELS)
    for broken, message in (
        (models.drop(columns="control"), "column 'control' is missing"),
        (pd.concat([models, models.head(1)]), "'cnn' occurs twice"),
    ):
        with pytest.raises(StoreError, match=message):
            capability_alignment.rows(found.alignment, found.capability, broken, found.shown)


def test_values_from_elsewhere_and_datasets_that_were_not_built_are_said(tmp_path):
    theirs = External("probe", "vit", 0.7, math.nan, "accuracy", True, 0, "leaderboard", "a.csv, line 2")
    made = beside(tmp_path, external=(theirs,), failures={"build_dataset": {"emoji": "no network"}})
    assert made.frame.set_index("id").loc["vit", "probe"] == 0.7
    assert "Measured elsewhere: leaderboard: probe (1 value)." in made.markdown
    assert "Not in the sweep: dataset emoji (no network)." in made.markdown
