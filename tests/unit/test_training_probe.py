"""The probe: its values are those of `zooalign.score`, it leaves no trace, and its errors are one message."""

import random
import subprocess
import sys

import numpy as np
import pytest
import torch

import zooalign
from tests.unit.tiny_training import extracted, make_model, make_shapes, tokenizer
from zooalign.errors import ConfigError, FeatureError, MetricError, StoreError
from zooalign.indexes.from_features import index_features
from zooalign.indexes.preparation import Preparation
from zooalign.training import AlignmentProbe, ImageFeatures, TextFeatures

rng = np.random.default_rng(0)
X = rng.standard_normal((64, 3, 8)).astype(np.float32)
Y = X[:, :2] + rng.standard_normal((64, 2, 8)).astype(np.float32)


def quiet(message):
    del message


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets") / "shapes"
    return folder, make_shapes(folder)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A saved model, with its tokenizer."""
    folder = tmp_path_factory.mktemp("checkpoint")
    make_model(seed=1).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def store(shapes, tmp_path_factory):
    """Features of another random model: a reference."""
    folder = tmp_path_factory.mktemp("reference")
    make_model(seed=2).save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    return extracted(folder / "model", shapes[0], folder / "other.zarr")


def model():
    """Of which a probe with features of its own needs nothing."""
    return torch.nn.Linear(1, 1)


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_values_are_those_of_score_on_the_extracted_checkpoint(shapes, checkpoint, store, tmp_path, pooling):
    from transformers import AutoModelForCausalLM

    asked = {"metric": "mutual_knn,cka,cknna", "k": [5, 10]}
    expected = zooalign.score(extracted(checkpoint, shapes[0], tmp_path / "tiny.zarr", pooling), store, **asked)
    probe = AlignmentProbe({"other": store}, TextFeatures(shapes[1], tokenizer(), pooling), **asked)
    values = probe.measure(AutoModelForCausalLM.from_pretrained(checkpoint).train())
    assert values.pop("alignment/seconds") > 0
    assert values == {
        f"alignment/other/{label}{end}": best[key]
        for label, best in expected.best.items()
        for end, key in (("", "score"), ("_layer", "layer_x"))
    }
    for label, matrix in expected.scores.items():
        np.testing.assert_array_equal(probe.scores["other"].scores[label], matrix)
    assert expected.settings["layers_x"] == probe.scores["other"].settings["layers_x"]


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_padding_side_and_batch_size_do_not_matter(shapes, pooling):
    network = make_model().eval()
    usual = TextFeatures(shapes[1], tokenizer(), pooling, storage_dtype="float32")(network)
    left = TextFeatures(shapes[1], tokenizer("left"), pooling, storage_dtype="float32")(network)
    single = TextFeatures(shapes[1], tokenizer(), pooling, storage_dtype="float32", max_batch=1)(network)
    for name, layer in usual.items():
        np.testing.assert_array_equal(left[name], layer)
        np.testing.assert_allclose(single[name], layer, atol=1e-5)


def test_the_tokenizer_of_the_training_is_not_touched(shapes):
    own = tokenizer()
    limit = own.model_max_length
    own.model_max_length = 7
    try:
        TextFeatures(shapes[1], own)(make_model().eval())
        assert own.model_max_length == 7
    finally:
        own.model_max_length = limit


def test_texts_that_are_too_long_are_cut_off_with_a_warning():
    features = TextFeatures(["red " * 100, "a small red bar"], tokenizer())
    with pytest.warns(UserWarning, match="1 of 2 captions are longer than the 64 tokens"):
        features(make_model().eval())
    features(make_model().eval())  # said once


def test_an_index_a_store_and_arrays_are_the_same_reference(shapes, store, tmp_path):
    index_features(store, tmp_path / "other.zarr", Preparation().settings(), 20, ["neighbors"], quiet)
    from zooalign.features.store import FeatureStore

    layers = list(FeatureStore.open(store).layers())
    values = []
    for reference in (store, [store], {"other": str(tmp_path / "other.zarr")}, {"other": layers}):
        probe = AlignmentProbe(reference, TextFeatures(shapes[1], tokenizer()))
        measured = probe.measure(make_model())
        del measured["alignment/seconds"]
        values.append(measured)
    assert values[1:] == values[:1] * 3
    assert list(values[0]) == ["alignment/other/mutual_knn@10", "alignment/other/mutual_knn@10_layer"]


def test_references_are_read_once(store, shapes, monkeypatch):
    from zooalign.alignment import sides

    probe = AlignmentProbe({"other": store, "mine": X}, TextFeatures(shapes[1], tokenizer()))
    built = []
    plain = sides.build_index
    monkeypatch.setattr(sides, "build_index", lambda *a, **k: built.append(k["name"]) or plain(*a, **k))
    probe.measure(make_model())
    probe.measure(make_model())
    assert built == ["model", "model"]


def test_several_references_and_a_mapping_of_layers():
    probe = AlignmentProbe({"x": X, "y": Y}, lambda _: {"first": X[:, 0], "second": torch.from_numpy(Y[:, 1])}, k=3)
    values = probe.measure(model())
    # The clamp is of all layers of a model together, so a layer is not quite itself beside others.
    assert min(values["alignment/x/mutual_knn@3"], values["alignment/y/mutual_knn@3"]) > 0.9
    assert values["alignment/x/mutual_knn@3_layer"] == 0.0
    assert values["alignment/y/mutual_knn@3_layer"] == 1.0
    assert probe.scores["y"].best["mutual_knn@3"]["layer_name_x"] == "second"


def test_images_through_a_timm_network():
    from zooalign.sources._torchvision import import_timm

    torch.manual_seed(0)
    network = import_timm().create_model("resnet10t", num_classes=3)
    pixels = torch.randn(20, 3, 32, 32)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    probe = AlignmentProbe({"x": X[:20]}, ImageFeatures(pixels), k=3)
    probe.measure(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert probe.scores["x"].settings["layers_x"][-1] == "pooled"
    single = ImageFeatures(pixels, max_batch=1)(network.eval())
    for name, layer in ImageFeatures(pixels)(network).items():
        np.testing.assert_allclose(single[name], layer, rtol=2e-3, atol=1e-3)
    with pytest.raises(FeatureError, match=r"no forward_intermediates: .* features=callable"):
        probe.measure(torch.nn.Linear(1, 1))
    with pytest.raises(FeatureError, match=r"shape \(20, 32, 32\)"):
        ImageFeatures(pixels[:, 0])


def test_a_measurement_leaves_no_trace():
    """Modes of all parts, statistics of batch norm, gradients and every random state are as before."""
    network = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5))
    network.train()
    network[1].eval()  # frozen, as in fine-tuning
    network(torch.ones(4, 8)).sum().backward()
    seen = []

    def features(part):
        seen.append((part.training, part[2].training, torch.is_grad_enabled()))
        random.random(), np.random.random(), torch.rand(1)  # noqa: NPY002
        return part(torch.from_numpy(X[:, 0]))

    state = {name: value.clone() for name, value in network.state_dict().items()}
    gradients = [p.grad.clone() for p in network.parameters()]
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    AlignmentProbe({"x": X}, features).measure(network)
    assert seen == [(False, False, False)]
    assert [part.training for part in network.modules()] == [True, True, False, True]
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(network.parameters(), gradients, strict=True))
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])


def test_autocast_of_the_training_does_not_reach_the_measurement():
    network = torch.nn.Linear(8, 8)
    types = []

    def features(part):
        out = part(torch.from_numpy(X[:, 0]))
        types.append(out.dtype)
        return out

    with torch.autocast("cpu", torch.bfloat16):
        AlignmentProbe({"x": X}, features).measure(network)
        assert network(torch.ones(1, 8)).dtype == torch.bfloat16
    assert types == [torch.float32]


def test_the_mode_comes_back_after_an_error():
    network = torch.nn.Dropout().train()
    with pytest.raises(ZeroDivisionError):
        AlignmentProbe({"x": X}, lambda _: 1 / 0).measure(network)
    assert network.training


def test_the_default_interval_is_that_of_the_trainers_log():
    from transformers import TrainingArguments

    assert AlignmentProbe({"x": X}, lambda _: X).every == TrainingArguments("unused").logging_steps == 500


@pytest.mark.parametrize(
    ("error", "message", "make"),
    [
        (ConfigError, "every is 0", lambda: AlignmentProbe({"x": X}, lambda _: X, every=0)),
        (ConfigError, "no reference", lambda: AlignmentProbe({}, lambda _: X)),
        (ConfigError, "have one name", lambda: AlignmentProbe(["a/x.npy", "b/x.npy"], lambda _: X)),
        (ConfigError, "a mapping of names to arrays", lambda: AlignmentProbe([X], lambda _: X)),
        (StoreError, "no file or store missing.zarr", lambda: AlignmentProbe("missing.zarr", lambda _: X)),
        (MetricError, "unknown metric", lambda: AlignmentProbe({"x": X}, lambda _: X, metric="mutual_nn")),
        (MetricError, "64 samples and y has 60", lambda: AlignmentProbe({"x": X, "y": Y[:60]}, lambda _: X)),
        (FeatureError, "unknown pooling of texts 'cls'", lambda: TextFeatures(["a"], tokenizer(), "cls")),
        (FeatureError, "unknown vision pooling 'last'", lambda: ImageFeatures(torch.ones(2, 3, 4, 4), "last")),
        (
            MetricError,
            "features are of 2 samples, the reference 'x' is of 64",
            lambda: AlignmentProbe({"x": X}, TextFeatures(["a", "b"], tokenizer())),
        ),
    ],
)
def test_what_is_wrong_is_said_before_the_training_begins(error, message, make):
    with pytest.raises(error, match=message):
        make()


def test_ids_that_differ_are_refused(store):
    from zooalign.features.store import FeatureStore

    ids = FeatureStore.open(store).sample_ids
    assert AlignmentProbe(store, lambda _: X, sample_ids=ids).measure(model())
    with pytest.raises(MetricError, match=f"sample 0 is '{ids[1]}' in the first and '{ids[0]}' in the second"):
        AlignmentProbe(store, lambda _: X, sample_ids=[ids[1], ids[0], *ids[2:]])


def test_models_that_give_no_hidden_states_are_refused(shapes):
    probe = AlignmentProbe({"x": X}, TextFeatures(shapes[1], tokenizer()))
    with pytest.raises(FeatureError, match="Linear is no model of transformers"):
        probe.measure(model())
    silent = make_model()
    silent.transformer.forward = lambda **_: type("Output", (), {"hidden_states": None})
    with pytest.raises(FeatureError, match="GPT2Model gives no hidden states"):
        probe.measure(silent)


def test_a_wrong_number_of_features_is_refused():
    with pytest.raises(MetricError, match="features are of 60 samples, the reference 'x' is of 64"):
        AlignmentProbe({"x": X}, lambda _: X[:60]).measure(model())


def test_a_model_that_diverges_does_not_end_the_training():
    given = [X, np.full_like(X, np.nan), np.ones_like(X), X]
    probe = AlignmentProbe({"x": X}, lambda _: given.pop(0))
    assert probe.measure_or_warn(model())["alignment/x/mutual_knn@10"] == 1.0
    for reason in ("nan|NaN|finite", "the same for all samples|constant|every"):
        with pytest.warns(UserWarning, match=f"no alignment at this step: .*({reason})"):
            values = probe.measure_or_warn(model())
        assert np.isnan(values["alignment/x/mutual_knn@10"])
    assert probe.measure_or_warn(model())["alignment/x/mutual_knn@10"] == 1.0
    with pytest.raises(FeatureError):  # never measured: it is set up wrongly
        AlignmentProbe({"x": X}, lambda _: np.full_like(X, np.nan)).measure_or_warn(model())


@pytest.mark.parametrize(
    ("blocked", "name", "remedy"),
    [
        ("lightning", "LightningAlignment", "pip install 'zooalign[training]'"),
        ("transformers", "TrainerAlignment", "pip install transformers"),
    ],
)
def test_a_missing_framework_is_named_when_its_callback_is_asked_for(blocked, name, remedy):
    program = f"""
import sys
sys.modules["{blocked}"] = None
import zooalign.training
assert not set(sys.modules) & {{"torch", "timm", "lightning.pytorch", "transformers.trainer_callback"}}
from zooalign.training import AlignmentProbe
try:
    from zooalign.training import {name}
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{name} needs {blocked}, which cannot be imported")
    assert remedy in done.stdout
