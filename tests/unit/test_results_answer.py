"""The answer of a sweep in sentences: what each says, that it claims no more than its interval, and its numbers."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.synthetic_findings import MODELS, SCORES, findings, line, lines_of, many, model, published, rising
from zooalign.config.schema import HeadlineConfig
from zooalign.results.answer import answers, sentence, sentences
from zooalign.results.populations import RELEASED, UNIMODAL, WITH_INTERVENTIONS, trend
from zooalign.results.questions import ALL, Question, cases

LANGUAGE, VISION = many(12), many(3, "vision", prefix="v")
# Lower is better: m00 is the worst model.
BITS = {spec.id: 3.0 - 0.1 * i for i, spec in enumerate(LANGUAGE)}
QUESTION = Question("pictures", "bits_per_byte", "language", RELEASED, ALL)
ZIGZAG = (0.3, 0.2, 0.25, 0.22, 0.28, 0.3, 0.21, 0.24, 0.29, 0.2, 0.26, 0.25)


def scored(alignment, vision=VISION):
    """Scores of language models with every vision model, from their mean alignments."""
    return {(v.id, m): value + 0.01 * (j - 1) for m, value in alignment.items() for j, v in enumerate(vision)}


def zigzag():
    return dict(zip(BITS, ZIGZAG, strict=True))


def said(folder, scores, language=LANGUAGE, bits=BITS, **keys):
    """All sentences of a sweep of language models with bits per byte."""
    models = [*VISION, *language]
    return sentences(findings(folder, models=models, scores=scores, capabilities={"bits_per_byte": bits}, **keys))


def test_better_models_that_are_aligned_more(tmp_path):
    [only] = said(tmp_path, rising(LANGUAGE, VISION))
    assert only.startswith(
        "pictures, mutual_knn@10: released language models with better bits_per_byte are aligned more with released "
        "vision models: Spearman +1.00, 95 % interval +0."
    )
    assert only.endswith(" to +1.00, 12 models of 6 families.")


def test_better_models_that_are_aligned_less(tmp_path):
    [only] = said(tmp_path, rising(LANGUAGE, VISION, slope=-0.01, start=0.3))
    assert "with better bits_per_byte are aligned less with released vision models: Spearman -1.00, 95 % " in only
    assert " interval -1.00 to -0." in only


def test_an_interval_over_zero_shows_no_trend(tmp_path):
    [only] = said(tmp_path, scored(zigzag()))
    assert only.startswith(
        "pictures, mutual_knn@10: no trend is shown in how released language models with better bits_per_byte are "
        "aligned with released vision models: Spearman "
    )
    assert "aligned more" not in only
    assert "aligned less" not in only


@pytest.mark.parametrize("seed", range(12))
def test_a_sentence_claims_what_its_interval_leaves_out(seed):
    rng = np.random.default_rng(seed)
    x, slope = rng.standard_normal(16), rng.uniform(-2, 2)
    found = trend(x, slope * x + rng.standard_normal(16), [f"f{i % 8}" for i in range(16)])
    text = sentence(QUESTION, found)
    assert ("are aligned more with" in text) == (found.low > 0)
    assert ("are aligned less with" in text) == (found.high < 0)
    assert text.startswith("no trend is shown") == (found.low <= 0 <= found.high)
    assert f"Spearman {found.spearman:+.2f}, 95 % interval {found.low:+.2f} to {found.high:+.2f}, 16 models" in text


def test_too_few_families_have_a_correlation_and_show_nothing(tmp_path):
    for families, words in ((4, "4 families"), (1, "1 family")):
        language = many(12, families=families)
        [only] = said(tmp_path / words, rising(language, VISION), language)
        assert only == (
            "pictures, mutual_knn@10: bits_per_byte of released language models and their alignment with released "
            f"vision models: Spearman +1.00, 12 models of {words}: too few families for an interval (at least 5), so "
            "this shows no trend."
        )


def test_too_few_models_have_no_correlation(tmp_path):
    language = LANGUAGE[:3]
    [only] = said(tmp_path, rising(language, VISION), language, {m.id: BITS[m.id] for m in language})
    assert only == (
        "pictures, mutual_knn@10: too few released language models have both bits_per_byte and a score with every "
        "one of the released vision models for a correlation (3; at least 4)."
    )


def test_a_model_that_lacks_a_score_or_the_capability_does_not_count(tmp_path):
    scores = rising(LANGUAGE, VISION)
    del scores["v00", "m03"]
    [only] = said(tmp_path, scores, bits=BITS | {"m07": "its tokens cannot be counted"})
    assert only.endswith(", 10 models of 6 families.")


def test_models_of_the_same_capability_have_no_correlation(tmp_path):
    [only] = said(tmp_path, rising(LANGUAGE, VISION), bits=dict.fromkeys(BITS, 1.0))
    assert only.startswith(
        "pictures, mutual_knn@10: no correlation of bits_per_byte with alignment over 12 released language models: "
    )
    assert "Spearman" not in only


def test_without_a_capability_there_is_no_answer_but_controls(tmp_path):
    first, *controls = sentences(findings(tmp_path, capabilities={}))
    assert first == "No capability was measured: whether alignment grows with capability is not answered."
    assert len(controls) == 2


def test_random_controls_are_beside_released_models_and_chance(tmp_path):
    _, vision, language = sentences(findings(tmp_path))
    assert vision == (
        "pictures, mutual_knn@10: 1 vision model never trained: mean score 0.0400 with the released language models; "
        "2 released: 0.1500 to 0.4000; chance is 0.0098."
    )
    assert language == (
        "pictures, mutual_knn@10: 1 language model never trained: mean score 0.0500 with the released vision models; "
        "2 released: 0.2000 to 0.3500; chance is 0.0098."
    )


def test_controls_that_lack_a_score_are_not_counted(tmp_path):
    more = model("noise_2", "language", "random", objective="random")
    scores = {**SCORES, ("cnn", "noise_2"): 0.5}
    found = findings(tmp_path, models=(*MODELS, more), scores=scores)
    assert "1 language model never trained: mean score 0.0500 with" in sentences(found)[-1]
    scores["vit", "noise_2"] = 0.1
    found = findings(tmp_path / "whole", models=(*MODELS, more), scores=scores)
    assert "2 language models never trained: mean score 0.0500 to 0.3000 with" in sentences(found)[-1]


def test_controls_are_in_no_correlation(tmp_path):
    noise = model("noise", "language", "random", objective="random")
    scores = {**scored(zigzag()), **{(v.id, "noise"): 0.0 for v in VISION}}
    first, control = said(tmp_path / "with", scores, (*LANGUAGE, noise), BITS | {"noise": 8.0})
    assert [first] == list(said(tmp_path / "without", scored(zigzag())))
    assert "1 language model never trained: mean score 0.0000 with" in control


def test_chance_that_is_not_known_is_not_said(tmp_path):
    lines = [entry | {"chance": None} for entry in lines_of()]
    assert sentences(findings(tmp_path, lines=lines))[-1].endswith("2 released: 0.2000 to 0.3500.")


def test_interventions_have_a_sentence_of_their_own(tmp_path):
    """Damaged models are worse and aligned less: that is no trend among the released ones."""
    hurt = [
        model(f"hurt{i}", "language", f"mf{i}", variant_of=f"m{i:02d}", intervention={"weight_noise": 0.5})
        for i in range(6)
    ]
    scores = scored(zigzag() | {spec.id: 0.1 - 0.01 * i for i, spec in enumerate(hurt)})
    bits = BITS | {spec.id: 5.0 + i for i, spec in enumerate(hurt)}
    released, changed = said(tmp_path, scores, (*LANGUAGE, *hurt), bits)
    assert released.startswith("pictures, mutual_knn@10: no trend is shown in how released language models with ")
    assert released.endswith(", 12 models of 6 families.")
    assert changed.startswith(
        "pictures, mutual_knn@10: released language models and interventions on them with better bits_per_byte are "
        "aligned more with released vision models: "
    )
    assert changed.endswith(", 18 models of 6 families.")


def blurred(spread):
    """Bits per byte that differ little; records have a standard error of 0.02."""
    return {name: 1.0 - spread * i for i, name in enumerate(BITS)}


def test_a_correlation_without_measurement_error_is_beside_that_with_it(tmp_path):
    almost = dict(zip(BITS, np.linspace(0.1, 0.3, 12)[[1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10]], strict=True))
    found = findings(tmp_path, models=[*VISION, *LANGUAGE], scores=scored(almost),
                     capabilities={"bits_per_byte": blurred(0.01)})  # fmt: skip
    [(_, answer)] = answers(found, lambda question: question.population == RELEASED)
    assert answer.spearman_noise_free > answer.spearman + 0.01
    [only] = sentences(found)
    without = f"({answer.spearman_noise_free:+.2f} without measurement error)"
    interval = f"95 % interval {answer.low:+.2f} to {answer.high:+.2f}, 12 models"
    assert f"Spearman {answer.spearman:+.2f} {without}, {interval}" in only
    [sharp] = said(tmp_path / "sharp", scored(almost))
    assert "measurement error" not in sharp


def test_errors_as_large_as_the_differences_show_no_trend(tmp_path):
    [only] = said(tmp_path, rising(LANGUAGE, VISION), bits=blurred(0.001))
    assert only.endswith(
        ": Spearman +1.00, 12 models of 6 families: errors of capability are as large as what models differ by, so "
        "this shows no trend."
    )


def test_models_that_never_saw_the_other_modality_have_sentences_of_the_headline(tmp_path):
    seen = {"corpora": ["LAION-2B"], "cross_modal": True}
    vision = [*VISION, model("clip", "vision", "clip", training=seen)]
    language = [*LANGUAGE, *(model(f"caption{i}", "language", f"mf{i}", training=seen) for i in range(4))]
    bits = BITS | {f"caption{i}": 1.5 - 0.1 * i for i in range(4)}
    found = findings(tmp_path, models=[*vision, *language], scores=rising(language, vision),
                     capabilities={"bits_per_byte": bits, "other_bits": bits})  # fmt: skip
    texts = [text.removeprefix("pictures, mutual_knn@10: ") for text in sentences(found)]
    unseen = "not trained with the other modality"
    begins = (
        "released language models with better bits_per_byte are aligned more with released vision models: ",
        f"released language models with better bits_per_byte are aligned more with released vision models {unseen}: ",
        f"released language models {unseen} with better bits_per_byte are aligned more with released vision models: ",
        "released language models with better other_bits are aligned more with released vision models: ",
    )
    assert [sum(text.startswith(begin) for text in texts) for begin in begins] == [1, 1, 1, 1]
    assert texts[3].startswith(begins[3])
    assert [text.endswith(", 12 models of 6 families.") for text in texts].count(True) == 1
    assert len(texts) == 4


def test_capabilities_of_either_modality_are_asked_the_headline_first(tmp_path):
    vision = many(6, "vision", prefix="v")
    found = findings(
        tmp_path, models=[*vision, *LANGUAGE], scores=rising(LANGUAGE, vision),
        capabilities={"bits_per_byte": BITS, "a_probe": {m.id: 0.5 + 0.05 * i for i, m in enumerate(vision)}},
        datasets=("pictures", "emoji"),
    )  # fmt: skip
    texts = sentences(found)
    assert len(texts) == 4
    for dataset, (language, probed) in (("emoji", texts[:2]), ("pictures", texts[2:])):
        assert language.startswith(f"{dataset}, mutual_knn@10: released language models with better bits_per_byte ")
        assert probed.startswith(f"{dataset}, mutual_knn@10: ")
        assert "released vision models with better a_probe are aligned " in probed
        assert " with released language models: Spearman " in probed


def test_the_headline_chooses_metric_and_k(tmp_path):
    lines = [
        line(v.id, m.id, 0.5 + step * i, k=k, metric=metric, models=[*VISION, *LANGUAGE])
        for metric, k, step in (("mutual_knn", 10, 0.01), ("cka", 0, -0.01))
        for i, m in enumerate(LANGUAGE)
        for v in VISION
    ]
    [only] = said(tmp_path, {}, lines=lines, headline=HeadlineConfig(metric="cka", k=None))
    assert only.startswith("pictures, cka: released language models with better bits_per_byte are aligned less with ")


def test_populations_are_named_in_words():
    few = trend([1, 2], [1, 2], ["a", "b"])
    for population, words in (
        (RELEASED, "released vision models"),
        (WITH_INTERVENTIONS, "released vision models and interventions on them"),
        (UNIMODAL, "released vision models not trained with the other modality"),
    ):
        text = sentence(Question("pictures", "probe", "vision", population, UNIMODAL), few)
        assert text.startswith(f"too few {words} have both probe and a score with every one of the ")
        assert "released language models not trained with the other modality for a correlation" in text


@pytest.mark.parametrize(("metric", "k"), [("cknna", 10), ("cycle_knn", 10)])
def test_a_directed_metric_answers_for_both_modalities(metric, k, tmp_path):
    """Its pairs are stored from vision to language only; the language models' means are of the same scores."""
    models = [*VISION, *LANGUAGE]
    lines = lines_of(rising(LANGUAGE, VISION), models=models, settings=[(metric, k)])
    found = findings(
        tmp_path, models=models, lines=lines, headline=HeadlineConfig(metric=metric, k=k),
        capabilities={"bits_per_byte": BITS},
    )  # fmt: skip
    assert not found.symmetric
    [answer] = [answer for question, answer in answers(found) if question == QUESTION]
    assert (answer.n, answer.spearman) == (len(LANGUAGE), 1.0)
    table = published("capability_alignment", found, tmp_path / "tables").frame.set_index("id")
    assert table.loc["m11", "pictures_rank"] == 1


def test_terms_of_kernels_are_no_errors(tmp_path):
    """That a sample is drawn again changes the terms of all others too, so only pairs' own intervals would tell."""
    models = [*VISION, *LANGUAGE]
    by = {}
    for metric, k in (("mutual_knn", 10), ("cka", 0)):
        lines = lines_of(rising(LANGUAGE, VISION), models=models, settings=[(metric, k)])
        lines = [{**entry, "terms": [entry["score"] + shift for shift in (-0.02, 0.0, 0.02)]} for entry in lines]
        found = findings(
            tmp_path / metric, models=models, lines=lines, headline=HeadlineConfig(metric=metric, k=k or None),
            capabilities={"bits_per_byte": BITS},
        )  # fmt: skip
        [by[metric]] = [case for case in cases(found) if case.question == QUESTION]
    assert by["mutual_knn"].alignment_draws is not None
    assert by["cka"].alignment_draws is None
    assert by["cka"].alignment_errors is None
