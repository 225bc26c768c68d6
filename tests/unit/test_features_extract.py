"""Extraction on real packaged models: order, batches, interruption, memory; the same features every time."""

import json
import re
import signal
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zooalign.config.manifest import DatasetSpec
from zooalign.config.schema import ExtractionConfig
from zooalign.errors import ConfigError, FeatureError, WeightsError
from zooalign.features import extract as extraction
from zooalign.features.batches import CaptionReader
from zooalign.features.extract import batch_bounds, extract_features
from zooalign.features.store import FeatureStore, staging_folder


def quiet(message):
    del message


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """The synthetic dataset: 64 coloured shapes with true captions."""
    from zooalign.data.build import build_dataset

    folder = tmp_path_factory.mktemp("datasets") / "shapes"
    build_dataset(DatasetSpec(id="shapes", family="synthetic"), folder, quiet)
    return folder


@pytest.fixture
def extract(zoo, fetched, shapes, tmp_path):
    """Function that extracts a packaged model and opens the store."""

    def run(model, name="store", report=quiet, spec=None, **settings):
        path = tmp_path / f"{name}.zarr"
        config = ExtractionConfig(**{"workers": 0, **settings})
        extract_features(spec or zoo[model], fetched(model), shapes, path, config, report)
        return FeatureStore.open(path)

    run.folder = tmp_path
    return run


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 200), st.integers(1, 10))
def test_batches_cover_all_samples_within_budget(costs, budget, largest):
    ends = batch_bounds(costs, budget, largest)
    assert ends[-1] == len(costs)
    assert ends == sorted(set(ends))
    for start, stop in zip([0, *ends], ends, strict=False):
        batch = costs[start:stop]
        assert len(batch) <= largest
        assert len(batch) == 1 or len(batch) * max(batch) <= budget


def test_features_stand_in_dataset_order_with_provenance(extract, loaded, shapes, zoo):
    """Every row equals the model run on that caption alone."""
    from zooalign.data.samples import open_samples
    from zooalign.models.pooling import pool_language

    store = extract("minilm_l6")
    samples, model = open_samples(shapes), loaded("minilm_l6")
    assert store.sample_ids == samples.ids
    import torch

    for i in (0, 17, 63):
        ids = torch.tensor(model.tokenize([samples.captions()[i]]))
        mask = torch.ones_like(ids, dtype=torch.bool)
        with torch.inference_mode():
            states = model.layers(ids, mask)
        for layer, state in enumerate(states):
            alone = pool_language(state, mask, "mean")[0].numpy()
            np.testing.assert_allclose(store.layer(layer)[i].astype(np.float32), alone, atol=2e-3)
    kept = store.attributes
    assert kept["model"] == zoo["minilm_l6"].model_dump(mode="json")
    assert kept["dataset"] == {"name": "shapes", "digest": samples.digest}
    assert kept["versions"]["torch"].startswith("2.13.0")
    assert kept["reading"]["truncated"] == 0
    assert {"command", "time"} <= set(kept["stamp"])
    assert store.layer(0).dtype == np.float16


@pytest.mark.parametrize("settings", [{"max_batch": 1}, {"max_batch": 7}, {"batch_mem_mb": 1}, {"workers": 2}])
@pytest.mark.parametrize("model", ["minilm_l6", "efficientnet_lite0"])
def test_neighbours_do_not_depend_on_batches_or_workers(extract, model, settings):
    usual, other = extract(model, "usual"), extract(model, "other", **settings)
    for i in range(len(usual.widths)):
        a, b = (s.layer(i).astype(np.float32) for s in (usual, other))
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3 * np.abs(a).max())
    if settings == {"workers": 2}:
        assert all(np.array_equal(usual.layer(i), other.layer(i)) for i in range(len(usual.widths)))


def test_storage_dtype_and_pooling_follow_the_row(extract, zoo):
    row = zoo["minilm_l6"].model_copy(update={"storage_dtype": "float32", "pooling": "last"})
    store = extract("minilm_l6", spec=row)
    assert store.layer(0).dtype == np.float32
    assert store.digest != extract("minilm_l6", "mean").digest
    # The first layer is the embedding: the last token, SEP, is the same for captions of one length.
    assert len(np.unique(store.layer(0), axis=0)) < len(store.sample_ids)


