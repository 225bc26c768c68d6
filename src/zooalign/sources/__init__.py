"""Model sources: one file per kind of source; here what they share, fetching and loading by manifest row."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from zooalign.discovery import room
from zooalign.errors import ConfigError, WeightsError
from zooalign.folders import replace_folder
from zooalign.network import offline, remedy
from zooalign.ownership import Owner, own
from zooalign.progress import Report, report_to_stderr
from zooalign.provenance import file_sha256

if TYPE_CHECKING:
    from zooalign.models import LanguageModel, VisionModel
    from zooalign.zoo import ModelSpec

RECORD = "weights.json"


def fetch_weights(
    spec: ModelSpec, folder: Path, report: Report = report_to_stderr, owner_timeout_s: float = 60.0
) -> dict[str, Any]:
    """Locate a model's weights, check them against the manifest and convert them once, unless they are there.

    Parameters
    ----------
    spec : ModelSpec
        The manifest row.
    folder : Path
        results/weights/{model}; replaced as a whole, or left as it was if anything fails.
    report : callable
        Takes lines for the log.
    owner_timeout_s : float
        As in `ownership.own`: no other job writes the folder in the meantime.

    Returns
    -------
    dict
        What weights.json records: model, source, version, file, bytes, sha256 (null where nothing
        published is read), options, and size and SHA-256 of every file in `folder`.

    Raises
    ------
    ConfigError
        If the source does not exist or its options are wrong.
    WeightsError
        If the weights are missing, have another hash than the manifest's, or cannot be converted.
    OwnershipError
        If another process took the folder over.
    """
    source, options = _source(spec)
    folder = Path(folder)
    there = _fetched(spec, source, options, folder)
    if there is None:
        with own(folder, report, owner_timeout_s) as owner:
            there = _fetched(spec, source, options, folder)
            if there is None:
                return _fetch(spec, source, options, folder, owner)
    report(f"already there: {folder}")
    return there


def _fetch(spec: ModelSpec, source: ModuleType, options: Any, folder: Path, owner: Owner) -> dict[str, Any]:
    staging = owner.staged
    staging.mkdir()
    with _named(spec):
        file = source.weight_file(options, staging)
        record = {"model": spec.id, "source": spec.source, "version": source.VERSION, **_identity(file)}
        record["options"] = options.model_dump(mode="json")
        _check_published(spec, file, record["sha256"])
        if hasattr(source, "prepare"):
            with offline():
                source.prepare(options, file, staging)
    files = sorted(f for f in staging.rglob("*") if f.is_file())
    record["files"] = {f.relative_to(staging).as_posix(): file_sha256(f) for f in files}
    record["sizes"] = {f.relative_to(staging).as_posix(): f.stat().st_size for f in files}
    (staging / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    _make_readable(staging)
    replace_folder(staging, folder, owner.check)
    return record


def _fetched(spec: ModelSpec, source: ModuleType, options: Any, folder: Path) -> dict[str, Any] | None:
    """Record of what is in a folder if it is the row's and whole; the content is hashed when it is loaded."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        made = [record[key] for key in ("model", "source", "version", "options")]
        whole = record["files"].keys() == record["sizes"].keys() and all(
            (folder / name).stat().st_size == size for name, size in record["sizes"].items()
        )
        sha256 = record["sha256"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if made != [spec.id, spec.source, source.VERSION, options.model_dump(mode="json")] or not whole:
        return None
    return record if spec.weights_sha256 in (None, sha256) else None


def load_model(spec: ModelSpec, folder: Path) -> VisionModel | LanguageModel:
    """Load a model of the manifest from the folder that :func:`fetch_weights` made; needs no network.

    Parameters
    ----------
    spec : ModelSpec
        The manifest row.
    folder : Path
        results/weights/{model}.

    Returns
    -------
    VisionModel or LanguageModel
        float32, on the CPU, in evaluation mode.

    Raises
    ------
    ConfigError
        If the options are wrong, or modality or `causal` of the row contradict the model.
    WeightsError
        If a file is missing or has changed since it was fetched.
    """
    from zooalign.models import LanguageModel, VisionModel

    source, options = _source(spec)
    folder = Path(folder)
    with _named(spec):
        record = _read_record(folder, source.VERSION, options.model_dump(mode="json"))
        _check_files(folder, record)
        with offline():
            file = source.weight_file(options, folder)
            _check_published(spec, file, _identity(file)["sha256"])
            model = source.load(options, file, folder)
    if not isinstance(model, VisionModel if spec.modality == "vision" else LanguageModel):
        kind = type(model).__name__
        message = f"model {spec.id!r}: modality {spec.modality!r} is wrong, its source gives a {kind}"
        raise ConfigError(message)
    if isinstance(model, LanguageModel) and model.causal != spec.causal:
        message = f"model {spec.id!r}: the row says causal: {spec.causal}, its weights say {model.causal}"
        raise ConfigError(message)
    return model


@contextlib.contextmanager
def _named(spec: ModelSpec) -> Iterator[None]:
    """Put the model's id in front of any message about weights."""
    try:
        yield
    except WeightsError as error:
        message = f"model {spec.id!r}: {error}"
        raise WeightsError(message) from error


def _source(spec: ModelSpec) -> tuple[ModuleType, Any]:
    source = room("sources", spec.source, "source")
    try:
        return source, source.Options.model_validate(spec.options)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(["options", *map(str, first["loc"])])
        message = f"model {spec.id!r}: {place}: {first['msg']}; its options are in sources/{spec.source}.py"
        raise ConfigError(message) from error


def _identity(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {"file": None, "bytes": None, "sha256": None}
    return {"file": file.name, "bytes": file.stat().st_size, "sha256": file_sha256(file)}


def _check_published(spec: ModelSpec, file: Path | None, found: str | None) -> None:
    if file is None or spec.weights_sha256 is None or found == spec.weights_sha256:
        return
    message = (
        f"weight file {str(file)!r} has SHA-256 {found}, the manifest says {spec.weights_sha256}: install "
        "the version that the row names, or change weights_sha256 if the other file is meant"
    )
    raise WeightsError(message)


def _read_record(folder: Path, version: int, options: dict[str, Any]) -> dict[str, Any]:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError) as error:
        message = f"its weights are not here, {str(folder)!r} has no readable {RECORD}: {remedy('fetch_weights')}"
        raise WeightsError(message) from error
    if record["version"] != version:
        message = f"its weights were prepared by version {record['version']} of its source, now {version}"
        raise WeightsError(f"{message}: fetch them again")
    if record["options"] != options:
        changed = [k for k in options if record["options"].get(k) != options[k]]
        message = f"its weights were prepared with other options ({', '.join(changed)}): fetch them again"
        raise WeightsError(message)
    return record


def _check_files(folder: Path, record: dict[str, Any]) -> None:
    for name, sha256 in record["files"].items():
        file = folder / name
        found = file_sha256(file) if file.is_file() else "nothing"
        if found != sha256:
            message = f"{str(file)!r} should have SHA-256 {sha256}, found {found}: fetch its weights again"
            raise WeightsError(message)


def _make_readable(folder: Path) -> None:
    """Give every file the permissions of an ordinary one: safetensors writes for its owner only."""
    model = (folder / RECORD).stat().st_mode
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(model)
