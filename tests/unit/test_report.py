"""What the report holds: packed without loss, equal to the tables, safe whatever the data say; what makes it due."""

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.synthetic_findings import findings, lines_of, many, published, rising
from zooalign.report import build
from zooalign.report.build import report_page
from zooalign.report.document import ERRATA, document
from zooalign.report.maps import layer_maps
from zooalign.report.packing import number, packed
from zooalign.report.page import page
from zooalign.report.samples import SHOWN, shown_samples
from zooalign.report.scores import means, score_blocks


def unpacked(text):
    return gzip.decompress(base64.b64decode(text))


def block(html, name):
    return unpacked(re.search(rf'<script type="text/plain" id="{name}">([^<]*)</script>', html)[1])


@given(st.binary(max_size=2000))
def test_bytes_come_out_as_they_went_in_and_are_no_markup(content):
    assert unpacked(packed(content)) == content
    assert re.fullmatch("[A-Za-z0-9+/=]*", packed(content))
    assert packed(content) == packed(content)


@given(st.floats())
def test_numbers_are_rounded_or_missing(value):
    found = number(value)
    assert (found is None) == (not np.isfinite(value))
    assert found is None or abs(found - value) <= 5.1e-7 * max(1.0, abs(value))


def test_scores_are_those_of_the_alignment_table(tmp_path):
    found = findings(tmp_path, lines=lines_of(settings=(("mutual_knn", 5), ("mutual_knn", 10), ("cka", 0))))
    table = published("alignment", found, tmp_path / "tables").frame
    ids = [m.id for m in found.sweep.models]
    shown = {
        (b["dataset"], b["metric"], b["k"], ids[x], ids[y]): (score, chance, layer)
        for b in score_blocks(found)
        for x, y, score, layer in zip(b["x"], b["y"], b["score"], b["layer_x"], strict=True)
        for chance in [b["chance"]]
    }
    assert len(shown) == len(table)
    for row in table.to_dict(orient="records"):
        score, chance, layer = shown[row["dataset"], row["metric"], row["k"], row["model_x"], row["model_y"]]
        assert score == pytest.approx(row["score"], abs=1e-6)
        assert (chance is None) == np.isnan(row["chance"])
        assert layer == row["layer_x"]


def test_means_are_those_of_the_capability_table(tmp_path):
    found = findings(tmp_path)
    table = published("capability_alignment", found, tmp_path / "tables").frame.set_index("id")
    [own] = means(found)
    assert own["partners"] == "all"
    assert own["values"] == pytest.approx(table["pictures_other"].dropna().to_dict(), abs=1e-6)


def test_a_model_that_lacks_a_partner_has_no_mean(tmp_path):
    lines = [line for line in lines_of() if (line["model_x"], line["model_y"]) != ("cnn", "gpt")]
    [own] = means(findings(tmp_path, lines=lines))
    assert {"cnn", "gpt"}.isdisjoint(own["values"])
    assert {"vit", "bert"} <= own["values"].keys()


@given(st.lists(st.floats(-3, 3, width=32), min_size=6, max_size=6))
def test_layer_maps_keep_the_highest_score_and_others_to_a_step(tmp_path_factory, values):
    found = findings(
        tmp_path_factory.mktemp("maps"), lines=lines_of({("cnn", "gpt"): 0.5}, shape=(2, 3), matrix=values)
    )
    maps = layer_maps(found, "pictures")
    [(_, _, rows, columns, low, high)] = maps["pairs"]
    assert (rows, columns, low, high) == (2, 3, min(values), max(values))
    stored = low + np.frombuffer(unpacked(maps["values"]), np.uint8) / 254 * (high - low)
    assert np.abs(stored - values).max() <= (high - low) / 507 + 1e-12
    assert stored[np.argmax(values)] == pytest.approx(high, rel=1e-12)


def test_a_layer_pair_without_a_score_has_none(tmp_path):
    lines = lines_of({("cnn", "gpt"): 0.5}, shape=(1, 2), matrix=[float("nan"), 0.5])
    maps = layer_maps(findings(tmp_path, lines=lines), "pictures")
    assert np.frombuffer(unpacked(maps["values"]), np.uint8).tolist() == [255, 0]


def test_where_room_is_short_pairs_within_a_modality_have_no_map(tmp_path):
    found = findings(tmp_path)
    whole, few = layer_maps(found, "pictures"), layer_maps(found, "pictures", cells=18)
    assert (len(whole["pairs"]), whole["left_out"]) == (15, 0)
    assert (len(few["pairs"]), few["left_out"]) == (9, 6)
    kinds = {i: spec.modality for i, spec in enumerate(found.sweep.models)}
    assert all(kinds[x] != kinds[y] for x, y, *_ in few["pairs"])