def test_prompt_form_puts_the_caption_into_the_prompt(zoo):
    model = SimpleNamespace(pad_id=0, max_tokens=50, tokenizer_description={}, tokenize=lambda t: [[1] * len(t[0])])
    reader = CaptionReader(model, ["a dog"], "It shows '{caption}' {x}")
    assert reader.texts == ["It shows 'a dog' {x}"]


def test_of_a_long_caption_the_end_is_cut_never_the_prompts(zoo):
    model = SimpleNamespace(
        pad_id=0, max_tokens=12, tokenizer_description={}, tokenize=lambda ts: [list(map(ord, t)) for t in ts]
    )
    reader = CaptionReader(model, ["a very long caption", "a dog"], "<{caption}> =")
    assert "".join(map(chr, reader._tokens[0])) == "<a very l> ="[:12]
    assert "".join(map(chr, reader._tokens[1])) == "<a dog> ="
    assert "1 of 2 captions are longer than the 12 tokens" in reader.warning()
    model.max_tokens = 3
    with pytest.raises(ConfigError, match="alone has 4 tokens"):
        CaptionReader(model, ["a very long caption"], "<{caption}> =")


def test_captions_over_the_limit_are_counted_not_hidden():
    model = SimpleNamespace(
        pad_id=0,
        max_tokens=3,
        tokenizer_description={},
        tokenize=lambda texts: [[1] * len(t) for t in texts],
        truncated=lambda text, limit: [1] * limit,
    )
    reader = CaptionReader(model, ["ab", "abcd", "abc"], None)
    assert reader.truncated == [1]
    assert reader.description()["truncated"] == 1
    assert reader.order() == [1, 2, 0]


def test_batch_that_does_not_fit_is_halved_until_it_does(extract, monkeypatch):
    import torch

    usual = extract("minilm_l6", "usual", max_batch=4)
    largest = []
    place = extraction.place_model

    def small_device(*arguments):
        model = place(*arguments)
        layers = model.layers

        def limited(ids, mask):
            if len(ids) > 4:
                raise torch.OutOfMemoryError("CUDA out of memory (simulated: 4 samples fit)")
            largest.append(len(ids))
            return layers(ids, mask)

        model.layers = limited
        return model

    monkeypatch.setattr(extraction, "place_model", small_device)
    messages = []
    store = extract("minilm_l6", "halved", messages.append, max_batch=32)
    assert max(largest) == 4
    assert sum("out of memory with a batch of" in m for m in messages) == 3  # 32, 16, 8
    assert all(np.array_equal(store.layer(i), usual.layer(i)) for i in range(7))


def test_model_that_never_fits_ends_with_one_message(extract, monkeypatch):
    place = extraction.place_model

    def no_memory(*arguments):
        model, calls = place(*arguments), []
        layers = model.layers

        def failing(ids, mask):
            calls.append(1)
            if len(calls) > 1:  # the first pass only measures shapes
                raise MemoryError
            return layers(ids, mask)

        model.layers = failing
        return model

    monkeypatch.setattr(extraction, "place_model", no_memory)
    with pytest.raises(FeatureError, match=r"out of memory with a batch of one \(sample '.*', store.zarr\)"):
        extract("minilm_l6")
    assert not (extract.folder / "store.zarr").exists()


def test_nan_in_a_layer_names_layer_and_sample(extract, monkeypatch):
    import torch

    place = extraction.place_model

    def broken(*arguments):
        model = place(*arguments)
        layers = model.layers

        def with_nan(ids, mask):
            states = list(layers(ids, mask))
            states[2] = torch.where(torch.arange(len(ids))[:, None, None] == 1, torch.nan, states[2])
            return states

        model.layers = with_nan
        return model

    monkeypatch.setattr(extraction, "place_model", broken)
    with pytest.raises(FeatureError, match=r"store, layer 'blocks.1', sample '.+': NaN or infinite feature"):
        extract("minilm_l6")


