"""Measuring a capability: recorded once, and again only if what determines it changed or the record is damaged."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from zooalign.capability import linear_probe
from zooalign.capability._runner import measure_capability
from zooalign.config.manifest import DatasetSpec
from zooalign.config.schema import CapabilityConfig, ExtractionConfig
from zooalign.errors import LeaseError
from zooalign.features.store import write_store


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    from zooalign.data.build import build_dataset

    folder = tmp_path_factory.mktemp("datasets") / "shapes"
    return build_dataset(DatasetSpec(id="shapes", family="synthetic"), folder, print)


@pytest.fixture
def probe(shapes, tmp_path):
    """Function that measures a linear probe on features of the synthetic dataset."""
    values = np.random.default_rng(0).standard_normal((1, len(shapes), 6)).astype(np.float16)
    attributes = {
        "digest": "f", "sample_ids": shapes.ids, "layer_names": ["a"], "widths": [6], "dtype": "float16",
        "model": {"id": "m"}, "dataset": {"name": "shapes", "digest": shapes.digest},
    }  # fmt: skip
    write_store(tmp_path / "m.zarr", values, attributes)
    options = {"smallest_group": 2, "folds": 2}
    capability = CapabilityConfig(id="groups", kind="linear_probe", dataset="shapes", options=options)

    def run(digest="d"):
        run.lines.clear()
        what = SimpleNamespace(id="m"), capability, shapes.folder, tmp_path / "m.zarr", run.path, digest
        return measure_capability(*what, ExtractionConfig(), run.lines.append)

    run.lines, run.path = [], tmp_path / "groups" / "m.json"
    return run


def test_a_record_of_the_same_digest_is_not_measured_again(probe, monkeypatch):
    first = probe()
    monkeypatch.setattr(linear_probe, "measure", lambda *_, **__: pytest.fail("measured again"))
    assert probe() == first == json.loads(probe.path.read_text())
    assert probe.lines == [f"already there: {probe.path}"]
    assert [p.name for p in probe.path.parent.iterdir()] == ["m.json"]


@pytest.mark.parametrize("damage", ["torn", "empty", "another", "key", "value", "digest", "edited"])
def test_a_damaged_or_foreign_record_is_measured_again(probe, damage):
    first = probe()
    record = json.loads(probe.path.read_text())
    changed = {
        "torn": json.dumps(record)[:100],
        "empty": "",
        "another": json.dumps(record | {"model": "other"}),
        "key": json.dumps(record | {"further": 1}),
        "value": json.dumps(record | {"value": None}),
        "digest": json.dumps(record | {"digest": "other"}),
        "edited": json.dumps(record | {"value": record["value"] / 2}),
    }
    probe.path.write_text(changed[damage])
    again = probe()
    made = {"stamp": None, "seal": None}
    assert again | made == first | made
    assert json.loads(probe.path.read_text()) == again


def test_another_digest_is_measured_again(probe):
    probe()
    assert probe("other")["digest"] == "other"


def test_a_record_that_was_taken_over_is_not_written(probe, monkeypatch):
    measure = linear_probe.measure

    def lose(*arguments, **further):
        (probe.path.parent / "m.json.lease").unlink()
        return measure(*arguments, **further)

    monkeypatch.setattr(linear_probe, "measure", lose)
    with pytest.raises(LeaseError, match=r"m\.json lost its record"):
        probe()
    assert not probe.path.exists()
