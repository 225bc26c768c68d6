"""Whether an artefact on disk is the one that the configuration asks for; reads what was recorded, never the data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from zooalign.errors import StoreError, ZooalignError
from zooalign.provenance import read_object

if TYPE_CHECKING:
    from zooalign.alignment.update import Key
    from zooalign.workflow.work import Work


class Verdict(NamedTuple):
    """What is on disk in place of an artefact.

    Attributes
    ----------
    state : str
        "done", "missing", "partial", "stale" (made from something else) or "damaged" (edited or cut off).
    reason : str
        Why it is not done; empty when it is.
    """

    state: str
    reason: str = ""

    @property
    def is_done(self) -> bool:
        """Whether nothing has to be made."""
        return self.state == "done"


DONE = Verdict("done")


def dataset(work: Work, name: str) -> Verdict:
    """Built from its row, and whole."""
    from zooalign.config.identity import dataset_spec_digest
    from zooalign.data.build import built

    folder = work.layout.dataset(name)
    record = _read(folder / "dataset.json")
    if record is None:
        return _absent(folder / "dataset.json", "never built")
    wanted = dataset_spec_digest(work.sweep.dataset(name))
    if built(folder, wanted):
        return DONE
    if record.get("spec_digest") != wanted:
        return Verdict("stale", "its row, its files or VERSION of its family changed")
    return Verdict("damaged", "a file is missing, was edited or cut off")


def weights(work: Work, model: str) -> Verdict:
    """Fetched for the model's row, and whole."""
    from zooalign.models.loading import fetched

    folder, spec = work.layout.weights(model), work.sweep.weights[model]
    record = _read(folder / "weights.json")
    if record is None:
        return _absent(folder / "weights.json", "never fetched")
    if fetched(spec, folder):
        return DONE
    if work.is_removed(model):
        waiting = [item for item in work.readers()[model] if work.is_due(item)]
        if not waiting:
            return DONE
        return Verdict("stale", f"they were removed, and {waiting[0].rule} {waiting[0].name} reads them")
    if record.get("source") != spec.source:
        return Verdict("stale", f"source was {record.get('source')}, is {spec.source}")
    if record.get("version") != work.source_version(spec.source):
        return Verdict("stale", f"VERSION of sources/{spec.source}.py changed")
    files = record.get("sizes", {})
    if any(not (folder / f).is_file() or (folder / f).stat().st_size != size for f, size in files.items()):
        return Verdict("damaged", "a file is missing, was edited or cut off")
    return Verdict("stale", "options or weights_sha256 of its row changed, or its record was edited")


def removal(work: Work, model: str) -> Verdict:
    """Nothing is left of what was fetched."""
    from zooalign.models.removal import is_whole_removal

    path = work.layout.removed(model)
    if is_whole_removal(work.layout.weights(model), path):
        return DONE
    return Verdict("stale", "weights are there again") if path.exists() else Verdict("missing", "never removed")


def features(work: Work, dataset: str, model: str) -> Verdict:
    """Extracted from this dataset by this row, and whole."""
    from zooalign.features.store import finished_attributes, read_attributes, staged_samples, staging_folder

    path, expected = work.layout.features(dataset, model), work.features_digest(dataset, model)
    if expected is None:
        return Verdict("missing" if not path.exists() else "stale", f"dataset {dataset} is not built")
    try:
        attributes = read_attributes(path)
    except StoreError as error:
        if staging_folder(path).exists():
            return Verdict("partial", f"{staged_samples(path)} samples staged; the next run continues")
        return _absent(path / "zarr.json", "never extracted", error)
    if attributes["digest"] != expected:
        return Verdict("stale", _difference(work, attributes, dataset, model))
    if finished_attributes(path, expected) is None:
        return Verdict("damaged", "a file is missing, was edited or cut off")
    for preparation, cell in work.sweep.preparations.items():
        if cell.pooling in work.sweep.further_poolings(dataset, work.sweep.model(model)):
            pooled = work.features_digest(dataset, model, preparation)
            if pooled and finished_attributes(work.store(dataset, model, preparation), pooled) is None:
                return Verdict("stale", f"features of pooling {cell.pooling} are not stored")
    return DONE


