"""The matrix of all models: what is in its cells, and in which order its models stand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit import sweeps
from zooalign.results.matrix import CONTROLS, INTERVENTIONS, Block, ordered, square, wide
from zooalign.results.means import scores
from zooalign.results.publishing import publish, read_csv
from zooalign.tables import matrix


def cells(frame, **wanted):
    """Rows of one metric by model."""
    for column, value in wanted.items():
        frame = frame[frame[column] == value]
    return frame.set_index("model")


def test_every_score_is_in_its_cell_twice_and_no_model_meets_itself(tmp_path):
    models = sweeps.few()
    found = sweeps.found(tmp_path, models)
    frame, columns = wide(found)
    assert len(frame) == 3 * len(models)
    assert set(columns) == {m.id for m in models}
    for metric, k in (("mutual_knn", 5), ("mutual_knn", 10), ("cka", 0)):
        here = cells(frame, metric=metric, k=k)
        assert np.isnan([here.loc[m.id, m.id] for m in models]).all()
    lines = found.alignment
    for line in lines.itertuples():
        here = cells(frame, metric=line.metric, k=line.k)
        assert here.loc[line.model_x, line.model_y] == here.loc[line.model_y, line.model_x] == line.score
    assert len(lines) == 3 * len(models) * (len(models) - 1) / 2


def test_a_directed_metric_is_not_mirrored_and_a_missing_pair_is_empty(tmp_path):
    models = sweeps.few()[:3]
    one, two, three = (m.id for m in models)

    def score(x, y, metric, k):
        return None if {x.id, y.id} == {one, three} else 0.25

    frame, _ = wide(sweeps.found(tmp_path, models, metrics={"cycle_knn": (10,)}, score=score,
                                 headline={"metric": "cycle_knn", "k": 10}))  # fmt: skip
    here = cells(frame)
    assert here.loc[one, two] == here.loc[two, three] == 0.25
    assert np.isnan([here.loc[two, one], here.loc[three, two], here.loc[one, three], here.loc[three, one]]).all()


def test_a_model_that_is_called_like_a_column_keeps_one_of_its_own(tmp_path):
    models = [sweeps.spec("metric", "vision", "a"), sweeps.spec("k", "language", "b")]
    frame, columns = wide(sweeps.found(tmp_path, models))
    assert columns == {"metric": "model metric", "k": "model k"}
    assert frame.columns.is_unique
    assert frame.loc[frame["model"] == "k", "model metric"].notna().all()


def blocks(models, score, tmp_path):
    found = sweeps.found(tmp_path, models, score=score, metrics={"mutual_knn": (10,)})
    return ordered(found.models, scores(found.alignment))


def test_families_that_are_alike_stand_side_by_side_and_are_never_mixed(tmp_path):
    place = {"c": 0.0, "a": 1.0, "d": 2.0, "b": 3.0}
    models = [sweeps.spec(f"{family}{i}", "vision", family) for family in "abcd" for i in range(4)]

    def where(m):
        return place[m.family] + 0.05 * [2, 0, 3, 1][int(m.id[1])]

    made = blocks(models, lambda x, y, metric, k: 1 - abs(where(x) - where(y)) / 10, tmp_path)
    assert "".join(b.name for b in made) in ("cadb", "bdac")
    for block in made:
        inside = "".join(m[1] for m in block.models)
        assert inside in ("1302", "2031")
        assert {m[0] for m in block.models} == {block.name}


def test_interventions_and_controls_come_last(tmp_path):
    made = blocks(sweeps.few(), sweeps.usual_score, tmp_path)
    assert {b.name for b in made[-4:-2]} == {"bert", "gpt"}
    assert made[-2:] == [Block("language", INTERVENTIONS, ("gpt_a_hurt",)), Block("language", CONTROLS, ("noise_l",))]
    assert Block("vision", CONTROLS, ("noise_v",)) in made
    assert sorted(m for b in made for m in b.models) == sorted(m.id for m in sweeps.few())
    assert [b.modality for b in made] == sorted((b.modality for b in made), reverse=True)


def test_without_scores_within_a_modality_those_with_the_other_one_order_it(tmp_path):
    height = {"p": 0.1, "q": 0.9, "r": 0.5}
    models = [sweeps.spec(name, "vision", name) for name in height] + [sweeps.spec("t", "language", "t")]

    def score(x, y, metric, k):
        return None if x.modality == y.modality else height[x.id]

    assert "".join(b.name for b in blocks(models, score, tmp_path)) in ("prqt", "qrpt")


def test_the_table_shows_the_headline_in_numbered_columns(tmp_path):
    found = sweeps.found(tmp_path / "results", sweeps.few())
    table = matrix.table(found)
    files = publish(table, found.header, tmp_path / "matrix")
    rows = read_csv(files[1])
    assert {(row["metric"], row["k"]) for row in rows} == {("mutual_knn", "5"), ("mutual_knn", "10"), ("cka", "0")}
    text = files[2].read_text()
    assert "| 4 | noise_v † |" in text
    assert "gpt_a_hurt ‡" in text
    assert text.count("\n| 1 | ") == 1
    first, fifth = table.shown[1].text, table.frame[table.frame["metric"] == "mutual_knn"].iloc[4].to_dict()
    assert first(fifth) == fifth["model"]
    assert table.shown[2].text(fifth) == f"{fifth[table.frame.columns[7]]:.3f}".lstrip("0")


def test_a_square_of_no_scores_is_empty():
    assert np.isnan(square(["a", "b"], {})).all()
    assert square([], {}).shape == (0, 0)
    assert square(["a", "b"], {("a", "b"): 0.5})[0, 1] == pytest.approx(0.5)
