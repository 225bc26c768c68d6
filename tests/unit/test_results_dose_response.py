"""Curves of interventions: doses, values and correlations by hand; what is on no curve is said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from tests.unit.synthetic_findings import findings, line, model, published
from zooalign.figures import _drawing, dose_response
from zooalign.results.dose_response import CUT, NOISE, SHUFFLE, curves, lacks

VISION = [model(f"v{i}", "vision") for i in range(3)]
BASE = model("gpt", "language", "gpt")
NOISES = (0.1, 0.2, 0.5, 0.8)


def variant(name, **change):
    return model(name, "language", "gpt", variant_of="gpt", intervention=change)


VARIANTS = [
    *(variant(f"gpt_noise_{scale}", weight_noise=scale) for scale in NOISES),
    variant("gpt_blocks_6", keep_blocks=6),
    variant("gpt_shuffled", shuffle_input=True),
    variant("gpt_both", weight_noise=0.1, shuffle_input=True),
]
ALIGNED = {"gpt": 0.5, "gpt_noise_0.1": 0.45, "gpt_noise_0.2": 0.46, "gpt_noise_0.5": 0.3, "gpt_noise_0.8": 0.2,
           "gpt_blocks_6": 0.5, "gpt_shuffled": 0.25, "gpt_both": 0.2}  # fmt: skip
BITS = {"gpt": 1.0, "gpt_noise_0.1": 1.2, "gpt_noise_0.2": 1.6, "gpt_noise_0.5": 3.0, "gpt_noise_0.8": 4.0,
        "gpt_blocks_6": 2.5}  # fmt: skip


def sweep(folder, models=(BASE, *VARIANTS), bits=BITS, without=()):
    every = [*VISION, *models]
    lines = [
        line(v.id, m.id, ALIGNED[m.id] + 0.01 * (j - 1), models=every, shape=(2, 7 if m.id == "gpt_blocks_6" else 10))
        for j, v in enumerate(VISION)
        for m in models
        if (v.id, m.id) not in without
    ]
    return findings(folder, models=every, lines=lines, capabilities={"bits_per_byte": bits} if bits else {})


def test_doses_and_values_of_every_model_are_on_its_curve(tmp_path):
    found = {curve.kind: curve for curve in curves(sweep(tmp_path))}
    assert set(found) == {NOISE, CUT, SHUFFLE}
    noise = found[NOISE]
    assert [point.dose for point in noise.points] == [0.0, *NOISES]
    assert [point.capability for point in noise.points] == [1.0, 1.2, 1.6, 3.0, 4.0]
    assert [point.alignment for point in noise.points] == pytest.approx([0.5, 0.45, 0.46, 0.3, 0.2])
    assert (noise.base, noise.partners, noise.unit, noise.higher_is_better) == ("gpt", 3, "bits/byte", False)
    assert [point.dose for point in found[CUT].points] == pytest.approx([0.0, 0.3])
    assert math.isnan(found[SHUFFLE].points[1].capability)


def test_correlations_are_scipys_with_better_up_and_need_four_doses(tmp_path):
    found = {curve.kind: curve for curve in curves(sweep(tmp_path))}
    noise = found[NOISE]
    aligned = [point.alignment for point in noise.points]
    assert noise.dose_capability == pytest.approx(-1.0)
    assert noise.dose_alignment == pytest.approx(spearmanr([0, *NOISES], aligned).statistic)
    assert noise.capability_alignment == pytest.approx(-noise.dose_alignment)
    for kind in (CUT, SHUFFLE):
        assert np.isnan([found[kind].dose_capability, found[kind].dose_alignment]).all()


def test_a_mean_that_lacks_a_partner_is_on_no_curve(tmp_path):
    (noise,) = (c for c in curves(sweep(tmp_path, without=[("v0", "gpt_noise_0.8")])) if c.kind == NOISE)
    assert math.isnan(noise.points[-1].alignment)
    assert noise.points[-1].capability == 4.0


def test_the_table_has_a_row_per_point_and_says_the_correlations(tmp_path):
    made = published("dose_response", sweep(tmp_path / "sweep"), tmp_path / "out")
    assert len(made.frame) == 5 + 2 + 2
    assert "Spearman of dose and capability -1.00 (n = 5), dose and alignment -0.90 (n = 5)" in made.markdown
    assert "no correlation (n = 2; at least 4 doses)" in made.markdown
    assert "gpt_both: several changes at once, so on no curve." in made.markdown
    assert "| 0.3 | gpt_blocks_6 | 2.5000 bits/byte | 0.5000 |" in made.markdown


def test_a_released_model_that_is_not_in_the_sweep_is_said(tmp_path):
    found = sweep(tmp_path, models=VARIANTS[:4])
    assert lacks(found) == ["gpt is not in the sweep, so its curves lack dose 0: add it to `models`."]
    (noise,) = curves(found)
    assert [point.dose for point in noise.points] == list(NOISES)


def drawn(found, path, monkeypatch):
    kept, save = [], _drawing.save
    monkeypatch.setattr(_drawing, "save", lambda figure, path: (kept.append(figure), save(figure, path))[1])
    dose_response.draw(found, "pictures", path)
    monkeypatch.undo()
    return kept[0]


@pytest.mark.parametrize("bits", [BITS, None])
def test_the_figure_has_the_curves_better_up_and_its_bytes_repeat(tmp_path, monkeypatch, bits):
    from tests.unit.test_figures import assert_readable

    figure = drawn(sweep(tmp_path / "sweep", bits=bits), tmp_path / "first", monkeypatch)
    assert_readable(figure)
    above, below = figure.axes[0], figure.axes[3]
    (line,) = [line for line in below.get_lines() if len(line.get_xdata()) == 5]
    assert list(line.get_xdata()) == [0.0, *NOISES]
    assert list(line.get_ydata()) == pytest.approx([0.5, 0.45, 0.46, 0.3, 0.2])
    if bits:
        assert list(above.get_lines()[0].get_ydata()) == [1.0, 1.2, 1.6, 3.0, 4.0]
        low, high = above.get_ylim()
        assert low > high  # fewer bits are better
    else:
        assert not above.get_lines()
    drawn(sweep(tmp_path / "again", bits=bits), tmp_path / "second", monkeypatch)
    for suffix in (".svg", ".pdf", ".png"):
        assert (tmp_path / f"first{suffix}").read_bytes() == (tmp_path / f"second{suffix}").read_bytes()


def test_a_sweep_without_interventions_says_what_to_add(tmp_path, monkeypatch):
    from matplotlib.text import Text

    figure = drawn(sweep(tmp_path / "sweep", models=[BASE]), tmp_path / "figure", monkeypatch)
    said = " ".join(" ".join(t.get_text().split()) for t in figure.findobj(Text))
    assert "Add rows with `intervention`" in said
    assert not figure.axes
    made = published("dose_response", sweep(tmp_path / "again", models=[BASE]), tmp_path / "out")
    assert not len(made.frame)
    assert "There are no rows." in made.markdown
