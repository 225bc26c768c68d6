"""Capability records, read back and checked."""

from __future__ import annotations

import json

import pytest

from zooalign.errors import StoreError
from zooalign.results import read


def record(folder, model="gpt", **change):
    value = {
        "capability": "bits_per_byte",
        "model": model,
        "value": 1.25,
        "standard_error": 0.02,
        "unit": "bits/byte",
        "higher_is_better": False,
        "n": 12,
        "details": {},
        "settings": {},
        "digest": "d",
        "versions": {},
        **change,
    }
    path = folder / value["capability"] / f"{model}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({k: v for k, v in value.items() if v != "DROP"}))
    return path


def test_records_become_a_tidy_frame_in_fixed_order(tmp_path):
    paths = [
        record(tmp_path, "gpt"),
        record(tmp_path, "bert", value=None, standard_error=None, details={"reason": "it failed"}),
        record(tmp_path, "cnn", capability="a_probe", unit="accuracy", higher_is_better=True),
    ]
    found = read.read_capability(reversed(paths))
    assert found["model"].tolist() == ["cnn", "bert", "gpt"]
    assert found["value"].isna().tolist() == [False, True, False]
    assert found["reason"].tolist() == ["", "it failed", ""]
    assert read.read_capability([]).columns.tolist() == list(read.CAPABILITY_COLUMNS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": "DROP"}, r"gpt\.json: not a capability record: value"),
        ({"extra": 1}, "extra"),
        ({"value": None}, "does not say why"),
        ({"value": float("nan")}, "not a finite number"),
        ({"standard_error": -1.0}, "below zero"),
        ({"unit": 3}, "unit"),
    ],
)
def test_records_that_are_none_are_refused(tmp_path, change, message):
    with pytest.raises(StoreError, match=message):
        read.read_capability([record(tmp_path, **change)])


def test_records_that_contradict_each_other_are_refused(tmp_path):
    one = record(tmp_path / "one")
    with pytest.raises(StoreError, match="different units"):
        read.read_capability([one, record(tmp_path / "one", "bert", unit="nats/byte")])
    with pytest.raises(StoreError, match="'gpt' has its bits_per_byte already in"):
        read.read_capability([one, record(tmp_path / "two")])
    renamed = one.rename(one.with_name("bert.json"))
    with pytest.raises(StoreError, match=r"bert\.json: holds the record of 'gpt'"):
        read.read_capability([renamed])
