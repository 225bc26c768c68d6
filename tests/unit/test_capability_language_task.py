"""Language tasks: the harness's own numbers, on models whose likelihoods are known and on a real one."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest
import torch

from tests.unit.test_capability_bits_per_byte import BOS, VOCABULARY, ByteModel, bigram
from zooalign.capability import bits_per_byte, language_task
from zooalign.capability._harness import HarnessModel
from zooalign.capability._likelihood import BatchOptions
from zooalign.capability._record import CapabilityError
from zooalign.data.questions import DEFINITION, open_tasks
from zooalign.errors import DatasetError
from zooalign.models.model import LanguageModel
from zooalign.storage.journal import Journal

MEAN = {"aggregation": "mean", "higher_is_better": True}
CHOICE = {
    "task": "letters", "output_type": "multiple_choice", "test_split": "test", "fewshot_split": "train",
    "doc_to_text": "{{text}}", "doc_to_choice": "choices", "doc_to_target": "label", "target_delimiter": "",
    "metric_list": [MEAN | {"metric": "acc"}, MEAN | {"metric": "acc_norm"}],
}  # fmt: skip
WRITTEN = {
    "task": "written", "output_type": "generate_until", "test_split": "test", "doc_to_text": "{{text}}",
    "doc_to_target": "{{answer}}", "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8},
    "metric_list": [MEAN | {"metric": "exact_match"}],
}  # fmt: skip
ROLLING = {
    "task": "rolling", "output_type": "loglikelihood_rolling", "test_split": "test", "doc_to_text": "",
    "doc_to_target": "{{text}}", "metric_list": [{"metric": "bits_per_byte"}, {"metric": "byte_perplexity"}],
}  # fmt: skip


def questions(config, documents, name="asked"):
    """Samples of kind "questions" without a folder."""
    rows = [("task", DEFINITION, json.dumps({"config": config}))]
    rows += [
        (task, part, json.dumps(r)) for task, parts in documents.items() for part, rs in parts.items() for r in rs
    ]
    tasks, splits, texts = map(list, zip(*rows, strict=True))
    return SimpleNamespace(kind="questions", name=name, digest="d", tasks=tasks, splits=splits, documents=texts)


def letters(*answers, choices=("a", "b", "cc"), examples=3):
    rows = [{"text": f"question {i}: ", "choices": list(choices), "label": label} for i, label in enumerate(answers)]
    return questions(CHOICE, {"letters": {"train": rows[:1] * examples, "test": rows}})


def measure(model, samples, journal=None, **options):
    lines = []
    record = language_task.measure(model, samples, language_task.Options(**options), lines.append, journal)
    return record, lines


class Bytes(ByteModel):
    """UTF-8 bytes that can be written back."""

    def decode(self, ids):
        return bytes(i for i in ids if i < 256).decode(errors="replace")

    def generate(self, prompts, max_new_tokens, stop):
        return LanguageModel.generate(self, prompts, max_new_tokens, stop)


def after(ids):
    """The next letter of the alphabet is expected."""
    return torch.nn.functional.one_hot((ids + 1) % VOCABULARY, VOCABULARY) * 9.0


def nats(text, start):
    ids = list(text.encode())
    table = bigram(torch.arange(VOCABULARY))
    scores = torch.log_softmax(table.double(), -1)
    return sum(scores[a, b].item() for a, b in zip([start, *ids[:-1]], ids, strict=True))


def test_the_answer_with_the_highest_likelihood_counts_and_with_norm_that_per_byte():
    samples = letters(0, 1, 2, 0)
    record, _ = measure(ByteModel(bigram), samples)
    sums = [nats(choice, ord(" ")) for choice in ("a", "b", "cc")]
    best = max(range(3), key=lambda i: sums[i])
    normed = max(range(3), key=lambda i: sums[i] / len(("a", "b", "cc")[i]))
    right = [float(label == best) for label in (0, 1, 2, 0)]
    assert record["details"]["questions"]["letters"] == right
    assert record["value"] == sum(right) / 4
    spread = math.sqrt(sum((r - record["value"]) ** 2 for r in right) / 3 / 4)
    assert record["standard_error"] == pytest.approx(spread)
    metrics = record["details"]["metrics"]["letters"]
    assert metrics["acc_norm,none"]["value"] == sum(label == normed for label in (0, 1, 2, 0)) / 4
    other, _ = measure(ByteModel(bigram), samples, metric="acc_norm")
    assert other["value"] == metrics["acc_norm,none"]["value"]
    assert (record["n"], record["unit"]) == (4, "accuracy")


@pytest.mark.parametrize("settings", [{"batch_tokens": 1}, {"batch_tokens": 64}, {"logits_mib": 1}])
def test_batches_change_nothing(settings):
    samples = letters(0, 1, 2, 0, 1, choices=("a", "bb bb", "c" * 30))
    whole, _ = measure(ByteModel(bigram), samples)
    cut, _ = measure(ByteModel(bigram), samples, **settings)
    assert cut["details"] == whole["details"]


def test_examples_stand_in_front_and_too_many_are_refused():
    model = ByteModel(bigram)
    record, _ = measure(model, letters(0, 1), num_fewshot=2)
    assert record["settings"]["num_fewshot"] == {"letters": 2}
    longest = max(mask.sum(1).max() for _, mask in model.calls)
    plain = ByteModel(bigram)
    measure(plain, letters(0, 1))
    assert longest > 2 * max(mask.sum(1).max() for _, mask in plain.calls)
    with pytest.raises(CapabilityError, match=r"'letters' .* too few examples for num_fewshot = 5"):
        measure(ByteModel(bigram), letters(0, 1), num_fewshot=5)


def test_answers_are_written_greedily_up_to_a_stop():
    rows = [
        {"text": "abc", "answer": "defghijk"},
        {"text": "xy", "answer": "z{|}~\x7f��"},
        {"text": "k", "answer": "l"},
    ]
    record, _ = measure(Bytes(after), questions(WRITTEN, {"written": {"test": rows}}))
    assert record["details"]["questions"]["written"][0] == 1.0
    assert record["details"]["questions"]["written"][2] == 0.0
    assert record["value"] == pytest.approx(sum(record["details"]["questions"]["written"]) / 3)
    stopped = WRITTEN | {"generation_kwargs": {"until": ["f"], "max_gen_toks": 8}}
    record, _ = measure(Bytes(after), questions(stopped, {"written": {"test": [{"text": "abc", "answer": "de"}]}}))
    assert record["value"] == 1.0


@pytest.mark.parametrize("text", ["A cat sat on a mat.", "Zoë's café — naïve 🙂", "x"])
def test_bits_per_byte_are_those_of_the_harness(text):
    """The harness's rolling likelihoods on our model, and our own measure, each in windows of 8."""
    rows = [{"text": text}, {"text": text * 5}]
    record, _ = measure(
        ByteModel(bigram), questions(ROLLING, {"rolling": {"test": rows}}), metric="bits_per_byte", context=8
    )
    own = bits_per_byte.measure(
        ByteModel(bigram),
        SimpleNamespace(kind="texts", name="t", digest="d", ids=["a", "b"], texts=[r["text"] for r in rows]),
        bits_per_byte.Options(context=8), print,
    )  # fmt: skip
    assert record["value"] == pytest.approx(own["value"], rel=1e-6)
    assert not record["higher_is_better"]
    assert record["unit"] == "bits_per_byte"


