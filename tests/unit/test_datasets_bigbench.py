"""Pictures and questions of the bigbench archive: read as data, after its checksum."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from tests.unit.test_datasets_labels import build
from zooalign import network
from zooalign.data import bigbench
from zooalign.data.samples import open_samples
from zooalign.datasets import bigbench as bigbench_questions
from zooalign.datasets import cifar10
from zooalign.errors import DatasetError

# --- CIFAR-10 -------------------------------------------------------------------------------------------------------


def archive(where, examples, monkeypatch, task=cifar10.TASK):
    """A source archive with the pictures, and its checksum where the family compares it."""
    where.mkdir(parents=True)
    data = examples if isinstance(examples, bytes) else json.dumps({"examples": examples}).encode()
    file = where / "bigbench-1.0.0.tar.gz"
    name = f"bigbench-1.0.0/bigbench/benchmark_tasks/{task}/task.json"
    with tarfile.open(file, "w:gz") as tar:
        for path, content in (("bigbench-1.0.0/setup.py", b"raise SystemExit"), (name, data)):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    monkeypatch.setattr(bigbench, "SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    return str(where)


def example(row, scores=None):
    file = io.BytesIO()
    Image.new("RGB", (32, 32), (row, 0, 200)).save(file, "PNG")
    right = cifar10.CLASSES[row % 10]
    scores = scores or {name: int(name == right) for name in cifar10.CLASSES}
    return {"input": base64.b64encode(file.getvalue()).decode(), "target_scores": scores}


def test_cifar10_is_read_from_the_archive(tmp_path, monkeypatch):
    cache = archive(tmp_path / "cache", [example(row) for row in range(100)], monkeypatch)
    samples = build("cifar10", tmp_path, n_train=50, n_test=20, cache=cache)
    assert Counter(Counter(zip(samples.labels, samples.splits, strict=True)).values()) == {5: 10, 2: 10}
    for i, (name, label) in enumerate(zip(samples.ids, samples.labels, strict=True)):
        row = int(name.split("-")[1])
        assert samples.image(i).getpixel((0, 0)) == (row, 0, 200)
        assert label == cifar10.CLASSES[row % 10]


def test_another_archive_is_refused_before_it_is_read(tmp_path, monkeypatch):
    cache = archive(tmp_path / "cache", [example(0)], monkeypatch)
    with (tmp_path / "cache/bigbench-1.0.0.tar.gz").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DatasetError, match=r"not the published archive \(its SHA-256 differs\); delete it"):
        build("cifar10", tmp_path, cache=cache)


@pytest.mark.parametrize(("examples", "message"), [
    ([example(0, {"airplane": 1, "bird": 1})], r"base64, example 0: 2 right answers where one"),
    ([example(0, {"boat": 1})], r"example 0: 'boat' is no class"),
    (b"{", r"cannot be read \(Expecting"),
], ids=["two", "other", "no JSON"])  # fmt: skip
def test_other_content_is_named(tmp_path, monkeypatch, examples, message):
    cache = archive(tmp_path / "cache", examples, monkeypatch)
    with pytest.raises(DatasetError, match=message):
        build("cifar10", tmp_path, cache=cache)


def test_a_corrupt_picture_and_a_missing_member_are_named(tmp_path, monkeypatch):
    broken = [example(row) | ({"input": "AAAA"} if row == 3 else {}) for row in range(40)]
    cache = archive(tmp_path / "cache", broken, monkeypatch)
    with pytest.raises(DatasetError, match=r"sample 'cifar10-00003': the image cannot be decoded"):
        build("cifar10", tmp_path, n_train=None, n_test=10, cache=cache)
    shutil.rmtree(cache)
    archive(tmp_path / "cache", [example(0)], monkeypatch, task="other")
    with pytest.raises(DatasetError, match=r"cannot be read \(it has no bigbench-1\.0\.0/bigbench/.*task\.json\)"):
        build("cifar10", tmp_path, cache=cache)


def test_pip_that_fails_is_quoted_and_leaves_nothing(tmp_path, monkeypatch):
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho no such file >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr(network.sys, "executable", str(script))
    with pytest.raises(
        DatasetError, match=r"pip could not fetch bigbench-1\.0\.0\.tar\.gz: no such file; .*put the file"
    ):
        build("cifar10", tmp_path, cache=str(tmp_path / "cache"))
    assert not list((tmp_path / "cache").iterdir())


# --- questions of the same archive ----------------------------------------------------------------------------------


def problem(row, answer=None):
    scores = {f"{row} apples": 0, f"{row}": 1, "none": 0} if answer is None else {answer: 1, "no": 0}
    return {"input": f"How  many, {row}?\n", "target_scores": scores}


def ask(tmp_path, cache, **options):
    task = Path(__file__).parents[2] / "config/tasks/elementary_math_written.yaml"
    chosen = bigbench_questions.Options(
        questions="elementary_math_qa/question_only", task_file=str(task), cache=cache, **options
    )
    bigbench_questions.build(chosen, tmp_path / "asked", lambda line: None)
    return open_samples(tmp_path / "asked")


def test_questions_are_drawn_once_and_their_answers_shuffled(tmp_path, monkeypatch):
    problems = [problem(row, "seven" if row % 4 == 0 else None) for row in range(60)]
    cache = archive(tmp_path / "cache", problems, monkeypatch, task="elementary_math_qa/question_only")
    samples = ask(tmp_path, cache, answers="number", n=20, examples=5)
    rows = [json.loads(text) for text in samples.documents[1:]]
    assert Counter(samples.splits) == {"definition": 1, "train": 5, "test": 20}
    assert len({row["question"] for row in rows}) == 25
    for row in rows:
        number = int(row["question"].removeprefix("How many, ").rstrip("?"))
        assert number % 4
        assert row["choices"][row["label"]] == str(number)
    assert {row["label"] for row in rows} == {0, 1, 2}
    digest = samples.digest
    assert ask(tmp_path, cache, answers="number", n=20, examples=5).digest == digest
    assert ask(tmp_path, cache, answers="number", n=20, examples=5, seed=1).digest != digest
    with pytest.raises(DatasetError, match="5 examples and 41 questions asked for, there are 45"):
        ask(tmp_path, cache, answers="number", n=41, examples=5)
