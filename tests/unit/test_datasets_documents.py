"""Whole texts of the hub and of the user's files, up to a byte budget."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zooalign.config.identity import dataset_spec_digest
from zooalign.config.manifest import DatasetSpec
from zooalign.data.build import build_dataset
from zooalign.datasets.documents import Options
from zooalign.errors import DatasetError

TEXTS = ["One document.", "Zoë's café, naïve. 🙂", "x" * 50, "The last one."]


def spec(folder, **options):
    return DatasetSpec(id="mine", family="documents", options={"folder": str(folder), **options})


def build(folder, **options):
    return build_dataset(spec(folder, **options), folder.parent / "built" / "mine", lambda line: None)


def in_files(folder):
    folder.mkdir()
    for i, text in enumerate(TEXTS):
        (folder / f"{i}.txt").write_text(text, encoding="utf-8")


def in_lines(folder):
    folder.mkdir()
    (folder / "a.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in TEXTS[:3]) + "\n\n")
    (folder / "b.jsonl").write_text(json.dumps({"text": TEXTS[3], "other": 1}))


def in_tables(folder):
    (folder / "plain_text").mkdir(parents=True)
    for i, part in enumerate((TEXTS[:1], TEXTS[1:])):
        table = pa.table({"text": part, "url": [""] * len(part)})
        pq.write_table(table, folder / f"plain_text/train-0000{i}-of-00002.parquet")
    pq.write_table(pa.table({"text": ["of another split"]}), folder / "plain_text/test-00000-of-00001.parquet")


@pytest.mark.parametrize("write", [in_files, in_lines, in_tables])
def test_documents_come_in_order_whatever_holds_them(tmp_path, write):
    write(tmp_path / "texts")
    samples = build(tmp_path / "texts")
    assert samples.kind == "texts"
    assert samples.texts == TEXTS
    samples.verify()


@pytest.mark.parametrize(("budget", "n"), [(13, 1), (14, 1), (13 + len(TEXTS[1].encode()), 2), (None, 4)])
def test_a_budget_takes_whole_documents_in_order(tmp_path, budget, n):
    in_lines(tmp_path / "texts")
    assert build(tmp_path / "texts", byte_budget=budget).texts == TEXTS[:n]


def test_only_the_content_counts(tmp_path):
    in_files(tmp_path / "texts")
    first = dataset_spec_digest(spec(tmp_path / "texts"))
    (tmp_path / "texts").rename(tmp_path / "moved")
    assert dataset_spec_digest(spec(tmp_path / "moved")) == first
    (tmp_path / "moved/0.txt").write_text("Another document.")
    assert dataset_spec_digest(spec(tmp_path / "moved")) != first


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({"a.txt": b"fine\n\xff\xfe"}, {}, r"a\.txt, line 2: not UTF-8"),
        ({"a.txt": b"  \n"}, {}, "empty text"),
        ({"a.jsonl": b'{"text": "a"}\n{"text": 3}'}, {}, r"a\.jsonl, line 2: the text is int"),
        ({"a.jsonl": b'{"txt": "a"}'}, {}, r"line 1: .*'text'.*txt"),
        ({"a.jsonl": b"{"}, {}, "line 1: not valid JSON"),
        ({"a.jsonl": b'{"text": "\\ud800"}'}, {}, "not valid UTF-8"),
        ({"train.parquet": b"PAR1"}, {}, "damaged parquet file"),
        ({"a.txt": b"a long text"}, {"byte_budget": 3}, "no whole document fits byte_budget 3"),
        ({"a.csv": b"text"}, {}, r"has none of split 'train' \(it has a\.csv\)"),
    ],
)
def test_bad_documents_name_file_and_line(tmp_path, files, options, message):
    (tmp_path / "texts").mkdir()
    for name, data in files.items():
        (tmp_path / "texts" / name).write_bytes(data)
    with pytest.raises(DatasetError, match=message):
        build(tmp_path / "texts", **options)


def test_a_column_that_is_not_there_has_its_nearest_name(tmp_path):
    in_tables(tmp_path / "texts")
    with pytest.raises(DatasetError, match=r"'txt'.*text"):
        build(tmp_path / "texts", column="txt")


def test_one_place_is_named():
    for options in ({}, {"folder": "a", "repository": "owner/name"}):
        with pytest.raises(ValueError, match="`repository`, or one on disk with `folder`"):
            Options(**options)
