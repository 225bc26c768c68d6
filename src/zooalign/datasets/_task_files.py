"""Task files: a language task of one's own in the harness's YAML, and documents that belong to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zooalign.config.reading import read_yaml
from zooalign.errors import ConfigError, DatasetError, unknown

# A part that a document without `split` belongs to, and what a task file without splits asks.
ASKED = "test"
_SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")
# What the harness's definitions say that is data. The rest names code, or files that would be read elsewhere.
_KEYS = (
    "task", "task_alias", "tag", "output_type", *_SPLITS, "fewshot_config", "num_fewshot", "doc_to_text",
    "doc_to_target", "doc_to_choice", "description", "target_delimiter", "fewshot_delimiter", "gen_prefix",
    "generation_kwargs", "repeats", "metric_list", "filter_list", "metadata",
)  # fmt: skip
# Where the harness would fetch documents, which come from elsewhere here.
_NOT_USED = ("dataset_path", "dataset_name", "dataset_kwargs")


def read_task_file(path: Path, name: str) -> dict[str, Any]:
    """Definition of a task; `dataset_path` is not used, as documents come from elsewhere.

    Raises
    ------
    DatasetError
        If it cannot be read, names code (`!function`, `class`, a metric that the harness would fetch), has another
        key that is not data, or no name.
    """
    try:
        config = read_yaml(path)
    except ConfigError as error:
        raise DatasetError(f"{name}: {error} A task file is plain YAML: no !function, no code.") from error
    if not isinstance(config.get("task"), str):
        raise DatasetError(f"{name}: {path}: `task` is missing; name the task there.")
    config = {key: value for key, value in config.items() if key not in _NOT_USED}
    for key in config:
        if key not in _KEYS:
            raise DatasetError(f"{name}: {path}: {unknown('key of a task file', str(key), _KEYS)}")
    try:
        json.dumps(config, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{name}: {path}: {error}; write dates and the like in quotes.") from error
    _check_metrics(config.get("metric_list") or [], f"{name}: {path}")
    if not any(config.get(key) for key in _SPLITS):
        config["test_split"] = ASKED
    return config


def _check_metrics(metrics: Any, where: str) -> None:
    """Refuse what the harness would look for outside itself: `evaluate` runs scripts of the hub, and of folders."""
    from lm_eval.api import metrics as _registered  # noqa: F401
    from lm_eval.api.registry import metric_registry

    known = sorted(metric_registry)
    for metric in metrics if isinstance(metrics, list) else [metrics]:
        if not isinstance(metric, dict) or not isinstance(metric.get("metric"), str):
            raise DatasetError(f"{where}: metric_list is a list of objects with `metric`.")
        if metric.get("hf_evaluate") or metric["metric"] not in known:
            raise DatasetError(f"{where}: {unknown('metric of the harness', metric['metric'], known)}")


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
