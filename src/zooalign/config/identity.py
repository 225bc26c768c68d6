"""Every digest: what determines an artefact, and so whether one on disk is the wanted one.

An artefact records the digest that it was made for. Digests are chained by content: features by that of the dataset
that was read, an index by that of its features, a score by those of both indexes. So a dataset that is built again
with the same content changes nothing, and only a dataset has two digests: that of its specification (its row and the
VERSION of its family), which says whether it must be built, and that of its content, which the rest is made from.

A VERSION of 1 of a module that had none when its first artefacts were made adds nothing (`_raised`), so that these
are still valid; every higher one counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.provenance import digest
from zooalign.registry import member, plugin, version
from zooalign.storage.fingerprints import content_digest

if TYPE_CHECKING:
    from zooalign.config.manifest import DatasetSpec, ModelSpec

# Modules besides a source that determine what a model reads and gives, by modality.
INPUTS = {
    "vision": ("features.batches", "features.extract", "sources._preprocessing", "sources._vision"),
    "language": ("features.batches", "features.extract", "sources._language"),
}
# Modules besides tables and figures themselves that determine what is in them.
_READ = tuple(
    f"results.{name}"
    for name in (
        "agreement", "answer", "artefacts", "by_k", "clustering", "correlation", "cycles", "demands", "dose_response",
        "embedding", "external", "findings", "fits", "growth", "header", "inference", "intervals", "latex",
        "layers", "leave_out", "matrix", "means", "neighbours", "partial", "populations", "publishing", "questions",
        "read", "resampling", "sensitivity", "slopes", "solved", "strata", "tasks", "vision_families", "weighted",
    )
)  # fmt: skip
# Those of the report besides.
_SHOWN = tuple(f"report.{name}" for name in ("document", "maps", "packing", "page", "samples", "scores"))
RESULTS = {"tables": _READ, "figures": (*_READ, "figures._drawing"), "report": (*_READ, *_SHOWN)}


def _raised(*modules: str) -> list[dict[str, int]]:
    """VERSIONs above 1, by module, as one further part of a digest; no part where there is none."""
    versions = {name: version(f"zooalign.{name}") for name in modules}
    above = {name: value for name, value in versions.items() if value > 1}
    return [above] if above else []


def dataset_spec_digest(spec: DatasetSpec) -> str:
    """Digest of what determines a dataset's content: family, VERSION, options, and the user's files if any."""
    module = plugin("datasets", spec.family, "dataset family")
    fingerprint = getattr(module, "fingerprint", None)
    files = fingerprint(module.Options(**spec.options), spec.id) if fingerprint else None
    paths = getattr(module, "PATHS", ())
    options = {key: value for key, value in spec.options.items() if key not in paths}
    return digest("dataset", spec.family, module.VERSION, options, files)


def weights_digest(spec: ModelSpec) -> str:
    """Digest of what determines the prepared weights: source, its VERSION and options, the user's files if any.

    What comes from a package or the hub is pinned by the row: a version, a commit, `weights_sha256`. A folder or file
    of the user's is not, so every file that is read from it counts.
    """
    source = plugin("sources", spec.source, "source")
    files = local_files(spec)
    content = [content_digest(files)] if files else []
    return digest("weights", spec.source, source.VERSION, spec.options, spec.weights_sha256, *content)


def local_files(spec: ModelSpec) -> list[Path]:
    """Every file of the user's that a model is read from, sorted; none where it comes from a package or the hub."""
    from pydantic import ValidationError

    source = plugin("sources", spec.source, "source")
    find = getattr(source, "local_files", None)
    try:
        return [] if find is None else sorted(find(source.Options.model_validate(spec.options)))
    except ValidationError:  # has a message of its own where the options are used
        return []


def _changes(spec: ModelSpec) -> list[dict[str, Any]]:
    """What a variant changes, as one further part of a digest; no part for a row that changes nothing."""
    if spec.intervention is None:
        return []
    made_by = version("zooalign.models.interventions")
    return [{**spec.intervention.model_dump(mode="json"), "interventions": made_by}]


def _tables(spec: ModelSpec) -> list[dict[str, str]]:
    """In 16 bits, tables that a language model computes for itself (rotary frequencies) were in 16 bits once."""
    in_16_bits = spec.modality == "language" and spec.precision != "float32"
    return [{"computed_tables": "float32"}] if in_16_bits else []