def test_a_killed_measurement_continues_with_what_was_not_finished(tmp_path):
    samples = letters(*([0, 1, 2] * 4), choices=("a", "bb", "cccc"))
    whole, _ = measure(ByteModel(bigram), samples, batch_tokens=40)

    class Killed(Exception):  # noqa: N818
        pass

    def run(calls):
        left = [calls + 1]  # the first call asks for the size of the vocabulary

        def scores(ids):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return bigram(ids)

        model = ByteModel(scores)
        record, lines = measure(model, samples, Journal(tmp_path / "m.json", "d"), batch_tokens=40)
        return record, lines, len(model.calls) - 1

    for _ in range(2):
        with pytest.raises(Killed):
            run(3)
    record, lines, calls = run(10**6)
    assert record == whole
    assert any("continuing after 6 of" in line for line in lines)
    assert calls == int(lines[0].split(" of ")[1].split()[0]) - 6


def test_what_is_too_long_loses_its_beginning_and_is_counted():
    record, lines = measure(ByteModel(bigram), letters(0, 1), context=5)
    assert record["details"]["truncated"] == 6
    assert any("lost their beginning" in line for line in lines)
    assert record["details"]["questions"] == measure(ByteModel(bigram), letters(0, 1))[0]["details"]["questions"]


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        (SimpleNamespace(kind="texts", name="corpus"), {}, "'corpus' is of kind 'texts'"),
        (letters(0), {"metric": "acc_nrom"}, "'acc_nrom'.*acc_norm"),
        (questions(WRITTEN, {"written": {"test": [{"text": "a", "answer": "b"}]}}), {"context": 8}, "leaves no room"),
    ],
)
def test_what_cannot_be_measured_is_refused(samples, options, message):
    with pytest.raises(CapabilityError, match=message):
        measure(Bytes(after), samples, **options)


def test_a_template_that_does_not_fit_the_documents_names_the_dataset():
    wrong = questions(CHOICE | {"doc_to_choice": "{{nothing.at.all}}"}, {"letters": {"test": [{"text": "a"}]}})
    with pytest.raises(DatasetError, match="dataset 'asked': the harness cannot make its task"):
        measure(ByteModel(bigram), wrong)


