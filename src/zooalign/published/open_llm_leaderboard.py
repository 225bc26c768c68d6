"""The Open LLM Leaderboard's table, both versions: the data set `contents` as CSV, Parquet or JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from zooalign.errors import ConfigError
from zooalign.published._files import Record
from zooalign.published._results import Published, Reading, Result, capability_id, fraction

_TASKS = {
    "v1": ("ARC", "HellaSwag", "MMLU", "TruthfulQA", "Winogrande", "GSM8K"),
    "v2": ("IFEval", "BBH", "MATH Lvl 5", "GPQA", "MUSR", "MMLU-PRO"),
}
_NAMES = ("fullname", "model_name_for_query", "Model")
_LINK = re.compile(r'href="https://huggingface\.co/([^"/]+/[^"/]+)"')
_QUANTISED = ("4bit", "8bit", "gptq", "awq")


def recognises(keys: AbstractSet[str]) -> bool:
    """Whether a table with these columns is the leaderboard's."""
    return bool(keys & set(_NAMES)) and _version(keys) is not None


def _version(keys: AbstractSet[str]) -> str | None:
    return next((version for version, tasks in _TASKS.items() if len(keys & set(tasks)) >= 3), None)


def read(records: Sequence[Record]) -> Reading:
    """Read the columns of tasks and their mean, percent, as fractions: `open_llm_v2_ifeval`, `open_llm_v1_arc`.

    Returns
    -------
    Reading
        In version 2 these are rescaled so that guessing is 0; what was measured is `open_llm_v2_ifeval_raw`.

    Raises
    ------
    ConfigError
        For a row without the name of a model, or a value that is no percentage; names line and column.
    """
    results = []
    for values, where in records:
        model = _model(values, where)
        version = _version(values.keys()) or "v2"
        unit = "accuracy" if version == "v1" else "accuracy above chance"
        columns = [(task, unit, 100.0) for task in _TASKS[version]]
        columns += [(f"{task} Raw", "accuracy", 1.0) for task in _TASKS[version]]
        # "Average" with an arrow.
        columns += [(key, unit, 100.0) for key in values if re.fullmatch(r"Average\W*", key)]
        for column, unit, whole in columns:
            value = fraction(values.get(column), f"column {column!r}", where, whole)
            if value is not None:
                results.append(Result(model, capability_id("open_llm", version, column), value, unit, where))
    return Reading(results)


def _model(values: Mapping[str, Any], where: str) -> Published:
    texts = [str(values[key]).strip() for key in _NAMES if values.get(key)]
    if not texts:
        raise ConfigError(f"{where}: names no model ({', '.join(_NAMES)}). Correct or delete the row.")
    link = _LINK.search(texts[0])
    precision = str(values.get("Precision") or "").removeprefix("torch.")
    quantised = precision.lower() in _QUANTISED
    return Published(
        link.group(1) if link else texts[0], "language",
        precision="" if quantised else precision, quantisation=precision.lower() if quantised else None,
    )  # fmt: skip
