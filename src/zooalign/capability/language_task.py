"""Language task: what a causal language model scores on a task of lm-evaluation-harness."""

from __future__ import annotations

import math
from typing import Any

from pydantic import Field

from zooalign.capability._likelihood import BatchOptions, check_subject
from zooalign.capability._record import CapabilityError, Measured
from zooalign.errors import unknown
from zooalign.progress import Report
from zooalign.provenance import package_versions
from zooalign.storage.journal import Journal

VERSION = 1
APPLIES_TO = "language"
CAUSAL_ONLY = True
NEEDS = "model"
KEEPS_JOURNAL = True
READS = ("questions",)
# Of a share of questions; a record of another metric says its own.
UNIT = "accuracy"
HIGHER_IS_BETTER = True

# Metrics that are a share of questions answered well.
_SHARES = ("acc", "acc_norm", "acc_bytes", "exact_match", "em", "f1")


class Options(BatchOptions):
    """Settings of a task; all but the two batch limits change the value."""

    metric: str | None = Field(
        default=None,
        description="Metric of the task, with its filter where it has several (`exact_match,strict-match`); "
        "null: the task's first. The record keeps all of them.",
    )
    num_fewshot: int | None = Field(
        default=None, ge=0, description="Answered examples in front of a question; null: as the task says."
    )
    limit: int | None = Field(default=None, ge=1, description="First questions of each task; null: all.")
    context: int = Field(
        default=2048, gt=1, description="Most tokens read; a model's own limit is kept if it is smaller."
    )
    seed: int = Field(default=1234, ge=0, description="Seed of the choice of examples.")


def measure(
    model: Any, samples: Any, options: Options, report: Report, journal: Journal | None = None
) -> dict[str, Any]:
    """Score of a causal language model on a task, or the mean over the questions of a group of tasks.

    Parameters
    ----------
    model : LanguageModel
        Causal; see `zooalign.models`.
    samples : Samples
        Of kind "questions".
    options : Options
        Metric, examples and limits.
    journal : Journal, optional
        Keeps finished batches, so that an interrupted measurement continues to the same value.

    Returns
    -------
    dict
        Fields of `CapabilityRecord` without model and digest. `value` and `standard_error` are those of the harness
        (of a group: weighted by questions, errors pooled); `details.metrics` holds every metric of every task and
        `details.questions` the chosen one question by question.

    Raises
    ------
    CapabilityError
        If the dataset has no questions, the model is not causal, the task lacks the metric (with the nearest
        names) or the examples that are asked for, or a question does not fit into memory.

    References
    ----------
    Gao et al., A framework for few-shot language model evaluation (EleutherAI, lm-evaluation-harness).
    """
    import lm_eval
    from lm_eval import evaluator

    from zooalign.capability._harness import HarnessModel
    from zooalign.data.questions import open_tasks, sandboxed

    check_subject("language_task", model, samples, READS)
    tasks = open_tasks(samples)
    # Before anything is asked: a misspelt metric must not cost hours.
    chosen, filtered = _chosen(options.metric, tasks, samples.name)
    for task in tasks.values():
        if options.num_fewshot is not None:
            _examples(task, options.num_fewshot, samples.name)
        task.set_fewshot_seed(options.seed)
    seen = HarnessModel(model, options, options.context, report, journal)
    with sandboxed():
        results: Any = evaluator.evaluate(
            lm=seen, task_dict={"tasks": tasks, "groups": {}, "group_map": {}}, limit=options.limit
        )
    if seen.truncated:
        report(f"{seen.truncated} questions are longer than {seen.context} tokens and lost their beginning")
    metrics = {name: _metrics(results["results"][name]) for name in tasks}
    parts = [_value(metrics[name][f"{chosen},{filtered}"]) for name in tasks]
    asked = {name: _by_question(results["samples"][name], chosen, filtered) for name in tasks}
    sizes = [len(values) for values in asked.values()]
    first = next(iter(tasks.values()))
    return Measured(
        capability="language_task",
        value=math.fsum(value * n for (value, _), n in zip(parts, sizes, strict=True)) / sum(sizes),
        standard_error=_pooled([error for _, error in parts], sizes),
        unit=UNIT if chosen in _SHARES else chosen,
        higher_is_better=bool(first.higher_is_better().get(chosen, HIGHER_IS_BETTER)),
        n=sum(sizes),
        details={"metrics": metrics, "questions": asked, "truncated": seen.truncated},
        settings={
            "version": VERSION,
            "dataset": samples.name,
            "dataset_digest": samples.digest,
            "metric": chosen,
            "filter": filtered,
            "num_fewshot": {name: task.config.num_fewshot or 0 for name, task in tasks.items()},
            "task_version": {name: str(task.VERSION) for name, task in tasks.items()},
            "limit": options.limit,
            "context": seen.context,
            "start_token": bool(seen.leading),
            "seed": options.seed,
            "harness": lm_eval.__version__,
        },
        versions=package_versions(("zooalign", "lm_eval", "torch", "transformers", "tokenizers", "numpy")),
    ).model_dump()