@pytest.mark.parametrize("template", [
    "{{ ''.__class__.__mro__ }}", "{{ text.__init__.__globals__ }}", "{{ cycler.__init__.__globals__.os.getcwd() }}"
])  # fmt: skip
def test_a_template_reaches_nothing_but_its_document(template):
    """What a task file says is text from outside: a template that asks for Python's insides is refused."""
    rows = {"letters": {"test": [{"text": "a", "choices": ["a", "b"], "label": 0}]}}
    config = {key: value for key, value in CHOICE.items() if key != "fewshot_split"} | {"doc_to_text": template}
    with pytest.raises(DatasetError, match="SecurityError"):
        measure(ByteModel(bigram), questions(config, rows))


def test_a_misspelt_metric_costs_no_forward_pass():
    model = ByteModel(bigram)
    with pytest.raises(CapabilityError, match="acc_nrom"):
        measure(model, letters(0), metric="acc_nrom")
    assert model.calls == []


@pytest.mark.parametrize("damage", ["[[1, true]]", '[["x", true]]', "[]", '[["NaN", true]]', "3"])
def test_a_journal_that_holds_something_else_is_not_believed(tmp_path, damage):
    samples = letters(0, 1, 2)
    whole, _ = measure(ByteModel(bigram), samples, batch_tokens=40)
    measure(ByteModel(bigram), samples, Journal(tmp_path / "m.json", "d"), batch_tokens=40)
    file = tmp_path / "m.json.partial"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[1][2] = json.loads(damage)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    again, _ = measure(ByteModel(bigram), samples, Journal(tmp_path / "m.json", "d"), batch_tokens=40)
    assert again == whole


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(CapabilityError, match="not finite"):
        measure(ByteModel(lambda ids: torch.full((*ids.shape, VOCABULARY), math.nan)), letters(0))


def test_a_start_token_stands_in_front_where_the_tokenizer_puts_it():
    model = ByteModel(bigram)
    seen = HarnessModel(model, BatchOptions(), 64, print)
    assert seen.tok_encode("ab") == [BOS, 97, 98]
    assert seen.tok_encode("ab", add_special_tokens=False) == [97, 98]
    model.tokenize = lambda texts: [list(t.encode()) for t in texts]
    assert HarnessModel(model, BatchOptions(), 64, print).tok_encode("ab") == [97, 98]


# --- a real model --------------------------------------------------------------------------------------------------

ASKED = [
    ("The capital of France is", ("Paris", "Berlin", "a banana", "seven"), 0),
    ("Two and two make", ("five", "four", "a house", "Paris"), 1),
    ("Water freezes at a temperature of", ("100 degrees", "ninety metres", "0 degrees Celsius", "a cat"), 2),
    ("To bake a cake, first", ("sell the car", "mix flour and sugar", "run a marathon", "paint it blue"), 1),
]


@pytest.mark.slow
def test_a_real_model_scores_and_writes_what_the_harness_itself_gets(loaded):
    """Against the harness's own class for transformers models: likelihoods, greedy answers and bits per byte."""
    from lm_eval import evaluator
    from lm_eval.models.huggingface import HFLM

    model = loaded("smollm2_135m")
    rows = [{"text": text, "choices": list(choices), "label": label} for text, choices, label in ASKED]
    spaced = CHOICE | {"target_delimiter": " "}
    writes = WRITTEN | {"generation_kwargs": {"until": [".", "\n"], "max_gen_toks": 6}}
    documents = [{"text": "The sun rises in the east. " * 40}, {"text": "Zoë's café is naïve. 🙂"}, {"text": "x"}]
    suite = {
        "letters": questions(spaced, {"letters": {"train": rows[:2], "test": rows}}),
        "written": questions(
            writes, {"written": {"test": [{"text": t, "answer": c[label]} for t, c, label in ASKED]}}
        ),
        "rolling": questions(ROLLING, {"rolling": {"test": documents}}),
    }
    theirs = HFLM(
        pretrained=model.module,
        tokenizer=model._tokenizer,
        batch_size=3,
        device="cpu",
        max_length=128,
        prefix_token_id=model.bos_id,  # the row's start token, which is not the tokenizer's
    )
    for name, samples in suite.items():
        options = {"context": 128} | ({"metric": "bits_per_byte"} if name == "rolling" else {})
        ours, _ = measure(model, samples, batch_tokens=300, **options)
        with torch.inference_mode():
            expected = evaluator.evaluate(
                lm=theirs, task_dict={"tasks": open_tasks(samples), "groups": {}, "group_map": {}}
            )["results"][name]
        for key, metric in ours["details"]["metrics"][name].items():
            assert metric["value"] == pytest.approx(expected[key], rel=1e-3), (name, key)
    assert ours["value"] == pytest.approx(
        bits_per_byte.measure(
            model,
            SimpleNamespace(
                kind="texts", name="t", digest="d", ids=["a", "b", "c"], texts=[d["text"] for d in documents]
            ),
            bits_per_byte.Options(context=128), print,
        )["value"], rel=1e-3,
    )  # fmt: skip
    prompts = [model.tokenize_document(text) for text, *_ in ASKED]
    with torch.inference_mode():
        together = model.generate(prompts, 6, ("not in any answer",))
        assert together == LanguageModel.generate(model, prompts, 6, ())
