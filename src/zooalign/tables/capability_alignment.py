"""Capability beside alignment, a row per model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zooalign.results.frames import CONTROL_MARK, INTERVENTION_MARK, capability_rows, imported_note, model_rows, where
from zooalign.results.markdown import with_error
from zooalign.results.means import OTHER, ShownAlignment, mean_over, partners, scores, select, trained
from zooalign.results.publishing import Column, Shown, Table
from zooalign.results.read import check_models, failures

if TYPE_CHECKING:
    import pandas as pd

    from zooalign.results.findings import Findings

VERSION = 3

_MODEL = (
    Column("id", "model"),
    Column("modality", "vision or language"),
    Column("family", "models that have more in common than the modality"),
    Column("objective", "what it was trained for"),
    Column("control", "whether it was never trained"),
    Column("intervention", "how it was changed on purpose; empty as released"),
)
_NOTES = (
    f"{CONTROL_MARK} marks random controls, never trained; {INTERVENTION_MARK} interventions, models "
    "changed on purpose. They are in no mean and have no rank.",
    "A model is not in its own mean; one without any score is in no mean. A mean over fewer partners than others "
    "have says so in the last column and gets no rank: over other partners, values do not compare.",
    "Rank 1 is the highest mean with the other modality among the released models of a modality.",
    "± is one standard error. An empty field is a value that there is not; the last column says why.",
)


def table(findings: Findings) -> Table:
    """Return the capabilities of every model beside its mean alignment with each modality."""
    options, capability = findings.shown, findings.capability
    names = {row.id: row.shown for row in model_rows(findings.models)}
    failed = {m.id: findings.sweep.failed_with(m.id) for m in findings.sweep.models}
    frame = rows(findings.alignment, capability, findings.models, options, failed)
    units = {r.capability: (r.unit, r.higher_is_better) for r in capability_rows(capability)}
    return Table(
        "Capability and alignment of every model",
        frame,
        list(_columns(units, options.datasets)),
        list(_shown(units, options.datasets, names)),
        [*_NOTES, *imported_note(findings.models), *_who(findings), *_left_out(findings)],
        section=lambda row: f"{row['modality'].capitalize()} models",
    )


def rows(
    alignment: pd.DataFrame,
    capability: pd.DataFrame,
    models: pd.DataFrame,
    options: ShownAlignment,
    failed: Mapping[str, Sequence[str]] | None = None,
) -> pd.DataFrame:
    """Join capability with alignment.

    Parameters
    ----------
    alignment : DataFrame
        As `Findings.alignment`.
    capability : DataFrame
        As `zooalign.results.read.read_capability` gives it.
    models : DataFrame
        id, modality, family, objective, causal, control, intervention: every model of the sweep.
    options : ShownAlignment
        Metric, k and datasets.
    failed : mapping of str to sequence of str, optional
        What failed, by model; then `reason` says that and nothing else.

    Returns
    -------
    DataFrame
        id, modality, family, objective, control, intervention (empty for a model as it was released); value and
        standard error per capability; and per dataset D
        `D_other` - mean score with the trained models of the other modality, `D_other_n` - how many,
        `D_rank` - 1 is the best of the trained models of this modality,
        `D_within` - mean score with the trained models of the same modality but itself, `D_within_n`;
        last `reason`: what is missing and why. Sorted by modality (vision first), trained before interventions and
        controls, rank, id.

    Raises
    ------
    StoreError
        If the metric, k or dataset is not in the alignment table, or `models` cannot be joined.
    """
    import pandas as pd

    check_models(models)
    datasets = list(options.datasets)
    found: dict[str, dict[str, Any]] = {
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
    reasons: dict[str, list[str]] = {name: [] for name in found}
    for name in sorted(set(capability["capability"])):
        _add_capability(name, capability, models, found, reasons)
    for dataset in datasets:
        _add_alignment(dataset, alignment, models, options, found, reasons)
    for name, row in found.items():
        # What failed is the cause of all else that a model lacks.
        row["reason"] = "; ".join((failed or {}).get(name) or reasons[name])
    table = pd.DataFrame(_sorted(list(found.values()), datasets))
    for column in table.columns:
        if column.endswith(("_n", "_rank")):
            table[column] = table[column].astype("Int64")
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
    options: ShownAlignment,
    rows: dict[str, dict[str, Any]],
    reasons: dict[str, list[str]],
) -> None:
    selected = select(alignment, dataset, options.metric, options.k)
    pair_scores = scores(selected)
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


def _columns(units: Mapping[str, tuple[str, bool]], datasets: Sequence[str]) -> Iterator[Column]:
    yield from _MODEL
    for name, (unit, up) in sorted(units.items()):
        yield Column(name, f"capability; {'higher' if up else 'lower'} is better", unit)
        yield Column(f"{name}_se", "its standard error", unit)
    for dataset in datasets:
        yield Column(f"{dataset}_other", "mean score with the released models of the other modality", "score")
        yield Column(f"{dataset}_other_n", "models in that mean", "models")
        yield Column(f"{dataset}_rank", "1 is the highest such mean of a modality")
        yield Column(f"{dataset}_within", "mean score with the other released models of the same modality", "score")
        yield Column(f"{dataset}_within_n", "models in that mean", "models")
    yield Column("reason", "what is missing, and why")


def _shown(
    units: Mapping[str, tuple[str, bool]], datasets: Sequence[str], names: Mapping[str, str]
) -> Iterator[Shown]:
    yield Shown("model", lambda row: names[row["id"]])
    yield Shown("family", "family")
    yield Shown(
        "objective", lambda row: row["objective"] + (f" ({row['intervention']})" if row["intervention"] else "")
    )
    for name, (unit, up) in sorted(units.items()):
        yield Shown(
            f"{name} ({unit}, {'higher' if up else 'lower'} is better)",
            lambda row, name=name: with_error(row[name], row[f"{name}_se"]),
        )
    for dataset in datasets:
        yield Shown(f"{dataset}: with the other modality", f"{dataset}_other")
        yield Shown(f"{dataset}: rank", f"{dataset}_rank")
        yield Shown(f"{dataset}: with the same modality", f"{dataset}_within")
    yield Shown("missing", "reason")


def _who(findings: Findings) -> Iterator[str]:
    """Who is in the means."""
    for modality in OTHER:
        names = trained(findings.models, modality)
        yield f"Means over {modality} models are over the {len(names)} released ones: {', '.join(names) or 'none'}."


def _left_out(findings: Findings) -> Iterator[str]:
    """What was measured elsewhere, and what is not in the sweep."""
    sweep = findings.sweep
    for name, n in findings.elsewhere().items():
        yield f"Measured elsewhere: {name} ({n} {'value' if n == 1 else 'values'})."
    not_built = {f"dataset {name}": why for name, why in sweep.failures.get("build_dataset", {}).items()}
    for name, why in sorted({**sweep.left_out, **not_built}.items()):
        yield f"Not in the sweep: {name} ({why})."
