"""Labelled pictures in every layout, from disk and from a hub on this machine: the same rows; faults are named."""

from __future__ import annotations

import io
import random
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from zooalign.config.identity import dataset_spec_digest
from zooalign.config.manifest import DatasetSpec, read_datasets
from zooalign.data.build import build_dataset
from zooalign.datasets import _label_layouts, hub_labels
from zooalign.errors import DatasetError

NAMES = ["near", "", "crane", "crane"]
LABELS = ["near", "1", "crane (2)", "crane (3)"]  # as they are stored: different, and never empty
SIZES = {"train": 40, "test": 12}


def picture(split, row):
    """A picture that says which it is."""
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (row, 10 if split == "train" else 20, 0)).save(file, "PNG")
    return file.getvalue()


def number(row):
    return row * 7 % 4


def tar_of(*members):
    """Content of a tar of (name, bytes); a TarInfo in place of the name is taken as it is."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in members:
            entry = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def sample(split, row, ending="png"):
    key = f"s{row:07d}"
    return (f"{key}.cls", str(number(row)).encode()), (f"{key}.{ending}", picture(split, row))


def web(shards=1, sizes=SIZES):
    """Files of a repository as CLIP_benchmark writes them, in so many shards per split."""
    files = {"classnames.txt": "".join(f"{name}\n" for name in NAMES).encode()}
    for split, n in sizes.items():
        bounds = [n * i // shards for i in range(shards + 1)]
        for i in range(shards):
            rows = range(bounds[i], bounds[i + 1])
            files[f"{split}/{i}.tar"] = tar_of(*(m for row in rows for m in sample(split, row)))
        files[f"{split}/nshards.txt"] = f"{shards}\n".encode()
    return files


def table(split, n, named=True, first=0):
    """Content of a parquet file with an image and a label column."""
    import datasets

    label = datasets.ClassLabel(names=[f"kind {i}" for i in range(4)]) if named else datasets.Value("int64")
    features = datasets.Features({"image": datasets.Image(), "label": label})
    rows = range(first, first + n)
    content = {"image": [{"bytes": picture(split, row), "path": None} for row in rows], "label": [*map(number, rows)]}
    file = io.BytesIO()
    datasets.Dataset.from_dict(content, features=features).to_parquet(file)
    return file.getvalue()


def write(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def build(files, where, said=None, **options):
    """Build from files, or from a folder."""
    folder = files if isinstance(files, Path) else write(where / "given", files)
    spec = DatasetSpec(id="mine", family="hub_labels", options={"folder": str(folder), **options})
    return build_dataset(spec, where / "built" / "mine", (said if said is not None else []).append)


def content(samples):
    return list(
        zip(samples.ids, samples.labels, samples.splits, map(samples.image_bytes, range(len(samples))), strict=True)
    )


def expected(limits, labels=LABELS):
    """Which rows must come, from the definition of the choice."""
    rows = []
    for split, n in SIZES.items():
        generator = random.Random(1337)
        numbers = [generator.random() for _ in range(n)]
        lowest = sorted(sorted(range(n), key=numbers.__getitem__)[: limits[split]])
        rows += [(f"{split}-{row:07d}", labels[number(row)], split, picture(split, row)) for row in lowest]
    return rows


# --- layouts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [1, 3, 11])
def test_the_rows_chosen_are_the_same_whatever_the_shards(tmp_path, shards):
    samples = build(web(shards), tmp_path, n_train=15, n_test=5)
    assert content(samples) == expected({"train": 15, "test": 5})
    assert "15 of 40 to train on, 5 of 12 to test on" in samples.about["description"]
    assert [p.name for p in (tmp_path / "built").iterdir()] == ["mine"]


def test_parquet_in_several_files_gives_the_same_rows(tmp_path):
    files = {
        "data/train-00000-of-00002.parquet": table("train", 25),
        "data/train-00001-of-00002.parquet": table("train", 15, first=25),
        "data/test-00000-of-00001-0a1b2c.parquet": table("test", 12),
    }
    samples = build(files, tmp_path, n_train=15, n_test=5)
    assert content(samples) == expected({"train": 15, "test": 5}, [f"kind {i}" for i in range(4)])


def test_parquet_without_names_has_numbers_for_labels_and_splits_may_have_other_names(tmp_path):
    files = {
        "default/training/0000.parquet": table("train", 40, False),
        "default/val/0000.parquet": table("test", 12, False),
    }
    samples = build(files, tmp_path, train="training", test="val")
    assert content(samples) == expected({"train": 40, "test": 12}, list("0123"))


def test_of_several_configurations_one_must_be_named(tmp_path):
    files = {f"{config}/{split}-00000-of-00001.parquet": table(split, n) for config in ("full", "small")
             for split, n in SIZES.items()}  # fmt: skip
    with pytest.raises(DatasetError, match=r"split 'train' is in several folders \(full, small\); name one"):
        build(files, tmp_path)
    assert len(build(tmp_path / "given", tmp_path, config="small")) == 52


def test_a_saved_dataset_and_folders_of_classes_give_the_same_rows(tmp_path):
    import datasets

    label = datasets.ClassLabel(names=["a", "b", "c", "d"])
    features = datasets.Features({"picture": datasets.Image(), "kind": label})
    parts = {
        split: datasets.Dataset.from_dict(
            {"picture": [{"bytes": picture(split, row), "path": None} for row in range(n)],
             "kind": [number(row) for row in range(n)]},
            features=features,
        )
        for split, n in SIZES.items()
    }  # fmt: skip
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    samples = build(tmp_path / "saved", tmp_path / "one", image="picture", label="kind", n_train=15, n_test=5)
    assert content(samples) == expected({"train": 15, "test": 5}, list("abcd"))
    with pytest.raises(DatasetError, match="no split 'val', only train, test"):
        build(tmp_path / "saved", tmp_path / "two", test="val", image="picture", label="kind")
    with pytest.raises(DatasetError, match=r"split 'train': unknown column 'image'.* Known: kind, picture"):
        build(tmp_path / "saved", tmp_path / "three")
    files = {f"{split}/{'abcd'[number(row)]}/{row}.png": picture(split, row) for split, n in SIZES.items()
             for row in range(n)}  # fmt: skip
    samples = build(files, tmp_path / "four")
    assert {(label, split, data) for _, label, split, data in content(samples)} == {
        row[1:] for row in expected({"train": 40, "test": 12}, list("abcd"))
    }


def test_a_class_may_be_several_folders_deep_and_a_new_name_is_new_content(tmp_path):
    files = {f"{split}/church/{where}/{row}.png": picture(split, row) for split in SIZES for row in range(3)
             for where in ("indoor", "outdoor")}  # fmt: skip
    samples = build(files, tmp_path)
    assert set(samples.labels) == {"church/indoor", "church/outdoor"}
    spec = DatasetSpec(id="mine", family="hub_labels", options={"folder": str(tmp_path / "given")})
    before = dataset_spec_digest(spec)
    (tmp_path / "given/train/church/indoor/0.png").rename(tmp_path / "given/train/church/outdoor/9.png")
    assert dataset_spec_digest(spec) != before


def test_jpeg_and_webp_and_strange_paths_are_read_in_memory(tmp_path):
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (1, 2, 3)).save(file, "JPEG")
    members = [("../../evil.cls", b"0"), ("../../evil.JPG", file.getvalue()), ("/etc/a.cls", b" 1\n"),
               ("/etc/a.png", picture("train", 1)), ("a/folder.d/b.cls", b"0"), ("a/folder.d/b.json", b"{}"),
               ("a/folder.d/b.png", picture("train", 2))]  # fmt: skip
    samples = build({"train/0.tar": tar_of(*members), "test/0.tar": tar_of(*members)}, tmp_path)
    assert samples.labels == ["0", "1", "0"] * 2
    assert not list(tmp_path.rglob("evil*"))


# --- bad inputs -----------------------------------------------------------------------------------------------------


def link():
    entry = tarfile.TarInfo("s0000000.png")
    entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return entry


CLS, PNG = sample("train", 0)
BAD_TARS = {
    "label without picture": ([CLS], r"train/0\.tar, key 's0000000': 0 pictures .* only \['cls'\]"),
    "picture without label": ([PNG], r"key 's0000000': no \.cls, only \['png'\]; each sample needs"),
    "two pictures": ([CLS, PNG, ("s0000000.jpg", b"x")], r"key 's0000000': 2 pictures"),
    "label out of range": ([("a.cls", b"4"), ("a.png", PNG[1])], r"key 'a': label 4 is none of the 4 classes"),
    "label no number": ([("a.cls", b"cat"), ("a.png", PNG[1])], r"key 'a': the \.cls holds 'cat', which is no class"),
    "negative label": ([("a.cls", b"-1"), ("a.png", PNG[1])], r"the \.cls holds '-1', which is no class number"),
    "long label": ([("a.cls", b"0" * 99), ("a.png", PNG[1])], r"'a\.cls' has 99 bytes, more than 32"),
    "label is no text": ([("a.cls", b"\xff"), ("a.png", PNG[1])], r"which is no class number"),
    "same name twice": ([CLS, CLS, PNG], r"'s0000000\.cls' occurs twice"),
    "link": ([CLS, (link(), b"")], r"'s0000000\.png' is no regular file"),
    "corrupt picture": ([CLS, ("s0000000.png", PNG[1][:40])], r"sample 'train-0000000': the image cannot be decoded"),
}  # fmt: skip


def test_a_folder_that_is_moved_is_the_same_dataset(tmp_path):
    one = build(web(), tmp_path / "one")
    two = build(web(), tmp_path / "two")
    assert one.digest == two.digest


@pytest.mark.parametrize("case", BAD_TARS)
def test_a_bad_sample_is_named(tmp_path, case):
    members, message = BAD_TARS[case]
    good = [member for row in range(1, 5) for member in sample("train", row)]
    files = web() | {"train/0.tar": tar_of(*members, *good)}
    with pytest.raises(DatasetError, match=message):
        build(files, tmp_path)
    assert not (tmp_path / "built/mine").exists()


def test_a_key_in_two_shards_is_refused(tmp_path):
    files = web(2)
    files["train/1.tar"] = files["train/0.tar"]
    with pytest.raises(DatasetError, match=r"train/1\.tar: key 's0000000' is in train/0\.tar already"):
        build(files, tmp_path)


def test_a_picture_that_claims_to_be_huge_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(_label_layouts, "LARGEST_IMAGE", 50)
    with pytest.raises(DatasetError, match=r"'s000\d+\.png' has \d+ bytes, more than 50"):
        build(web(), tmp_path)


@pytest.mark.parametrize("damage", ["cut", "compressed", "noise"])
def test_a_damaged_shard_is_named(tmp_path, damage):
    import gzip

    whole = web()["train/0.tar"]
    # Cut within the last picture, before the zeros that end a tar.
    data = {"cut": whole[: whole.rindex(b"IEND")], "compressed": gzip.compress(whole), "noise": b"x" * 2000}[damage]
    with pytest.raises(DatasetError, match=r"train/0\.tar.*(damaged tar file|ends early|cannot be read)"):
        build(web() | {"train/0.tar": data}, tmp_path)


def test_a_missing_split_lists_what_is_there(tmp_path):
    files = {name: data for name, data in web().items() if not name.startswith("train/")}
    with pytest.raises(
        DatasetError, match=r"no split 'train': .*It has classnames\.txt, test/0\.tar, test/nshards\.txt"
    ):
        build(files, tmp_path)


@pytest.mark.parametrize(("text", "message"), [
    (b"3\n", r"nshards\.txt says '3', and train/2\.tar is missing"), (b"many", r"says 'many', and that is no number"),
    (b"0", r"says '0', and that is no number of shards"), (b"\xff", r"train/nshards\.txt is not UTF-8"),
])  # fmt: skip
def test_the_number_of_shards_is_checked(tmp_path, text, message):
    with pytest.raises(DatasetError, match=message):
        build(web(2) | {"train/nshards.txt": text}, tmp_path)


def test_an_empty_split_and_a_class_without_train_samples_are_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"test: split 'test' .* has no rows"):
        build(web(sizes={"train": 40, "test": 0}), tmp_path / "one")
    one_class = tar_of(*(m for row in range(0, 40, 4) for m in sample("train", row)))
    with pytest.raises(DatasetError, match=r"class '1' has no train sample \(3 of 4 classes .*name other splits"):
        build(web() | {"train/0.tar": one_class}, tmp_path / "two")


def test_a_class_that_loses_its_train_samples_to_the_choice_is_reported(tmp_path):
    said = []
    samples = build(web(), tmp_path, said, n_train=2)
    held = {split: {x for x, s in zip(samples.labels, samples.splits, strict=True) if s == split} for split in SIZES}
    lost = len(held["test"] - held["train"])
    assert lost >= 2
    assert any(f"{lost} classes of the test part have no train sample among the chosen" in line for line in said)


@pytest.mark.parametrize(("labels", "names", "message"), [
    ([0.5, 0.5], None, r"row 0: the label is 0\.5; it must be a class number or a name"),
    ([0, None], None, r"row 1: the label is None"),
    ([True, False], None, r"row 0: the label is True"),
    ([0, 4], ["a", "b"], r"row 1: label 4 is none of the 2 classes"),
    ([0, -1], ["a", "b"], r"row 1: label -1 is none of the 2 classes"),
    (["cat", " "], None, r"sample 'train-0000001': empty label"),
])  # fmt: skip
def test_bad_labels_of_a_table_are_named(tmp_path, labels, names, message):
    with pytest.raises(DatasetError, match=message):
        build(tables([{"bytes": picture("train", i), "path": None} for i in range(2)], labels, names), tmp_path)


def tables(images, labels, names=None):
    """A parquet file per split: the train rows given, and good test rows with the same labels."""
    import datasets

    def content(labels):
        whole = pa.table({"image": images, "label": labels})
        if names:
            features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
            whole = whole.replace_schema_metadata(features.arrow_schema.metadata)
        file = io.BytesIO()
        pq.write_table(whole, file)
        return file.getvalue()

    return {"train.parquet": content(labels), "test.parquet": content([labels[0], labels[0]])}


def test_other_faults_of_a_table_are_named(tmp_path):
    with pytest.raises(DatasetError, match=r"train\.parquet, row 0: no picture in the row; save the dataset with"):
        build(tables([{"bytes": None, "path": "a.png"}] * 2, [0, 1]), tmp_path / "a")
    with pytest.raises(DatasetError, match=r"train\.parquet: unknown column 'kind'.* Known: image, label"):
        build(tables([{"bytes": b"x", "path": None}] * 2, [0, 1]), tmp_path / "b", label="kind")
    good = table("train", 40)
    with pytest.raises(DatasetError, match=r"train\.parquet: damaged parquet file"):
        build({"train.parquet": good[:-100], "test.parquet": table("test", 12)}, tmp_path / "c")


def test_exactly_one_place_is_named(tmp_path):
    for options in ({}, {"repository": "a/b", "folder": "c"}):
        with pytest.raises(ValueError, match="name a dataset of the hub with `repository`, or one on disk"):
            hub_labels.Options(**options)
    with pytest.raises(DatasetError, match=r"options\.folder .*nowhere' is no folder; correct it"):
        build(tmp_path / "nowhere", tmp_path)


# --- rows -----------------------------------------------------------------------------------------------------------


def test_the_nineteen_tasks_of_vtab_have_rows_in_its_three_groups():
    rows = read_datasets(Path(__file__).parents[2] / "config" / "datasets")
    tasks = {name: spec for name, spec in rows.items() if name.startswith("vtab_")}
    groups = [spec.group for spec in tasks.values()]
    assert [groups.count(g) for g in ("natural", "specialised", "structured")] == [7, 4, 8]
    for name, spec in tasks.items():
        options = hub_labels.Options(**spec.options)
        assert (options.n_train, options.n_test, options.seed) == (10_000, 10_000, 1337)
        assert options.revision is None or len(options.revision) == 40
        if name != "vtab_sun397":
            assert options.repository == f"clip-benchmark/wds_vtab-{name.removeprefix('vtab_')}"
    assert len({spec.options["repository"] for spec in tasks.values()}) == 19
