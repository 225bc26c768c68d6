"""Solved tasks: counted by hand, on the tasks that all models have; and how alike the models of a bin are."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.synthetic_findings import MODELS, SCORES, findings, line, model, published
from zooalign.results.frames import CapabilityRow
from zooalign.results.solved import BINS, accuracies, alike, bin_of, is_solved, solved, tasks_of


def row(task, model, value, error=0.01, unit="accuracy", better=True, reason=""):
    return CapabilityRow(task, model, value, error, unit, better, 100, reason)


def values(table):
    """`{model: [value per task]}` as :func:`accuracies` gives it; None is a task that the model lacks."""
    rows = [
        row(f"task{i}", model, value)
        for model, own in table.items()
        for i, value in enumerate(own)
        if value is not None
    ]
    return accuracies(rows, table)


def test_a_task_is_solved_at_four_fifths_of_the_best():
    found = values({"a": [0.9, 0.5, 0.4], "b": [0.72, 0.39, 0.5], "c": [0.1, 0.4, 0.39]})
    tasks = tasks_of(found, "abc")
    assert tasks.best == {"task0": (0.9, "a"), "task1": (0.5, "a"), "task2": (0.5, "b")}
    counts = {model: solved(tasks, found, model) for model in "abc"}
    # .72 is .8 * .9, which rounds to more; .39 is less than .4
    assert {model: (one.solved, one.tasks) for model, one in counts.items()} == {
        "a": (3, 3),
        "b": (2, 3),
        "c": (1, 3),
    }
    assert counts["b"].average == pytest.approx((0.72 + 0.39 + 0.5) / 3)
    assert counts["b"].standard_error == pytest.approx(0.01 / math.sqrt(3))
    assert [counts[m].bin for m in "abc"] == ["80-100 %", "60-80 %", "20-40 %"]


@given(st.floats(0.001, 1), st.floats(0, 1))
def test_solved_is_no_matter_of_scale(best, share):
    value = share * best
    assert is_solved(best, best)
    assert is_solved(value, best) == is_solved(value / 2, best / 2)
    if abs(share - 0.8) > 1e-9:
        assert is_solved(value, best) == (share > 0.8)


@pytest.mark.parametrize("n", [1, 3, 5, 19])
def test_bins_are_of_equal_width_and_hold_their_lower_border(n):
    for k in range(n + 1):
        low, high = (float(bound) for bound in bin_of(k, n).removesuffix(" %").split("-"))
        assert low <= 100 * k / n
        assert 100 * k / n < high or k == n == (n if high == 100 else -1)


def test_only_tasks_of_all_compared_models_count():
    found = values({"a": [0.9, 0.8], "b": [0.6, None], "untested": [], "control": [None, 1.0]})
    tasks = tasks_of(found, ["a", "b", "untested"])
    assert tasks.incomplete == {"task1": ("b",)}
    assert set(tasks.best) == {"task0"}
    assert solved(tasks, found, "a")[:2] == (1, 1)
    assert solved(tasks, found, "untested") is None
    assert solved(tasks, found, "control") is None


def test_what_is_not_compared_sets_no_best():
    found = values({"a": [0.5], "control": [0.9]})
    tasks = tasks_of(found, ["a"])
    assert tasks.best == {"task0": (0.5, "a")}
    assert solved(tasks, found, "control")[:2] == (1, 1)


def test_a_task_that_is_nobodys_is_solved_by_nobody():
    found = values({"a": [0.0], "b": [0.0]})
    assert solved(tasks_of(found, "ab"), found, "a").solved == 0


def test_accuracies_are_what_is_a_share_of_which_more_is_better():
    rows = [
        row("probe", "a", 0.5),
        row("bits", "a", 1.0, unit="bits/byte", better=False),
        row("errors", "a", 0.5, better=False),
        row("failed", "a", math.nan, reason="out of memory"),
        row("probe", "other", 0.5),
    ]
    assert accuracies(rows, ["a"]) == {"probe": {"a": rows[0]}}


def test_alikeness_is_the_mean_over_pairs_whatever_their_direction():
    scores = {("a", "b"): 0.1, ("b", "a"): 0.3, ("c", "a"): 0.5, ("b", "z"): 0.9}
    found = alike(["a", "b", "c"], scores)
    assert found[:2] == (3, 2)
    assert found.mean == pytest.approx((0.2 + 0.5) / 2)
    assert math.isnan(alike(["a", "b"], scores).standard_error)
    assert alike(["a", "b"], scores).mean == pytest.approx(0.2)
    alone = alike(["a"], scores)
    assert alone[:2] == (1, 0)
    assert math.isnan(alone.mean)


def test_the_jackknife_error_is_the_spread_over_draws_of_models():
    """Scores with an effect of each model: the mean over pairs is then twice the mean of effects, more or less."""
    generator = np.random.default_rng(0)
    means, errors = [], []
    for _ in range(400):
        effects = generator.normal(size=12)
        scores = {
            (str(i), str(j)): effects[i] + effects[j] + generator.normal() * 0.3
            for i, j in combinations(range(12), 2)
        }
        found = alike([str(i) for i in range(12)], scores)
        means.append(found.mean)
        errors.append(found.standard_error)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(means), rel=0.12)
    # Pairs taken as independent would claim far less.
    assert np.std(means) > 1.5 * np.sqrt((2 + 0.3**2) / 66)


# --- the table --------------------------------------------------------------------------------------------


def make(folder, table, **options):
    """Both tables of a sweep, published; accuracies by model, a task each."""
    capabilities = {}
    for name, own in table.items():
        for i, value in enumerate(own):
            if value is not None:
                capabilities.setdefault(f"task{i}", {})[name] = value
    found = findings(folder, capabilities=capabilities, **options)
    solved, bins = (published(name, found, folder / "tables") for name in ("solved_tasks", "solved_bins"))
    return solved.frame.set_index("model"), bins.frame, solved, bins


def test_the_table_has_a_row_per_model_of_a_modality_with_tasks(tmp_path):
    values = {"cnn": [0.9, 0.5], "vit": [0.3, 0.6], "noise_v": [0.1, 0.55]}
    table, bins, solved, _ = make(tmp_path / "a", values)
    assert table.index.tolist() == ["cnn", "vit", "noise_v"]
    assert table["solved"].tolist() == [2, 1, 1]
    assert table["fraction"].tolist() == [1.0, 0.5, 0.5]
    assert table["control"].tolist() == [False, False, True]
    assert "| noise_v † | random | 1 of 2 | 50% | 0.3250 ± 0.0141 | 40-60 % |" in solved.markdown
    assert "- task1: the best of the vision models is vit, 0.6000." in solved.markdown
    assert bins["bin"].tolist() == list(BINS)
    assert bins["models"].tolist() == [0, 0, 1, 0, 1]  # the control is in no bin
    assert bins["alignment"].isna().all()
    same, bins, _, files = make(tmp_path / "b", {"cnn": [0.9, 0.5], "vit": [0.8, 0.6]})
    assert bins["models"].tolist() == [0, 0, 0, 0, 2]
    assert bins["alignment"].iloc[-1] == pytest.approx(0.6)
    assert "## Vision models on pictures" in files.markdown
    assert "| 80-100 % | 2 | 1 | 0.6000 |" in files.markdown
    assert same.loc["noise_v", "reason"] == "no value of task0, task1"
    assert pd.isna(same.loc["noise_v", "solved"])


def test_the_table_says_which_tasks_count_for_nobody(tmp_path):
    table, _, solved, _ = make(tmp_path / "a", {"cnn": [0.9, 0.5], "vit": [0.3, None]})
    assert table["tasks"].tolist()[:2] == [1, 1]
    assert "- task1 counts for nobody: not measured for vit." in solved.markdown
    table, bins, _, _ = make(tmp_path / "b", {"cnn": [0.9, None], "vit": [None, 0.3]})
    assert table["solved"].isna().all()
    assert set(table["reason"]) == {"no task that all compared models have"}
    assert bins["models"].tolist() == [0] * 5


def test_interventions_set_no_best_and_are_in_no_bin(tmp_path):
    change = {"variant_of": "cnn", "intervention": {"weight_noise": 0.2}}
    models = [model("vit", "vision", "f2", **change) if m.id == "vit" else m for m in MODELS]
    table, bins, solved, _ = make(tmp_path, {"cnn": [0.5], "vit": [0.9]}, models=models)
    assert table["solved"].tolist()[:2] == [1, 1]
    assert "- task0: the best of the vision models is cnn, 0.5000." in solved.markdown
    assert "| vit ‡ |" in solved.markdown
    assert bins["models"].sum() == 1


def test_a_sweep_without_tasks_has_empty_tables(tmp_path):
    table, bins, solved, files = make(tmp_path, {})
    assert len(table) == len(bins) == 0
    assert "No capability of this sweep is an accuracy." in solved.markdown
    assert solved.read().columns.tolist()[:2] == ["model", "modality"]
    assert "There are no rows." in files.markdown


def test_where_models_of_a_modality_are_not_compared_there_are_no_bins(tmp_path):
    cross = {pair: s for pair, s in SCORES.items() if line(*pair, s)["comparison"] == "vision-language"}
    table, bins, _, files = make(tmp_path, {"cnn": [0.9], "vit": [0.8]}, scores=cross)
    assert table["solved"].tolist()[:2] == [1, 1]
    assert len(bins) == 0
    assert "There are no rows." in files.markdown
