"""Figures of alignment beside capability: numbers by hand, what is left out, and that all can be read."""

from __future__ import annotations

import pytest
from matplotlib.text import Text

from tests.unit import sweeps
from tests.unit.test_figures import assert_readable
from zooalign.figures import _drawing, language_alignment, task_alignment
from zooalign.results.tasks import tasks_against_alignment
from zooalign.results.vision_families import family_lines, further_metrics, language_axis

BITS = {"gpt_a": 1.5, "gpt_b": 0.75, "gpt_c": 1.25, "gpt_d": 0.5, "noise_l": 4.0, "gpt_a_hurt": 3.0}
TASK = {"gpt_a": 0.3, "gpt_b": 0.5, "gpt_c": 0.4, "gpt_d": 0.6, "noise_l": 0.25}
PROBE = {"cnn_a": 0.9, "cnn_b": 0.8}


def height(x, y, metric, k):
    """Alignment with vision grows with the last letter of a language model's name, and cnn_b's is higher."""
    if x.modality == y.modality:
        return 0.5
    return 0.125 + "abcd".find(y.id[-1]) / 32 + (x.id == "cnn_b") / 8


@pytest.fixture
def found(tmp_path):
    capability = {"bits_per_byte": ("bits/byte", BITS), "quiz": ("accuracy", TASK), "probe": ("accuracy", PROBE)}
    return sweeps.found(tmp_path / "results", sweeps.few(), score=height, capability=capability)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    def draw(room, findings):
        kept, save = [], _drawing.save
        monkeypatch.setattr(_drawing, "save", lambda figure, path: (kept.append(figure), save(figure, path))[1])
        room.draw(findings, "pictures", tmp_path / "figure")
        monkeypatch.undo()
        assert {p.suffix for p in tmp_path.glob("figure.*")} == {".svg", ".pdf", ".png"}
        assert_readable(kept[0])
        return kept[0], [t.get_text() for t in kept[0].findobj(Text) if t.get_text().strip()]

    return draw


def test_bits_are_turned_and_only_released_language_models_count(found):
    axis = language_axis(found)
    assert axis.values == {"gpt_a": -0.5, "gpt_c": -0.25, "gpt_b": 0.25, "gpt_d": 0.5}
    assert list(axis.values) == ["gpt_a", "gpt_c", "gpt_b", "gpt_d"]
    assert axis.higher_is_better


def test_a_family_has_a_line_per_released_model(found):
    cnn, vit = family_lines(found, "pictures", "mutual_knn", 10, language_axis(found))
    assert (cnn.family, vit.family) == ("cnn", "vit")
    assert list(cnn.lines) == ["cnn_a", "cnn_b"]
    assert cnn.lines["cnn_b"] == {"gpt_a": 0.25, "gpt_c": 0.3125, "gpt_b": 0.28125, "gpt_d": 0.34375}
    assert (cnn.trend.n, cnn.trend.families) == (4, 1)
    assert cnn.trend.spearman == pytest.approx(0.8)  # capability a, c, b, d; alignment a, b, c, d


def test_points_are_drawn_where_the_numbers_are(found, drawn):
    figure, words = drawn(language_alignment, found)
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert lines["cnn_b"].get_xydata().tolist() == [[-0.5, 0.25], [-0.25, 0.3125], [0.25, 0.28125], [0.5, 0.34375]]
    assert {"cnn", "vit", "gpt_d", "1 - bits per byte"} <= set(words)
    assert "noise_v" not in " ".join(words)
    assert "Spearman +0.80, n = 4" in words


def test_other_metrics_have_rows_of_their_own(found, drawn):
    assert further_metrics(found, "pictures") == [("cka", 0)]
    figure, words = drawn(language_alignment, found)
    assert len(figure.axes) == 4
    assert "alignment\n(cka)" in words


def test_an_accuracy_is_an_axis_as_it_is(tmp_path):
    capability = {"quiz": ("accuracy", TASK)}
    found = sweeps.found(tmp_path, sweeps.few(), capability=capability, headline={"capability": "quiz"})
    axis = language_axis(found)
    assert axis.values == {"gpt_a": 0.3, "gpt_c": 0.4, "gpt_b": 0.5, "gpt_d": 0.6}
    assert axis.label == "quiz (accuracy)"


@pytest.mark.parametrize("room", [language_alignment, task_alignment])
@pytest.mark.parametrize(
    "capability", [{}, {"bits_per_byte": ("bits/byte", {"gpt_a": 1.0}), "quiz": ("accuracy", {"gpt_a": 0.5})}]
)
def test_too_few_models_are_said_not_drawn(tmp_path, drawn, room, capability):
    figure, words = drawn(room, sweeps.found(tmp_path / "results", sweeps.few(), capability=capability))
    assert not figure.axes
    said = " ".join(" ".join(words).split())
    assert "needs 4 released" in said
    assert f"there are {len(capability) // 2}" in said


def test_tasks_have_accuracies_over_mean_alignment(found):
    quiz, probe = tasks_against_alignment(found, "pictures")
    assert (quiz.task, quiz.modality, probe.task, probe.modality) == ("quiz", "language", "probe", "vision")
    points = {p.model: p for p in quiz.points}
    assert points["gpt_c"].alignment == pytest.approx((0.1875 + 0.3125 + 0.1875) / 3)
    assert (points["gpt_c"].accuracy, points["gpt_c"].standard_error) == (0.4, 0.02)
    assert points["noise_l"].mark == " †"
    assert quiz.trend.n == 4
    assert quiz.trend.spearman == pytest.approx(0.8)
    assert quiz.n_partners == 3
    assert probe.trend.n == 2


def test_tasks_of_fewer_than_four_models_are_named_not_drawn(found, drawn):
    figure, words = drawn(task_alignment, found)
    assert len(figure.axes) == 1
    said = " ".join(words)
    assert "fewer than 4 released models: probe" in said
    assert "Spearman +0.80, n = 4 of 1 families" in said
    assert {"gpt_d", "noise_l †", "quiz (language models)"} <= set(words)


@pytest.mark.parametrize("room", [language_alignment, task_alignment])
def test_many_models_stay_readable(tmp_path, drawn, room):
    models = [sweeps.spec(f"vit_large_patch14_clip_224_{i}", "vision", f"family_{i % 12}") for i in range(30)]
    language = [sweeps.spec(f"Meta-Llama-3-70B-{i}", "language", f"f{i % 9}", "causal") for i in range(40)]
    capability = {
        "bits_per_byte": ("bits/byte", {m.id: 0.5 + 0.01 * i for i, m in enumerate(language)}),
        **{
            f"task_{t}": ("accuracy", {m.id: 0.3 + (i * (t + 3) % 40) / 80 for i, m in enumerate(language)})
            for t in range(5)
        },
    }
    figure, words = drawn(room, sweeps.found(tmp_path / "results", models + language, capability=capability))
    assert len(figure.axes) == (12 if room is language_alignment else 5)
    assert any("no room for" in w for w in words) == (room is language_alignment)
