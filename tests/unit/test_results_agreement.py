"""Agreement of metrics, and what theory demands of their scores."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from tests.unit import aligned_models as small
from zooalign.figures import metric_agreement as figure
from zooalign.results.agreement import agreements, clustered, spearman
from zooalign.results.demands import Demand, Side, demands, verdicts
from zooalign.results.leave_out import standard_error
from zooalign.results.publishing import Header, publish
from zooalign.tables import metric_agreement

RELEASED = set(small.MODELS) - {"noise_v", "noise_l", "gpt_hurt"}


def test_correlations_are_those_of_scipy_over_pairs_of_released_models(tmp_path):
    found = {one.comparison: one for one in agreements(small.findings(tmp_path), ("pictures",))}
    assert list(found) == ["vision-vision", "vision-language", "language-language"]
    one = found["vision-language"]
    assert (one.models, one.families, one.pairs) == (7, 5, 12)
    assert "cknna@39" in one.labels
    assert "cka" in one.labels
    i, j = one.labels.index("mutual_knn@10"), one.labels.index("cka")
    pairs = [(x, y) for x in ("cnn_a", "cnn_b", "vit") for y in ("bert", "gpt_a", "gpt_b", "table")]
    scores = [[small.line(x, y, "vision-language", m, k)["score"] for x, y in pairs]
              for m, k in (("mutual_knn", 10), ("cka", 0))]  # fmt: skip
    assert one.spearman[i, j] == pytest.approx(spearmanr(*scores).statistic)
    assert np.isfinite(one.standard_error).all()
    assert one.standard_error[i, i] == 0
    assert np.isnan(found["vision-vision"].spearman).all()  # three models
    assert np.isnan(found["language-language"].standard_error).all()  # three families


def test_correlations_with_ties_constants_and_too_few_rows():
    values = np.array([[1, 2, 5, 1], [1, 3, 5, 2], [2, 2, 5, 3], [3, 9, 5, 4]], float)
    found = spearman(values)
    assert found[0, 1] == pytest.approx(spearmanr(values[:, 0], values[:, 1]).statistic)
    assert np.isnan(found[2]).all()
    assert np.diagonal(found)[[0, 1, 3]].tolist() == [1, 1, 1]
    assert np.isnan(spearman(values[:1])).all()


def test_metrics_that_agree_are_side_by_side():
    base = np.array([[1, 0.1, 0.9, 0.1], [0.1, 1, 0.1, 0.8], [0.9, 0.1, 1, 0.1], [0.1, 0.8, 0.1, 1]])
    order = clustered(base)
    assert sorted(order) == [0, 1, 2, 3]
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset({0, 2}), frozenset({1, 3})}


def test_the_error_of_a_mean_of_independent_pairs_is_the_usual_one():
    """Where every pair has a family of its own, leaving it out is the jackknife of a mean."""
    values = np.random.default_rng(0).standard_normal(30)
    families = [(f"f{i}", f"f{i}") for i in range(30)]
    found = standard_error(lambda kept: values[kept].mean(), families)
    assert found == pytest.approx(values.std(ddof=1) / np.sqrt(30))
    assert np.isnan(standard_error(lambda kept: values[kept].mean(), [("a", "b")] * 30))


def test_theory_holds_on_scores_that_metrics_computed(tmp_path):
    found = verdicts(small.findings(tmp_path), ("pictures",))
    said = {str(one.demand): one for one in found if one.comparison == "vision-language"}
    assert set(said) == {
        "edit_distance_knn@5 ≤ lcs_knn@5 / 5", "lcs_knn@5 / 5 ≤ mutual_knn@5",
        "edit_distance_knn@10 ≤ lcs_knn@10 / 10", "lcs_knn@10 / 10 ≤ mutual_knn@10",
        "m / (2 - m), m = mutual_knn@10 ≤ jaccard_knn@10", "jaccard_knn@10 ≤ mutual_knn@10",
        "cknna@39 = unbiased_cka_published", "cknna_exact@39 = unbiased_cka",
    }  # fmt: skip
    layers = {m: sum(len(v[2]) for v in small.MODELS.values() if v[0] == m) for m in ("vision", "language")}
    for one in found:
        assert one.holds, one
        if one.comparison == "vision-language":
            assert (one.pairs, one.layer_pairs) == (24, layers["vision"] * layers["language"])


def test_a_single_layer_pair_below_the_best_is_enough_to_break_a_demand(tmp_path):
    lines = [dict(entry) for entry in small.lines()]
    [broken] = [
        e for e in lines if (e["model_x"], e["model_y"], e["metric"], e["k"]) == ("vit", "bert", "lcs_knn", 10)
    ]
    [bound] = [
        e for e in lines if (e["model_x"], e["model_y"], e["metric"], e["k"]) == ("vit", "bert", "mutual_knn", 10)
    ]
    place = int(np.argmin(bound["matrix"]))
    broken["matrix"] = list(broken["matrix"])
    broken["matrix"][place] = 10 * (bound["matrix"][place] + 1 / (10 * small.N))
    assert broken["matrix"][place] / 10 < max(bound["matrix"])
    found = verdicts(small.findings(tmp_path, lines), ("pictures",))
    [one] = [v for v in found if not v.holds]
    assert (str(one.demand), one.comparison, one.violations) == (
        "lcs_knn@10 / 10 ≤ mutual_knn@10", "vision-language", 1,
    )  # fmt: skip
    assert one.worst == pytest.approx(1 / (10 * small.N), rel=1e-4)


def test_demands_follow_from_the_metrics_that_there_are():
    assert demands([("mutual_knn", 10), ("edit_distance_knn", 10), ("lcs_knn", 5)], 100) == [
        Demand(Side("edit_distance_knn", 10), Side("mutual_knn", 10), False)
    ]
    assert demands([("cknna", 99), ("unbiased_cka", 0), ("cknna_exact", 98)], 100) == []
    assert demands([], 100) == []


def test_layer_pairs_without_a_score_are_not_counted(tmp_path):
    lines = [dict(e) for e in small.lines({"mutual_knn": (5,), "lcs_knn": (5,)}, ["vit", "bert"])]
    for entry in lines:
        entry["matrix"] = [float("nan"), *entry["matrix"][1:]]
    [one] = verdicts(small.findings(tmp_path, lines, ["vit", "bert"]), ("pictures",))
    assert (one.pairs, one.layer_pairs) == (1, 19)


def test_the_table_has_a_row_per_two_metrics_and_says_what_theory_demands(tmp_path):
    table = metric_agreement.table(small.findings(tmp_path))
    entries = sum(map(len, small.METRICS.values()))
    kinds = table.frame["kind"].value_counts()
    assert kinds["correlation"] == 3 * entries * (entries - 1) // 2
    assert kinds["demand"] == 3 * 8
    assert table.frame["holds"].sum() == 24
    [said] = [note for note in table.notes if note.startswith("lcs_knn@5 / 5 ≤ mutual_knn@5 on pictures")]
    assert ": holds in " in said
    publish(table, Header((), {}), tmp_path / "t")
    text = (tmp_path / "t.md").read_text()
    assert "## vision-language on pictures: 12 pairs of 7 models of 5 families" in text
    assert "| cka |" in text


def test_a_sweep_with_one_metric_says_what_is_missing(tmp_path):
    found = small.findings(tmp_path, small.lines({"mutual_knn": (10,)}))
    table = metric_agreement.table(found)
    assert table.frame.empty
    assert any("add two of them" in note for note in table.notes)
    figure.draw(found, "pictures", tmp_path / "lack")
    figure.draw(small.findings(tmp_path / "all"), "pictures", tmp_path / "whole")
    lack, whole = ((tmp_path / f"{name}.svg").read_text() for name in ("lack", "whole"))
    assert len(whole) > 2 * len(lack)
    assert {p.suffix for p in tmp_path.glob("whole.*")} == {".svg", ".pdf", ".png"}
