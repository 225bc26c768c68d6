"""The examples run on a sweep of small data, and say in one message what they lack."""

import subprocess
import sys
from pathlib import Path

import pytest

from zooalign.config.manifest import DatasetSpec, read_datasets
from zooalign.config.schema import ExtractionConfig
from zooalign.data.build import build_dataset
from zooalign.features.extract import extract_features

ROOT = Path(__file__).parents[2]
EXAMPLES = ["trainer", "lightning_trainer"]
pytestmark = pytest.mark.slow


def quiet(message):
    del message


def run(name, *arguments):
    program = [sys.executable, str(ROOT / "examples" / f"{name}.py"), *arguments]
    return subprocess.run(program, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def results(zoo, fetched, tmp_path_factory):
    """A results folder in which the emoji are 64 coloured shapes."""
    folder = tmp_path_factory.mktemp("results")
    shapes = folder / "datasets" / "emoji"
    build_dataset(DatasetSpec(id="emoji", family="synthetic"), shapes, quiet)
    passages = read_datasets(ROOT / "config/datasets")["openwebtext_passages"]
    build_dataset(passages, folder / "datasets" / "openwebtext_passages", quiet)
    store = folder / "features" / "emoji" / "minilm_l6.zarr"
    extract_features(zoo["minilm_l6"], fetched("minilm_l6"), shapes, store, ExtractionConfig(workers=0), quiet)
    return folder


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_print_what_was_logged(name, results):
    done = run(name, "--results", str(results), "--steps", "4", "--every", "2")
    assert done.returncode == 0, done.stderr
    head, *lines = (line.split() for line in done.stdout.splitlines())
    assert head == ["step", "loss", "alignment", "layer", "seconds"]
    assert [line[0] for line in lines] == ["0", "2", "4"]
    assert lines[0][1] == "-"
    assert all(float(line[1]) > 0 for line in lines[1:])
    assert all(0 < float(line[2]) < 1 for line in lines)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_without_a_sweep_say_what_to_run(name, tmp_path):
    done = run(name, "--results", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == (
        f"there is no {tmp_path}/features/emoji/minilm_l6.zarr: run `bash run.sh` first, or name another sweep with "
        "--results.\n"
    )
