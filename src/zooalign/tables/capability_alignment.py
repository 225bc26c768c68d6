"""Capability beside alignment, a row per model: results/tables/capability_alignment.csv and .md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.results.frames import capability_rows, model_rows, n_samples, where
from zooalign.results.markdown import head, is_absent, line, number, with_error
from zooalign.results.means import OTHER, ShownAlignment, mean_over, partners, scores, select, trained
from zooalign.results.read import check_models, failures
from zooalign.storage.atomic import write_bytes, write_text

if TYPE_CHECKING:
    import pandas as pd

    from zooalign.results.findings import Findings

VERSION = 2
SUFFIXES = (".csv", ".md")


# All of it from the configuration.
Options = ShownAlignment


def write(findings: Findings, path: Path) -> None:
    """Write `path`.csv and `path`.md from what a sweep found."""
    options = findings.shown
    files = (Path(f"{path}{suffix}") for suffix in SUFFIXES)
    sweep = findings.sweep
    not_built = {f"dataset {name}": why for name, why in sweep.failures.get("build_dataset", {}).items()}
    failed = {m.id: sweep.failed_with(m.id) for m in sweep.models}
    left_out = {**sweep.left_out, **not_built}
    make(
        findings.alignment, findings.capability, findings.models, options, *files, left_out=left_out, failed=failed,
        elsewhere=findings.elsewhere(),
    )  # fmt: skip


def make(
    alignment: pd.DataFrame,
    capability: pd.DataFrame,
    models: pd.DataFrame,
    options: Options,
    csv_path: Path | str,
    md_path: Path | str,
    left_out: Mapping[str, str] | None = None,
    failed: Mapping[str, Sequence[str]] | None = None,
    elsewhere: Mapping[str, int] | None = None,
) -> pd.DataFrame:
    """Join capability with alignment and write the table twice, for programs and for people.

    Parameters
    ----------
    alignment : DataFrame
        Columns of alignment.csv.
    capability : DataFrame
        As `zooalign.results.read.read_capability` gives it.
    models : DataFrame
        id, modality, family, objective, causal, control, intervention: every model of the sweep.
    options : Options
        Metric, k and datasets.
    csv_path, md_path : path
        Where to write.
    left_out : mapping of str to str, optional
        Models of the zoo that are not in the sweep, with the reason; named below the table for people.
    failed : mapping of str to sequence of str, optional
        What failed, by model; then `reason` says that and nothing else.
    elsewhere : mapping of str to int, optional
        Number of values by source and capability that were measured elsewhere; named below the table for people.

    Returns
    -------
    DataFrame
        As written to the CSV, with numbers: id, modality, family, objective, control, intervention (empty for a
        model as it was released); value and standard error per capability; and per dataset D
        `D_other` - mean score with the trained models of the other modality, `D_other_n` - how many,
        `D_rank` - 1 is the best of the trained models of this modality,
        `D_within` - mean score with the trained models of the same modality but itself, `D_within_n`;
        last `reason`: what is missing and why.

    Raises
    ------
    StoreError
        If the metric, k or dataset is not in the alignment table, or `models` cannot be joined.

    Notes
    -----
    Random controls and interventions are in no mean; they have means of their own, and no rank. A mean over
    fewer partners than others have says so in `reason` and gets no rank: over other partners, values do not
    compare. Rows are sorted by modality (vision first), trained before interventions and controls, rank, id.
    The same inputs in whatever order give the same bytes; values have 6 decimals.
    """
    import pandas as pd

    check_models(models)
    datasets = list(options.datasets)
    capabilities = sorted(set(capability["capability"]))
    rows = {
        r.id: {
            "id": r.id,
            "modality": r.modality,
            "family": r.family,
            "objective": r.objective,
            "control": bool(r.control),
            "intervention": r.intervention,
        }
        for r in sorted(model_rows(models))
    }
    reasons: dict[str, list[str]] = {name: [] for name in rows}
    for name in capabilities:
        _add_capability(name, capability, models, rows, reasons)
    for dataset in datasets:
        _add_alignment(dataset, alignment, models, options, rows, reasons)
    for name, row in rows.items():
        # What failed is the cause of all else that a model lacks.
        row["reason"] = "; ".join((failed or {}).get(name) or reasons[name])
    table = pd.DataFrame(_sorted(list(rows.values()), datasets))
    for column in table.columns:
        if column.endswith(("_n", "_rank")):
            table[column] = table[column].astype("Int64")
    write_bytes(csv_path, table.to_csv(index=False, float_format="%.6f", lineterminator="\n").encode())
    notes = [f"- Measured elsewhere: {name} ({n} models)." for name, n in (elsewhere or {}).items()]
    notes += [f"- Not in the sweep: {name} ({why})." for name, why in sorted((left_out or {}).items())]
    write_text(md_path, _markdown(table, alignment, capability, models, options, datasets, notes))
    return table


def _add_capability(
    name: str,
    capability: pd.DataFrame,
    models: pd.DataFrame,
    rows: dict[str, dict[str, Any]],
    reasons: dict[str, list[str]],
) -> None:
    here = where(capability, "capability", name)
    known = {r.model: r for r in capability_rows(here)}
    failed = failures(here)
    modality = dict(zip(models["id"], models["modality"], strict=True))
    causal = dict(zip(models["id"], models["causal"].astype(bool), strict=True))
    measured = [m for m in known if m in modality]
    applies_to = {modality[m] for m in measured}
    # Where only causal models of a modality have it, an encoder has nothing to be measured by.
    causal_only = {side for side in applies_to if all(causal[m] for m in measured if modality[m] == side)}
    for model, row in rows.items():
        value = known.get(model)
        row[name] = None if value is None or value.reason else float(value.value)
        row[f"{name}_se"] = (
            None if value is None or value.standard_error != value.standard_error else float(value.standard_error)
        )
        if (name, model) in failed:
            reasons[model].append(f"{name}: {failed[name, model]}")
        elif value is None and modality[model] in applies_to:
            encoder = modality[model] == "language" and modality[model] in causal_only and not causal[model]
            reasons[model].append(f"{name}: " + ("not a causal model" if encoder else "not measured"))


def _add_alignment(
    dataset: str,
    alignment: pd.DataFrame,
    models: pd.DataFrame,
    options: Options,
    rows: dict[str, dict[str, Any]],
    reasons: dict[str, list[str]],
) -> None:
    selected = select(alignment, dataset, options.metric, options.k)
    pair_scores = scores(selected, options.symmetric)
    compared = set(selected["comparison"])
    complete: dict[str, dict[str, float]] = {"vision": {}, "language": {}}
    ranked = {*trained(models, "vision"), *trained(models, "language")}
    for model, row in rows.items():
        modality = row["modality"]
        for kind, side in (("other", OTHER[modality]), ("within", modality)):
            mean = mean_over(model, partners(models, modality, side, pair_scores), pair_scores)
            row[f"{dataset}_{kind}"], row[f"{dataset}_{kind}_n"] = mean.value, mean.n
            if kind == "other":
                row[f"{dataset}_rank"] = None
                if mean.complete and mean.value is not None and model in ranked:
                    complete[modality][model] = mean.value
            # A comparison that the sweep does not make is no failure of a model.
            if _comparison(modality, side) in compared and (mean.missing or mean.value is None):
                absent = ", ".join(mean.missing) if mean.n else f"any trained {side} model"
                reasons[model].append(
                    f"{dataset}: no score with {absent}" + (f" ({mean.n} in the mean)" if mean.n else "")
                )
    for means in complete.values():
        for model, value in means.items():
            rows[model][f"{dataset}_rank"] = 1 + sum(v > value for v in means.values())


def _comparison(modality: str, side: str) -> str:
    return "vision-language" if modality != side else f"{side}-{side}"


def _sorted(rows: list[dict[str, Any]], datasets: Sequence[str]) -> list[dict[str, Any]]:
    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        rank = row.get(f"{datasets[0]}_rank") if datasets else None
        return (
            row["modality"] != "vision",
            row["control"],
            row["intervention"] != "",
            rank is None,
            rank or 0,
            row["id"],
        )

    return sorted(rows, key=key)


def _markdown(
    table: pd.DataFrame,
    alignment: pd.DataFrame,
    capability: pd.DataFrame,
    models: pd.DataFrame,
    options: Options,
    datasets: list[str],
    notes: Sequence[str],
) -> str:
    """Write the table for people: a line on what the numbers are, the rows, then who is in the means."""
    units = {r.capability: (r.unit, r.higher_is_better) for r in capability_rows(capability)}
    label = options.metric + (f" at k = {options.k}" if options.k else "")
    lines = [
        "# Capability and alignment",
        "",
        f"Alignment is {label}, the best layer pair of each pair of models.",
        "",
    ]
    for modality in ("vision", "language"):
        part = [row for row in table.to_dict(orient="records") if row["modality"] == modality]
        measured = [name for name in sorted(units) if not all(is_absent(row[name]) for row in part)]
        header = _header(modality, {name: units[name] for name in measured}, datasets)
        lines += [f"## {modality.capitalize()} models", "", *head(header)]
        lines += [line(_cells(row, measured, datasets)) for row in part]
        lines.append("")
    lines += ["## How to read it", ""]
    for modality in ("vision", "language"):
        names = trained(models, modality)
        lines.append(
            f"- Means over {modality} models are over the {len(names)} trained ones: {', '.join(names) or 'none'}."
        )
    lines += [
        "- A model without any score is in no mean.",
        "- † marks random controls: never trained, in no mean, without a rank.",
        "- ‡ marks interventions: models changed on purpose, see their objective; in no mean, without a rank.",
        "- A model is not in its own mean.",
        "- Rank 1 is the highest mean with the other modality among the trained models of a modality.",
        "- ± is one standard error. An empty field is a value that there is not; the last column says why.",
        *_chance_lines(alignment, options, datasets),
        *notes,
    ]
    return "\n".join(lines) + "\n"


def _header(modality: str, units: dict[str, tuple[str, bool]], datasets: list[str]) -> list[str]:
    header = ["model", "family", "objective"]
    header += [f"{name} ({unit}, {'higher' if up else 'lower'} is better)" for name, (unit, up) in units.items()]
    for dataset in datasets:
        header += [f"{dataset}: with {OTHER[modality]}", f"{dataset}: rank", f"{dataset}: with {modality}"]
    return [*header, "missing"]


def _chance_lines(alignment: pd.DataFrame, options: Options, datasets: list[str]) -> list[str]:
    lines = []
    for dataset in datasets:
        rows = select(alignment, dataset, options.metric, options.k)
        chance = sorted(set(rows["chance"].dropna()))
        if chance:
            lines.append(f"- Chance level on {dataset} (n = {n_samples(rows):,}): {chance[-1]:.4f}.")
    return lines


def _cells(row: dict[str, Any], capabilities: list[str], datasets: list[str]) -> list[str]:
    mark = " †" if row["control"] else " ‡" if row["intervention"] else ""
    changed = f" ({row['intervention']})" if row["intervention"] else ""
    cells = [row["id"] + mark, row["family"], row["objective"] + changed]
    cells += [with_error(row[name], row[f"{name}_se"]) for name in capabilities]
    for dataset in datasets:
        rank = row[f"{dataset}_rank"]
        cells += [
            number(row[f"{dataset}_other"]),
            "" if is_absent(rank) else str(rank),
            number(row[f"{dataset}_within"]),
        ]
    return [*cells, row["reason"]]
