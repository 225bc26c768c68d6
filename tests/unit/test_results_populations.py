"""Populations by tags, and the trend of one: known values, families as wholes, sentences that claim no more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.unit.synthetic_findings import findings, model, published
from zooalign.results.populations import partner_populations, populations, trend

values = st.lists(st.integers(0, 6), min_size=4, max_size=30)


@given(values, st.integers(0, 10))
@settings(max_examples=200, deadline=None)
def test_correlations_are_those_of_scipy_ties_included(x, seed):
    x = np.array(x, dtype=float)
    y = np.random.default_rng(seed).integers(0, 5, len(x)).astype(float)
    found = trend(x, y, [str(i) for i in range(len(x))])
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert np.isnan(found.spearman)
        assert "the same capability or alignment" in str(found)
        return
    assert found.spearman == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert found.pearson == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
    # Any unit, any order of models.
    other = trend(3 * x[::-1] - 7, y[::-1], [str(i) for i in range(len(x))])
    assert other.spearman == pytest.approx(found.spearman, abs=1e-12)


def test_independent_models_have_the_interval_of_scipys_bootstrap():
    rng = np.random.default_rng(1)
    x = rng.standard_normal(40)
    y = 0.6 * x + 0.8 * rng.standard_normal(40)
    found = trend(x, y, [str(i) for i in range(40)])
    reference = stats.bootstrap(
        (x, y), lambda a, b: stats.spearmanr(a, b).statistic, paired=True, vectorized=False, n_resamples=2000,
        method="percentile", rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    assert found.low == pytest.approx(reference.low, abs=0.05)
    assert found.high == pytest.approx(reference.high, abs=0.05)


def drawn(rng, families, size, correlation, shared):
    """Capability and alignment of models whose families share part of both."""
    member = np.repeat(np.arange(families), size)
    mix = np.linalg.cholesky([[1, correlation], [correlation, 1]])
    own = rng.standard_normal((len(member), 2)) @ mix.T
    common = (rng.standard_normal((families, 2)) @ mix.T)[member]
    both = np.sqrt(shared) * common + np.sqrt(1 - shared) * own
    return both[:, 0], both[:, 1], [str(f) for f in member]


def coverage(families, size, correlation, shared, draws, split=False):
    """Part of the intervals that hold the true rank correlation of a normal pair."""
    truth = 6 / np.pi * np.arcsin(correlation / 2)
    rng, inside = np.random.default_rng(families + size), 0
    for _ in range(draws):
        x, y, member = drawn(rng, families, size, correlation, shared)
        found = trend(x, y, [str(i) for i in range(len(x))] if split else member)
        inside += found.low <= truth <= found.high
    return inside / draws


@pytest.mark.slow
@pytest.mark.parametrize(
    ("families", "size", "correlation", "shared"),
    [(6, 6, 0.3, 0.7), (8, 3, 0.5, 0.5), (8, 3, 0.0, 0.5), (12, 3, 0.5, 0.5), (20, 4, 0.5, 0.7), (20, 1, 0.5, 0.0)],
)
def test_intervals_cover_where_families_share(families, size, correlation, shared):
    assert 0.90 <= coverage(families, size, correlation, shared, 400) <= 0.98


@pytest.mark.slow
def test_models_taken_as_independent_would_cover_too_little():
    assert coverage(8, 6, 0.3, 0.8, 200, split=True) < 0.8


def test_few_models_or_families_have_no_correlation_or_interval():
    rng = np.random.default_rng(0)
    few = trend(rng.random(3), rng.random(3), ["a", "b", "c"])
    assert np.isnan(few.spearman)
    assert str(few) == "too few models for a correlation (3; at least 4)"
    two = trend(np.arange(6), np.arange(6), ["a"] * 3 + ["b"] * 3)
    assert (two.spearman, two.families) == (1.0, 2)
    assert np.isnan(two.low)
    assert "too few families for an interval" in str(two)


def test_sentences_follow_the_interval():
    x = np.arange(12.0)
    member = [str(i % 6) for i in range(12)]
    assert str(trend(x, x, member)).startswith("better models are aligned more: Spearman +1.00 [+1.00, +1.00]")
    assert str(trend(x, -x, member)).startswith("better models are aligned less")
    y = np.random.default_rng(3).random(12)
    assert str(trend(x, y, member)).startswith("no trend that its interval supports")


TRAINED = {"corpora": ["Pile"], "cross_modal": False}
SEEN = {"corpora": ["LAION-2B"], "cross_modal": True}


def test_every_tag_that_divides_defines_a_population():
    old = {"training": TRAINED, "tuned": "base", "released": "2024-01"}
    new = {"training": SEEN, "tuned": "instruct", "released": "2025-02"}
    models = [model(f"m{i}", "language", f"f{i}", **old) for i in range(4)]
    models += [model(f"n{i}", "language", "g", **new) for i in range(4)]
    models += [model("rare", "language", training={"corpora": ["C4"], "fine_tuned_on": "chat"}, released="2025-05")]
    models += [model("noise", "language", objective="random")]
    models += [model("cut", "language", variant_of="m0", intervention={"keep_blocks": 2})]
    found = dict(populations(models))
    assert found["released"] == [f"m{i}" for i in range(4)] + [f"n{i}" for i in range(4)] + ["rare"]
    assert found["released and interventions"] == [*found["released"], "cut"]
    assert found["trained with the other modality"] == [f"n{i}" for i in range(4)]
    assert found["corpus: Pile"] == found["tuned: base"] == found["released in 2024"] == [f"m{i}" for i in range(4)]
    assert found["family: g"] == found["tuned: instruct"] == [f"n{i}" for i in range(4)]
    assert found["released in 2025"] == [*(f"n{i}" for i in range(4)), "rare"]
    assert found["not fine-tuned"] == [f"m{i}" for i in range(4)] + [f"n{i}" for i in range(4)]
    assert not {"corpus: C4", "fine-tuned", "objective: causal"} & set(found)
    sides = dict(partner_populations(models))
    assert sides["trained with the other modality"] == [f"n{i}" for i in range(4)]
    assert dict(partner_populations(models[:4])) == {"all": [f"m{i}" for i in range(4)]}


def test_the_table_has_a_line_per_population_and_partners(tmp_path):
    """Alignment with trained eyes grows with capability; with language-supervised eyes it does not."""
    language = [model(f"m{i}", "language", f"f{i}") for i in range(6)]
    vision = [model("eye", "vision"), model("clip", "vision", training=SEEN)]
    scores = {}
    for i in range(6):
        scores |= {("eye", f"m{i}"): 0.1 + 0.01 * i, ("clip", f"m{i}"): 0.3 - 0.005 * i}
    bits = {f"m{i}": 2.0 - 0.1 * i for i in range(6)}
    made = published(
        "populations",
        findings(tmp_path, models=[*language, *vision], scores=scores, capabilities={"bits_per_byte": bits}),
        tmp_path / "tables",
    )
    found = made.frame
    assert found["partners"].tolist() == [
        "all", "not trained with the other modality", "trained with the other modality"
    ]  # fmt: skip
    assert found["population"].unique().tolist() == ["released"]
    assert found["spearman"].tolist() == [1.0, 1.0, -1.0]
    assert "## bits_per_byte of language models, aligned with vision models on pictures" in made.markdown
    assert "better models are aligned less: Spearman -1.00" in made.markdown
    assert made.read().columns.tolist() == found.columns.tolist()
