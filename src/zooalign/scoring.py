"""Score two models against each other in one call: arrays, files or stores in, every layer pair out.

A researcher scores a model in training against a stored one in two lines::

    import zooalign
    print(zooalign.score(hidden_states, "results/features/pictures/efficientnet_lite0.zarr"))
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zooalign import metrics
from zooalign.errors import ConfigError, MetricError, StoreError, unknown
from zooalign.indexing import Index, build_index
from zooalign.preparation import Preparation
from zooalign.scoring_inputs import load


@dataclass(frozen=True)
class Scores:
    """Scores of all layer pairs of two models under one or several metrics.

    Attributes
    ----------
    scores : dict of str to ndarray of float64, shape (Lx, Ly)
        By label: "mutual_knn@10", or the bare name for a metric without k. A row per layer of x.
    best : dict of str to dict
        By label: score, layer_x, layer_y (positions), layer_name_x, layer_name_y, chance.
    settings : dict
        Everything that determines the values.
    null : dict of str to dict
        By label: see :meth:`zooalign.inference.Null.settings`; empty unless asked for.
    interval : dict of str to list of dict
        By label: the intervals at the best layer pair; empty unless asked for.
    """

    scores: dict[str, np.ndarray]
    best: dict[str, dict[str, Any]]
    settings: dict[str, Any]
    null: dict[str, dict[str, Any]] = field(default_factory=dict)
    interval: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values; an undefined score (NaN) is null.

        Returns
        -------
        dict
            Keys "scores", "best", "settings", and "null" and "interval" where there are any.
        """
        found: dict[str, Any] = {
            "scores": {name: _json_rows(values) for name, values in self.scores.items()},
            "best": self.best,
            "settings": self.settings,
        }
        if self.null:
            found["null"] = self.null
        if self.interval:
            found["interval"] = self.interval
        return found

    def __str__(self) -> str:
        """Table of the best layer pair under every metric."""
        head = ["metric", "score", "layer of x", "layer of y", "chance"]
        rows = []
        for name, best in self.best.items():
            chance = "-" if best["chance"] is None else f"{best['chance']:.4f}"
            row = [name, f"{best['score']:.4f}", best["layer_name_x"], best["layer_name_y"], chance]
            if self.null:
                row += [f"{self.null[name]['p_value']:.4f}", f"{self.null[name]['calibrated']:.4f}"]
            if self.interval:
                last = self.interval.get(name, [])[-1:]
                row += [f"{i['low']:.4f} ... {i['high']:.4f}" for i in last] or ["-"]
            rows.append(row)
        head += ["p", "calibrated"] if self.null else []
        head += [f"{self.settings['level']:.0%} interval"] if self.interval else []
        table = [head, *rows]
        widths = [max(len(row[c]) for row in table) for c in range(len(head))]
        return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)).rstrip() for r in table)


