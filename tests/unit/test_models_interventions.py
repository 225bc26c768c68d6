"""Interventions: what they change, what they leave alone, and that nothing else has a say in it."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from zooalign.config.identity import features_digest
from zooalign.config.intervention import Intervention
from zooalign.config.manifest import ModelSpec
from zooalign.errors import ConfigError, WeightsError
from zooalign.models import interventions
from zooalign.models.interventions import add_noise
from zooalign.models.loading import fetch_weights, load_model

from .test_config_sweep import MODEL, checkout  # noqa: F401  (a fixture)
from .test_sources_folders import CAPTIONS, row, save_tiny

VIT = {
    "id": "vit",
    "modality": "vision",
    "source": "random",
    "options": {
        "library": "timm",
        "architecture": "vit_tiny_patch16_224",
        "architecture_options": {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3},
        "seed": 1,
        "preprocessing": {"input_size": [3, 32, 32], "interpolation": "bicubic", "crop_pct": 1.0,
                          "mean": [0.5] * 3, "std": [0.5] * 3},
    },
    "family": "random",
    "objective": "random",
    "pooling": "cls",
    "parameters": 100_000,
    "licence": "none",
}  # fmt: skip


def changed(spec: ModelSpec, **intervention) -> ModelSpec:
    return spec.model_copy(
        update={"id": "changed", "variant_of": spec.id, "intervention": Intervention(**intervention)}
    )


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    """Row of a small Llama, and its weights."""
    folder = tmp_path_factory.mktemp("language")
    save_tiny(folder / "hub", "Llama")
    spec = row({"path": str(folder / "hub")})
    fetch_weights(spec, folder / "weights")
    return spec, folder / "weights"


@pytest.fixture(scope="module")
def vision(tmp_path_factory):
    """Row of a small ViT, and its weights."""
    folder = tmp_path_factory.mktemp("vision")
    spec = ModelSpec.model_validate(VIT)
    fetch_weights(spec, folder)
    return spec, folder


def states(model):
    ids = torch.tensor(model.tokenize(CAPTIONS[:1]))
    with torch.inference_mode():
        return model.layers(ids, torch.ones_like(ids, dtype=torch.bool))


def blocks(model):
    pixels = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32))
    with torch.inference_mode():
        return [layer.prefix for layer in model.layers(pixels)]


@pytest.mark.parametrize("which", ["language", "vision"])
def test_noise_has_the_deviation_that_was_asked_for_and_spares_biases_and_norms(which, request):
    spec, folder = request.getfixturevalue(which)
    plain = dict(load_model(spec, folder).module.named_parameters())
    noisy = dict(load_model(changed(spec, weight_noise=0.3), folder).module.named_parameters())
    again = dict(load_model(changed(spec, weight_noise=0.3), folder).module.named_parameters())
    other = dict(load_model(changed(spec, weight_noise=0.3, seed=1), folder).module.named_parameters())
    noises = []
    for name, parameter in plain.items():
        assert torch.equal(noisy[name], again[name])
        if parameter.ndim < 2:
            assert torch.equal(noisy[name], parameter), name
        elif parameter.numel() > 400 and parameter.std() > 0:
            noise = ((noisy[name] - parameter) / parameter.std()).detach()
            assert noise.std() == pytest.approx(0.3, rel=0.1), name
            assert not torch.equal(noisy[name], other[name])
            noises.append(noise.flatten()[:400])
    assert len(noises) > 4
    assert np.abs(np.corrcoef(torch.stack(noises).numpy()) - np.eye(len(noises))).max() < 0.3  # streams differ


def test_noise_does_not_depend_on_what_else_there_is():
    first, second = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)
    alone, beside = torch.nn.ModuleDict({"b": first}), torch.nn.ModuleDict({"a": second, "b": torch.nn.Linear(8, 8)})
    beside["b"].load_state_dict(first.state_dict())
    for module in (alone, beside):
        add_noise(module, 0.5, seed=3)
    assert torch.equal(alone["b"].weight, beside["b"].weight)


def test_shared_matrices_get_noise_once(language):
    spec, folder = language
    module = load_model(spec, folder).module
    tied = torch.nn.ModuleDict({"in": torch.nn.Embedding(9, 5), "out": torch.nn.Linear(5, 9, bias=False)})
    tied["out"].weight = tied["in"].weight
    before = tied["in"].weight.detach().clone()
    add_noise(tied, 0.5, seed=0)
    once = torch.nn.ModuleDict({"in": torch.nn.Embedding(9, 5)})
    once["in"].weight.data = before
    add_noise(once, 0.5, seed=0)
    assert torch.equal(tied["in"].weight, once["in"].weight)
    assert module is not None


def test_blocks_that_are_kept_give_what_they_gave(language, vision):
    spec, folder = language
    whole, cut = load_model(spec, folder), load_model(changed(spec, keep_blocks=1), folder)
    assert cut.layer_names == ["embedding", "blocks.0"]
    before, after = states(whole), states(cut)
    assert len(after) == 2
    torch.testing.assert_close(after[0], before[0])
    # As everywhere, the last state is behind the final norm, and the head reads it.
    torch.testing.assert_close(after[1], whole.module.model.norm(before[1]))
    ids = torch.tensor(cut.tokenize(CAPTIONS[:1]))
    with torch.inference_mode():
        scores = cut.logits(ids, torch.ones_like(ids, dtype=torch.bool))
        torch.testing.assert_close(scores, whole.module.lm_head(after[1]))

    spec, folder = vision
    whole, cut = load_model(spec, folder), load_model(changed(spec, keep_blocks=2), folder)
    assert cut.layer_names == whole.layer_names[:2]
    for one, other in zip(blocks(cut), blocks(whole)[:2], strict=True):
        torch.testing.assert_close(one, other)


def test_blocks_that_are_reset_are_the_last_ones(language, vision):
    for (spec, folder), outputs in ((language, states), (vision, blocks)):
        plain, reset = (outputs(load_model(s, folder)) for s in (spec, changed(spec, reset_blocks=1)))
        for one, other in zip(plain[:-1], reset[:-1], strict=True):
            torch.testing.assert_close(one, other)
        assert not torch.allclose(plain[-1], reset[-1], atol=1e-3)
        assert torch.isfinite(reset[-1]).all()


def test_shuffled_tokens_are_the_same_tokens_between_the_same_ends(language):
    spec, folder = language
    plain, shuffled = load_model(spec, folder), load_model(changed(spec, shuffle_input=True), folder)
    before, after = plain.tokenize(CAPTIONS), shuffled.tokenize(CAPTIONS)
    assert after == shuffled.tokenize(CAPTIONS)
    assert [shuffled.tokenize([text])[0] for text in CAPTIONS] == after  # whatever is in the batch
    for one, other in zip(before, after, strict=True):
        assert other[0] == one[0] == plain.bos_id
        assert sorted(one) == sorted(other)
        assert one != other
    document = shuffled.tokenize_document(CAPTIONS[0])
    assert sorted(document) == sorted(plain.tokenize_document(CAPTIONS[0])) != document
    assert shuffled.tokenize([""]) == plain.tokenize([""])


def test_tokens_of_a_classifier_and_a_prefix_stay_where_they_are(loaded, fetched, zoo):
    plain = loaded("e5_small")
    shuffled = load_model(changed(zoo["e5_small"], shuffle_input=True), fetched("e5_small"))
    before, after = plain.tokenize(CAPTIONS)[0], shuffled.tokenize(CAPTIONS)[0]
    frame = plain.tokenize([""])[0]
    head = len(frame) - 1  # the end token is last
    assert after[:head] == before[:head] == frame[:head]
    assert after[-1] == before[-1]
    assert sorted(after) == sorted(before) != after


def test_shuffled_patches_are_the_same_patches_in_an_order_of_every_image(vision):
    spec, folder = vision
    plain = load_model(spec, folder).preprocess
    shuffle = pickle.loads(pickle.dumps(load_model(changed(spec, shuffle_input=True, patch=8), folder).preprocess))
    generator = np.random.default_rng(0)
    orders = []
    for _ in range(2):
        image = Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8))
        before, after = plain(image), shuffle(image)
        np.testing.assert_array_equal(after, shuffle(image))
        patches = [
            {(i, j): whole[:, 8 * i : 8 * i + 8, 8 * j : 8 * j + 8].tobytes() for i in range(4) for j in range(4)}
            for whole in (before, after)
        ]
        assert sorted(patches[0].values()) == sorted(patches[1].values())
        places = {patch: place for place, patch in patches[0].items()}
        orders.append([places[patch] for patch in patches[1].values()])
    assert orders[0] != orders[1] != sorted(orders[1])


def test_what_does_not_apply_is_one_message(language, vision, loaded, fetched, zoo):
    spec, folder = language
    with pytest.raises(WeightsError, match=r"model 'changed': intervention.keep_blocks is 3, the model has 2 blocks"):
        load_model(changed(spec, keep_blocks=3), folder)
    with pytest.raises(WeightsError, match="no list of blocks"):
        load_model(changed(zoo["textgenrnn"], reset_blocks=1), fetched("textgenrnn"))


VARIANT = {"id": "broken", "variant_of": "tiny", "intervention": {"weight_noise": 0.2}}


def test_a_variant_takes_all_but_its_change_from_its_row(checkout, monkeypatch):  # noqa: F811
    sweep = checkout(models=[MODEL, VARIANT])
    variant = sweep.model("broken")
    assert variant.weights == "tiny"
    assert list(sweep.weights) == ["tiny"]
    assert variant.unchanged() == sweep.model("tiny")
    other = checkout(models=[MODEL, {**VARIANT, "intervention": {"weight_noise": 0.3}}])
    digests = [
        features_digest(one.model(name), "content", {}) for one in (sweep, other) for name in ("tiny", "broken")
    ]
    assert digests[0] == digests[2]
    assert len(set(digests)) == 3
    monkeypatch.setattr(interventions, "VERSION", interventions.VERSION + 1)
    raised = [features_digest(sweep.model(name), "content", {}) for name in ("tiny", "broken")]
    assert raised[0] == digests[0]
    assert raised[1] != digests[1]
    # Without its row in the sweep, too.
    assert list(checkout({"models": ["broken"]}, models=[MODEL, VARIANT]).weights) == ["tiny"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variant_of": "tinny"}, r"model 'broken': variant_of: .*'tinny'.*'tiny'.* stands above"),
        ({"intervention": None}, "a variant has both `variant_of` and `intervention`"),
        ({"intervention": {"seed": 1}}, "changes nothing"),
        ({"intervention": {"weight_nose": 1}}, "weight_nose"),
        ({"intervention": {"weight_noise": -1}}, "weight_noise"),
        ({"pooling": "last"}, "pooling is that of 'tiny': a variant gives id, variant_of, intervention, notes only"),
        ({"variant_of": "broken"}, "variant_of"),
    ],
)
def test_mistakes_in_a_variant_name_it(checkout, change, message):  # noqa: F811
    with pytest.raises(ConfigError, match=message):
        checkout(models=[MODEL, {**VARIANT, **change}])


def test_a_variant_of_a_variant_is_refused(checkout):  # noqa: F811
    with pytest.raises(ConfigError, match="variant_of"):
        checkout(models=[MODEL, VARIANT, {**VARIANT, "id": "third", "variant_of": "broken"}])