def _layers(reading: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Layers besides the blocks, as one further part of a digest; no part without."""
    if "layers" not in reading:
        return []
    return [{"layers": reading["layers"], "sublayers": version("zooalign.models.sublayers")}]


def features_digest(spec: ModelSpec, dataset: str, reading: Mapping[str, Any]) -> str:
    """Digest of what determines a model's features.

    Parameters
    ----------
    spec : ModelSpec
        The model's row.
    dataset : str
        Content digest of the dataset.
    reading : dict
        How samples are read and which layers are taken; see `config.ExtractionConfig.reading`.
    """
    return digest(
        "features",
        weights_digest(spec),
        spec.pooling,
        version("zooalign.models.pooling"),
        spec.precision,
        spec.storage_dtype,
        dataset,
        dict(reading) if spec.modality == "language" else None,
        *_raised(*INPUTS[spec.modality]),
        *_changes(spec),
        *_tables(spec),
        *_layers(reading),
    )


def imported_digest(sha256: str, dataset: str) -> str:
    """Digest of what determines imported features or neighbour lists: the file, and the content of the dataset."""
    return digest("imported", version("zooalign.sharing.shared_file"), sha256, dataset)


def index_digest(features: str, preparation: Mapping[str, Any]) -> str:
    """Digest of what determines the numbers in an index.

    Parameters
    ----------
    features : str
        Digest of the features.
    preparation : dict
        Settings of `preparation.Preparation`.

    Returns
    -------
    str
        Not a function of k_max or of what else the index holds: a longer index gives the same scores, those of
        a metric with `beyond_lists` to rounding.
    """
    prepared = member("zooalign.indexes.preparation", "Preparation")(**preparation).digest()
    versions = [version(f"zooalign.indexes.{module}") for module in ("index", "neighbors", "gram", "subspaces")]
    return digest("index", features, prepared, versions)


def pair_digest(index_x: str, index_y: str, metric: Mapping[str, Any]) -> str:
    """Digest of what determines one score: both indexes, and the metric with its k and VERSION."""
    own = version("zooalign.alignment.pairs")
    return digest("pair", own, index_x, index_y, metric["metric"], metric["k"], metric["version"])


def capability_digest(sweep: Any, capability: str, model: str) -> str:
    """Digest of what determines a capability value; of the dataset it is that of its specification."""
    row, spec = sweep.capability(capability), sweep.model(model)
    module = plugin("capability", row.kind, "capability")
    dataset = dataset_spec_digest(sweep.dataset(row.dataset))
    if module.NEEDS == "features":
        subject: Any = features_digest(spec, dataset, sweep.config.extraction.reading())
    else:
        subject = [weights_digest(spec), spec.precision, dataset, *_changes(spec), *_tables(spec)]
        subject += _raised(f"sources._{spec.modality}" if spec.modality == "language" else "sources._vision")
    return digest("capability", row.kind, module.VERSION, row.options, subject, *_raised("capability._record"))


def result_digest(
    sweep: Any,
    kind: str,
    name: str,
    scores: Mapping[str, Mapping[str, str]],
    values: Mapping[str, str],
    inference: Mapping[str, Mapping[str, str]],
    cells: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    """Digest of what determines a table, the figures of a name, or the report.

    Parameters
    ----------
    sweep : config.Sweep
        The checked configuration, which lies above this module.
    kind : str
        "tables", "figures" or "report", which holds all tables.
    name : str
        File of that room.
    scores : dict
        By dataset, digests of the scores by "x|y|metric@k"; which row holds a pair changes nothing.
    values : dict
        Digests of capability values by "capability/model".
    inference : dict
        As `scores`, digests of nulls and intervals; empty without any.
    cells : dict, optional
        By "preparation/dataset", digests of scores as in `scores`, for what declares READS_SENSITIVITY.
    """
    models = {
        m.id: [m.modality, m.family, m.objective, m.causal, *_changes(m), *(["imported"] if m.imported else [])]
        for m in sweep.models
    }
    made_by = plugin(kind, name, kind.removesuffix("s"))
    missing = [sweep.failures, sweep.left_out]
    inferred = [inference] if inference else []
    elsewhere = [_measured_elsewhere(sweep)] if sweep.external else []
    alternatives = [[_alternatives(sweep), cells or {}]] if getattr(made_by, "READS_SENSITIVITY", False) else []
    tables = [{t: plugin("tables", t, "table").VERSION for t in sweep.config.tables}] if kind == "report" else []
    said = [_tagged(sweep.models), _asked(sweep), sweep.config.preparation.model_dump(), sweep.config.extraction.text]
    return digest(
        kind, name, made_by.VERSION, scores, values, models, sweep.config.headline.model_dump(), missing,
        said, *alternatives, *tables, *elsewhere, *inferred, *_raised(*RESULTS[kind]),
    )  # fmt: skip


def _measured_elsewhere(sweep: Any) -> list[Any]:
    """Values without the places in files that they stand at, and which source counts."""
    return [[list(map(str, row._replace(where=""))) for row in sweep.external], sweep.config.capability_sources]


def _asked(sweep: Any) -> list[list[str]]:
    """Capabilities that the sweep asks for, whether a model can have them or not."""
    return [[row.id, row.kind] for row in sweep.config.capabilities]


def _alternatives(sweep: Any) -> list[Any]:
    """Cells, and models that one leaves out by its pooling."""
    settings = [[cell.id, cell.metric, cell.k, cell.same_as] for cell in sweep.cells]
    datasets = sweep.datasets()
    left_out = {f"{p}/{d}/{m.id}": reason for p in sweep.preparations for d in datasets for m in sweep.compared(d)
                if (reason := sweep.why_left_out(p, d, m))}  # fmt: skip
    return [settings, left_out]


def _tagged(models: Sequence[ModelSpec]) -> dict[str, Any]:
    """What the rows say of how models came to be."""
    return {m.id: m.model_dump(mode="json", include={"training", "tuned", "released"}) for m in models}


def metric_settings(sweep: Any, dataset: str, preparation: str = "") -> list[dict[str, Any]]:
    """One entry per metric and k of a dataset's rows in the sweep, or in a preparation.

    Each is {"metric", "k" (0 where it takes none), "version"}; where imported models cannot give it, there is also
    "without": these models with the reason.
    """
    metrics = sweep.config.metrics
    asked = [(name, k) for name in sorted(metrics) for k in metrics[name].k or (0,)]
    if preparation:
        asked = sorted({(cell.metric, cell.k) for cell in sweep.cells if cell.preparation == preparation})
    return [
        {"metric": name, "k": k, "version": plugin("metrics", name, "metric").VERSION,
         **({"without": without} if (without := sweep.not_given(dataset, name, k)) else {})}
        for name, k in asked
    ]  # fmt: skip


def score_digests(
    pairs: Sequence[Any], metrics: Sequence[Mapping[str, Any]], indexes: Mapping[str, str]
) -> dict[tuple[Any, str, int], str]:
    """Digest of every score of a row, by (pair, metric, k); `indexes` are the models' index digests.

    A metric that one of the two models cannot give has no score.
    """
    return {
        (pair, m["metric"], m["k"]): pair_digest(indexes[pair.x], indexes[pair.y], m)
        for pair in pairs
        for m in metrics
        if not {pair.x, pair.y} & {*m.get("without", ())}
    }


def inference_settings(sweep: Any, dataset: str) -> list[dict[str, Any]]:
    """One entry per metric and k whose scores on a dataset get a null or an interval.

    Returns
    -------
    list of dict
        As :func:`metric_settings`; with "null" and "interval" (whether it gets one), and "from_features": whether
        the indexes hold what an interval of a metric of subspaces is computed from.
    """
    null, intervals = sweep.inferred("null"), sweep.inferred("intervals")
    held = {"features"} & set(sweep.index_settings()["needs"])
    return [
        {
            **m,
            "null": (m["metric"], m["k"]) in null,
            "interval": (m["metric"], m["k"]) in intervals,
            "from_features": bool(held) and "subspace" in plugin("metrics", m["metric"], "metric").NEEDS,
        }
        for m in metric_settings(sweep, dataset)
        if (m["metric"], m["k"]) in null | intervals
    ]


def inference_digests(
    pairs: Sequence[Any],
    metrics: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    indexes: Mapping[str, str],
) -> dict[tuple[Any, str, int], str]:
    """Digest of the null and interval of every score of a row, by (pair, metric, k).

    Parameters
    ----------
    pairs : sequence of Pair
        Pairs of the row.
    metrics : sequence of dict
        As :func:`inference_settings`.
    settings : dict
        Settings of `schema.InferenceConfig`; which samples a dataset groups is part of its content, and so of the
        indexes.
    indexes : dict
        Index digests of the models.
    """
    versions = {
        name: version(f"zooalign.alignment.{name}") for name in ("infer_row", "groups", "inference", "intervals")
    }
    parts = {(m["metric"], m["k"]): _inferred_from(m, settings, versions) for m in metrics}
    return {
        (pair, name, k): digest("inference", score, parts[name, k])
        for (pair, name, k), score in score_digests(pairs, metrics, indexes).items()
    }


def _inferred_from(metric: Mapping[str, Any], settings: Mapping[str, Any], versions: Mapping[str, int]) -> list[Any]:
    null = [versions["inference"], settings["permutations"], settings["alpha"]]
    interval = [versions["intervals"], settings["splits"], settings["level"], metric["from_features"]]
    common = [versions["infer_row"], versions["groups"], settings["seed"], settings["groups"]]
    return [common, null if metric["null"] else None, interval if metric["interval"] else None]