def score(
    x: Any,
    y: Any,
    metric: str | Sequence[str] = "mutual_knn",
    k: int | Sequence[int] = 10,
    *,
    prepare: Preparation | Mapping[str, Any] | str | None = None,
    null: int = 0,
    bootstrap: int = 0,
    alpha: float = 0.05,
    level: float = 0.95,
    seed: int = 0,
    keep: str | Path | None = None,
) -> Scores:
    """Score every layer of x against every layer of y.

    Parameters
    ----------
    x, y : array, sequence of arrays, mapping of arrays, Index, str or Path
        numpy or torch, (n, layers, d) or (n, d) for one layer, or one (n, d_l) per layer; a .npy or .npz file
        (`file.npz:name` picks an array of several; otherwise each (n, d) array is a layer); a feature store or
        a stored index. Sample i must be the same thing in both: stores are checked by id.
    metric : str or sequence of str
        Names, or a comma-separated string; "mutual_knn@20" fixes k for one.
    k : int or sequence of int
        Neighbours, for the metrics that take them.
    prepare : Preparation, mapping or str, optional
        "clamp_quantile=1,normalise=none"; default the published preparation.
    null : int
        Permutations of the permutation null; 0 for none.
    bootstrap : int
        Resamples of the query bootstrap; with neighbour metrics the split-half interval too. 0 for none.
    alpha, level : float
        Level of the null's threshold and coverage of the intervals.
    seed : int
        Of permutations, resamples and splits.
    keep : path, optional
        File in which finished permutations are kept: an interrupted call with the same arguments goes on from there.

    Returns
    -------
    Scores
        Prints as a table.

    Raises
    ------
    FeatureError
        For features that cannot be used; names the layer and the sample.
    MetricError
        For an unknown metric, a k out of range, or samples that differ.
    ConfigError, StoreError
        For a setting, or a file, that cannot be used.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((100, 3, 16))
    >>> found = score(x, x[:, 1] + 0.1 * rng.standard_normal((100, 16)), "mutual_knn,cka", k=5)
    >>> found.best["cka"]["layer_x"], found.scores["mutual_knn@5"].shape
    (1, (3, 1))
    """
    asked = _asked(metric, k)
    settings = _preparation(prepare)
    depth = max([length or 1 for _, length in asked])
    sides = _indexes(x, y, settings, depth * 5 if bootstrap else depth, metrics.needs([name for name, _ in asked]))
    metrics.check_pair(*sides)
    found = Scores({}, {}, _settings(sides, asked, settings, null, bootstrap, alpha, level, seed))
    for name, length in asked:
        label = metrics.label(name, length)
        module = metrics.get(name)
        values = module.matrix(*sides, length)
        found.scores[label] = values
        top, row, column = metrics.best(values)
        found.best[label] = {
            "score": top,
            "layer_x": row,
            "layer_y": column,
            "layer_name_x": sides[0].layer_names[row],
            "layer_name_y": sides[1].layer_names[column],
            "chance": module.chance(sides[0].n, length),
        }
        _infer(found, sides, name, length, label, row, column, None if keep is None else Path(keep))
    return found


def score_command(
    x: str,
    y: str,
    *,
    metric: str = "mutual_knn",
    k: str = "10",
    prepare: str | None = None,
    null: int = 0,
    bootstrap: int = 0,
    alpha: float = 0.05,
    level: float = 0.95,
    seed: int = 0,
    json_file: str | None = None,
    keep: str | None = None,
) -> str:
    """`zooalign score X Y`: the table of best layer pairs, everything as JSON on request.

    Parameters
    ----------
    x, y : str
        Files or stores, as :func:`score`.
    metric, k : str
        Comma-separated.
    prepare : str, optional
        "key=value,..." of the preparation.
    null, bootstrap, alpha, level, seed
        As :func:`score`.
    json_file : str, optional
        Where to write everything; replaced in one step.
    keep : str, optional
        As :func:`score`; removed when the scores are there.

    Returns
    -------
    str
        The table to print.

    Raises
    ------
    ZooalignError
        As :func:`score`; ConfigError for a k that is no number, StoreError for a file that cannot be written.
    """
    try:
        lengths = [int(part) for part in k.split(",") if part.strip()]
    except ValueError:
        raise ConfigError(f"k is {k!r}: give whole numbers, separated by commas.") from None
    found = score(
        x, y, metric, lengths, prepare=prepare, null=null, bootstrap=bootstrap, alpha=alpha, level=level, seed=seed,
        keep=keep,
    )  # fmt: skip
    if json_file is not None:
        _write(Path(json_file), json.dumps(found.as_dict(), indent=1, allow_nan=False) + "\n")
    if keep is not None:
        Path(keep).unlink(missing_ok=True)
    return str(found)


def _infer(
    found: Scores,
    sides: tuple[Index, Index],
    name: str,
    k: int | None,
    label: str,
    i: int,
    j: int,
    keep: Path | None,
) -> None:
    """Add the null and the intervals that were asked for at the best layer pair (i, j)."""
    from zooalign import inference

    asked, module = found.settings, metrics.get(name)
    if asked["null"]:
        result = inference.permutation_null(
            *sides, name, k, permutations=asked["null"], alpha=asked["alpha"], seed=asked["seed"], keep=keep
        )
        found.null[label] = {**result.settings(), "maxima": result.null.tolist()}
    if not asked["bootstrap"]:
        return
    intervals = []
    common = {"level": asked["level"], "seed": asked["seed"]}
    if module.HAS_TERMS:
        terms = module.terms(*sides, i, j, k)
        intervals.append(inference.query_bootstrap(terms, resamples=asked["bootstrap"], **common))
    lists_only = {"neighbors"} == module.NEEDS
    if k is not None and lists_only and 2 * k < sides[0].n and min(s.k_max for s in sides) >= 5 * k:
        intervals.append(inference.split_half(*sides, name, k, i, j, **common))
    found.interval[label] = [vars(interval) for interval in intervals]


