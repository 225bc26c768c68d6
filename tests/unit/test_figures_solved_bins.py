"""Figure of solved bins: the numbers of the table, and a plane in which models that are alike are near."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.unit.synthetic_findings import findings, model, published
from zooalign.figures import _drawing, solved_bins
from zooalign.results.embedding import FLOOR, distances, embed
from zooalign.results.solved import BINS

N = 12
MODELS = [
    model(f"v{i:02d}", "vision", f"f{i % 4}", objective=("supervised", "self-supervised")[i % 2]) for i in range(N)
]
# The last six are alike, the first ones less and less.
STRENGTH = [0.1 + 0.05 * min(i, 6) for i in range(N)]
SCORES = {
    (MODELS[i].id, MODELS[j].id): STRENGTH[i] * STRENGTH[j] + 0.001 * (i + j)
    for i in range(N)
    for j in range(i + 1, N)
}
TASKS = {f"task{t}": {m.id: 0.95 if i > 2 * t else 0.3 for i, m in enumerate(MODELS)} for t in range(5)}


def sweep(folder, models=MODELS, **changed):
    return findings(folder, **{"models": models, "scores": SCORES, "capabilities": TASKS} | changed)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    def draw(found):
        kept, save = [], _drawing.save
        monkeypatch.setattr(_drawing, "save", lambda figure, path: (kept.append(figure), save(figure, path))[1])
        solved_bins.draw(found, "pictures", tmp_path / "figure")
        monkeypatch.undo()
        return kept[0]

    return draw


def words(figure):
    from matplotlib.text import Text

    return " ".join(" ".join(t.get_text().split()) for t in figure.findobj(Text) if t.get_visible())


def test_the_left_panel_has_the_means_of_the_table(drawn, tmp_path):
    found = sweep(tmp_path / "sweep")
    table = published("solved_bins", found, tmp_path / "out").frame
    axes = drawn(found).axes[0]
    heights = {float(x): float(y) for points in axes.collections[1::2] for x, y in np.asarray(points.get_offsets())}
    expected = {float(BINS.index(row.bin)): row.alignment for row in table.itertuples() if row.pairs}
    assert heights == {x: pytest.approx(y) for x, y in expected.items()} | {
        x: pytest.approx(math.nan, nan_ok=True) for x in heights if x not in expected
    }
    assert len(expected) > 2
    labels = [t.get_text() for t in axes.get_xticklabels()]
    assert labels == [f"{r.bin}\nmodels: {r.models}\npairs: {r.pairs}" for r in table.itertuples()]


def test_the_figure_is_legible_at_its_size_and_its_bytes_repeat(drawn, tmp_path):
    from tests.unit.test_figures import assert_readable

    found = sweep(tmp_path / "sweep")
    figure = drawn(found)
    assert_readable(figure)
    assert figure.get_size_inches()[0] == 7.0
    solved_bins.draw(sweep(tmp_path / "again"), "pictures", tmp_path / "second")
    for suffix in (".svg", ".pdf", ".png"):
        assert (tmp_path / f"figure{suffix}").read_bytes() == (tmp_path / f"second{suffix}").read_bytes()


def test_with_few_models_only_the_plane_is_missing(drawn, tmp_path):
    few = [m for m in MODELS if m.id < "v05"]
    scores = {pair: s for pair, s in SCORES.items() if max(pair) < "v05"}
    tasks = {task: {m: v for m, v in own.items() if m < "v05"} for task, own in TASKS.items()}
    figure = drawn(sweep(tmp_path / "sweep", few, scores=scores, capabilities=tasks))
    said = words(figure)
    assert "5 models have a score with each other; 8 are needed. Add vision models." in said
    assert "by share of 5 tasks solved" in said


@pytest.mark.parametrize(
    ("changed", "lacks"),
    [({"capabilities": {}}, "Add linear probes"), ({"scores": {("v00", "gpt"): 0.1}}, "Add vision-vision")],
)
def test_without_tasks_or_pairs_the_figure_says_what_to_add(drawn, tmp_path, changed, lacks):
    figure = drawn(sweep(tmp_path / "sweep", [*MODELS, model("gpt", "language")], **changed))
    assert lacks in words(figure)
    assert not figure.axes


def test_distances_are_minus_the_logarithm_with_a_floor_and_both_directions():
    scores = {("a", "b"): 0.5, ("b", "a"): 0.3, ("a", "c"): -0.2, ("b", "c"): 0.0, ("a", "d"): 1.3, ("b", "d"): 1.0}
    found = distances("abcd", scores | {("c", "d"): 0.1}, "cknna", 10)
    assert found.models == tuple("abcd")
    assert found.values[0, 1] == found.values[1, 0] == pytest.approx(-math.log(0.4))
    assert found.values[0, 2] == found.values[1, 2] == pytest.approx(-math.log(FLOOR))
    assert found.values[0, 3] == found.values[1, 3] == 0.0  # as alike as can be
    assert not found.values.diagonal().any()
    # A metric that counts neighbours is taken per neighbour.
    assert distances("ab", {("a", "b"): 5.0}, "lcs_knn", 10).values[0, 1] == pytest.approx(math.log(2))


def test_a_model_that_lacks_scores_is_left_out_and_no_other():
    scores = dict.fromkeys([("a", "b"), ("a", "c"), ("b", "c"), ("a", "d")], 0.2)
    found = distances("abcd", scores, "mutual_knn", 10)
    assert (found.models, found.left_out) == (("a", "b", "c"), ("d",))


def test_models_that_are_alike_are_near_each_other():
    near = np.repeat([0, 1], 10)
    values = np.where(near[:, None] == near[None], 0.3, 4.0) * (1 - np.eye(20))
    plane = embed(values)
    apart = np.linalg.norm(plane[:, None] - plane[None], axis=-1)
    same = near[:, None] == near[None]
    assert apart[same].max() < apart[~same].min()
    assert np.array_equal(embed(values), plane)
