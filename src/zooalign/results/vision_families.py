"""Alignment of language models with every model of a family of vision models, over a capability of language models."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from zooalign.results.frames import capability_rows
from zooalign.results.means import trained
from zooalign.results.populations import RELEASED, Trend
from zooalign.results.questions import Question, Scored, measured

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 1  # part of the digest of what this module determines

BITS = "bits/byte"


class LanguageAxis(NamedTuple):
    """A capability of released language models.

    Attributes
    ----------
    label : str
        What the values are.
    values : dict of str to float
        By model, in rising order; 1 - bits per byte where bits per byte was measured.
    higher_is_better : bool
        Which way it counts.
    """

    label: str
    values: dict[str, float]
    higher_is_better: bool


class FamilyLines(NamedTuple):
    """Alignment of language models with the released models of one vision family.

    Attributes
    ----------
    family : str
        Family of the vision models.
    lines : dict of str to dict of str to float
        Score by vision model (the smallest first) and language model.
    trend : Trend
        Of capability and the mean over the family, of the language models that have a score with all of it.
    """

    family: str
    lines: dict[str, dict[str, float]]
    trend: Trend


def language_axis(findings: Findings) -> LanguageAxis:
    """Values of the headline capability that released language models have; none where it is not theirs."""
    name = findings.sweep.config.headline.capability
    language = set(trained(findings.models, "language"))
    rows = [r for r in capability_rows(findings.capability) if r.capability == name and not r.reason]
    rows = [row for row in rows if row.model in language]
    is_bits = bool(rows) and rows[0].unit == BITS
    values = {row.model: 1 - row.value if is_bits else row.value for row in rows}
    words = name.replace("_", " ")
    label = f"1 - {words}" if is_bits else f"{words} ({rows[0].unit})" if rows else words
    ordered = dict(sorted(values.items(), key=lambda item: (item[1], item[0])))
    return LanguageAxis(label, ordered, is_bits or not rows or rows[0].higher_is_better)


def family_lines(findings: Findings, dataset: str, metric: str, k: int, axis: LanguageAxis) -> list[FamilyLines]:
    """Scores of the language models of an axis with every released vision model, by family, families by name.

    A directed metric counts in the direction that the sweep computed. Vision models without any score are left out.
    """
    specs = {spec.id: spec for spec in findings.sweep.models}
    scored = Scored(findings, dataset, metric, k)
    families: dict[str, dict[str, dict[str, float]]] = {}
    for vision in sorted(trained(findings.models, "vision"), key=lambda m: (specs[m].family, specs[m].parameters, m)):
        line = {m: scored.scores[vision, m] for m in axis.values if (vision, m) in scored.scores}
        if line:
            families.setdefault(specs[vision].family, {})[vision] = line
    name, own = findings.sweep.config.headline.capability, {spec.id: spec.family for spec in specs.values()}
    known = measured(findings).get(name, {})
    return [
        FamilyLines(
            family,
            lines,
            scored.case(Question(dataset, name, "language", RELEASED, family), known, own, axis.values, [*lines]).trend,
        )
        for family, lines in families.items()
    ]


def further_metrics(findings: Findings, dataset: str) -> list[tuple[str, int]]:
    """Metrics besides that of the headline, each at one k: that of the headline if it has it, else its smallest."""
    rows = findings.alignment
    known: dict[str, set[int]] = {}
    for name, metric, k in zip(*(rows[c] for c in ("dataset", "metric", "k")), strict=True):
        if name == dataset and metric != findings.metric:
            known.setdefault(metric, set()).add(int(k))
    return [(metric, findings.k if findings.k in ks else min(ks)) for metric, ks in sorted(known.items())]
