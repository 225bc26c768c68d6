"""Harness: the documents of a language task, of EleutherAI's harness or of a task file of one's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from zooalign.closed import Closed
from zooalign.data import questions
from zooalign.data.attribution import Attribution
from zooalign.data.packages import installed_version
from zooalign.data.writing import write_samples
from zooalign.datasets._tables import decoded, json_lines
from zooalign.datasets._task_files import read_task_file, with_documents
from zooalign.errors import DatasetError, unknown
from zooalign.progress import Report
from zooalign.storage.fingerprints import content_digest

VERSION = 1
KIND = "questions"
# Options that are paths: relative to the configuration, and no part of a digest, which has the files' content.
PATHS = ("task_file", "documents")


class Options(Closed):
    """Options of the `harness` family: a task by name, or a task file and its documents."""

    task: str | None = Field(default=None, description="Name of a task or group of lm-evaluation-harness.")
    task_file: str | None = Field(default=None, description="A YAML file as the harness defines tasks, without code.")
    documents: str | None = Field(
        default=None, description="With `task_file`: a .jsonl file, an object per line; `split` names its part."
    )
    n: int | None = Field(
        default=None, ge=1, description="First documents of each task that are asked; null: all of them."
    )
    licence: str = Field(default="as the data set's card says", description="Licence of the documents.")
    authors: str = Field(default="see the data set's card", description="Whose work they are, for ATTRIBUTION.md.")

    @model_validator(mode="after")
    def _one_way(self) -> Options:
        if (self.task is None) == (self.task_file is None) or (self.documents is None) != (self.task_file is None):
            raise ValueError("give `task` (a task of the harness), or `task_file` with `documents`")
        return self


def fingerprint(options: Options, name: str) -> Any:
    """Version of the harness, and the content of the user's files."""
    del name
    files = [path for path in (options.task_file, options.documents) if path is not None]
    return [installed_version("lm_eval"), content_digest(files) if files else None]


def build(options: Options, folder: Path, report: Report) -> None:
    """Write the dataset.

    Raises
    ------
    DatasetError
        For an unknown task (with the nearest names), a task that runs code of its own, needs images or whose data
        cannot be fetched, a task file with code, or documents that are no JSON objects; names file and line.
    """
    name = folder.name
    if options.task is not None:
        definition, documents = _of_the_harness(options.task, options.n, name, report)
        source = options.task
    else:
        assert options.task_file is not None
        assert options.documents is not None
        config = read_task_file(Path(options.task_file), name)
        rows = read_documents(Path(options.documents), name)
        definition, documents = with_documents(config, rows, options.n, name)
        source = Path(options.documents).name
    n = sum(len(rows) for splits in documents.values() for rows in splits.values())
    report(f"{name}: {n} documents of {len(documents)} task(s)")
    write_samples(
        folder,
        KIND,
        questions.records(definition, documents, source, options.licence),
        name=name,
        description=f"Language task {source}.",
        attribution=[Attribution(source, source, options.authors, options.licence, f"task {source}")],
        options=options.model_dump(),
        family="harness",
        version=VERSION,
        packages={"lm_eval": installed_version("lm_eval") or ""},
    )


def _of_the_harness(
    task: str, n: int | None, name: str, report: Report
) -> tuple[dict[str, Any], dict[str, dict[str, list[dict[str, Any]]]]]:
    """Definition and documents of a task or group; its data set is fetched from where the harness says."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager()
    if task not in manager.all_tasks:
        raise DatasetError(f"{name}: {unknown('task of the harness', task, manager.all_tasks)}")
    report(f"{name}: fetching the data of {task}")
    try:
        loaded = manager.load([task])
    except Exception as error:  # whatever the hub's client raises: no network, gated, moved
        raise DatasetError(
            f"{name}: the data of task {task!r} cannot be fetched ({str(error)[:300]}). Build it on a machine with a "
            "network, or check that its data set is still there."
        ) from error
    tasks = loaded["tasks"]
    for other in tasks.values():
        if getattr(other, "MULTIMODAL", False) or getattr(other, "UNSAFE_CODE", False):
            raise DatasetError(f"{name}: task {other.task_name!r} reads images or runs code; choose another one.")
        if not hasattr(other.config, "test_split"):
            raise DatasetError(f"{name}: task {other.task_name!r} is a program of its own; choose another one.")
    documents = {str(other.task_name): dict(_documents(other, n)) for other in tasks.values()}
    definition = {"name": task, "folders": _folders(manager, [task, *loaded.get("groups", {}), *documents])}
    return definition, documents


def _documents(task: Any, n: int | None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Parts of a task's data set that it reads; of the part that is asked, the first n."""
    asked = task.config.test_split or task.config.validation_split
    for split in questions.splits_of(task):
        data = task.dataset[split]
        count = min(len(data), n) if n is not None and split == asked else len(data)
        yield split, [_plain(data[i]) for i in range(count)]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """The row with dates and the like as text."""
    return json.loads(json.dumps(row, default=str, ensure_ascii=False))


def _folders(manager: Any, names: list[str]) -> list[str]:
    """Folders of the harness that hold the files of these tasks, relative to its own."""
    base = questions.harness_folder()
    paths = [entry.yaml_path for name in names if (entry := manager.task_index.get(name)) is not None]
    return sorted({str(Path(path).parent.relative_to(base)) for path in paths if path is not None})


def read_documents(path: Path, name: str) -> list[dict[str, Any]]:
    """Objects of a .jsonl file.

    Raises
    ------
    DatasetError
        Names file and line.
    """
    where = f"{name}: {path}"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{where}: cannot be read ({error.strerror}); check options.documents.") from error
    rows = [row for _, row in json_lines(decoded(data, where), where)]
    if not rows:
        raise DatasetError(f"{where}: no documents; write one JSON object per line.")
    return rows
