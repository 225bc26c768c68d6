"""Populations of models that the tags of the manifest define, and whether alignment grows with capability in one.

Models of one family are not independent, so an interval resamples families as wholes (clustered bootstrap: Davison
and Hinkley 1997, section 3.8). Random controls are in no population; interventions have one of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from zooalign.config.manifest import ModelSpec

VERSION = 1  # part of the digest of what this module determines

# Fewer models than this have no correlation; fewer families no interval.
MIN_MODELS, MIN_FAMILIES = 4, 5
REPLICATES, SEED, LEVEL = 2000, 0, 0.95

RELEASED, WITH_INTERVENTIONS = "released", "released and interventions"
UNIMODAL, CROSS_MODAL = "not trained with the other modality", "trained with the other modality"


class Trend(NamedTuple):
    """How capability and alignment go together; NaN where there are too few models or families, or no variation.

    Attributes
    ----------
    n, families : int
        Models, and families that they are from.
    spearman, pearson : float
        -1 to 1; positive: better models are aligned more.
    low, high : float
        95 % interval of `spearman`.
    """

    n: int
    families: int
    spearman: float
    low: float
    high: float
    pearson: float

    def __str__(self) -> str:
        """A sentence that claims no more than the interval does.

        Examples
        --------
        >>> str(Trend(3, 2, np.nan, np.nan, np.nan, np.nan))
        'too few models for a correlation (3; at least 4)'
        >>> str(Trend(20, 8, 0.61, 0.25, 0.83, 0.58))
        'better models are aligned more: Spearman +0.61 [+0.25, +0.83], 20 models of 8 families'
        """
        if self.n < MIN_MODELS:
            return f"too few models for a correlation ({self.n}; at least {MIN_MODELS})"
        if not np.isfinite(self.spearman):
            return f"no correlation: all {self.n} models have the same capability or alignment"
        of = f"{self.n} models of {self.families} {'family' if self.families == 1 else 'families'}"
        if not np.isfinite(self.low):
            return f"Spearman {self.spearman:+.2f}, {of}: too few families for an interval (at least {MIN_FAMILIES})"
        said = "no trend that its interval supports"
        if self.low > 0:
            said = "better models are aligned more"
        if self.high < 0:
            said = "better models are aligned less"
        return f"{said}: Spearman {self.spearman:+.2f} [{self.low:+.2f}, {self.high:+.2f}], {of}"


def trend(capability: np.ndarray, alignment: np.ndarray, families: Sequence[str], seed: int = SEED) -> Trend:
    """Rank correlation of capability and alignment, with an interval that resamples families.

    Parameters
    ----------
    capability, alignment : array, shape (n,)
        Higher is better, whatever the unit.
    families : sequence of str, length n
        Family of each model.
    seed : int
        Of the resampling.
    """
    capability, alignment = np.asarray(capability, float), np.asarray(alignment, float)
    names, member = np.unique(np.asarray(families, dtype=str), return_inverse=True)
    n, nan = len(capability), float("nan")
    if n < MIN_MODELS:
        return Trend(n, len(names), nan, nan, nan, nan)
    once = np.ones((1, n))
    spearman = float(_spearman(capability, alignment, once)[0])
    pearson = float(_pearson(capability[None], alignment[None], once)[0])
    if not np.isfinite(spearman) or len(names) < MIN_FAMILIES:
        return Trend(n, len(names), spearman, nan, nan, pearson)
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=REPLICATES)
    replicates = _spearman(capability, alignment, drawn[:, member].astype(float))
    tail = (1 - LEVEL) / 2
    # A replicate of one family over and over may have no variation, and so no correlation.
    low, high = np.quantile(replicates[np.isfinite(replicates)], [tail, 1 - tail])
    return Trend(n, len(names), spearman, float(low), float(high), pearson)


def _spearman(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Rank correlation per row of `weights` (B, n): how often each of the n values was drawn."""
    return _pearson(_ranks(x, weights), _ranks(y, weights), weights)


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mid-ranks of every value among those drawn, shape (B, n)."""
    distinct, place = np.unique(values, return_inverse=True)
    drawn = weights @ np.eye(len(distinct))[place]  # (B, distinct values)
    below = np.cumsum(drawn, axis=1) - drawn
    return (below + (drawn + 1) / 2)[:, place]


def _pearson(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = weights.sum(axis=1, keepdims=True)
    dx = x - (weights * x).sum(axis=1, keepdims=True) / total
    dy = y - (weights * y).sum(axis=1, keepdims=True) / total
    products = [(weights * a * b).sum(axis=1) for a, b in ((dx, dy), (dx, dx), (dy, dy))]
    scale = products[1] * products[2]
    # What rounding leaves of a constant is no variation.
    varies = scale > 1e-24 * np.maximum(1.0, (x * x).max() * (y * y).max())
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(varies, np.clip(products[0] / np.sqrt(scale), -1, 1), np.nan)


def populations(models: Sequence[ModelSpec]) -> Iterator[tuple[str, list[str]]]:
    """Name and model ids of every population of some models: all, then what each tag sets apart.

    A tag defines populations only where it divides the released models: a corpus that all were trained on, or that
    fewer than four were, does not.
    """
    released = [m for m in models if not m.control and m.intervention is None]
    yield RELEASED, [m.id for m in released]
    changed = [m.id for m in models if m.intervention is not None]
    if changed:
        yield WITH_INTERVENTIONS, [*(m.id for m in released), *changed]
    for name, belongs in _tags(released).items():
        chosen = [m.id for m in released if belongs(m)]
        if MIN_MODELS <= len(chosen) < len(released):
            yield name, chosen


def _tags(models: Sequence[ModelSpec]) -> Mapping[str, Callable[[ModelSpec], bool]]:
    found: dict[str, Callable[[ModelSpec], bool]] = {
        CROSS_MODAL: is_cross_modal,
        UNIMODAL: lambda m: not is_cross_modal(m),
        "fine-tuned": lambda m: m.training is not None and m.training.fine_tuned_on is not None,
        "not fine-tuned": lambda m: m.training is not None and m.training.fine_tuned_on is None,
    }
    for kind in sorted({m.tuned for m in models if m.tuned}):
        found[f"tuned: {kind}"] = lambda m, kind=kind: m.tuned == kind
    for objective in sorted({m.objective for m in models}):
        found[f"objective: {objective}"] = lambda m, objective=objective: m.objective == objective
    for corpus in sorted({c for m in models if m.training for c in m.training.corpora}):
        found[f"corpus: {corpus}"] = lambda m, corpus=corpus: m.training is not None and corpus in m.training.corpora
    for family in sorted({m.family for m in models}):
        found[f"family: {family}"] = lambda m, family=family: m.family == family
    for year in sorted({m.released[:4] for m in models if m.released}):
        found[f"released in {year}"] = lambda m, year=year: m.released is not None and m.released[:4] == year
    return found


def is_cross_modal(spec: ModelSpec) -> bool:
    """Whether the other modality supervised a model, as its row says."""
    return spec.training is not None and spec.training.cross_modal


def partner_populations(models: Sequence[ModelSpec]) -> Iterator[tuple[str, list[str]]]:
    """Name and ids of the trained models that an alignment is the mean over: all, without, only cross-modal ones."""
    released = [m for m in models if not m.control and m.intervention is None]
    cross = [m.id for m in released if is_cross_modal(m)]
    yield "all", [m.id for m in released]
    if cross and len(cross) < len(released):
        yield UNIMODAL, [m.id for m in released if m.id not in cross]
        yield CROSS_MODAL, cross
