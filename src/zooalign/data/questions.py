"""Tasks of the evaluation harness as datasets: their documents are stored, and a task is made of them again.

EleutherAI's lm-evaluation-harness loads a task together with its data, from the hub. Here the documents are fetched
once, where the network is, and stored like every other dataset; jobs read them without a network.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.data.records import Question
from zooalign.errors import DatasetError

if TYPE_CHECKING:
    from zooalign.data.samples import Samples

# Split of the one record per dataset that says which task its documents belong to.
DEFINITION = "definition"

Documents = Mapping[str, Mapping[str, Iterable[dict[str, Any]]]]  # by task and split


def records(definition: Mapping[str, Any], documents: Documents, source: str, licence: str) -> Iterator[Question]:
    """What `write_samples` takes: the definition, then every document in its order.

    Parameters
    ----------
    definition : mapping
        `{"name": ..., "folders": [...]}` of a task or group of the harness, folders below its own, or
        `{"config": {...}}`, the content of a task file.
    documents : mapping
        JSON-able documents by task and split.
    source, licence : str
        Of all of them.

    Raises
    ------
    DatasetError
        For a document that is no JSON (a date, not-a-number); names it.
    """
    first = next(iter(documents), "task")
    yield Question("definition", first, DEFINITION, json.dumps(definition, sort_keys=True), source, licence)
    for task, splits in documents.items():
        for split, rows in splits.items():
            for number, row in enumerate(rows):
                name = f"{task}/{split}/{number:06d}"
                try:
                    text = json.dumps(row, ensure_ascii=False, allow_nan=False)
                except (TypeError, ValueError) as error:
                    raise DatasetError(f"{source}, document {name}: cannot be kept as JSON ({error}).") from error
                yield Question(name, task, split, text, source, licence)


def open_tasks(samples: Samples) -> dict[str, Any]:
    """Tasks of the harness that read their documents from a dataset.

    Parameters
    ----------
    samples : Samples
        Of kind "questions".

    Returns
    -------
    dict
        `lm_eval.api.task.Task` by name: one, or those of a group.

    Raises
    ------
    DatasetError
        If the harness cannot make the task of them; names the dataset.
    """
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
    definition: dict[str, Any] = {}
    for task, split, text in zip(samples.tasks, samples.splits, samples.documents, strict=True):
        if split == DEFINITION:
            definition = json.loads(text)
        else:
            rows.setdefault(task, {}).setdefault(split, []).append(json.loads(text))
    try:
        with reading_from(rows), sandboxed():
            return load(definition)
    except DatasetError:
        raise
    except Exception as error:  # whatever a template, a missing field or another version of the harness raises
        raise DatasetError(
            f"dataset {samples.name!r}: the harness cannot make its task of the stored documents "
            f"({type(error).__name__}: {str(error)[:300]}). Check the task file, or build the dataset again."
        ) from error


def load(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Tasks by name, with whatever data their definition says."""
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks import TaskManager

    if "config" in definition:
        task = ConfigurableTask(config=dict(definition["config"]))
        return {str(task.config.task): task}
    folders = [harness_folder() / folder for folder in definition["folders"]]
    # All 14,000 tasks are looked through where no folder is named, which takes seconds.
    manager = TaskManager(include_path=folders or None, include_defaults=not folders)  # pyright: ignore
    return dict(manager.load([definition["name"]])["tasks"])


def harness_folder() -> Path:
    """Where the tasks of the installed harness lie."""
    import lm_eval.tasks

    return Path(lm_eval.tasks.__file__).parent


@contextmanager
def reading_from(rows: Mapping[str, Mapping[str, list[dict[str, Any]]]]) -> Iterator[None]:
    """Let tasks that are made inside take these documents, by task and split, instead of fetching any.

    The harness has no other way that also reaches the tasks of a group: a task calls `download` while it is made.
    """
    import datasets
    from lm_eval.api.task import ConfigurableTask

    def download(task: Any, *_: Any, **__: Any) -> None:
        stored = rows.get(str(task.config.task), {})
        task.dataset = datasets.DatasetDict({k: datasets.Dataset.from_list(v) for k, v in stored.items()})

    own = ConfigurableTask.download
    ConfigurableTask.download = download  # pyright: ignore
    try:
        yield
    finally:
        ConfigurableTask.download = own


@contextmanager
def sandboxed() -> Iterator[None]:
    """Let the templates of tasks reach nothing but their documents: a task file is data, and runs no code."""
    import lm_eval.utils
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    own = lm_eval.utils.env
    safe = ImmutableSandboxedEnvironment(
        loader=own.loader, undefined=own.undefined, keep_trailing_newline=own.keep_trailing_newline
    )
    safe.filters.update(own.filters)
    lm_eval.utils.env = safe
    try:
        yield
    finally:
        lm_eval.utils.env = own


def splits_of(task: Any) -> list[str]:
    """Names of the parts of its data set that a task reads."""
    config = task.config
    few_shot = getattr(config.fewshot_config, "split", None)
    named = (config.training_split, config.validation_split, config.test_split, config.fewshot_split, few_shot)
    return list(dict.fromkeys(name for name in named if name))
