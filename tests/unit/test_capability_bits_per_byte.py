"""Bits per byte on models whose likelihoods are known."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zooalign.capability import _likelihood, bits_per_byte, published_bits_per_byte
from zooalign.capability._record import CapabilityError, CapabilityRecord, ratio_standard_error
from zooalign.config.schema import ExtractionConfig
from zooalign.errors import FeatureError
from zooalign.features.device import place_model
from zooalign.storage.journal import Journal

BOS, PAD, VOCABULARY = 256, 257, 258


class ByteModel:
    """UTF-8 bytes as tokens; `scores(ids)` gives the logits."""

    causal = True
    pad_id, bos_id, eos_id, unknown_id = PAD, BOS, None, None
    max_tokens = None

    def __init__(self, scores):
        self.scores, self.calls = scores, []
        self.module = torch.nn.Linear(1, 1)

    def tokenize_document(self, text):
        return list(text.encode())

    def tokenize(self, texts):
        return [[BOS, *text.encode()] for text in texts]

    def logits(self, ids, mask):
        self.calls.append((ids.clone(), mask.clone()))
        return self.scores(ids)


def uniform(ids):
    return torch.zeros(*ids.shape, VOCABULARY)


def bigram(ids):
    """Depends on the token before and nothing else."""
    table = torch.randn(VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(3))
    return table[ids]


def recurrent(ids):
    """Depends on every token of the window so far."""
    table = torch.randn(VOCABULARY, 8, generator=torch.Generator().manual_seed(4))
    out = torch.randn(8, VOCABULARY, generator=torch.Generator().manual_seed(5))
    return torch.tanh(table[ids].cumsum(1)) @ out


def texts(*documents, kind="texts"):
    ids = [f"doc{i}" for i in range(len(documents))]
    return SimpleNamespace(kind=kind, name="corpus", digest="d", ids=ids, texts=list(documents))


def measure(model, samples, **options):
    lines = []
    record = bits_per_byte.measure(model, samples, bits_per_byte.Options(**options), lines.append)
    return record, lines


DOCUMENTS = ("A cat sat.", "Zoë's café — naïve 🙂", "x", "The quick brown fox jumps over the lazy dog. " * 3)


def test_a_uniform_model_costs_the_logarithm_of_its_vocabulary():
    record, _ = measure(ByteModel(uniform), texts(*DOCUMENTS))
    assert record["value"] == pytest.approx(math.log2(VOCABULARY), rel=1e-6)
    assert record["standard_error"] == pytest.approx(0.0, abs=1e-6)  # every document costs the same per byte
    assert record["n"] == 4
    assert record["details"]["bytes"] == sum(len(d.encode()) for d in DOCUMENTS)


def test_a_uniform_model_over_256_bytes_costs_8_bits_a_byte():
    class Uniform(ByteModel):
        bos_id, pad_id = 0, 0  # also a byte: there are 256 tokens

    model = Uniform(lambda ids: torch.zeros(*ids.shape, 256))
    assert measure(model, texts(*DOCUMENTS), context=7)[0]["value"] == pytest.approx(8.0, rel=1e-8)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(4)), st.integers(1, 40))
def test_the_order_of_documents_changes_nothing(order, context):
    record, _ = measure(ByteModel(recurrent), texts(*DOCUMENTS), context=context)
    other, _ = measure(ByteModel(recurrent), texts(*(DOCUMENTS[i] for i in order)), context=context)
    assert other["value"] == pytest.approx(record["value"], rel=1e-6)
    assert other["standard_error"] == pytest.approx(record["standard_error"], rel=1e-6)


@pytest.mark.slow
def test_16_bits_agree_with_32(zoo, fetched):
    """SmolLM2 on 4 kB of web text, in the two precisions that a row can name."""
    from zooalign.datasets.openwebtext import Options, _texts

    passages = [text for text in _texts(Options(collection="passages"))[:40] if len(text) < 800][:8]
    values = []
    for precision in ("float32", "bfloat16"):
        spec = zoo["smollm2_135m"].model_copy(update={"precision": precision})
        model = place_model(spec, fetched("smollm2_135m"), ExtractionConfig(device="cpu"))
        values.append(measure(model, texts(*passages))[0]["value"])
    assert values[0] != values[1]
    assert values[1] == pytest.approx(values[0], abs=0.005)


def test_bytes_are_utf8_bytes_not_characters():
    record, _ = measure(ByteModel(uniform), texts("🙂🙂"))
    assert record["details"]["documents"]["bytes"] == [8]


def bigram_bits(document):
    ids = torch.tensor([BOS, *document.encode()])
    logs = bigram(ids[None, :-1]).double().log_softmax(-1)[0]
    return -logs.gather(-1, ids[1:, None]).sum().item() / math.log(2)


def test_each_token_is_scored_once_after_its_predecessor_and_the_first_after_bos():
    record, _ = measure(ByteModel(bigram), texts(*DOCUMENTS))
    expected = [bigram_bits(d) for d in DOCUMENTS]
    assert record["details"]["documents"]["bits"] == pytest.approx(expected, rel=1e-5)
    assert record["value"] == pytest.approx(sum(expected) / sum(len(d.encode()) for d in DOCUMENTS), rel=1e-5)


@pytest.mark.parametrize("context", [1, 2, 3, 7, 64])
def test_windows_carry_one_token_so_a_bigram_model_loses_nothing(context):
    whole, _ = measure(ByteModel(bigram), texts(*DOCUMENTS))
    cut, _ = measure(ByteModel(bigram), texts(*DOCUMENTS), context=context)
    assert cut["value"] == pytest.approx(whole["value"], rel=1e-6)


def test_windows_are_no_longer_than_the_models_limit_and_the_last_is_as_long():
    model = ByteModel(uniform)
    model.max_tokens = 4
    record, _ = measure(model, texts("abcdefghij"), context=100)
    seen = [row[m].tolist() for ids, mask in model.calls[1:] for row, m in zip(ids, mask, strict=True)]
    letters = [BOS, *b"abcdefghij"]
    assert sorted(seen) == sorted([letters[0:4], letters[4:8], letters[6:10]])
    assert record["settings"]["context"] == 4


def test_a_shorter_context_costs_more_bits_where_context_is_used():
    def counting(ids):
        # Sure of the next letter once it has seen three tokens.
        logits = torch.zeros(*ids.shape, VOCABULARY)
        logits[:, 2:, ord("a")] = 20.0
        return logits

    long, _ = measure(ByteModel(counting), texts("a" * 60), context=60)
    short, _ = measure(ByteModel(counting), texts("a" * 60), context=3)
    assert short["value"] > 5 * long["value"]


@settings(max_examples=25, deadline=None)
@given(
    documents=st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=6),
    batch_tokens=st.integers(1, 200),
    context=st.integers(1, 50),
)
def test_the_batch_size_changes_nothing_but_rounding(documents, batch_tokens, context):
    documents = [d.encode("utf-8", "replace").decode() for d in documents]
    one, _ = measure(ByteModel(recurrent), texts(*documents), context=context)
    other, _ = measure(ByteModel(recurrent), texts(*documents), context=context, batch_tokens=batch_tokens)
    expected = one["details"]["documents"]["bits"]
    assert other["details"]["documents"]["bits"] == pytest.approx(expected, rel=1e-5)


def test_logits_of_a_batch_stay_within_the_memory_setting():
    model = ByteModel(uniform)
    measure(model, texts(*["abcdefgh" * 8] * 80), logits_mib=1, batch_tokens=10**9)
    sizes = [ids.numel() * VOCABULARY * 4 for ids, _ in model.calls]
    assert max(sizes) <= 2**20 < sum(sizes)


def test_sums_in_slices_equal_one_log_softmax(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(1000, 300, generator=generator)
    targets = torch.randint(300, (1000,), generator=generator)
    expected = -logits.double().log_softmax(-1).gather(-1, targets[:, None]).sum().item() / math.log(2)
    for rows in (1, 7, 128, 10_000):
        monkeypatch.setattr(_likelihood, "LOG_SOFTMAX_ROWS", rows)
        assert _likelihood.negative_log2(logits, targets) == pytest.approx(expected, rel=1e-6)


class CharacterModel(ByteModel):
    """Knows a to z; everything else is 0."""

    unknown_id = 0

    def tokenize_document(self, text):
        return [ord(c) - 96 if "a" <= c <= "z" else 0 for c in text]


def test_unknown_characters_are_counted_and_charged_their_bytes():
    record, _ = measure(CharacterModel(uniform), texts("aé🙂b"))
    bits = 4 * math.log2(VOCABULARY) + 8 * (2 + 4)
    assert record["value"] == pytest.approx(bits / 8, rel=1e-6)
    details = record["details"]
    assert (details["unknown_characters"], details["unknown_bytes"]) == (2, 6)
    assert details["unknown_distinct"] == "é🙂"
    assert details["unknown_bits_charged"] == 48


def test_an_unknown_symbol_of_unknown_length_is_refused():
    class Words(CharacterModel):
        def tokenize_document(self, text):
            return [0 if w == "??" else 1 for w in text.split()]

    with pytest.raises(CapabilityError, match=r"'doc0'.*unknown symbol 0"):
        measure(Words(uniform), texts("a ?? b"))


def test_eos_stands_in_for_a_missing_bos_and_neither_is_an_error():
    model = ByteModel(bigram)
    model.bos_id, model.eos_id = None, BOS
    record, _ = measure(model, texts("abc"))
    assert record["value"] == pytest.approx(bigram_bits("abc") / 3, rel=1e-5)
    assert record["settings"]["start_token"] == "eos"
    model.eos_id = None
    with pytest.raises(CapabilityError, match="neither a BOS nor an EOS"):
        measure(model, texts("abc"))


def test_the_budget_takes_whole_leading_documents():
    record, _ = measure(ByteModel(uniform), texts("aaaa", "bbbb", "cccc", "d"), byte_budget=11)
    assert record["details"]["documents"]["id"] == ["doc0", "doc1"]  # not "d", though it would fit
    assert record["details"]["documents_beyond_budget"] == 2
    everything, _ = measure(ByteModel(uniform), texts("aaaa", "bbbb", "cccc", "d"), byte_budget=None)
    assert everything["n"] == 4
    with pytest.raises(CapabilityError, match="byte_budget = 3"):
        measure(ByteModel(uniform), texts("aaaa"), byte_budget=3)


@pytest.mark.parametrize(
    ("samples", "change", "message"),
    [
        (texts("a", kind="pairs"), {}, "kind 'texts'.*'corpus' is of kind 'pairs'"),
        (texts("a"), {"causal": False}, "causal"),
        (texts("a", ""), {}, "'doc1': the text is empty"),
        (texts(), {}, "no documents"),
    ],
)
def test_what_cannot_be_measured_is_refused(samples, change, message):
    model = ByteModel(uniform)
    for name, value in change.items():
        setattr(model, name, value)
    with pytest.raises(CapabilityError, match=message):
        measure(model, samples)


def test_logits_that_are_not_finite_name_the_document():
    def broken(ids):
        logits = uniform(ids)
        logits[(ids == ord("z")).any(1)] = math.nan
        return logits

    with pytest.raises(FeatureError, match="'doc1'"):
        measure(ByteModel(broken), texts("abc", "xzy"))


def test_a_batch_that_does_not_fit_is_halved_then_ends_clearly():
    def small_memory(limit):
        def scores(ids):
            if ids.numel() > limit:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return bigram(ids)

        return scores

    documents = texts(*["abcdefgh"] * 16)
    expected, _ = measure(ByteModel(bigram), documents)
    halved, _ = measure(ByteModel(small_memory(20)), documents)
    assert halved["value"] == pytest.approx(expected["value"], rel=1e-6)
    with pytest.raises(CapabilityError, match="window of 8 tokens does not fit into memory"):
        measure(ByteModel(small_memory(4)), documents)


def test_an_error_that_is_not_about_memory_is_not_swallowed():
    def broken(ids):
        if ids.numel() > 1:
            raise RuntimeError("shape mismatch")
        return uniform(ids)

    with pytest.raises(RuntimeError, match="shape mismatch"):
        measure(ByteModel(broken), texts("abc"))


def test_the_record_is_json_and_progress_is_reported():
    record, lines = measure(ByteModel(bigram), texts(*DOCUMENTS))
    stored = CapabilityRecord(**json.loads(json.dumps(record)), model="m", digest="d")
    assert stored.value == record["value"]
    assert any("4/4 documents" in line and "bytes" in line for line in lines)


def test_the_standard_error_is_that_of_resampled_documents():
    generator = np.random.default_rng(0)
    size = generator.integers(200, 2000, 150).astype(float)
    bits = size * generator.normal(1.0, 0.15, 150)
    picks = generator.integers(0, 150, (4000, 150))
    resampled = bits[picks].sum(1) / size[picks].sum(1)
    assert ratio_standard_error(bits, size) == pytest.approx(resampled.std(), rel=0.05)
    assert ratio_standard_error([1.0], [2.0]) is None


def published(model, *strings):
    options = published_bits_per_byte.Options()
    return published_bits_per_byte.measure(model, texts(*strings), options, lambda line: None)


def test_published_bpb_is_a_mean_over_strings_and_something_else():
    strings = ["ab", "abcdefgh" * 4]
    result = published(ByteModel(bigram), *strings)
    assert result["details"]["per_text"] == pytest.approx([bigram_bits(s) / len(s) for s in strings], rel=1e-5)
    assert result["value"] == pytest.approx(sum(result["details"]["per_text"]) / 2)
    assert result["standard_error"] == pytest.approx(np.std(result["details"]["per_text"], ddof=1) / math.sqrt(2))
    corpus, _ = measure(ByteModel(bigram), texts(*strings))
    assert abs(corpus["value"] - result["value"]) > 0.01


def test_published_bpb_does_not_score_the_first_token():
    model = ByteModel(uniform)
    model.tokenize = lambda strings: [list(s.encode()) for s in strings]  # a tokenizer without BOS
    result = published(model, "abcd")
    assert result["value"] == pytest.approx(3 * math.log2(VOCABULARY) / 4, rel=1e-6)
    assert result["standard_error"] is None
    model.max_tokens = 3
    with pytest.raises(CapabilityError, match="sample 'doc1': 4 tokens, the model takes 3"):
        published(model, "ab", "abcd")


def test_an_interrupted_measurement_continues_to_the_same_bits(tmp_path):
    documents = texts(*(chr(97 + i) * (3 + 7 * i) for i in range(12)))
    settings = {"context": 16, "batch_tokens": 32}
    undisturbed = ByteModel(recurrent)
    whole, _ = measure(undisturbed, documents, **settings)
    batches = len(undisturbed.calls) - 1  # the first call only asks for the size of the vocabulary

    class Interrupted(Exception):  # noqa: N818
        pass

    def run(calls):
        """One run that is cut off after so many batches."""
        model, left = ByteModel(recurrent), [calls + 1]

        def scores(ids):
            left[0] -= 1
            if left[0] < 0:
                raise Interrupted
            return recurrent(ids)

        model.scores = scores
        journal = Journal(tmp_path / "m.json", "d")
        return bits_per_byte.measure(model, documents, bits_per_byte.Options(**settings), print, journal), model

    for _ in range(3):
        with pytest.raises(Interrupted):
            run(2)
    with open(tmp_path / "m.json.partial", "a") as file:
        file.write("[6, [0.1")  # torn by a kill
    record, model = run(10**6)
    assert record == whole
    assert len(model.calls) - 1 == batches - 6 > 0  # nothing was computed twice


def test_a_journal_of_other_work_is_not_continued(tmp_path):
    def journal_after(samples, digest="d", **options):
        journal = Journal(tmp_path / "m.json", digest)
        lines = []
        bits_per_byte.measure(ByteModel(bigram), samples, bits_per_byte.Options(**options), lines.append, journal)
        return any("continuing after" in line for line in lines)

    assert not journal_after(texts("abc", "de"))
    assert journal_after(texts("abc", "de"))
    assert not journal_after(texts("abx", "de"))
    assert not journal_after(texts("abx", "de"), context=2)
    assert not journal_after(texts("abx", "de"), context=2, digest="other")
    (tmp_path / "m.json.partial").write_bytes(b"\xff\x00 garbage")
    assert not journal_after(texts("abx", "de"))
