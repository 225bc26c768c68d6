"""BIG-bench: question sets that ship in the package bigbench, for language tasks without any hub."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from zooalign.data import bigbench, questions
from zooalign.data.attribution import Attribution
from zooalign.data.downloads import Cached
from zooalign.data.packages import installed_version
from zooalign.data.writing import write_samples
from zooalign.datasets._task_files import read_task_file, with_documents
from zooalign.errors import DatasetError
from zooalign.progress import Report
from zooalign.storage.fingerprints import content_digest

VERSION = 1
KIND = "questions"
PATHS = ("task_file",)


class Options(Cached):
    """Options of the `bigbench` family."""

    questions: Literal["goal_step_wikihow/step_inference", "elementary_math_qa/question_only"] = Field(
        description="2,250 goals with four steps each, one of which belongs to it; or 7,688 word problems."
    )
    task_file: str = Field(description="How they are asked: a YAML file as lm-evaluation-harness defines tasks.")
    answers: Literal["any", "number"] = Field(
        default="any", description="`number`: only questions whose right answer is a plain number."
    )
    n: int | None = Field(default=400, ge=1, description="Questions to ask; null: all.")
    examples: int = Field(default=20, ge=0, description="Further questions to take answered examples from.")
    seed: int = Field(default=0, ge=0, description="Seed of the order of questions and of their answers.")


def fingerprint(options: Options, name: str) -> Any:
    """Version of the harness, and the content of the task file."""
    del name
    return [installed_version("lm_eval"), content_digest([options.task_file])]


def build(options: Options, folder: Path, report: Report) -> None:
    """Write the dataset; the package (358 MB) is fetched once.

    Raises
    ------
    DatasetError
        If the package cannot be fetched, its file is not what it was, or fewer questions are left than asked for.
    """
    name = folder.name
    examples = bigbench.examples(options.questions, options.cache_beside(folder), name, report)
    config = read_task_file(Path(options.task_file), name)
    rows = _documents(examples, options, name)
    definition, documents = with_documents(config, rows, None, name)
    report(f"{name}: {len(rows)} questions, {options.examples} of them for examples")
    source = f"bigbench {options.questions}"
    write_samples(
        folder,
        KIND,
        questions.records(definition, documents, source, "Apache-2.0"),
        name=name,
        description=f"Questions of BIG-bench, {options.questions}.",
        attribution=[
            Attribution(source, "BIG-bench", bigbench.AUTHORS, "Apache-2.0", f"{bigbench.NAME} {bigbench.RELEASE}")
        ],
        options=options.model_dump(exclude={"cache"}),
        family="bigbench",
        version=VERSION,
        packages={bigbench.NAME: bigbench.RELEASE},
    )


def _documents(examples: list[dict[str, Any]], options: Options, name: str) -> list[dict[str, Any]]:
    """Questions in a seeded order, their answers in another: the right one stands in every place as often."""
    import numpy as np

    generator = np.random.default_rng(options.seed)
    rows = []
    for i in generator.permutation(len(examples)):
        choices = list(examples[i]["target_scores"])
        answer = bigbench.answer(examples[i], f"{name}: example {i}")
        order = generator.permutation(len(choices))
        if options.answers == "number" and not _is_number(answer):
            continue
        shuffled = [choices[j] for j in order]
        rows.append(
            {
                "question": " ".join(examples[i]["input"].split()),
                "choices": shuffled,
                "label": shuffled.index(answer),
                "split": "train" if len(rows) < options.examples else "test",
            }
        )
    asked = len(rows) - options.examples if options.n is None else options.n
    if asked < 1 or options.examples + asked > len(rows):
        raise DatasetError(
            f"{name}: {options.examples} examples and {asked} questions asked for, there are {len(rows)}; lower one."
        )
    return rows[: options.examples + asked]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
