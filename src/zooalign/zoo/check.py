"""Rows checked against what the installed libraries say, without weights and without a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from zooalign.errors import WeightsError
from zooalign.provenance import digest
from zooalign.zoo.facts import Facts, facts_of

if TYPE_CHECKING:
    from zooalign.config.manifest import ModelSpec

# Published numbers are rounded, and operations are counted with or without attention.
_PARAMETERS, _GFLOPS = 0.02, 0.1


class Verdict(NamedTuple):
    """What is known of a row.

    Attributes
    ----------
    model : str
        Its id.
    state : str
        "verified"; "unverified" where only the weights could tell; "wrong".
    reason : str
        Why it is not verified.
    """

    model: str
    state: Literal["verified", "unverified", "wrong"]
    reason: str


def check_rows(models: Sequence[ModelSpec]) -> Iterator[Verdict]:
    """Check every row of a zoo, one after the other.

    Parameters
    ----------
    models : sequence of ModelSpec
        Rows that the schema has accepted: known keys, sources and options, a licence, distinct ids.

    Yields
    ------
    Verdict
        In the order of the rows.
    """
    seen: dict[str, str] = {}
    for spec in models:
        same = _same_model(spec)
        if same in seen:
            yield Verdict(spec.id, "wrong", f"it is the same model as {seen[same]!r}; delete one of the two rows")
            continue
        seen[same] = spec.id
        yield check_row(spec)


def check_row(spec: ModelSpec) -> Verdict:
    """Compare what a row states with what its architecture says."""
    try:
        facts = facts_of(spec)
    except WeightsError as error:
        return Verdict(spec.id, "wrong", str(error))
    if facts is None:
        return Verdict(spec.id, "unverified", _why_not(spec))
    wrong = _differences(spec, facts)
    return Verdict(spec.id, "wrong" if wrong else "verified", "; ".join(wrong))


def _differences(spec: ModelSpec, facts: Facts) -> list[str]:
    if spec.intervention is not None:
        return []  # its row's numbers, on purpose
    wrong = [
        f"{key} is {stated:,}, its architecture has {actual:,}"
        for key, stated, actual in (
            ("layers", spec.layers, facts.layers),
            ("width", spec.width, facts.width),
            ("features_per_sample", spec.features_per_sample, facts.features_per_sample),
        )
        if stated is not None and stated != actual
    ]
    if abs(spec.parameters - facts.parameters) > _PARAMETERS * facts.parameters:
        wrong.append(f"parameters is {spec.parameters:,}, its architecture has {facts.parameters:,}")
    if spec.gflops and facts.gflops and abs(spec.gflops - facts.gflops) > _GFLOPS * facts.gflops:
        wrong.append(f"gflops is {spec.gflops:g}, one image takes {facts.gflops:.3g}")
    return wrong


def _why_not(spec: ModelSpec) -> str:
    options = spec.options
    if spec.imported:
        return "its results were imported without weights"
    if options.get("hub_id"):
        return "the row has no `architecture`, and the hub is not asked: `zooalign zoo add` writes one"
    where = next((key for key in ("weights", "folder", "gguf") if options.get(key)), "")
    return f"its architecture is inside its weights{' (a package)' if where else ''}: fetching checks it"


def _same_model(spec: ModelSpec) -> str:
    """Equal for rows that give the same features."""
    change: Any = spec.intervention.model_dump() if spec.intervention else None
    taken = [spec.modality, spec.pooling, spec.precision, spec.storage_dtype]
    return digest("row", spec.source, spec.options, spec.weights_sha256, taken, change)
