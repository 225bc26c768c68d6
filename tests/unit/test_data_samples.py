"""The dataset folder: what is written is what is read, twice the same, and damage is noticed."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from zooalign.data.attribution import Attribution
from zooalign.data.captions import mild, plain
from zooalign.data.decoding import decode
from zooalign.data.records import Label, Pair, Text
from zooalign.data.samples import Alternative, Samples, ids_digest, open_samples
from zooalign.data.writing import write_samples
from zooalign.errors import DatasetError

CREDIT = [Attribution("here", "Test pictures", "Ada", "CC0-1.0", "this file", "none")]


def picture(value: int = 0, mode: str = "RGB", size: tuple[int, int] = (8, 6), **options) -> bytes:
    """PNG (unless `format` is given) of one colour."""
    colour = {"L": value, "RGB": (value, 10, 20), "RGBA": (value, 10, 20, 0)}[mode]
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, **({"format": "PNG"} | options))
    return buffer.getvalue()


def pair(i: int = 0, **changes) -> Pair:
    return Pair(
        **(
            {
                "id": f"id{i}",
                "image": picture(i),
                "caption": f"Caption {i} ",
                "source": "here",
                "licence": "CC0-1.0",
            }
        )
        | changes
    )


def write(folder: Path, records, kind: str = "pairs", attribution=CREDIT) -> str:
    return write_samples(
        folder,
        kind,
        records,
        name="tiny",
        description="A test.",
        attribution=attribution,
        options={"n": 3},
        family="synthetic",
        version=1,
    )


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def tiny(tmp_path) -> Samples:
    records = [
        pair(0, texts={"gloss": "the first", "long": "a long one"}, group="a", attributes={"style": "photo"}),
        pair(1, texts={"long": "another"}, alternatives=[Alternative("id1b", "Also one", picture(9))]),
        pair(2, texts={"gloss": "the third", "long": "ünïcödé 猫"}, group="b", caption="A\u0301  b\nc"),
    ]
    write(tmp_path / "tiny", records)
    return open_samples(tmp_path / "tiny")


def test_what_is_written_is_read(tiny):
    assert (len(tiny), tiny.kind, tiny.name, tiny.ids) == (3, "pairs", "tiny", ["id0", "id1", "id2"])
    assert tiny.captions() == ["Caption 0", "Caption 1", "Á b c"]
    assert tiny.captions("as_written") == ["Caption 0 ", "Caption 1 ", "A\u0301  b\nc"]
    assert tiny.captions("long") == ["a long one", "another", "ünïcödé 猫"]
    assert tiny.groups == ["a", None, "b"]
    assert tiny.sources == ["here"] * 3
    assert tiny.licences == ["CC0-1.0"] * 3
    assert tiny.attribute("style") == ["photo", None, None]
    assert [image.getpixel((0, 0)) for image in tiny.images()] == [(i, 10, 20) for i in range(3)]
    assert tiny.image_bytes(1) == picture(1)
    assert tiny.alternatives(0) == []
    assert tiny.alternatives(1) == [Alternative("id1b", "Also one", picture(9))]
    assert tiny.about["ids_digest"] == ids_digest(tiny.ids)
    tiny.verify()


def test_partial_density_is_never_filled_silently(tiny):
    assert tiny.densities == ["caption", "as_written", "long"]
    assert tiny.partial_densities == {"gloss": 2}
    with pytest.raises(DatasetError, match=r"1 of 3 have no text 'gloss' \(first 'id1'"):
        tiny.captions("gloss")
    assert tiny.captions("gloss", fallback="caption") == ["the first", "Caption 1", "the third"]


def test_unknown_names_get_suggestions(tiny):
    with pytest.raises(DatasetError, match="unknown text density 'glos': did you mean 'gloss'"):
        tiny.captions("glos")
    with pytest.raises(DatasetError, match="unknown attribute 'stil'"):
        tiny.attribute("stil")
    with pytest.raises(DatasetError, match="sample 3 asked for, there are 0 to 2"):
        tiny.image(3)
    with pytest.raises(DatasetError, match="have no 'label'; use one of kind 'labels'"):
        _ = tiny.labels


def test_labels_and_texts(tmp_path):
    labels = [
        Label(f"l{i}", picture(i), str(i % 2), "train" if i < 2 else "test", "here", "CC0-1.0") for i in range(3)
    ]
    write(tmp_path / "labels", labels, "labels")
    opened = open_samples(tmp_path / "labels")
    assert (opened.labels, opened.splits) == (["0", "1", "0"], ["train", "train", "test"])
    with pytest.raises(DatasetError, match="have no captions"):
        opened.captions()
    write(tmp_path / "texts", [Text("t", "All of it.\n", "here", "CC0-1.0")], "texts")
    opened = open_samples(tmp_path / "texts")
    assert opened.texts == ["All of it.\n"]
    with pytest.raises(DatasetError, match="have no images"):
        opened.image(0)
    opened.verify()


def test_two_builds_have_the_same_bytes(tmp_path):
    records = [pair(i, texts={"long": f"text {i}"}) for i in range(600)]  # more than one Arrow batch
    first, second = (write(tmp_path / parent / "tiny", records) for parent in ("a", "b"))
    assert first == second
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert open_samples(tmp_path / "a" / "tiny").ids == [f"id{i}" for i in range(600)]


@pytest.mark.parametrize(
    "change",
    [
        {"id": "other"},
        {"image": picture(77)},
        {"caption": "Other"},
        {"caption_normalised": "other"},
        {"texts": {"x": "y"}},
        {"group": "g"},
        {"licence": "MIT"},
        {"attributes": {"style": "x"}},
        {"alternatives": [Alternative("a", "b", None)]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_digest_covers_every_field(tmp_path, change):
    assert write(tmp_path / "a", [pair(0), pair(1)]) != write(tmp_path / "b", [pair(0), pair(1, **change)])


def test_digest_covers_the_order(tmp_path):
    assert write(tmp_path / "a", [pair(0), pair(1)]) != write(tmp_path / "b", [pair(1), pair(0)])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(captions=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=4))
def test_any_caption_survives(tmp_path, captions):
    if any(not mild(caption) or not caption.strip() for caption in captions):
        return
    write(tmp_path / "any", [pair(i, caption=caption) for i, caption in enumerate(captions)])
    opened = open_samples(tmp_path / "any")
    assert opened.captions("as_written") == captions
    assert opened.captions() == [mild(caption) for caption in captions]
    opened.verify()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"caption": " \n"}, "tiny, row 1, sample 'id1': empty caption"),
        ({"caption": "...", "caption_normalised": ""}, "row 1, sample 'id1': empty normalised caption"),
        ({"caption": "caf\udce9"}, "row 1, sample 'id1': caption is not valid UTF-8"),
        ({"texts": {"gloss": ""}}, "row 1, sample 'id1': empty text 'gloss'"),
        ({"id": "id0"}, "row 1, sample 'id0': row 0 has the same id"),
        ({"id": ""}, "row 1: the id is empty"),
        ({"image": b"no picture"}, "row 1, sample 'id1': the image cannot be decoded"),
        ({"image": picture(5)[:-30]}, "row 1, sample 'id1': the image cannot be decoded"),
        ({"alternatives": [Alternative("x", None, b"no")]}, "alternative 'x': the image cannot be decoded"),
        ({"source": ""}, "row 1, sample 'id1': no source"),
        ({"licence": ""}, "row 1, sample 'id1': no licence"),
        ({"source": "elsewhere"}, "no attribution for source 'elsewhere'"),
    ],
)
def test_bad_record_names_row_and_sample_and_leaves_the_old_folder(tmp_path, change, message):
    write(tmp_path / "tiny", [pair(7)])
    before = files(tmp_path)
    with pytest.raises(DatasetError, match=message):
        write(tmp_path / "tiny", [pair(0), pair(1, **change)])
    assert files(tmp_path) == before


def test_no_records(tmp_path):
    with pytest.raises(DatasetError, match="no samples"):
        write(tmp_path / "tiny", [])
    assert list(tmp_path.iterdir()) == []


def test_attribution_lies_beside(tmp_path):
    extra = Attribution("words", "A word list", "Grace", "MIT", "a shelf", "glosses")
    write(tmp_path / "tiny", [pair(0), pair(1)], attribution=[*CREDIT, extra])
    text = (tmp_path / "tiny" / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for part in (
        "Test pictures",
        "Authors: Ada",
        "Licence: CC0-1.0",
        "Samples: 2",
        "A word list",
        "Use: glosses",
    ):
        assert part in text


def test_others_can_read_it_too(tiny):
    import datasets

    loaded = datasets.load_from_disk(str(tiny.folder / "samples"))
    assert loaded["id"][:] == tiny.ids
    assert loaded[0]["image"].size == (8, 6)


@pytest.mark.parametrize("name", ["dataset.json", "ATTRIBUTION.md", "samples/state.json"])
def test_half_written_folder_is_refused(tiny, name):
    (tiny.folder / name).unlink()
    with pytest.raises(DatasetError, match=r"half-written.*Delete the folder and build"):
        open_samples(tiny.folder)


def test_missing_and_damaged_folders(tiny, tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        open_samples(tmp_path / "nowhere")
    arrow = tiny.folder / "samples" / "data-00000-of-00001.arrow"
    data = arrow.read_bytes()
    arrow.write_bytes(data[: len(data) // 2])
    with pytest.raises(DatasetError, match="Delete the folder and build"):
        _ = open_samples(tiny.folder).ids
    arrow.write_bytes(data.replace(b"Caption 1", b"Caption X"))
    with pytest.raises(DatasetError, match="differs from the digest"):
        open_samples(tiny.folder).verify()
    about = json.loads((tiny.folder / "dataset.json").read_text(encoding="utf-8"))
    (tiny.folder / "dataset.json").write_text(json.dumps(about | {"schema": 99}), encoding="utf-8")
    with pytest.raises(DatasetError, match="layout 99"):
        open_samples(tiny.folder)


def test_works_in_worker_processes(tiny):
    _ = tiny.ids  # opened here first: the open file must not travel
    sent = pickle.dumps(tiny)
    assert len(sent) < 4000
    code = "import pickle, sys; s = pickle.load(sys.stdin.buffer); print(s.image(1).size, s.captions()[1])"
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=True, timeout=300)
    assert done.stdout.decode().strip() == "(8, 6) Caption 1"


def test_reading_is_light(tiny):
    code = (
        "import sys; from zooalign.data.samples import open_samples;"
        f"s = open_samples({str(tiny.folder)!r}); s.ids; s.captions(); s.image(0);"
        "print(sorted({'torch', 'datasets', 'pandas', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_decode_composes_and_turns():
    assert decode(picture(5, "RGBA")).getpixel((0, 0)) == (255, 255, 255)
    assert decode(picture(5, "L")).mode == "RGB"
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by a quarter
    assert decode(picture(5, format="JPEG", exif=exif)).size == (6, 8)


@pytest.mark.parametrize(
    ("written", "mildly", "plainly"),
    [
        (" A  Dog. ", "A Dog.", "dog"),
        ("Cafe\u0301", "Café", "café"),
        ("It's a trap!", "It's a trap!", "trap"),
        ("theatre", "theatre", "theatre"),
        ("an_apple", "an_apple", "apple"),
        (" ", "", ""),
    ],
)
def test_caption_normalisation(written, mildly, plainly):
    assert mild(written) == mildly
    assert plain(written) == plainly