def test_changed_weights_are_refused(zoo, fetched, shapes, tmp_path):
    import shutil

    folder = tmp_path / "e5_small"
    shutil.copytree(fetched("e5_small"), folder)
    file = next(folder.glob("*.safetensors"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(WeightsError, match=rf"model 'e5_small': .*{re.escape(file.name)}.* should have SHA-256"):
        extract_features(zoo["e5_small"], folder, shapes, tmp_path / "s.zarr", ExtractionConfig(), quiet)


SCRIPT = """
    import json, resource, sys
    from pathlib import Path
    from zooalign.features import extract as extraction
    from zooalign.config.schema import ExtractionConfig
    from zooalign.features.extract import extract_features
    from zooalign.config.manifest import ModelSpec
    spec, weights, dataset, path, settings, extra_mb, code, timeout_s = json.loads(sys.argv[1])
    exec(code)

    def report(message):
        print(message, flush=True)
        if extra_mb and "layers" in message:  # the model is loaded: leave this much room for batches
            size = int(next(l for l in open("/proc/self/status") if l.startswith("VmSize")).split()[1]) * 1024
            resource.setrlimit(resource.RLIMIT_AS, (size + extra_mb * 2**20, resource.RLIM_INFINITY))
        if " images in " in message:  # the batches are done; writing the store is not what is tested
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    what = Path(weights), Path(dataset), Path(path), ExtractionConfig(**settings)
    extract_features(ModelSpec(**spec), *what, report, lease_timeout_s=timeout_s)
"""


@pytest.fixture
def process(zoo, fetched, shapes, tmp_path):
    """Function that starts an extraction in a process of its own."""
    script = tmp_path / "extract.py"
    script.write_text(textwrap.dedent(SCRIPT))

    def start(model, path, settings, extra_mb=0, code="", timeout_s=60.0):
        spec = zoo[model].model_dump(mode="json")
        what = [spec, str(fetched(model)), str(shapes), str(path), settings, extra_mb, code, timeout_s]
        return subprocess.Popen(
            [sys.executable, script, json.dumps(what)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return start


def test_killed_extraction_continues_to_the_same_store(process, extract, tmp_path):
    """SIGKILL after a few batches; the resumed store equals one that was never interrupted, bit for bit."""
    settings = {"workers": 1, "max_batch": 2}
    whole = extract("efficientnet_lite0", "whole", **settings)
    path = tmp_path / "killed.zarr"
    journal = staging_folder(path) / "journal.jsonl"
    seen = 0
    for _ in range(2):
        running = process("efficientnet_lite0", path, settings)
        deadline = time.monotonic() + 120
        while running.poll() is None and time.monotonic() < deadline:
            lines = journal.read_text().count("\n") if journal.exists() else 0
            if lines >= seen + 3:
                running.kill()
                break
            time.sleep(0.005)
        running.communicate()
        assert not path.exists()
        now = journal.read_text().count("\n")
        assert now >= seen + 3
        seen = now
    messages = []
    store = extract("efficientnet_lite0", "killed", messages.append, **settings)
    assert any(f"continuing after {2 * seen} of 64 samples" in m for m in messages)
    for i in range(len(whole.widths)):
        np.testing.assert_array_equal(store.layer(i), whole.layer(i))


def test_features_that_are_there_are_not_extracted_again(extract, process, tmp_path):
    """Neither torch nor the weights are touched, whatever was edited or copied in between."""
    store = extract("minilm_l6")
    before = {f: f.stat().st_mtime_ns for f in store.path.rglob("*")}
    code = "import atexit; atexit.register(lambda: print({'torch', 'transformers', 'zarr'} & set(sys.modules)))"
    running = process("minilm_l6", store.path, {"workers": 0}, code=code)
    out, err = running.communicate(timeout=600)
    assert running.returncode == 0, err[-2000:]
    assert out.splitlines() == [f"already there: {store.path}", "set()"]
    assert {f: f.stat().st_mtime_ns for f in store.path.rglob("*")} == before


@pytest.mark.parametrize("damage", ["chunk", "header", "array", "attributes", "other digest"])
def test_a_damaged_store_is_never_taken_for_done(extract, damage):
    store = extract("minilm_l6")
    layers = [layer.copy() for layer in store.layers()]
    header = store.path / "zarr.json"
    meta = json.loads(header.read_text())
    if damage == "chunk":
        file = store.path / "features/c/0/0/0"
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "header":
        header.write_text(header.read_text()[:100])
    elif damage == "array":
        (store.path / "features/zarr.json").unlink()
    else:
        meta["attributes"] |= {"files": None} if damage == "attributes" else {"digest": "other"}
        header.write_text(json.dumps(meta))
    again = extract("minilm_l6")
    for a, b in zip(layers, again.layers(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [p.name for p in extract.folder.iterdir()] == ["store.zarr"]


def test_a_copy_on_the_node_gives_the_same_features(extract, zoo, fetched, shapes, tmp_path, monkeypatch):
    from zooalign.storage import scratch

    monkeypatch.setattr(scratch, "_HEADROOM", 0)
    (tmp_path / "node").mkdir()
    lines, path = [], tmp_path / "copied.zarr"
    what = zoo["e5_small"], fetched("e5_small"), shapes, path, ExtractionConfig(workers=0)
    extract_features(*what, lines.append, scratch=str(tmp_path / "node"))
    assert sum(line.startswith("copied ") for line in lines) == 2  # weights and images
    usual = extract("e5_small", "usual")
    for a, b in zip(usual.layers(), FeatureStore.open(path).layers(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_of_two_jobs_one_extracts_and_the_other_waits(process, extract, tmp_path):
    path = tmp_path / "both.zarr"
    settings = {"workers": 0, "max_batch": 2}
    both = [process("efficientnet_lite0", path, settings) for _ in range(2)]
    said = []
    for running in both:
        out, err = running.communicate(timeout=300)
        assert running.returncode == 0, err[-2000:]
        said.append(out)
    assert sorted("wrote" in out for out in said) == [False, True]
    assert sorted("already there" in out for out in said) == [False, True]
    assert any("waiting: both.zarr is being written by process" in out for out in said)


def test_an_extraction_stopped_for_long_writes_nothing_after_it_was_taken_over(process, extract, tmp_path):
    """SIGSTOP in the middle, another job finishes the store, SIGCONT: the first one ends with one message."""
    settings = {"workers": 0, "max_batch": 2}
    whole = extract("efficientnet_lite0", "whole", **settings)
    path = tmp_path / "stopped.zarr"
    journal = staging_folder(path) / "journal.jsonl"
    stopped = process("efficientnet_lite0", path, settings, timeout_s=1.0)
    while stopped.poll() is None and not (journal.exists() and journal.read_text().count("\n") >= 3):
        time.sleep(0.005)
    stopped.send_signal(signal.SIGSTOP)
    heir = process("efficientnet_lite0", path, settings, timeout_s=1.0)
    out, err = heir.communicate(timeout=300)
    assert heir.returncode == 0, err[-2000:]
    assert "continuing after" in out
    before = {f: f.stat().st_mtime_ns for f in path.rglob("*")}
    stopped.send_signal(signal.SIGCONT)
    _, err = stopped.communicate(timeout=300)
    assert "LeaseError" in err
    assert {f: f.stat().st_mtime_ns for f in path.rglob("*")} == before
    assert not staging_folder(path).exists()
    for i in range(len(whole.widths)):
        np.testing.assert_array_equal(FeatureStore.open(path).layer(i), whole.layer(i))


def test_a_real_lack_of_memory_halves_batches(process, tmp_path):
    """The allocator itself refuses: room for some pictures at once, not for all 64."""
    settings = {"workers": 0, "max_batch": 64, "batch_mem_mb": 10**6}
    code = "extraction.CPU_IMAGE_BATCH = 64"
    running = process("random_resnet50", tmp_path / "m.zarr", settings, extra_mb=700, code=code)
    out, err = running.communicate(timeout=300)
    assert running.returncode == 0, err[-2000:]
    assert "out of memory with a batch of 64; halving the batches that remain" in out
    assert FeatureStore.open(tmp_path / "m.zarr").n == 64
