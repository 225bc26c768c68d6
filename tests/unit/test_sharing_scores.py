"""Scores of another sweep are checked and held against those of this one."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.sweeps import few, found
from zooalign.errors import ShareError
from zooalign.results.read import read_rows
from zooalign.sharing.scores import compare, export_scores, is_scores, read_scores

CONTENTS = {"pictures": "d" * 64}


@pytest.fixture
def rows(tmp_path):
    return [read_rows(path) for path in found(tmp_path / "results", few()).row_paths]


def test_a_round_trip_gives_the_same_scores(rows, tmp_path):
    path = tmp_path / "theirs.parquet"
    n = export_scores(rows, path, CONTENTS)
    assert n == sum(map(len, rows))
    assert is_scores(path)
    table = read_scores(path, CONTENTS)
    assert "matrix" not in table.schema.names
    compared = compare(table, rows)
    assert sum(one.n for one in compared) == n
    assert {one.largest for one in compared} == {0.0}
    assert {(one.metric, one.k) for one in compared} == {("mutual_knn", 5), ("mutual_knn", 10), ("cka", 0)}


def test_of_one_model_there_are_its_pairs_and_the_largest_difference_is_found(rows, tmp_path):
    n = export_scores(rows, tmp_path / "theirs.parquet", CONTENTS, "bert")
    assert n == 3 * (len(few()) - 1)
    table = read_scores(tmp_path / "theirs.parquet", CONTENTS)
    changed = table["score"].to_pylist()
    changed[0] += 0.25
    turned = table.rename_columns(
        [{"model_x": "model_y", "model_y": "model_x"}.get(name, name) for name in table.schema.names]
    )
    turned = turned.set_column(turned.schema.get_field_index("score"), "score", pa.array(changed))
    compared = compare(turned, rows)
    assert sum(one.n for one in compared) == n
    assert sorted(one.largest for one in compared) == [0.0, 0.0, 0.25]
    with pytest.raises(ShareError, match="no scores of nobody"):
        export_scores(rows, tmp_path / "x.parquet", CONTENTS, "nobody")


def replaced(path, column, values):
    table = pq.read_table(path)
    changed = table.set_column(
        table.schema.get_field_index(column), column, pa.array(values(table[column].to_pylist()))
    )
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path)


@pytest.mark.parametrize(
    ("column", "values", "match"),
    [
        ("score", lambda v: [float("nan"), *v[1:]], "not finite"),
        ("score", lambda v: [None, *v[1:]], "missing"),
        ("score", lambda v: list(map(str, v)), "columns"),
        ("metric", lambda v: ["../evil", *v[1:]], "no metric"),
        ("model_x", lambda v: ["bert"] * len(v), "twice"),
        ("dataset", lambda v: ["other", *v[1:]], "dataset 'other'"),
    ],
)
def test_scores_that_cannot_be_are_refused(column, values, match, rows, tmp_path):
    path = tmp_path / "theirs.parquet"
    export_scores(rows, path, CONTENTS)
    replaced(path, column, values)
    with pytest.raises(ShareError, match=rf"theirs\.parquet: .*{match}"):
        read_scores(path, CONTENTS)


def test_other_content_damage_and_foreign_files_are_refused(rows, tmp_path):
    path = tmp_path / "theirs.parquet"
    export_scores(rows, path, CONTENTS)
    for contents in ({"pictures": "e" * 64}, {"pictures": None}, {}):
        with pytest.raises(ShareError, match="Build the dataset"):
            read_scores(path, contents)
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ShareError, match="damaged, or no export of scores"):
            read_scores(path, CONTENTS)
    pq.write_table(pa.table({"a": [1]}), path)
    assert not is_scores(path)
    with pytest.raises(ShareError, match="no export of scores"):
        read_scores(path, CONTENTS)