def _difference(work: Work, attributes: dict[str, Any], dataset: str, model: str) -> str:
    """Which key of the model's row, or what else, differs from what made the features."""
    former, now = attributes.get("model", {}), work.sweep.model(model).model_dump(mode="json")
    keys = ("source", "options", "weights_sha256", "intervention", "pooling", "precision", "storage_dtype")
    changed = [f"{key} was {former.get(key)}, is {now[key]}" for key in keys if former.get(key) != now[key]]
    if attributes.get("dataset", {}).get("digest") != work.content_digest(dataset):
        changed.append(f"content of dataset {dataset} changed")
    changed = changed or [
        "extraction.text, prompt or layers, or VERSION of a module that reads inputs or runs the model, changed"
    ]
    return "; ".join(changed)


def index(work: Work, dataset: str, model: str, preparation: str = "") -> Verdict:
    """Made from these features with these settings, and whole."""
    from zooalign.indexes.from_features import covers, read_index_attributes

    place = (dataset, model, preparation)
    path, expected = work.layout.index(*place), work.index_digest(*place)
    try:
        attributes = read_index_attributes(path)
    except StoreError as error:
        return _absent(path / "zarr.json", "never indexed", error)
    if expected is None or attributes["digest"] != expected:
        return Verdict("stale", "the features, the preparation or VERSION of a module that indexes changed")
    settings = work.sweep.index_settings_of(*place)
    if covers(path, expected, settings["k_max"], settings["needs"]):
        return DONE
    return Verdict("stale", "it lacks what a metric needs, or was edited or cut off")


def row(work: Work, dataset: str, model: str, preparation: str = "") -> Verdict:
    """Every pair of the row under every metric, and nothing else."""
    from zooalign.alignment.pairs import VERSION

    place = (dataset, model, preparation)
    files = work.layout.row(*place), work.layout.receipt(*place)
    return _pairs(work, place, files, work.scores(*place), VERSION)


def inference(work: Work, dataset: str, model: str) -> Verdict:
    """Null and interval of every pair of the row, and nothing else."""
    from zooalign.alignment.infer_row import VERSION

    files = work.layout.inference(dataset, model), work.layout.inference_receipt(dataset, model)
    return _pairs(work, (dataset, model, ""), files, work.inferences(dataset, model), VERSION)


def _pairs(
    work: Work, place: tuple[str, str, str], files: tuple[Path, Path], wanted: dict[Key, str] | None, version: int
) -> Verdict:
    """What a row of pairs and its receipt say, of which each line shall have a digest."""
    from zooalign.alignment.update import by_name, current_receipt

    (path, receipt), (dataset, model, preparation) = files, place
    if wanted is None:
        return Verdict("stale" if path.exists() else "missing", f"dataset {dataset} is not built")
    if current_receipt(path, receipt, work.rows(dataset, preparation)[model], by_name(wanted), version):
        return DONE
    if not path.exists():
        return Verdict("missing", "never computed")
    recorded = (_read(receipt) or {}).get("digests")
    if recorded == by_name(wanted):
        return Verdict("damaged", "the row was edited or cut off")
    return Verdict("stale", "pairs, metrics, settings, an index or a VERSION changed")


def capability(work: Work, name: str, model: str) -> Verdict:
    """Measured for this row, dataset and options, and as it was written."""
    from zooalign.capability._runner import measured
    from zooalign.config.identity import capability_digest

    path, sweep = work.layout.capability(name, model), work.sweep
    wanted = capability_digest(sweep, name, model)
    if measured(path, sweep.capability(name), sweep.model(model), wanted):
        return DONE
    record = _read(path)
    if record is None:
        return _absent(path, "never measured")
    if record.get("digest") != wanted:
        return Verdict("stale", "the model, the dataset, the options or its VERSION changed")
    return Verdict("damaged", "the record was edited")


def result(work: Work, rule: str, *parts: str) -> Verdict:
    """Made from the scores and values of the sweep, and as it was written."""
    from zooalign.results.findings import is_recorded, recorded_digest

    files = work.files(rule, parts)
    if not all(path.exists() for path in files):
        return Verdict("missing", "never made" if not any(p.exists() for p in files) else "a file is missing")
    try:
        wanted = work.result_digest(rule, parts)
    except (OSError, ValueError, KeyError, TypeError, ZooalignError):
        return Verdict("stale", "scores or capabilities are missing")
    if recorded_digest(files) != wanted:
        return Verdict("stale", "scores, capabilities, models or a VERSION changed since it was made")
    return DONE if is_recorded(files) else Verdict("damaged", "a file was edited or cut off")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return read_object(path)
    except (OSError, ValueError):
        return None


def _absent(path: Path, never: str, error: object = "it cannot be read") -> Verdict:
    return Verdict("damaged", f"{path}: {error}") if path.exists() else Verdict("missing", never)
