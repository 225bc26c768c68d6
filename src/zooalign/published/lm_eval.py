"""Results of EleutherAI's lm-evaluation-harness, old and new, and of the first Open LLM Leaderboard's runs of it."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from zooalign.errors import ConfigError
from zooalign.published._files import Record
from zooalign.published._results import Published, Reading, Result, capability_id, fraction, mapping, number

# What stands beside metrics.
_OTHER = ("alias", "name", "sample_len", "sample_count", "samples")
_ACCURACIES = re.compile(r"acc|acc_\w+|\w+_acc|exact_match|em|mc[12]|pass@\d+|pass_at_\d+")
# Directions where a file states none, as old ones; other metrics of these are left out.
_HIGHER = re.compile(r"f1|mcc|bleu\w*|chrf|rouge\w*|contains|exact")
_LOWER = re.compile(r"\w*perplexity|bits_per_byte|brier_score|ter|wer")
_UNITS = {"bits_per_byte": "bits/byte"}
# As the harness names a model, the most telling first: an adapter makes another model of the one it is put on.
_NAMES = ("peft", "delta", "pretrained", "model", "path", "engine")
# Arguments that load weights which somebody quantised.
_PACKED = ("autogptq", "gptqmodel", "gguf_file")


def recognises(keys: AbstractSet[str]) -> bool:
    """Whether an object with these keys is a file of results."""
    return "results" in keys and bool(keys & {"config", "config_general", "model_name", "versions"})


def read(records: Sequence[Record]) -> Reading:
    """Read every metric of every task: `{task}_{metric}`, `{task}_{n}shot_{metric}` with examples in the prompt.

    Returns
    -------
    Reading
        Accuracies and exact matches are fractions with unit accuracy; another metric has its own name as unit. A run
        with a chat template is another capability, `{task}_chat_{metric}`.

    Raises
    ------
    ConfigError
        For a run that does not say which model it is of, or an accuracy that is no fraction.
    """
    results, remarks, unclear = [], [], set()
    for values, where in records:
        model = _model(values, where)
        remarks += [f"{where}: {part}" for part in _in_part(values)]
        for task, metrics in mapping(values["results"], "results", where).items():
            if metrics is None or (task == "all" and "config_general" in values):
                continue
            for key, value in mapping(metrics, f"results of {task!r}", where).items():
                metric = key.partition(",")[0]
                if metric in _OTHER or metric.endswith("_stderr") or not _is_number(value):
                    continue
                result = _result(model, values, task, key, where)
                if result is None:
                    unclear.add(metric)
                else:
                    results.append(result)
    versions: dict[str, set[str]] = defaultdict(set)
    for task, version in (pair for values, _ in records for pair in _pairs(values.get("versions"))):
        versions[task].add(str(version)[:40])
    for task in (task for task, known in versions.items() if len(known) > 1):
        remarks.append(f"{task} was run in versions {', '.join(sorted(versions[task]))}, which may differ")
    if unclear:
        remarks.append(f"left out, because no file says whether more is better: {', '.join(sorted(unclear))}")
    return Reading(results, tuple(remarks))


def _in_part(run: Mapping[str, Any]) -> list[str]:
    """Tasks that were run on a part of their samples, as for a trial."""
    tasks = [
        task
        for task, _ in _pairs(run.get("n-samples"))
        if _inside(run, "n-samples", task, "effective") != _inside(run, "n-samples", task, "original")
    ]
    return [f"run on a part of the samples (--limit): {', '.join(tasks)}"] if tasks else []


def _result(model: Published, run: Mapping[str, Any], task: str, key: str, where: str) -> Result | None:
    """A metric of a task; None where nothing says which direction is better."""
    metrics = run["results"][task]
    metric, _, how = key.partition(",")
    better = _inside(run, "higher_is_better", task, metric)
    accuracy = _ACCURACIES.fullmatch(metric) is not None
    if not isinstance(better, bool):
        if not (accuracy or _HIGHER.fullmatch(metric) or _LOWER.fullmatch(metric)):
            return None
        better = _LOWER.fullmatch(metric) is None
    what = f"{key!r} of {task!r}"
    value = fraction(metrics[key], what, where) if accuracy else number(metrics[key], what, where)
    if value is None:
        return None
    stated = metrics.get(f"{metric}_stderr,{how}" if how else f"{metric}_stderr")
    # "N/A" or NaN where it is not known.
    known = _is_number(stated) and stated == stated
    error = number(stated, f"standard error of {what}", where) if known else None
    error = math.nan if error is None else error
    if error < 0:
        raise ConfigError(f"{where}: the standard error of {what} is {error:g}; it cannot be negative.")
    name, shots = _task(run, task)
    asked = [f"{shots}shot" if shots else "", "chat" if run.get("chat_template") else ""]
    capability = capability_id(name, *asked, metric, "" if how == "none" else how)
    n = _inside(run, "n-samples", task, "effective")
    unit = "accuracy" if accuracy else _UNITS.get(metric, metric)
    return Result(
        model, capability, value, unit, where, error, better, n if isinstance(n, int) and n > 0 else 0
    )  # fmt: skip


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _pairs(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, Mapping) else []


def _inside(run: Mapping[str, Any], *keys: str) -> Any:
    value: Any = run
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _task(run: Mapping[str, Any], task: str) -> tuple[str, int]:
    """Name of a task, and how many examples stand in its prompt."""
    parts = task.split("|")  # lighteval: harness|arc:challenge|25
    if len(parts) >= 3 and parts[2].isdigit():
        return parts[1], int(parts[2][:4])
    shots = _inside(run, "n-shot", task)
    if shots is None:
        shots = _inside(run, "config", "num_fewshot")
    return task, shots if isinstance(shots, int) else 0


def _model(run: Mapping[str, Any], where: str) -> Published:
    """The model of a run; what changes it (adapter, quantisation, revision) is part of it."""
    arguments = _arguments(_inside(run, "config", "model_args"))
    stated = [arguments.get(key) for key in _NAMES]
    names = [*stated, run.get("model_name"), _inside(run, "config_general", "model_name")]
    name = next((name for name in names if isinstance(name, str) and name.strip()), None)
    if name is None:
        raise ConfigError(
            f"{where}: does not say which model it is of (model_name, or pretrained=... in config.model_args). "
            "Add model_name."
        )
    bits = [b for b in ("4bit", "8bit") if str(arguments.get(f"load_in_{b}")).lower() == "true"]
    packed = [key for key in _PACKED if arguments.get(key) not in (None, "False", False)]
    precision = str(arguments.get("dtype") or _inside(run, "config", "model_dtype") or "").removeprefix("torch.")
    revision = str(arguments.get("revision") or "main")
    return Published(
        name.strip(), "language", precision=precision, quantisation=next(iter([*bits, *packed]), None),
        revision="" if revision == "main" else revision,
    )  # fmt: skip


def _arguments(value: Any) -> dict[str, Any]:
    """Arguments of a model, from `a=b,c=d` or from an object."""
    if isinstance(value, Mapping):
        return dict(value)
    pairs = [part.partition("=") for part in str(value or "").split(",")]
    return {key.strip(): text.strip() for key, _, text in pairs}
