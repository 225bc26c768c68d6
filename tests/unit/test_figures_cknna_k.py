"""Alignment against k: a trend at small k only is seen there and not at large k; means and quartiles by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.synthetic_findings import findings, lines_of, many, model
from zooalign.figures import _drawing, cknna_k
from zooalign.results.by_k import ALL_MODELS, TERCILES, by_k, thirds

LANGUAGE = many(12, families=6)
VISION = many(4, "vision", families=2, prefix="v")
CONTROL = model("noise", "language", "random", objective="random")
# The later a model, the fewer bits it needs: the better.
BITS = {m.id: 2.0 - 0.1 * i for i, m in enumerate(LANGUAGE)}
KS = (5, 20, 48)


def score(i, j, k):
    """Rising with capability at k = 5, falling at 48."""
    slope = {5: 0.01, 20: 0.0, 48: -0.01}[k]
    return 0.2 + slope * i + 0.02 * j + 0.001 * ((7 * i + 3 * j + k) % 5)


def sweep(folder, language=LANGUAGE, bits=BITS, ks=KS, metric="cknna"):
    models = (*language, *VISION, CONTROL)
    lines = []
    for k in ks:
        pairs = {(v.id, m.id): score(i, j, k) for i, m in enumerate(language) for j, v in enumerate(VISION)}
        pairs |= {(v.id, CONTROL.id): 0.01 for v in VISION}
        lines += lines_of(pairs, settings=((metric, k),), models=models)
    lines += lines_of({(v.id, m.id): 0.1 for m in language for v in VISION}, models=models)
    return findings(folder, models=models, lines=lines, capabilities={"bits_per_byte": bits} if bits else {})


def test_the_trend_is_seen_at_the_k_where_it_is(tmp_path):
    modality, found = by_k(sweep(tmp_path), "pictures")
    assert modality == "language"
    assert [(one.metric, one.k) for one in found] == [("cknna", k) for k in KS]
    assert found[0].trend.spearman > 0.9
    assert found[0].trend.low > 0
    assert found[2].trend.spearman < -0.9
    assert {one.trend.n for one in found} == {12}


def test_spreads_are_means_and_quartiles_of_the_released_pairs_by_third(tmp_path):
    _, found = by_k(sweep(tmp_path), "pictures")
    for one in found:
        assert [s.group for s in one.spreads] == list(TERCILES)
        for third, spread in enumerate(one.spreads):
            values = [score(i, j, one.k) for i in range(4 * third, 4 * third + 4) for j in range(4)]
            assert (spread.models, spread.pairs) == (4, 16)
            assert spread.mean == pytest.approx(np.mean(values))
            assert (spread.low, spread.high) == pytest.approx(np.quantile(values, [0.25, 0.75]))


def test_without_a_capability_all_models_are_one_group_and_nothing_is_correlated(tmp_path):
    _, found = by_k(sweep(tmp_path, bits=None), "pictures")
    assert [[s.group for s in one.spreads] for one in found] == [[ALL_MODELS]] * 3
    assert [one.spreads[0].pairs for one in found] == [48] * 3
    assert {one.trend.n for one in found} == {0}


@pytest.mark.parametrize("n", range(1, 20))
def test_thirds_hold_every_model_once_in_order(n):
    models = [str(i) for i in range(n)]
    assert [m for ids in thirds(models).values() for m in ids] == models
    assert min(map(len, thirds(models).values())) >= min(n, 2)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    def draw(found, name="figure"):
        kept, save = [], _drawing.save
        monkeypatch.setattr(_drawing, "save", lambda figure, path: (kept.append(figure), save(figure, path))[1])
        cknna_k.draw(found, "pictures", tmp_path / name)
        monkeypatch.undo()
        return kept[0]

    return draw


def words(figure):
    from matplotlib.text import Text

    return " ".join(" ".join(t.get_text().split()) for t in figure.findobj(Text) if t.get_visible())


def test_lines_are_the_means_and_bytes_repeat(drawn, tmp_path):
    from tests.unit.test_figures import assert_readable

    found = sweep(tmp_path / "sweep")
    figure = drawn(found)
    assert_readable(figure)
    left, right = figure.axes
    _, expected = by_k(found, "pictures")
    for i, line in enumerate(left.get_lines()):
        assert list(line.get_xdata()) == list(KS)
        assert list(line.get_ydata()) == [one.spreads[i].mean for one in expected]
    assert list(right.get_lines()[0].get_ydata()) == [one.trend.spearman for one in expected]
    assert "n = 12 models of 6 families" in words(figure)
    drawn(sweep(tmp_path / "again"), "second")
    for suffix in (".svg", ".pdf", ".png"):
        assert (tmp_path / f"figure{suffix}").read_bytes() == (tmp_path / f"second{suffix}").read_bytes()


def test_too_few_models_have_scores_and_no_trend(drawn, tmp_path):
    few = LANGUAGE[:3]
    said = words(drawn(sweep(tmp_path / "sweep", few, {m.id: BITS[m.id] for m in few})))
    assert "3 released models have bits_per_byte and every score; 4 are needed." in said
    assert "all models: 3 models, 12 pairs" in said


def test_one_k_is_no_curve(drawn, tmp_path):
    figure = drawn(sweep(tmp_path / "sweep", ks=(5,)))
    assert "cknna: {k: [5, 10, 20, 48]}" in words(figure)
    assert not figure.axes
