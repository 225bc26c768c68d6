"""CLIP_benchmark's results: one JSON per run, lists of them, and the benchmark.csv that it builds."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from zooalign.errors import ConfigError
from zooalign.published._files import Record
from zooalign.published._results import (
    Published,
    Reading,
    Result,
    capability_id,
    clip,
    fraction,
    mapping,
    number,
    shown,
)

_METRICS = re.compile(
    r"(lp_)?(acc1|acc5|mean_per_class_recall|mean_average_precision)|(image|text)_retrieval_recall@\d+"
)
_UNITS = {"acc1": "accuracy", "acc5": "accuracy", "mean_average_precision": "mean average precision"}
_TASKS = {"linear_probe": "probe", "zeroshot_classification": "zeroshot", "zeroshot_retrieval": ""}
# A probe is trained with several of these; the published figure is that of the best.
_TRAINING = ("lr", "epochs", "bs", "weight_decay")


def recognises(keys: AbstractSet[str]) -> bool:
    """Whether an object or a table with these keys is a result of CLIP_benchmark."""
    model = {"model", "pretrained"} <= keys or "model_fullname" in keys
    measured = "metrics" in keys or any(_METRICS.fullmatch(key) for key in keys)
    return model and measured and bool({"dataset", "downstream_dataset"} & keys)


def read(records: Sequence[Record]) -> Reading:
    """Read runs: `{dataset}_probe`, `{dataset}_zeroshot`, with the metric behind where it is not top-1 accuracy.

    Returns
    -------
    Reading
        Fractions. Of probes that differ in learning rate, epochs, batch size or weight decay alone, the one with the
        best top-1 accuracy counts, as in CLIP_benchmark's own means; it is chosen on the test set.

    Raises
    ------
    ConfigError
        For a run without dataset or model, a metric that is no fraction, or an unknown task.
    """
    runs: dict[tuple[Published, str, Any], dict[Any, list[Result]]] = defaultdict(dict)
    twice: list[Result] = []
    remarks: list[str] = []
    for values, where in records:
        flat = {**values, **mapping(values.get("metrics", {}), "metrics", where)}
        model = _model(flat, where)
        # Top-1 accuracy first: it decides which of several trials counts.
        metrics = sorted((key for key in flat if _METRICS.fullmatch(key)), key=lambda key: not key.endswith("acc1"))
        results = [r for key in metrics for r in _result(model, key, flat, where)]
        if not results:
            remarks.append(f"{where}: no metric that is read here; {', '.join(map(shown, list(flat)[:8]))}")
            continue
        training = tuple(str(flat.get(key)) for key in _TRAINING)
        trials = runs[model, results[0].capability, str(flat.get("seed"))]
        if training in trials:
            twice += results
        else:
            trials[training] = results
    best = [max(trials.values(), key=lambda results: results[0].value) for trials in runs.values()]
    chosen = sum(len(trials) > 1 for trials in runs.values())
    if chosen:
        remarks.append(f"{chosen} probes were trained with several settings: the best on the test set counts")
    return Reading([*(r for results in best for r in results), *twice], tuple(remarks))


def _model(flat: Mapping[str, Any], where: str) -> Published:
    full = str(flat.get("model_fullname") or flat.get("model_short") or "")
    architecture, _, tag = full.partition(" ")
    model, pretrained = flat.get("model") or architecture, flat.get("pretrained") or tag
    # Their scripts cut off the activation in `model`, not here.
    return clip(architecture if architecture == f"{model}-quickgelu" else model, pretrained, where)


def _result(model: Published, key: str, flat: Mapping[str, Any], where: str) -> list[Result]:
    """The value of a metric, or none where a data set has too few classes for it."""
    metric = key.removeprefix("lp_")
    # json.dump writes NaN for the top-5 accuracy of fewer classes than that.
    if metric == "acc5" and str(flat[key]).lower() == "nan":
        return []
    value = fraction(flat[key], key, where)
    if value is None:
        return []
    dataset = str(flat.get("dataset") or flat.get("downstream_dataset") or "").removeprefix("wds/")
    task = str(flat.get("task") or ("linear_probe" if key.startswith("lp_") else "zeroshot_classification"))
    if not dataset or task not in _TASKS:
        what = f"the task {task[:40]!r} is unknown ({', '.join(_TASKS)})" if dataset else "the dataset is missing"
        raise ConfigError(f"{where}: {what}. Correct or delete the run.")
    # -1: the whole training set.
    shots, language = number(flat.get("fewshot_k"), "fewshot_k", where) or -1, str(flat.get("language") or "en")
    capability = capability_id(
        dataset,
        _TASKS[task],
        f"{shots:.0f}shot" if task == "linear_probe" and shots > 0 else "",
        "" if language == "en" else language,
        "" if metric == "acc1" else metric,
    )
    return [Result(model, capability, value, _UNITS.get(metric, "recall"), where)]