def test_samples_that_agree_most_and_least_are_the_extremes(tmp_path):
    from tests.browser.conftest import write_pictures

    write_pictures(tmp_path / "datasets" / "pictures")
    rng = np.random.default_rng(0)
    terms = rng.permutation(40) / 40
    found = findings(tmp_path, lines=lines_of({("cnn", "gpt"): 0.5}, terms=list(terms), n=40))
    shown = shown_samples(found, "pictures")
    [pair] = shown["pairs"].values()
    assert pair["most"] == np.argsort(-terms)[:SHOWN].tolist()
    assert pair["least"] == np.argsort(terms)[:SHOWN].tolist()
    assert pair["lowest"] == 1
    assert set(shown["pictures"]) == set(shown["texts"]) == {*pair["most"], *pair["least"]}
    few = shown_samples(found, "pictures", picture_bytes=200)
    assert 0 < len(few["pictures"]) < len(shown["pictures"])
    assert len(few["texts"]) == len(shown["texts"])


def test_without_the_data_set_there_are_no_samples(tmp_path):
    assert shown_samples(findings(tmp_path), "pictures") is None


def test_the_document_has_what_the_pages_show(tmp_path):
    language, vision = many(8), many(3, "vision", prefix="v")
    found = findings(
        tmp_path,
        models=(*language, *vision),
        scores=rising(language, vision),
        capabilities={"bits_per_byte": {m.id: 3.0 - 0.1 * i for i, m in enumerate(language)}},
        failures={"align_row": {"pictures/x": "no memory"}},
    )
    tables = {"populations": published("populations", found, tmp_path / "tables").path}
    about = document(found, found.header, tables)
    assert about["answers"] == list(found.header.answers)
    [released] = [t for t in about["trends"] if t["population"] == "released" and t["partners"] == "all"]
    assert released["spearman"] == 1.0
    assert "better models are aligned more" in released["answer"]
    assert about["missing"] == ["align_row pictures/x: no memory"]
    assert [e.keys() for e in about["errata"]] == [{"about", "says", "is"}] * len(about["errata"])
    json.dumps(about, allow_nan=False)
    assert document(found, found.header, {})["trends"] == []


def test_errata_are_whole_sentences_and_the_site_has_the_same():
    page = (Path(__file__).parents[2] / "docs" / "errata.md").read_text()
    for one in yaml.safe_load(ERRATA.read_text()):
        assert all(text[-1] == "." for text in (one["says"], one["is"])), one
        assert f"| {one['about']} | {one['says']} | {one['is']} |" in page


def test_the_same_sweep_gives_the_same_page(tmp_path):
    found = findings(tmp_path)
    assert report_page(found, []) == report_page(found, [])


def test_the_policy_names_the_scripts_of_the_page_and_nothing_of_the_data_is_markup():
    hostile = "</script><script>alert(1)</script>{{app}}"
    html = page("<title>", [hostile], {"document": packed(hostile.encode())})
    policy = re.search(r'content="(default-src[^"]*)"', html)[1]
    [app] = re.findall(r"<script>(.*?)</script>", html, re.S)
    for script in (app, block(html, "plotly").decode()):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
    assert "default-src 'none'" in policy
    assert "alert(1)</script>" not in html
    assert not re.search(r'(?:src|href)="(?!data:,|#)', html)


def test_tables_are_in_the_page_as_they_are_on_disk(tmp_path):
    found = findings(tmp_path)
    table = published("alignment", found, tmp_path / "tables")
    html = report_page(found, sorted((tmp_path / "tables").iterdir()))
    assert block(html, "table-alignment").decode() == table.csv
    assert json.loads(block(html, "document"))["tables"] == [{"name": "alignment", "held": True}]


def test_a_table_that_is_too_large_is_named_and_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "TABLE_BYTES", 10)
    found = findings(tmp_path)
    published("alignment", found, tmp_path / "tables")
    html = report_page(found, sorted((tmp_path / "tables").iterdir()))
    assert 'id="table-alignment"' not in html
    assert json.loads(block(html, "document"))["tables"] == [{"name": "alignment", "held": False}]


def test_what_determines_a_table_determines_the_report(tmp_path):
    found = findings(tmp_path)
    digest = found.digest("report", "build")
    assert digest == findings(tmp_path / "again").digest("report", "build")
    other = findings(tmp_path / "other", scores={**dict.fromkeys([("cnn", "gpt")], 0.11)})
    assert other.digest("report", "build") != digest
    fewer = findings(tmp_path / "fewer", tables=("alignment",))
    assert fewer.digest("report", "build") != digest
