"""A user's own folder: what is right is taken as it is, what is wrong is named by line."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from zooalign.config.manifest import DatasetSpec
from zooalign.data.build import build_dataset
from zooalign.data.samples import Samples
from zooalign.datasets import folder
from zooalign.errors import DatasetError


def save_images(where: Path) -> None:
    (where / "sub").mkdir(parents=True)
    Image.new("RGB", (20, 10), "red").save(where / "red.png")
    Image.new("RGB", (10, 20), "lime").save(where / "green.jpg")
    Image.new("RGBA", (10, 10), (0, 0, 255, 255)).save(where / "sub" / "blue.webp", lossless=True)


@pytest.fixture
def mine(tmp_path) -> Path:
    save_images(tmp_path / "mine")
    return tmp_path / "mine"


def build(where: Path, table: str, text: str | bytes, **options) -> Samples:
    data = text.encode() if isinstance(text, str) else text
    (where / table).write_bytes(data)
    spec = DatasetSpec(id="own", family="folder", options={"table": str(where / table)} | options)
    return build_dataset(spec, where.parent / "out" / "own", lambda line: None)


TABLE = (
    "image,caption,group,long,number\n"
    'red.png,"Red, really",a,NA,007\n'
    "green.jpg, Green ,b,nan,1e5\n"
    "sub/blue.webp,None,a,a long one,NULL\n"
)


def test_cells_stay_text(mine):
    samples = build(mine, "t.csv", TABLE)
    assert samples.ids == ["red.png", "green.jpg", "sub/blue.webp"]
    assert samples.captions() == ["Red, really", "Green", "None"]
    assert samples.captions("as_written")[1] == " Green "
    assert samples.captions("long") == ["NA", "nan", "a long one"]
    assert samples.captions("number") == ["007", "1e5", "NULL"]
    assert samples.groups == ["a", "b", "a"]
    assert samples.sources == ["own"] * 3
    assert samples.licences == ["not stated"] * 3
    assert samples.image_bytes(1) == (mine / "green.jpg").read_bytes()
    assert samples.image(2).getpixel((0, 0)) == (0, 0, 255)


def test_the_three_formats_agree(mine):
    rows = [
        {"image": "red.png", "caption": "Red", "id": "r", "source": "x", "licence": "MIT"},
        {"image": "green.jpg", "caption": "Grün\u2028green", "id": "g", "source": "y", "licence": ""},
    ]
    jsonl = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    csv = "\ufeff" + ",".join(rows[0]) + "\r\n" + "".join(",".join(row.values()) + "\r\n" for row in rows)
    digests = {
        build(mine, name, text, licence="CC0-1.0", authors="Me").digest
        for name, text in {"t.jsonl": jsonl, "t.csv": csv, "t.tsv": csv.replace(",", "\t")}.items()
    }
    assert len(digests) == 1
    samples = build(mine, "t.jsonl", jsonl, licence="CC0-1.0", authors="Me")
    assert samples.licences == ["MIT", "CC0-1.0"]
    text = (samples.folder / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert "## x" in text
    assert "## y" in text
    assert "Authors: Me" in text


def test_densities_can_be_chosen_and_missing_cells_are_missing(mine):
    samples = build(mine, "t.csv", "image,caption,a,b\nred.png,r,x,y\ngreen.jpg,g,,z\n", densities=["a"])
    assert samples.partial_densities == {"a": 1}
    assert "b" not in samples.about["densities"]


def test_large_pictures_can_be_scaled(mine):
    Image.new("RGB", (400, 100), "red").save(mine / "wide.png")
    samples = build(mine, "t.csv", "image,caption\nwide.png,wide\nred.png,red\n", longest_side=100)
    assert [im.size for im in samples.images()] == [(100, 25), (20, 10)]


HEAD = "image,caption,id\n"
GOOD = HEAD + "red.png,Red,1\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "no.png,Gone,2\n", r"t\.csv, line 3: image 'no.png' does not exist"),
        (GOOD + ",Nothing,2\n", "line 3: empty image"),
        (GOOD + "../outside.png,Out,2\n", r"line 3: image '\.\./outside\.png' is outside"),
        (GOOD + "link.png,Out,2\n", r"line 3: image 'link\.png' is outside"),
        (GOOD + "/etc/passwd,Out,2\n", "line 3: image '/etc/passwd' is outside"),
        (GOOD + "broken.png,Broken,2\n", r"line 3: image 'broken\.png' cannot be decoded"),
        (GOOD + "cut.png,Cut,2\n", r"line 3: image 'cut\.png' cannot be decoded"),
        (GOOD + "green.jpg, ,2\n", r"line 3: empty caption of image 'green\.jpg'"),
        (GOOD + "green.jpg,Green,1\n", "line 3: id '1' is already on line 2"),
        (GOOD + "green.jpg,Green,\n", "row 1: the id is empty"),
        (GOOD + "green.jpg,Green, no,2\n", "line 3: 4 cells, the header has 3"),
        (GOOD + 'green.jpg,"Green,2\n', "line 3: unexpected end of data"),
        (GOOD.encode() + b"green.jpg,Gr\xfcn,2\n", "line 3: not UTF-8"),
        ("file,caption\nred.png,Red\n", "unknown column 'image'"),
        ("image,text\nred.png,Red\n", "unknown column 'caption'"),
        ("image,caption,caption\nred.png,Red,x\n", "line 1: column 'caption' occurs twice"),
        ("image,caption,as_written\nred.png,Red,x\n", "column 'as_written' cannot be a density"),
        (HEAD, "no rows"),
        ("", "no header"),
    ],
)
def test_bad_csv_names_the_line(mine, text, message):
    Image.new("RGB", (4, 4)).save(mine.parent / "outside.png")
    os.symlink(mine.parent / "outside.png", mine / "link.png")
    (mine / "broken.png").write_text("no picture")
    cut = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(cut, "PNG")
    (mine / "cut.png").write_bytes(cut.getvalue()[:1000])
    with pytest.raises(DatasetError, match=message):
        build(mine, "t.csv", text)
    assert not (mine.parent / "out" / "own").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"image": "red.png", "caption": "Red"}\n{"image": 3, "caption": "x"}\n',
            "line 2: 'image' is no text",
        ),
        ('{"image": "red.png", "caption": "Red"}\n\n[1]\n', "line 3: expected an object"),
        ('{"image": "red.png"\n', "line 1: not valid JSON"),
        ('{"image": "red.png", "caption": null}\n', "line 1: empty caption"),
        ('{"image": "red.png", "caption": "\\ud83d"}\n', "caption is not valid UTF-8"),
    ],
)
def test_bad_jsonl_names_the_line(mine, text, message):
    with pytest.raises(DatasetError, match=message):
        build(mine, "t.jsonl", text)


def test_missing_table_and_other_suffix(mine):
    with pytest.raises(DatasetError, match="cannot be read"):
        folder.build(folder.Options(table=str(mine / "no.csv")), mine / "own", lambda line: None)
    with pytest.raises(DatasetError, match=r"must be \.csv, \.tsv or \.jsonl"):
        build(mine, "t.xlsx", TABLE)


def test_fingerprint_follows_content_not_time(mine):
    (mine / "t.csv").write_text(TABLE)
    options = folder.Options(table=str(mine / "t.csv"))
    before = folder.fingerprint(options, "mine")
    os.utime(mine / "red.png", (1, 1))
    assert folder.fingerprint(options, "mine") == before
    Image.new("RGB", (20, 10), "maroon").save(mine / "red.png")
    assert folder.fingerprint(options, "mine") != before


def test_a_name_in_another_unicode_form_is_said_to_be_one(tmp_path):
    import unicodedata

    (tmp_path / unicodedata.normalize("NFD", "é.png")).write_bytes(b"x")
    (tmp_path / "t.csv").write_text("image,caption\né.png,a letter\n", encoding="utf-8")
    spec = DatasetSpec(id="mine", family="folder", options={"table": str(tmp_path / "t.csv")})
    with pytest.raises(DatasetError, match="differs from the file's name only in its Unicode form"):
        build_dataset(spec, tmp_path / "out" / "mine", lambda line: None)


def test_a_table_lies_beside_the_configuration_and_its_place_does_not_count(tmp_path, monkeypatch):
    from zooalign.config.identity import dataset_spec_digest
    from zooalign.config.sweep import load_sweep, read_config

    root = Path(__file__).parents[2]
    digests = []
    for place in (tmp_path / "one", tmp_path / "two"):
        (place / "datasets").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(place / "a.png")
        (place / "t.csv").write_text("image,caption\na.png,a\n")
        row = {"id": "mine", "family": "folder", "options": {"table": "t.csv"}}
        (place / "datasets/mine.yaml").write_text(json.dumps({"datasets": [row]}))
        config = {**read_config(root / "config.yaml"), "dataset_files": "datasets", "datasets": ["mine"],
                  "capabilities": [], "figures": [], "tables": ["alignment"]}  # fmt: skip
        monkeypatch.chdir(tmp_path)
        sweep = load_sweep(config, [place, root])
        assert sweep.dataset("mine").options["table"] == str(place / "t.csv")
        digests.append(dataset_spec_digest(sweep.dataset("mine")))
    assert digests[0] == digests[1]


def test_the_type_that_was_tried_is_no_key():
    from zooalign.config.sweep import load_sweep, read_config
    from zooalign.errors import ConfigError

    root = Path(__file__).parents[2]
    with pytest.raises(ConfigError, match=r"config.yaml: models: Input should be a list"):
        load_sweep({**read_config(root / "config.yaml"), "models": 3}, root)


def test_a_scan_larger_than_pillow_takes_is_scaled_down_where_that_is_asked(mine, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 90)  # refused above 180
    Image.new("RGB", (200, 100), "red").save(mine / "red.png")
    with pytest.raises(DatasetError, match=r"Image size .*; set longest_side"):
        build(mine, "t.csv", "image,caption\nred.png,red\n")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5_000)  # as stored it is 64 x 32
    samples = build(mine, "t.csv", "image,caption\nred.png,red\n", longest_side=64)
    assert samples.image(0).size == (64, 32)
