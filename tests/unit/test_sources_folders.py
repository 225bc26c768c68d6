"""Language models from a folder: families of the hub, truncation, towers, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from zooalign.config.manifest import ModelSpec
from zooalign.errors import FeatureError, WeightsError
from zooalign.models.loading import fetch_weights, load_model
from zooalign.models.model import LanguageModel
from zooalign.sources._torchvision import import_transformers

CAPTIONS = [
    "A black cat is sleeping on the old red sofa.",
    "Two dogs are running across a wide green field.",
    "A man in a blue shirt is riding his bicycle down the street.",
]


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


def save_tokenizer(folder: Path) -> Any:
    """A tokenizer trained here, of 300 tokens, that puts its BOS before every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

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
    fast = import_transformers().PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", padding_side="left"
    )
    fast.save_pretrained(folder)
    return fast


def save_tiny(folder: Path, kind: str, seed: int = 0) -> Any:
    """A random model of a family of the large zoo with a tokenizer trained here, as hub folders are."""
    transformers = import_transformers()
    fast = save_tokenizer(folder)
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
    torch.manual_seed(seed)
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
    states = {}
    for place, seed in (("a", 1), ("b", 1), ("c", 2)):
        spec = row({"library": "transformers", "path": str(tmp_path / "hub"), "seed": seed}, source="random")
        fetch_weights(spec, tmp_path / place)
        model = load_model(spec, tmp_path / place)
        assert isinstance(model, LanguageModel)
        ids = torch.tensor(model.tokenize(CAPTIONS[:1]))
        with torch.inference_mode():
            states[place] = model.layers(ids, torch.ones_like(ids, dtype=torch.bool))[-1]
    assert torch.equal(states["a"], states["b"])
    assert not torch.allclose(states["a"], states["c"])


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
