"""Populations of models that the tags of the manifest define, and whether alignment grows with capability in one.

Random controls are in no population; interventions have one of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zooalign.results.correlation import MIN_FAMILIES, MIN_MODELS, Correlation, correlation
from zooalign.results.weighted import Kind
from zooalign.results.resampling import LEVEL, REPLICATES, SEED

if TYPE_CHECKING:
    from zooalign.config.manifest import ModelSpec

__all__ = [
    "LEVEL", "MIN_FAMILIES", "MIN_MODELS", "RELEASED", "REPLICATES", "SEED", "WITH_INTERVENTIONS", "Trend",
    "is_cross_modal", "partner_populations", "populations", "trend",
]  # fmt: skip

VERSION = 2  # part of the digest of what this module determines

RELEASED, WITH_INTERVENTIONS = "released", "released and interventions"
NEWER = "(newer half)"
UNIMODAL, CROSS_MODAL = "not trained with the other modality", "trained with the other modality"


class Trend(NamedTuple):
    """How capability and alignment go together; NaN where there are too few models or families, or no variation.

    Attributes
    ----------
    n, families : int
        Models with finite values, and families that they are from.
    spearman, pearson : float
        Of the values as they were measured, -1 to 1; positive: better models are aligned more.
    low, high, pearson_low, pearson_high : float
        95 % intervals of the two without measurement error.
    spearman_noise_free, pearson_noise_free : float
        The two corrected for measurement error, as far as it is known.
    propagated : str
        Whose errors that is ("capability, alignment"); "" for none.
    reason : str
        Why there is no correlation or no interval; "" where there are both.
    """

    n: int
    families: int
    spearman: float
    low: float
    high: float
    pearson: float
    pearson_low: float
    pearson_high: float
    spearman_noise_free: float
    pearson_noise_free: float
    propagated: str
    reason: str

    def __str__(self) -> str:
        """A sentence that claims no more than the interval does.

        Examples
        --------
        >>> print(trend([1, 2, 3], [1, 2, 3], ["a", "b", "c"]))
        too few models for a correlation (3; at least 4)
        >>> print(trend([1, 2, 3, 4], [2, 1, 3, 4], ["a", "a", "b", "b"]))
        Spearman +0.80, 4 models of 2 families: too few families for an interval (at least 5)
        """
        if not np.isfinite(self.spearman):
            return self.reason if self.n < MIN_MODELS else f"no correlation: {self.reason}"
        of = f"{self.n} models of {self.families} {'family' if self.families == 1 else 'families'}"
        value = f"Spearman {self.spearman:+.2f}"
        if not np.isfinite(self.low):
            return f"{value}, {of}: {self.reason}"
        said = "no trend that its interval supports"
        if self.low > 0:
            said = "better models are aligned more"
        if self.high < 0:
            said = "better models are aligned less"
        if f"{self.spearman_noise_free:+.2f}" != f"{self.spearman:+.2f}":
            value += f", without measurement error {self.spearman_noise_free:+.2f}"
        return f"{said}: {value} [{self.low:+.2f}, {self.high:+.2f}], {of}"


def trend(
    capability: Sequence[float] | np.ndarray,
    alignment: Sequence[float] | np.ndarray,
    families: Sequence[str],
    *,
    capability_errors: Sequence[float] | np.ndarray | None = None,
    alignment_errors: Sequence[float] | np.ndarray | None = None,
    alignment_draws: np.ndarray | None = None,
    seed: int = SEED,
) -> Trend:
    """Both correlations of capability and alignment, with intervals that resample families.

    Parameters
    ----------
    capability, alignment, families, capability_errors, alignment_errors, alignment_draws, seed
        As in `correlation.correlation`.

    Raises
    ------
    MetricError
        As `correlation.correlation` does.
    """

    def of(kind: Kind) -> Correlation:
        return correlation(
            capability, alignment, families, kind, capability_errors=capability_errors,
            alignment_errors=alignment_errors, alignment_draws=alignment_draws, seed=seed,
        )  # fmt: skip

    ranked, linear = of("spearman"), of("pearson")
    return Trend(
        ranked.n, ranked.families, ranked.value, ranked.low, ranked.high, linear.value, linear.low, linear.high,
        ranked.noise_free, linear.noise_free, ranked.propagated, ranked.reason,
    )  # fmt: skip


def populations(models: Sequence[ModelSpec]) -> Iterator[tuple[str, list[str]]]:
    """Name and model ids of every population of some models: all, then what each tag sets apart.

    A tag defines populations only where it divides the released models: a corpus that all were trained on, or that
    fewer than four were, does not. A model whose row does not say what it was trained on counts as not trained with
    the other modality, and one without a release date is in no population of dates.
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
    months = sorted(m.released for m in models if m.released)
    if months:
        median = months[len(months) // 2]
        found[f"released since {median} {NEWER}"] = lambda m: m.released is not None and m.released >= median
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
