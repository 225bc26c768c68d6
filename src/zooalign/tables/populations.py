"""Does alignment grow with capability, and for whom: results/tables/populations.csv and .md, a row per population."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zooalign.results.correlation import MIN_BOOTSTRAP
from zooalign.results.frames import capability_rows
from zooalign.results.means import OTHER, ShownAlignment, mean_over, partners, scores, select
from zooalign.results.populations import (
    LEVEL,
    MIN_FAMILIES,
    MIN_MODELS,
    REPLICATES,
    Trend,
    partner_populations,
    populations,
    trend,
)
from zooalign.storage.atomic import write_bytes, write_text

if TYPE_CHECKING:
    import pandas as pd

    from zooalign.config.manifest import ModelSpec
    from zooalign.results.findings import Findings

VERSION = 2
SUFFIXES = (".csv", ".md")
# The tags of the manifest decide what is in it.
READS_TAGS = True

_COLUMNS = ("dataset", "capability", "modality", "population", "partners", *Trend._fields, "answer")


# All of it from the configuration.
Options = ShownAlignment


def write(findings: Findings, path: Path) -> None:
    """Write `path`.csv and `path`.md from what a sweep found."""
    options, manifest = findings.shown, findings.sweep.models
    rows = list(answers(findings.alignment, findings.capability, findings.models, manifest, options))
    make(rows, options, *(Path(f"{path}{suffix}") for suffix in SUFFIXES))


def answers(
    alignment: pd.DataFrame,
    capability: pd.DataFrame,
    models: pd.DataFrame,
    manifest: tuple[ModelSpec, ...],
    options: Options,
) -> Iterator[dict[str, Any]]:
    """One row per dataset, capability, population and population of partners, as `_COLUMNS`.

    Parameters
    ----------
    alignment, capability, models : DataFrame
        As `Findings` has them.
    manifest : tuple of ModelSpec
        The models with their tags.
    options : Options
        Metric, k and datasets.

    Yields
    ------
    dict
        Models count that have both the capability and a score with every partner.
    """
    specs = {spec.id: spec for spec in manifest}
    values: dict[str, dict[str, float]] = {}
    for row in capability_rows(capability):
        if not row.reason and row.model in specs:
            values.setdefault(row.capability, {})[row.model] = row.value if row.higher_is_better else -row.value
    for dataset in options.datasets:
        pair_scores = scores(select(alignment, dataset, options.metric, options.k), options.symmetric)
        for name, known in sorted(values.items()):
            modality = specs[next(iter(known))].modality
            known = {model: value for model, value in known.items() if specs[model].modality == modality}
            others = set(partners(models, modality, OTHER[modality], pair_scores))
            for with_whom, chosen in partner_populations([m for m in manifest if m.id in others]):
                means = {model: mean_over(model, chosen, pair_scores) for model in known}
                whole = {model: mean.value for model, mean in means.items() if mean.complete}
                for population, ids in populations([specs[model] for model in known]):
                    there = [model for model in ids if model in whole]
                    found = trend(
                        np.array([known[model] for model in there]),
                        np.array([whole[model] for model in there], dtype=float),
                        [specs[model].family for model in there],
                    )
                    yield {
                        "dataset": dataset,
                        "capability": name,
                        "modality": modality,
                        "population": population,
                        "partners": with_whom,
                        **found._asdict(),
                        "answer": str(found),
                    }


def make(rows: list[dict[str, Any]], options: Options, csv_path: Path | str, md_path: Path | str) -> pd.DataFrame:
    """Write the table twice, for programs and for people; as :func:`answers` gives its rows."""
    import pandas as pd

    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    write_bytes(csv_path, table.to_csv(index=False, float_format="%.6f", lineterminator="\n").encode())
    write_text(md_path, _markdown(rows, options))
    return table


def _markdown(rows: list[dict[str, Any]], options: Options) -> str:
    label = options.metric + (f" at k = {options.k}" if options.k else "")
    lines = [
        "# Does alignment grow with capability?",
        "",
        f"Alignment of a model is its mean {label} with the partners named, over the best layer pair of each pair.",
        "",
    ]
    for about in dict.fromkeys((row["dataset"], row["capability"], row["modality"]) for row in rows):
        dataset, capability, modality = about
        lines += [f"## {capability} of {modality} models, on {dataset}", ""]
        lines += [f"| {modality} models | {OTHER[modality]} partners | answer |", "| --- | --- | --- |"]
        lines += [
            f"| {row['population']} | {row['partners']} | {row['answer']} |"
            for row in rows
            if (row["dataset"], row["capability"], row["modality"]) == about
        ]
        lines.append("")
    lines += [
        "## How to read it",
        "",
        "- Positive: models that are better at the capability are aligned more, whichever way it counts.",
        f"- Intervals are {LEVEL:.0%} and take families as wholes, as models of one family are not independent:",
        f"  {REPLICATES:,} resamples of them; for fewer than {MIN_BOOTSTRAP} or known errors each left out once.",
        f"  Fewer than {MIN_MODELS} models have no correlation, fewer than {MIN_FAMILIES} families no interval.",
        "- Random controls are in no population. Interventions are released models changed on purpose: they show how",
        "  alignment follows damage, not how it grows with better training.",
        "- A population of four or more models is listed for every tag of the manifest that divides them; with many",
        "  populations some intervals miss zero by chance (one in twenty where nothing is there).",
    ]
    return "\n".join(lines) + "\n"
