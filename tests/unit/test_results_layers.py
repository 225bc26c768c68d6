"""Layer profiles, layer maps, neighbours and the direction of cycles, on scores that metrics computed."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit import aligned_models as small
from zooalign import metrics
from zooalign.figures import layer_map, layer_profile
from zooalign.results.cycles import cycles
from zooalign.results.layers import layer_maps, profiles
from zooalign.results.neighbours import neighbours
from zooalign.results.publishing import Header, publish
from zooalign.tables import cycle_direction
from zooalign.tables import layer_profile as profile_table
from zooalign.tables import neighbours as neighbour_table

VISION, LANGUAGE = ("cnn_a", "cnn_b", "vit"), ("bert", "gpt_a", "gpt_b", "table")


def matrix(x, y, metric="mutual_knn", k=10):
    return metrics.get(metric).matrix(small.index(x), small.index(y), k)


def published(table, folder):
    publish(table, Header((), {}), folder / "t")
    return (folder / "t.md").read_text()


def test_a_profile_is_the_mean_over_partners_of_the_highest_score_of_a_layer(tmp_path):
    found = {one.model.id: one for one in profiles(small.findings(tmp_path), "pictures")}
    assert set(found) == set(small.MODELS)
    expected = np.mean([matrix("vit", y).max(axis=1) for y in LANGUAGE], axis=0)
    assert found["vit"].scores == pytest.approx(expected, abs=1e-6)
    best = [matrix("vit", y).max(axis=1).argmax() / 4 for y in LANGUAGE]
    assert found["vit"].best.tolist() == best
    expected = np.mean([matrix(x, "gpt_hurt").max(axis=0) for x in VISION], axis=0)  # no control is a partner
    assert found["gpt_hurt"].scores == pytest.approx(expected, abs=1e-6)
    assert np.isnan(found["table"].depths).all()
    assert np.isnan(found["table"].by_bin).all()


def test_layers_are_in_fifths_of_the_depth(tmp_path):
    found = {one.model.id: one for one in profiles(small.findings(tmp_path), "pictures")}
    assert found["vit"].by_bin == pytest.approx(found["vit"].scores)  # 0, .25, .5, .75, 1
    assert found["cnn_a"].by_bin[[0, 2, 4]] == pytest.approx(found["cnn_a"].scores)
    assert np.isnan(found["cnn_a"].by_bin[[1, 3]]).all()


def test_all_layers_side_by_side_have_no_depth(tmp_path):
    models = [name for name in small.MODELS if name != "table"]
    found = small.findings(tmp_path, models=models, include_concat=True)
    found = {one.model.id: one for one in profiles(found, "pictures")}
    expected = np.mean([matrix("vit", y)[:-1, :-1].max(axis=1) for y in LANGUAGE if y != "table"], axis=0)
    assert found["vit"].depths.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert found["vit"].scores == pytest.approx(expected, abs=1e-6)


def test_the_maps_are_of_the_highest_pair_and_the_median_one(tmp_path):
    highest, median = layer_maps(small.findings(tmp_path), "pictures")
    scores = {(x, y): matrix(x, y).max() for x in VISION for y in LANGUAGE}
    assert (highest.x, highest.y) == max(scores, key=scores.get)
    assert sum(score > median.score for score in scores.values()) <= 6
    assert sum(score < median.score for score in scores.values()) <= 6
    for one in (highest, median):
        assert one.matrix == pytest.approx(matrix(one.x, one.y), abs=1e-6)


def test_neighbours_are_released_models_other_than_the_model(tmp_path):
    found = list(neighbours(small.findings(tmp_path), "pictures"))
    across = [(one.neighbour, one.score) for one in found if (one.model.id, one.side) == ("vit", "across")]
    scores = sorted((-matrix("vit", y).max(), y) for y in LANGUAGE)
    assert across == [(y, pytest.approx(-score)) for score, y in scores[:3]]
    assert {one.neighbour for one in found} <= {*VISION, *LANGUAGE}
    assert all(one.neighbour != one.model.id for one in found)
    within = {one.model.id: one.candidates for one in found if one.side == "within"}
    assert (within["vit"], within["noise_v"], within["gpt_hurt"]) == (2, 3, 4)


def test_directions_are_those_that_the_metrics_say(tmp_path):
    leans, [summary] = cycles(small.findings(tmp_path), "pictures")
    one = next(one for one in leans if (one.x, one.y) == ("vit", "bert"))
    x, y = small.index("vit"), small.index("bert")
    step_in_y = metrics.get("cycle_knn").matrix(x, y, 5)  # x takes the step back
    step_in_x = metrics.get("cycle_knn").matrix(y, x, 5)
    assert (one.out_x, one.out_y) == (pytest.approx(step_in_x.max()), pytest.approx(step_in_y.max()))
    places = [np.unravel_index(values.argmax(), values.shape) for values in (step_in_x.T, step_in_y)]
    terms = [metrics.get(name).terms(x, y, *place, 5)
             for name, place in zip(("cycle_knn_reverse", "cycle_knn"), places, strict=True)]  # fmt: skip
    difference = terms[0].astype(float) - terms[1]
    assert one.error == pytest.approx(difference.std(ddof=1) / np.sqrt(small.N))
    assert summary.pairs == 12
    assert summary.difference == pytest.approx(
        np.mean([o.difference for o in leans if o.released and o.comparison == "vision-language"])
    )
    assert summary.above + summary.below <= 12


def test_the_tables_show_marks_and_what_is_missing(tmp_path):
    found = small.findings(tmp_path)
    text = published(profile_table.table(found), tmp_path)
    assert "## Vision models on pictures" in text
    assert "| noise_v † | 2 | 4 |" in text
    text = published(neighbour_table.table(found), tmp_path)
    assert "| gpt_hurt ‡ | gpt | " in text
    text = published(cycle_direction.table(found), tmp_path)
    assert "| mean of 12 pairs |" in text
    assert "## language-language on pictures, k = 5" in text
    lacking = small.findings(tmp_path / "lacking", small.lines({"mutual_knn": (10,), "cycle_knn": (5,)}))
    text = published(cycle_direction.table(lacking), tmp_path)
    assert "There are no rows." in text
    assert "add cycle_knn and cycle_knn_reverse at the same k" in text


@pytest.mark.parametrize("figure", [layer_profile, layer_map])
def test_figures_without_pairs_across_modalities_say_so(tmp_path, figure):
    sides = [e for e in small.lines({"mutual_knn": (10,)}) if e["comparison"] != "vision-language"]
    figure.draw(small.findings(tmp_path / "whole"), "pictures", tmp_path / "whole")
    figure.draw(small.findings(tmp_path / "lack", sides), "pictures", tmp_path / "lack")
    whole, lack = ((tmp_path / f"{name}.svg").stat().st_size for name in ("whole", "lack"))
    assert whole > 1.5 * lack
    assert (tmp_path / "whole.pdf").exists()
    assert (tmp_path / "whole.png").exists()
