"""Task files: a language task of one's own in the harness's YAML, and documents that belong to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from zooalign.errors import DatasetError

# A part that a document without `split` belongs to, and what a task file without splits asks.
ASKED = "test"
_SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")


def read_task_file(path: Path, name: str) -> dict[str, Any]:
    """Definition of a task; `dataset_path` is not used, as documents come from elsewhere.

    Raises
    ------
    DatasetError
        If it cannot be read, has code (`!function`, `unsafe_code`, `class`) or an `include`, or no name.
    """
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"{name}: {path}: cannot be read ({error.strerror}); check options.task_file.") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        why = " ".join(str(error).split())[:200]
        raise DatasetError(f"{name}: {path}: {why}. A task file is plain YAML: no !function, no code.") from error
    if not isinstance(config, dict) or not isinstance(config.get("task"), str):
        raise DatasetError(f"{name}: {path}: `task` is missing; name the task there.")
    for key in ("class", "unsafe_code", "include", "group"):
        if key in config:
            raise DatasetError(f"{name}: {path}: {key!r} is not read from a task file; write the task out.")
    if not any(config.get(key) for key in _SPLITS):
        config["test_split"] = ASKED
    return config


def with_documents(
    config: dict[str, Any], rows: Sequence[dict[str, Any]], n: int | None, name: str
) -> tuple[dict[str, Any], dict[str, dict[str, list[dict[str, Any]]]]]:
    """Definition and documents as `questions.records` takes them.

    Parameters
    ----------
    config : dict
        As :func:`read_task_file` gives it.
    rows : sequence of dict
        Documents in order; a key `split` names the part they belong to.
    n : int or None
        First documents that are asked.
    name : str
        Dataset, for messages.

    Raises
    ------
    DatasetError
        If a part that the task reads has no documents.
    """
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        parts.setdefault(str(row.get("split", ASKED)), []).append(row)
    for key in _SPLITS:
        split = config.get(key)
        if split and split not in parts:
            raise DatasetError(f"{name}: no document has split {split!r}, which the task's {key} names.")
    asked = config.get("test_split") or config.get("validation_split")
    if asked and n is not None:
        parts[asked] = parts[asked][:n]
    return {"config": config}, {config["task"]: parts}
