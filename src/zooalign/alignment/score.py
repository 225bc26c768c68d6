"""Score two models against each other in one call: arrays, files or stores in, every layer pair out.

A researcher scores a model in training against a stored one in two lines::

    import zooalign
    print(zooalign.score(hidden_states, "results/features/pictures/efficientnet_lite0.zarr"))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zooalign import metrics
from zooalign.alignment.groups import Groups, duplicate_warning, given_groups
from zooalign.alignment.scores import Scores
from zooalign.alignment.sides import asked_metrics, index_sides, lists_and_needs, preparation_of
from zooalign.errors import ConfigError
from zooalign.indexes.index import Index
from zooalign.indexes.preparation import Preparation


def score(
    x: Any,
    y: Any,
    metric: str | Sequence[str] = "mutual_knn",
    k: int | Sequence[int] = 10,
    *,
    prepare: Preparation | Mapping[str, Any] | str | None = None,
    null: int = 0,
    splits: int = 0,
    groups: Sequence[Any] | np.ndarray | str | Path | None = None,
    alpha: float = 0.05,
    level: float = 0.95,
    seed: int = 0,
    keep: str | Path | None = None,
    part: str | None = None,
) -> Scores:
    """Score every layer of x against every layer of y.

    Parameters
    ----------
    x, y : array, sequence of arrays, mapping of arrays, Index, str or Path
        numpy or torch, (n, layers, d) or (n, d) for one layer, or one (n, d_l) per layer; a file,
        see :mod:`zooalign.alignment.files` (`file.npz:name` picks an array of several; otherwise each is a layer);
        a feature store or a stored index. Sample i must be the same thing in both: stores are checked by id.
    metric : str or sequence of str
        Names, or a comma-separated string; "mutual_knn@20" fixes k for one.
    k : int or sequence of int
        Neighbours, for the metrics that take them.
    prepare : Preparation, mapping or str, optional
        "clamp_quantile=1,normalise=none"; default the published preparation.
    null : int
        Permutations of the permutation null; 0 for none.
    splits : int
        Random splits into halves of the interval (100 are usual), 0 for none; see
        :func:`zooalign.alignment.intervals.split_half`. With several layers it is an interval of the best score over
        all layer pairs, as the score is.
    groups : sequence of labels, str or Path, optional
        Samples that belong together, a label per sample, or a file of them, see
        :func:`zooalign.alignment.groups.read_groups`. The null permutes whole groups of equal size, and halves are
        halves of the groups.
    alpha, level : float
        Level of the null's threshold and coverage of the intervals.
    seed : int
        Of permutations and splits.
    keep : path, optional
        File in which finished permutations are kept: an interrupted call with the same arguments goes on from there.
    part : str, optional
        "2/8": only the second of eight ranges of the layers of x; :func:`zooalign.alignment.parts.merge_parts` puts
        the parts together. Not with `splits`.

    Returns
    -------
    Scores
        Prints as a table.

    Raises
    ------
    FeatureError
        For features that cannot be used; names the layer and the sample.
    MetricError
        For an unknown metric, a k out of range, samples that differ, or groups that cannot be permuted.
    ConfigError, StoreError
        For a setting, or a file, that cannot be used.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((100, 3, 16))
    >>> scores = score(x, x[:, 1] + 0.1 * rng.standard_normal((100, 16)), "mutual_knn,cka", k=5)
    >>> scores.best["cka"]["layer_x"], scores.scores["mutual_knn@5"].shape
    (1, (3, 1))
    """
    if part is not None and splits:
        raise ConfigError("an interval is of the best score over all layers: leave out splits, or part.")
    asked = asked_metrics(metric, k)
    settings = preparation_of(prepare)
    from zooalign.alignment.intervals import list_length

    k_max, needs = lists_and_needs(asked)
    if null or splits:
        needs |= {"similarities"}  # shows near-duplicates
    if splits and "subspace" in needs:
        needs |= {"features"}  # of which the subspaces of halves are computed
    depth = max(length or 1 for _, length in asked)
    left, right = index_sides({"x": x, "y": y}, settings, list_length(depth) if splits else k_max, needs)
    if part is not None:
        from zooalign.alignment.parts import layers_of_part

        left = layers_of_part(left, part)
    sides = left, right
    metrics.check_pair(*sides)
    together = given_groups(groups, sides[0])
    scores = Scores({}, {}, _settings(sides, asked, settings, null, splits, together, alpha, level, seed))
    if part is not None:
        scores.settings["part"] = part
    if (null or splits) and together is None:
        scores.warnings.extend(duplicate_warning(*sides))
    if null and together is not None and together.fixed_samples():
        scores.warnings.append(
            f"{together.fixed_samples()} of {sides[0].n} samples are in groups whose size no other group has: the "
            "null leaves them paired, which makes it conservative."
        )
    for name, length in asked:
        label = metrics.label(name, length)
        module = metrics.get(name)
        values = module.matrix(*sides, length)
        scores.scores[label] = values
        top, row, column = metrics.best(values)
        tied_x, tied_y = metrics.tied_shares(name, *sides, row, column, length)
        scores.best[label] = {
            "score": top,
            "layer_x": row,
            "layer_y": column,
            "layer_name_x": sides[0].layer_names[row],
            "layer_name_y": sides[1].layer_names[column],
            "chance": module.chance(sides[0].n, length),
            "tied_x": tied_x,
            "tied_y": tied_y,
        }
        scores.warnings.extend(_tie_warnings(label, scores.best[label]))
        scores.warnings.extend(_order_warning(label, scores.best[label], sides, length))
        _infer(scores, sides, name, length, label, together, None if keep is None else Path(keep))
    return scores


def _tie_warnings(label: str, best: Mapping[str, Any]) -> list[str]:
    """A line if the best score is at a layer where many samples have tied neighbours."""
    many = [
        f"layer {best[f'layer_name_{side}']} of {side} for {best[f'tied_{side}']:.0%} of samples"
        for side in "xy"
        if (best[f"tied_{side}"] or 0.0) > metrics.MANY_TIES
    ]
    if not many:
        return []
    return [
        f"{label}: at {', '.join(many)} the nearest neighbours are tied, in an order that means nothing; a layer "
        "that sees few differences between samples wins easily. See docs/metrics.md, Neighbours."
    ]


def _order_warning(label: str, best: Mapping[str, Any], sides: tuple[Index, Index], k: int | None) -> list[str]:
    """A line if rows are paired by their number alone, and no layer pair is above chance."""
    n, chance = sides[0].n, best["chance"]
    by_number = [str(i) for i in range(n)]
    if not chance or any(side.sample_ids != by_number for side in sides) or not np.isfinite(best["score"]):
        return []
    # Of a mean over n lists of k neighbours, each there with probability `chance`.
    spread = float(np.sqrt(chance * (1 - chance) / (n * (k or 1))))
    if best["score"] > chance + 4 * spread:
        return []
    return [
        f"{label}: the best score of all layer pairs is at chance, and there are no ids: rows look shuffled: "
        "make sure that row i is the same sample on both sides."
    ]


def score_command(
    x: str,
    y: str,
    *,
    metric: str = "mutual_knn",
    k: str = "10",
    prepare: str | None = None,
    null: int = 0,
    splits: int = 0,
    groups: str | None = None,
    alpha: float = 0.05,
    level: float = 0.95,
    seed: int = 0,
    json_file: str | None = None,
    keep: str | None = None,
    part: str | None = None,
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
    null, splits, alpha, level, seed
        As :func:`score`.
    groups : str, optional
        File of group labels.
    json_file : str, optional
        Where to write everything; replaced in one step.
    keep : str, optional
        As :func:`score`; removed when the scores are there.
    part : str, optional
        As :func:`score`.

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
    scores = score(
        x, y, metric, lengths, prepare=prepare, null=null, splits=splits, groups=groups, alpha=alpha, level=level,
        seed=seed, keep=keep, part=part,
    )  # fmt: skip
    if json_file is not None:
        scores.write(json_file)
    if keep is not None:
        Path(keep).unlink(missing_ok=True)
    return str(scores)


def _infer(
    scores: Scores,
    sides: tuple[Index, Index],
    name: str,
    k: int | None,
    label: str,
    groups: Groups | None,
    keep: Path | None,
) -> None:
    """Add the null and the interval that were asked for."""
    from zooalign.alignment import inference, intervals

    asked = scores.settings
    if asked["null"]:
        result = inference.permutation_null(
            *sides, name, k, permutations=asked["null"], alpha=asked["alpha"], seed=asked["seed"], groups=groups,
            keep=keep,
        )  # fmt: skip
        scores.null[label] = {**result.settings(), "maxima": result.null.tolist()}
    if not asked["splits"]:
        return
    reason = intervals.no_interval(*sides, name, k)
    if reason is not None:
        scores.interval[label] = {"none": reason}
        return
    interval = intervals.split_half(
        *sides, name, k, splits=asked["splits"], groups=groups, level=asked["level"], seed=asked["seed"]
    )
    scores.interval[label] = vars(interval)


def _settings(
    sides: tuple[Index, Index],
    asked: list[tuple[str, int | None]],
    preparation: Preparation,
    null: int,
    splits: int,
    groups: Groups | None,
    alpha: float,
    level: float,
    seed: int,
) -> dict[str, Any]:
    if null < 0 or splits < 0:
        raise ConfigError(f"null = {null}, splits = {splits}: neither can be negative; 0 leaves it out.")
    return {
        "x": sides[0].name,
        "y": sides[1].name,
        "n": sides[0].n,
        "layers_x": sides[0].layer_names,
        "layers_y": sides[1].layer_names,
        "metrics": {metrics.label(name, k): metrics.get(name).VERSION for name, k in asked},
        "preparation": preparation.settings(),
        "null": null,
        "splits": splits,
        "groups": None if groups is None else groups.settings(),
        "alpha": alpha,
        "level": level,
        "seed": seed,
    }
