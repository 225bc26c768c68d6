"""Language tasks as datasets: task files that are data, tasks of the harness stored and made again."""

from __future__ import annotations

import json

import pytest

from tests.unit.test_capability_bits_per_byte import ByteModel, bigram
from tests.unit.test_capability_language_task import Bytes, after, measure
from zooalign.data.questions import DEFINITION, open_tasks
from zooalign.data.samples import open_samples
from zooalign.datasets import harness
from zooalign.errors import DatasetError

YAML = """\
task: letters
output_type: multiple_choice
test_split: test
doc_to_text: "{{text}}"
doc_to_choice: choices
doc_to_target: label
metric_list: [{metric: acc}]
"""


# Anchors that stand for 9^9 values.
BOMB = "description: &0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"gen_prefix{i}: &{i} [{', '.join([f'*{i - 1}'] * 9)}]\n" for i in range(1, 9)
)


def build(folder, yaml=YAML, lines=('{"text": "q", "choices": ["a", "b"], "label": 1}',), **options):
    (folder / "task.yaml").write_text(yaml)
    (folder / "rows.jsonl").write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    chosen = harness.Options(task_file=str(folder / "task.yaml"), documents=str(folder / "rows.jsonl"), **options)
    harness.build(chosen, folder / "built", lambda line: None)
    return open_samples(folder / "built")


def test_a_task_file_and_its_documents_become_a_dataset(tmp_path):
    rows = [json.dumps({"text": f"q{i}", "choices": ["a", "b"], "label": i % 2}) for i in range(5)]
    samples = build(tmp_path, lines=rows, n=3)
    assert samples.kind == "questions"
    [task] = open_tasks(samples).values()
    assert [doc["text"] for doc in task.test_docs()] == ["q0", "q1", "q2"]
    samples.verify()
    record, _ = measure(ByteModel(bigram), samples)
    assert record["n"] == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"yaml": "task: a\nprocess_docs: !function utils.run\n"}, r"task\.yaml: .*no !function"),
        ({"yaml": YAML + "task: twice\n"}, "duplicate key 'task'"),
        ({"yaml": YAML + "- a list\n"}, "not valid YAML"),
        ({"yaml": YAML + BOMB}, "anchors stand for more than"),
        ({"yaml": "output_type: multiple_choice\n"}, r"task\.yaml: `task` is missing"),
        ({"yaml": YAML + "include: other.yaml\n"}, "unknown key of a task file 'include'"),
        ({"yaml": YAML + "unsafe_code: true\n"}, "unknown key of a task file 'unsafe_code'"),
        ({"yaml": YAML + "use_prompt: elsewhere\n"}, "unknown key of a task file 'use_prompt'"),
        ({"yaml": YAML + "num_fewshots: 3\n"}, "did you mean 'num_fewshot'"),
        ({"yaml": YAML + "metadata: {version: 2024-01-01}\n"}, "not JSON serializable; write dates"),
        (
            {"yaml": YAML.replace("metric: acc", "metric: ./script.py")},
            r"unknown metric of the harness '\./script\.py'",
        ),
        ({"yaml": YAML.replace("metric: acc", "metric: acc, hf_evaluate: true")}, "unknown metric of the harness"),
        ({"yaml": YAML.replace("[{metric: acc}]", "acc")}, "a list of objects with `metric`"),
        ({"yaml": YAML + "fewshot_split: train\n"}, "no document has split 'train', which the task's fewshot_split"),
        ({"lines": ['{"text": 1']}, r"rows\.jsonl, line 1: not valid JSON"),
        ({"lines": ['{"text": "a", "text": "b"}']}, "line 1: not valid JSON .*'text' occurs twice"),
        ({"lines": ['{"text": NaN}']}, "line 1: not valid JSON .*NaN"),
        ({"lines": ["[" * 100000]}, "line 1: not valid JSON"),
        ({"lines": ['{"a": 1}', "[1]"]}, "line 2: expected an object"),
        ({"lines": ["", " "]}, "no documents"),
        ({"lines": ["\udcff"]}, "not UTF-8"),
    ],
)
def test_bad_task_files_and_documents_are_one_message(tmp_path, change, message):
    with pytest.raises(DatasetError, match=message):
        build(tmp_path, **change)
    assert not (tmp_path / "built").exists()


def test_a_task_that_does_not_exist_has_its_nearest_names(tmp_path):
    with pytest.raises(DatasetError, match=r"'helaswag'.*hellaswag"):
        harness.build(harness.Options(task="helaswag"), tmp_path / "built", print)


def test_a_task_of_the_harness_is_stored_and_made_again(tmp_path, monkeypatch):
    """GSM8K's own definition, five examples and both ways to read an answer, on documents of our own."""
    import datasets

    rows = [{"question": f"What is {i} + 1?", "answer": f"One more.\n#### {i + 1}"} for i in range(12)]
    hub = datasets.DatasetDict({part: datasets.Dataset.from_list(rows) for part in ("train", "test", "extra")})
    with monkeypatch.context() as patched:
        patched.setattr(datasets, "load_dataset", lambda path, name, **_: {"openai/gsm8k": hub}[path])
        harness.build(harness.Options(task="gsm8k", n=4), tmp_path / "gsm8k", print)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("asked for a network"))
    samples = open_samples(tmp_path / "gsm8k")
    assert sorted(set(samples.splits)) == [DEFINITION, "test", "train"]

    class Knows(Bytes):
        """Answers with the number one above the last one asked for."""

        def generate(self, prompts, max_new_tokens, stop):
            asked = [self.decode(prompt).rsplit("What is ", 1)[1].split()[0] for prompt in prompts]
            return [f" #### {int(n) + 1}" if n != "2" else f" It is {int(n) + 1}." for n in asked]

    record, _ = measure(Knows(after), samples)
    metrics = record["details"]["metrics"]["gsm8k"]
    assert metrics["exact_match,strict-match"]["value"] == 3 / 4
    assert metrics["exact_match,flexible-extract"]["value"] == 1.0
    assert (record["value"], record["settings"]["filter"]) == (3 / 4, "strict-match")
    flexible, _ = measure(Knows(after), samples, metric="exact_match,flexible-extract")
    assert flexible["value"] == 1.0
