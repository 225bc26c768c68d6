"""What damage does to capability and to alignment: interventions of the manifest by dose, a curve per model and kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zooalign.config.intervention import Intervention
from zooalign.results.frames import CapabilityRow
from zooalign.results.means import OTHER, mean_over, partners, scores, select
from zooalign.results.populations import MIN_MODELS, trend
from zooalign.results.questions import measured

if TYPE_CHECKING:
    import pandas as pd

    from zooalign.config.manifest import ModelSpec
    from zooalign.results.findings import Findings

VERSION = 1  # part of the digest of what this module determines

NOISE, CUT, RESET, SHUFFLE = "weight noise", "blocks cut off", "blocks untrained", "shuffled input"
# What the dose of each kind is; the released model has dose 0.
DOSES = {
    NOISE: "deviation of the noise, in those of a matrix",
    CUT: "share of the layers that are cut off",
    RESET: "last blocks drawn anew",
    SHUFFLE: "1: shuffled",
}
# Fewer doses than this, that of the released model included, have no correlation.
MIN_DOSES = MIN_MODELS


class Point(NamedTuple):
    """A model on a curve; NaN where it has no value.

    Attributes
    ----------
    model : str
        The released model, of dose 0, or a variant of it.
    dose : float
        As `DOSES` says for the kind.
    capability : float
        In the unit of the curve's capability.
    alignment : float
        Mean score with the released models of the other modality.
    """

    model: str
    dose: float
    capability: float
    alignment: float


class Curve(NamedTuple):
    """What one kind of intervention does to one model.

    Attributes
    ----------
    dataset, base, modality, kind : str
        Dataset of the alignment, the released model, and one of `DOSES`.
    capability, unit : str
        Empty where no model of the curve has one.
    higher_is_better : bool
        Which way it counts.
    partners : int
        Models that alignment is the mean over.
    points : tuple of Point
        By dose, then model.
    dose_capability, dose_alignment, capability_alignment : float
        Spearman's rho; capability counts as better, so damage has a negative one. NaN for fewer than four points that
        have both values, or without variation.
    """

    dataset: str
    base: str
    modality: str
    kind: str
    capability: str
    unit: str
    higher_is_better: bool
    partners: int
    points: tuple[Point, ...]
    dose_capability: float
    dose_alignment: float
    capability_alignment: float


def kind_of(change: Intervention) -> str | None:
    """Kind of an intervention; None for one that changes several things at once, which is on no curve.

    Examples
    --------
    >>> kind_of(Intervention(weight_noise=0.2)), kind_of(Intervention(weight_noise=0.2, shuffle_input=True))
    ('weight noise', None)
    """
    set_keys = {
        NOISE: change.weight_noise, CUT: change.keep_blocks, RESET: change.reset_blocks, SHUFFLE: change.shuffle_input
    }  # fmt: skip
    kinds = [kind for kind, value in set_keys.items() if value]
    return kinds[0] if len(kinds) == 1 else None


def curves(findings: Findings) -> Iterator[Curve]:
    """Every curve of a sweep: by dataset, released model, kind and capability of its modality.

    A curve whose released model is not in the sweep lacks dose 0 (:func:`lacks` says so).
    """
    variants: dict[tuple[str, str], list[ModelSpec]] = {}
    for spec in findings.sweep.models:
        if spec.intervention is not None and (kind := kind_of(spec.intervention)):
            variants.setdefault((str(spec.variant_of), kind), []).append(spec)
    if not variants:
        return
    by_id = {spec.id: spec for spec in findings.sweep.models}
    values = measured(findings)
    for dataset in findings.shown.datasets:
        rows = select(findings.alignment, dataset, findings.metric, findings.k)
        pair_scores, layers = scores(rows), _layers(rows)
        for (base, kind), changed in sorted(variants.items()):
            modality = changed[0].modality
            others = partners(findings.models, modality, OTHER[modality], pair_scores)
            models = [*([by_id[base]] if base in by_id else []), *changed]
            doses = {m.id: _dose(m.intervention, layers.get(base), layers.get(m.id)) for m in models}
            means = {m.id: mean_over(m.id, others, pair_scores) for m in models}
            aligned = {name: mean.value for name, mean in means.items() if mean.complete and mean.value is not None}
            known = {name: own for name, own in values.items() if not own.keys().isdisjoint(doses)}
            for name in known or [""]:
                about = (dataset, base, modality, kind, name)
                yield _curve(about, known.get(name, {}), doses, aligned, len(others))


def lacks(findings: Findings) -> list[str]:
    """What is on no curve, or lacks its released model: a sentence each."""
    models = findings.sweep.models
    known = {spec.id for spec in models}
    several = [m.id for m in models if m.intervention is not None and kind_of(m.intervention) is None]
    orphans = sorted({m.variant_of for m in models if m.variant_of and m.variant_of not in known})
    found = [f"{base} is not in the sweep, so its curves lack dose 0: add it to `models`." for base in orphans]
    return found + [f"{', '.join(several)}: several changes at once, so on no curve."] * bool(several)


def _layers(rows: pd.DataFrame) -> dict[str, int]:
    """Number of layers of each model."""
    sides = [zip(rows[f"model_{side}"], rows[f"n_layers_{side}"], strict=True) for side in "xy"]
    return {str(model): int(n) for side in sides for model, n in side}


def _dose(change: Intervention | None, layers_released: int | None, layers_left: int | None) -> float:
    if change is None:
        return 0.0
    if change.weight_noise:
        return change.weight_noise
    if change.reset_blocks:
        return float(change.reset_blocks)
    if change.keep_blocks:
        return 1 - layers_left / layers_released if layers_left and layers_released else float("nan")
    return 1.0


def _curve(
    about: tuple[str, str, str, str, str],
    known: dict[str, CapabilityRow],
    doses: dict[str, float],
    aligned: dict[str, float],
    n_partners: int,
) -> Curve:
    nan = float("nan")
    points = [Point(m, dose, known[m].value if m in known else nan, aligned.get(m, nan)) for m, dose in doses.items()]
    points.sort(key=lambda point: (point.dose, point.model))
    first = next(iter(known.values()), None)
    up = first.higher_is_better if first else True
    dose, capability, alignment = np.array([point[1:] for point in points], dtype=float).T
    better = capability if up else -capability
    return Curve(
        *about, first.unit if first else "", up, n_partners, tuple(points),
        _spearman(dose, better), _spearman(dose, alignment), _spearman(better, alignment),
    )  # fmt: skip


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Of the points that have both values. Variants of one model are one family, so there is no interval."""
    both = np.isfinite(x) & np.isfinite(y)
    return trend(x[both], y[both], ["one"] * int(both.sum())).spearman


def n_points(points: Sequence[Point], *values: str) -> int:
    """Points that have all of some values ("dose", "capability", "alignment")."""
    return sum(all(np.isfinite(getattr(point, value)) for value in values) for point in points)


def said(curve: Curve) -> str:
    """The correlations of a curve in words, each with its number of points."""
    pairs: Iterable[tuple[str, float, tuple[str, str]]] = (
        ("dose and capability", curve.dose_capability, ("dose", "capability")),
        ("dose and alignment", curve.dose_alignment, ("dose", "alignment")),
        ("capability and alignment", curve.capability_alignment, ("capability", "alignment")),
    )
    known = [
        f"{name} {value:+.2f} (n = {n_points(curve.points, *of)})" for name, value, of in pairs if np.isfinite(value)
    ]
    n = n_points(curve.points, "dose")
    return f"Spearman of {', '.join(known)}" if known else f"no correlation (n = {n}; at least {MIN_DOSES} doses)"
