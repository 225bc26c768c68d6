"""What work is expected to cost: samples, classes, probes, and more of each."""

from dataclasses import replace

import pytest

from tests.unit.test_workflow_resources import model, sweep
from zooalign.config.manifest import DatasetSpec
from zooalign.config.schema import CapabilityConfig
from zooalign.planning import costs
from zooalign.workflow.resources import (
    item_needs,
)


@pytest.mark.parametrize(
    ("family", "options", "n"),
    [
        ("synthetic", {}, 64),
        ("synthetic", {"n": 7}, 7),
        ("emoji", {}, 1024),
        ("digits", {"n_train": 30, "n_test": 12}, 42),
        ("hub", {"path": "a/b", "revision": "main"}, 1024),
    ],
)
def test_number_of_samples_follows_the_options(family, options, n):
    assert costs.n_samples(DatasetSpec(id="d", family=family, options=options)) == n


def test_more_samples_and_parameters_need_more():
    few, many = (item_needs(sweep(n=n), "align_row", ("shapes", "words"), True) for n in (64, 20_000))
    assert many.seconds > few.seconds
    assert many.mem_mb > few.mem_mb
    plain = sweep()
    small, large = (item_needs(plain, "extract_features", ("shapes", m), True) for m in ("words", "big"))
    assert large.mem_mb > small.mem_mb + 20_000  # loaded in float32, whatever its precision
    assert 14_000 < large.gpu_mem_mb < 20_000


def probe_needs(n_train=1000, n_test=797, options=None, **row):
    plain = sweep(models=(model("eyes", "vision", 20_000_000, **row),))
    probe = CapabilityConfig(id="probe", kind="linear_probe", dataset="digits", options=options or {})
    plain = replace(plain, config=plain.config.model_copy(update={"capabilities": (probe,)}))
    plain.catalogue["digits"] = DatasetSpec(
        id="digits", family="digits", options={"n_train": n_train, "n_test": n_test}
    )
    return item_needs(plain, "measure_capability", ("probe", "eyes"), False)


def test_a_probe_is_estimated_from_samples_width_layers_and_classes():
    # Measured: 0.8 s and 275 MB; 6.5 s and 775 MB (10 classes, as digits has).
    small, large = probe_needs(width=1024), probe_needs(10_000, 10_000, width=1000)
    assert 275 < small.mem_mb < 350
    assert 0.8 < small.seconds < 10
    assert 775 < large.mem_mb < 900
    assert 6.5 < large.seconds < 45
    wide = {"width": 500, "features_per_sample": 4000}  # 10 layers
    one, every = (probe_needs(10_000, 10_000, {"layer": layer}, **wide) for layer in ("last", "all"))
    none = probe_needs(10_000, 10_000, width=1).seconds
    assert every.seconds - none == pytest.approx(10 * (one.seconds - none), rel=0.05)
    assert every.mem_mb == one.mem_mb < large.mem_mb  # a layer at a time
    fewer = probe_needs(10_000, 10_000, {"strengths": [1.0]}, width=1000)
    assert fewer.seconds < large.seconds


@pytest.mark.parametrize(("family", "options", "n"), [("digits", {}, 10), ("synthetic", {}, costs.N_CLASSES)])
def test_classes_follow_the_dataset_where_it_says_them(family, options, n):
    assert costs.n_classes(DatasetSpec(id="d", family=family, options=options)) == n


def test_a_family_may_name_its_classes(monkeypatch):
    monkeypatch.setattr(costs.kind("datasets", "digits"), "CLASSES", ("zero", "one", "two"))
    assert costs.n_classes(DatasetSpec(id="d", family="digits")) == 3
