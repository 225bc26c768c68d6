"""How alignment grows with capability: given size and release date, within families, and along which curve."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from zooalign.results.correlation import Correlation
from zooalign.results.fits import Shape, shape
from zooalign.results.partial import log_parameters, partial_correlation, years
from zooalign.results.populations import NEWER, RELEASED, UNIMODAL
from zooalign.results.questions import ALL, Case, Question, cases
from zooalign.results.slopes import PooledSlope, Slope, family_slopes, pooled_slope

if TYPE_CHECKING:
    from zooalign.config.manifest import ModelSpec
    from zooalign.results.findings import Findings

VERSION = 1  # part of the digest of what this module determines

PARAMETERS, DATE = "parameters", "release date"
GIVEN = ((PARAMETERS,), (DATE,), (PARAMETERS, DATE))


class Growth(NamedTuple):
    """How alignment grows with capability in one population.

    Attributes
    ----------
    question : Question
        Which models, and with whom.
    given : dict of tuple of str to Correlation
        Partial rank correlation by what is given: parameters (log10), release date, or both.
    slope : PooledSlope
        Of alignment on capability within families.
    shape : Shape
        Which curve predicts best.
    """

    question: Question
    given: dict[tuple[str, ...], Correlation]
    slope: PooledSlope
    shape: Shape


def growth(findings: Findings) -> Iterator[Growth]:
    """How alignment grows for all released models, those without the other modality, and the newer half."""
    specs = {spec.id: spec for spec in findings.sweep.models}
    for case in cases(findings, _is_main):
        models = [specs[model] for model in case.models]
        yield Growth(
            case.question,
            {given: _partial(case, models, given) for given in GIVEN},
            pooled_slope(case.capability, case.alignment, case.families),
            shape(case.capability, case.alignment, case.families),
        )


def slopes(findings: Findings) -> Iterator[tuple[Question, list[Slope]]]:
    """Slope of alignment on capability of every family of three or more released models."""
    for case in cases(findings, lambda question: (question.population, question.partners) == (RELEASED, ALL)):
        yield case.question, family_slopes(case.capability, case.alignment, case.families)


def said(correlation: Correlation) -> str:
    """A partial correlation with its interval, or why there is none.

    Examples
    --------
    >>> said(Correlation(12, 6, .5, .5, .1, .8, "families left out", "", ""))
    '+0.50 [+0.10, +0.80], n = 12'
    """
    if not math.isfinite(correlation.value):
        return correlation.reason
    if not math.isfinite(correlation.low):
        return f"{correlation.value:+.2f}, n = {correlation.n}: {correlation.reason}"
    return f"{correlation.value:+.2f} [{correlation.low:+.2f}, {correlation.high:+.2f}], n = {correlation.n}"


def _is_main(question: Question) -> bool:
    main = question.population in (RELEASED, UNIMODAL) or question.population.endswith(NEWER)
    return main and question.partners == ALL


def _partial(case: Case, models: Sequence[ModelSpec], given: tuple[str, ...]) -> Correlation:
    covariates = {
        PARAMETERS: log_parameters([model.parameters for model in models]),
        DATE: years([model.released for model in models]),
    }
    return partial_correlation(
        case.capability, case.alignment, case.families, [covariates[name] for name in given],
        capability_errors=case.capability_errors, alignment_errors=case.alignment_errors,
        alignment_draws=case.alignment_draws,
    )  # fmt: skip
