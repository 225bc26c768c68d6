"""Alignment by group and source: means by hand, and when there is nothing to tell apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.unit import sweeps
from zooalign.results.findings import Findings
from zooalign.results.publishing import publish, read_csv
from zooalign.results.strata import strata
from zooalign.tables import domain_strata

GROUPS = ["food", "food", "people", None]
SOURCES = ["a", "a", "a", "b"]
BASE = np.array([0.5, 0.25, 0.75, 0.0])


def terms(x, y, score):
    """The same for every pair but for cnn_b and gpt_d; controls and interventions would spoil every mean."""
    if not x.control and not y.control and y.intervention is None:
        return BASE + 0.125 * (x.id == "cnn_b") + 0.25 * (y.id == "gpt_d")
    return BASE + 100


@pytest.fixture
def found(tmp_path, monkeypatch):
    from types import SimpleNamespace

    results = sweeps.found(tmp_path / "results", sweeps.few(), terms=terms)
    monkeypatch.setattr(Findings, "samples", lambda self, dataset: SimpleNamespace(groups=GROUPS, sources=SOURCES))
    results.layout.dataset("pictures").mkdir(parents=True)
    return results


def test_means_are_over_released_pairs_and_the_samples_of_a_stratum(found):
    by_name = {(s.kind, s.name): s for s in strata(found, "pictures")}
    shift = 0.125 / 3 + 0.25 / 5  # one of three vision and one of five language models
    whole = ("whole dataset", "pictures")
    assert next(iter(by_name)) == whole
    assert set(by_name) - {whole} == {
        ("group", "food"), ("group", "people"), ("group", "(none)"), ("source", "a"), ("source", "b"),
    }  # fmt: skip
    food = by_name["group", "food"]
    assert (food.n, food.pairs) == (2, 15)
    assert food.mean == pytest.approx(0.375 + shift)
    assert food.standard_error == pytest.approx(0.125)
    assert food.high - food.mean == pytest.approx(1.959964 * 0.125)
    assert by_name["group", "people"].mean == pytest.approx(0.75 + shift)
    assert math.isnan(by_name["group", "people"].standard_error)
    assert by_name["source", "a"].mean == pytest.approx(0.5 + shift)
    assert by_name["whole dataset", "pictures"].mean == pytest.approx(0.375 + shift)


def test_the_best_and_worst_models_of_a_stratum(found):
    (_, food, *_) = strata(found, "pictures")
    assert food.extremes["vision"].best == "cnn_b"
    assert food.extremes["vision"].best_score == pytest.approx(0.375 + 0.125 + 0.05)
    assert food.extremes["language"].best == "gpt_d"
    assert food.extremes["language"].worst_score == pytest.approx(0.375 + 0.125 / 3)


def test_the_table_has_every_stratum_with_chance(found, tmp_path):
    files = publish(domain_strata.table(found), found.header, tmp_path / "domain_strata")
    rows = {row["stratum"]: row for row in read_csv(files[1])}
    assert float(rows["food"]["mean"]) == pytest.approx(0.375 + 0.125 / 3 + 0.05)
    assert float(rows["food"]["chance"]) == pytest.approx(10 / 63)
    assert rows["people"]["standard_error"] == ""
    assert rows["food"]["best_vision"] == "cnn_b"
    assert "| group | food | 2 | 0.4667 ± 0.1250 |" in files[2].read_text()


def test_a_kind_that_does_not_divide_the_dataset_is_left_out(found, monkeypatch):
    from types import SimpleNamespace

    monkeypatch.setattr(
        Findings, "samples", lambda self, dataset: SimpleNamespace(groups=[None] * 4, sources=SOURCES)
    )
    assert [s.kind for s in strata(found, "pictures")] == ["whole dataset", "source", "source"]


def test_a_metric_that_is_no_mean_over_samples_has_an_empty_table_that_says_so(tmp_path):
    only = {"metrics": {"svcca": (0,)}, "headline": {"metric": "svcca", "k": None}}
    found = sweeps.found(tmp_path / "results", sweeps.few(), **only)
    table = domain_strata.table(found)
    assert table.frame.empty
    assert "svcca is no mean over samples" in table.notes[-1]


def test_samples_that_are_gone_are_said(tmp_path):
    table = domain_strata.table(sweeps.found(tmp_path / "results", sweeps.few()))
    assert table.frame.empty
    assert "pictures: its samples are no longer in the results" in table.notes[-1]