def _examples(task: Any, n: int, dataset: str) -> None:
    """Put n answered examples in front of every question of a task."""
    try:
        enough = n == 0 or len(list(task.fewshot_docs())) > n
    except (KeyError, TypeError):
        enough = False
    if not enough:
        raise CapabilityError(
            f"language_task: task {task.config.task!r} of dataset {dataset!r} has too few examples for "
            f"num_fewshot = {n}. Lower it."
        )
    task.set_config(key="num_fewshot", value=n)


def _pooled(errors: list[float | None], sizes: list[int]) -> float | None:
    """Standard error of a group's mean, as the harness pools those of its tasks."""
    from lm_eval.api.metrics import pooled_sample_stderr

    known = [error for error in errors if error is not None]
    if len(known) < len(errors):
        return None
    return known[0] if len(known) == 1 else float(pooled_sample_stderr(known, sizes))


def _value(metric: dict[str, float | None]) -> tuple[float, float | None]:
    value = metric["value"]
    assert value is not None
    return value, metric["standard_error"]


def _metrics(result: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    """Value and standard error by "metric,filter"."""
    found: dict[str, dict[str, float | None]] = {}
    for key, value in result.items():
        metric, _, filtered = key.partition(",")
        if filtered and not metric.endswith("_stderr") and isinstance(value, int | float):
            error = result.get(f"{metric}_stderr,{filtered}")
            known = float(error) if isinstance(error, int | float) and math.isfinite(error) else None
            found[key] = {"value": float(value), "standard_error": known}
    return found


def _chosen(wanted: str | None, tasks: dict[str, Any], dataset: str) -> tuple[str, str]:
    """Metric and filter that are the value, which every task has; the first task's first unless one is named."""
    choices = [
        [(metric, filtered.name) for metric in task.aggregation() for filtered in task._filters]
        for task in tasks.values()
    ]
    shared = [choice for choice in choices[0] if all(choice in other for other in choices)]
    for metric, filtered in shared:
        if wanted in (None, metric, f"{metric},{filtered}"):
            return metric, filtered
    names = [metric if filtered == "none" else f"{metric},{filtered}" for metric, filtered in shared]
    raise CapabilityError(f"language_task, dataset {dataset!r}: {unknown('metric', wanted or '(any)', names)}")


def _by_question(samples: list[dict[str, Any]], metric: str, filtered: str) -> list[float | None]:
    """The metric of each question, in their order; None where it is not made question by question."""
    chosen = sorted((s for s in samples if s["filter"] == filtered), key=lambda s: s["doc_id"])
    values = [s.get(metric) for s in chosen]
    return [float(v) if isinstance(v, int | float) else None for v in values]