def _asked(metric: str | Sequence[str], k: int | Sequence[int]) -> list[tuple[str, int | None]]:
    """Metrics with their k, unknown names refused before anything is read."""
    names = metric.split(",") if isinstance(metric, str) else list(metric)
    lengths = [k] if isinstance(k, (int, np.integer)) else list(k)
    asked: list[tuple[str, int | None]] = []
    for name in (n.strip() for n in names):
        bare, _, fixed = name.partition("@")
        if not metrics.get(bare).TAKES_K:
            asked.append((bare, None))
        elif fixed:
            if not fixed.isdigit():
                raise MetricError(f"{name!r}: after @ stands the number of neighbours, as in mutual_knn@10.")
            asked.append((bare, int(fixed)))
        else:
            asked += [(bare, length) for length in lengths]
    if not asked:
        raise MetricError(f"no metric to score: give one of {', '.join(metrics.names())}, and k where it takes one.")
    return list(dict.fromkeys(asked))


def _preparation(prepare: Preparation | Mapping[str, Any] | str | None) -> Preparation:
    if prepare is None:
        return Preparation()
    if isinstance(prepare, Preparation):
        return prepare
    if isinstance(prepare, str):
        pairs = [part.partition("=") for part in prepare.split(",") if part.strip()]
        prepare = {key.strip(): _value(text.strip()) for key, _, text in pairs}
    known = list(Preparation.__dataclass_fields__)
    for key in prepare:
        if key not in known:
            raise ConfigError(unknown("setting of the preparation", key, known))
    return Preparation(**prepare)


def _value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return float(text)
    except ValueError:
        return text


def _indexes(x: Any, y: Any, preparation: Preparation, k_max: int, needs: set[str]) -> tuple[Index, Index]:
    """Both sides as indexes; the ids of a store stand for an array beside it, which has none."""
    loaded = [load(side, name) for side, name in ((x, "x"), (y, "y"))]
    ids = next((ids for _, ids, _, _ in loaded if ids is not None), None)
    built = []
    for layers, own_ids, names, title in loaded:
        if isinstance(layers, Index):
            built.append(layers)
            continue
        n = len(layers[0]) if len(layers) else 0
        chosen = own_ids if own_ids is not None else (ids if ids is not None and len(ids) == n else None)
        built.append(build_index(layers, preparation, k_max, needs, sample_ids=chosen, layer_names=names, name=title))
    for index in built:
        if index.preparation != preparation.settings():
            raise ConfigError(
                f"the index {index.name} was prepared with {index.preparation}, not {preparation.settings()}: "
                "give the same settings, or score the features themselves."
            )
    return built[0], built[1]


def _settings(
    sides: tuple[Index, Index],
    asked: list[tuple[str, int | None]],
    preparation: Preparation,
    null: int,
    bootstrap: int,
    alpha: float,
    level: float,
    seed: int,
) -> dict[str, Any]:
    if null < 0 or bootstrap < 0:
        raise ConfigError(f"null = {null}, bootstrap = {bootstrap}: neither can be negative; 0 leaves it out.")
    return {
        "x": sides[0].name,
        "y": sides[1].name,
        "n": sides[0].n,
        "layers_x": sides[0].layer_names,
        "layers_y": sides[1].layer_names,
        "metrics": {metrics.label(name, k): metrics.get(name).VERSION for name, k in asked},
        "preparation": preparation.settings(),
        "null": null,
        "bootstrap": bootstrap,
        "alpha": alpha,
        "level": level,
        "seed": seed,
    }


def _json_rows(values: np.ndarray) -> list[list[float | None]]:
    return [[None if np.isnan(v) else float(v) for v in row] for row in values]


def _write(path: Path, text: str) -> None:
    staging = path.parent / f".{path.name}.staging-{os.getpid()}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staging.write_text(text)
        os.replace(staging, path)
    except OSError as error:
        staging.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {error}.") from error
