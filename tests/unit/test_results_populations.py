"""Populations by tags, and the trend of one: known values, families as wholes, sentences that claim no more."""

from __future__ import annotations

import numpy as np

from tests.unit.synthetic_findings import findings, model, published
from zooalign.config.manifest import ModelSpec
from zooalign.results.correlation import correlation
from zooalign.results.populations import partner_populations, populations, trend


def spec(name, modality="language", family="f", **keys):
    language = {"pooling": "mean", "objective": "causal", "causal": True}
    vision = {"pooling": "cls", "objective": "supervised"}
    return ModelSpec.model_validate(
        {"id": name, "modality": modality, "source": "random", "weights_sha256": "0" * 64, "family": family,
         "parameters": 1, "licence": "none", **(language if modality == "language" else vision), **keys}
    )  # fmt: skip


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
    assert str(trend(x, x, member)).startswith(
        "better models are aligned more: Spearman +1.00 [+0.93, +1.00], 12 models"
    )
    assert str(trend(x, -x, member)).startswith("better models are aligned less")
    y = np.random.default_rng(3).random(12)
    assert str(trend(x, y, member)).startswith("no trend that its interval supports")
    blurred = trend(x, x + 3 * y, member, capability_errors=np.full(12, 1.5))
    assert f"Spearman {blurred.spearman:+.2f}, without measurement error {blurred.spearman_noise_free:+.2f} [" in str(
        blurred
    )
    assert blurred.propagated == "capability"


def test_a_trend_is_both_correlations():
    rng = np.random.default_rng(5)
    x, y = rng.random((2, 24))
    families, errors = [f"f{i % 6}" for i in range(24)], np.full(24, 0.05)
    found = trend(x, y, families, capability_errors=errors)
    ranked, linear = (correlation(x, y, families, kind, capability_errors=errors) for kind in ("spearman", "pearson"))
    assert found[:5] == (24, 6, ranked.value, ranked.low, ranked.high)
    assert found[5:8] == (linear.value, linear.low, linear.high)
    assert found[8:] == (ranked.noise_free, linear.noise_free, "capability", "")


def test_models_without_a_value_do_not_count():
    x = np.array([1, 2, 3, 4, np.nan, np.inf, 5])
    found = trend(x, np.array([1, 2, 3, np.nan, 5, 6, 7.0]), list("abcdefg"))
    assert (found.n, found.families, found.spearman) == (4, 4, 1.0)
    assert trend([], [], []).reason == "too few models for a correlation (0; at least 4)"


TRAINED = {"corpora": ["Pile"], "cross_modal": False}
SEEN = {"corpora": ["LAION-2B"], "cross_modal": True}


def test_every_tag_that_divides_defines_a_population():
    models = [spec(f"m{i}", family=f"f{i}", training=TRAINED, tuned="base", released="2024-01") for i in range(4)]
    models += [spec(f"n{i}", family="g", training=SEEN, tuned="instruct", released="2025-02") for i in range(4)]
    models += [spec("rare", training={"corpora": ["C4"], "fine_tuned_on": "chat"}, released="2025-05")]
    models += [spec("noise", objective="random", weights_sha256=None)]
    models += [spec("cut", variant_of="m0", intervention={"keep_blocks": 2})]
    found = dict(populations(models))
    assert found["released"] == [f"m{i}" for i in range(4)] + [f"n{i}" for i in range(4)] + ["rare"]
    assert found["released and interventions"] == [*found["released"], "cut"]
    assert found["trained with the other modality"] == [f"n{i}" for i in range(4)]
    assert found["corpus: Pile"] == found["tuned: base"] == found["released in 2024"] == [f"m{i}" for i in range(4)]
    assert found["family: g"] == found["tuned: instruct"] == [f"n{i}" for i in range(4)]
    assert found["released in 2025"] == [*(f"n{i}" for i in range(4)), "rare"]
    assert found["not fine-tuned"] == [f"m{i}" for i in range(4)] + [f"n{i}" for i in range(4)]
    assert not {"corpus: C4", "fine-tuned", "objective: causal"} & set(found)
    assert found["released since 2025-02 (newer half)"] == found["released in 2025"]
    sides = dict(partner_populations(models))
    assert sides["trained with the other modality"] == [f"n{i}" for i in range(4)]
    assert dict(partner_populations(models[:4])) == {"all": [f"m{i}" for i in range(4)]}


def test_models_without_tags_are_in_what_their_rows_say():
    models = [spec(f"m{i}", family="f") for i in range(5)]
    assert dict(populations(models)) == {"released": [m.id for m in models]}
    mixed = [*models, *(spec(f"n{i}", family="f", training=SEEN, released="2025-02") for i in range(4))]
    found = dict(populations(mixed))
    assert found["not trained with the other modality"] == [m.id for m in models]
    assert found["released in 2025"] == found["corpus: LAION-2B"] == [f"n{i}" for i in range(4)]
    assert "family: f" not in found
    assert dict(populations([])) == {"released": []}


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
