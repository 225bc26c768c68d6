"""Models by manifest row: weights are found, checked and converted once, then loaded without a network."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from zooalign.config.identity import local_files
from zooalign.errors import ConfigError, WeightsError, ZooalignError
from zooalign.network import offline, remedy
from zooalign.progress import Report, report_to_stderr
from zooalign.provenance import file_sha256, is_sealed, read_object, sealed
from zooalign.registry import plugin
from zooalign.storage.atomic import is_disk_full, replacing, write_json
from zooalign.storage.fingerprints import content_digest
from zooalign.storage.lease import Lease, make_once

if TYPE_CHECKING:
    from zooalign.config.manifest import ModelSpec
    from zooalign.models.model import LanguageModel, VisionModel

RECORD = "weights.json"


def fetch_weights(
    spec: ModelSpec,
    folder: Path,
    report: Report = report_to_stderr,
    lease_timeout_s: float = 60.0,
    anew: bool = False,
) -> dict[str, Any]:
    """Locate a model's weights, check them against the manifest and convert them once, unless that is done already.

    Parameters
    ----------
    spec : ModelSpec
        The manifest row.
    folder : Path
        results/weights/{model}; replaced as a whole, or left as it was if anything fails.
    lease_timeout_s : float
        As in `lease.hold_lease`: no other job writes the folder in the meantime.
    anew : bool
        Make it although one of the same digest is there.

    Returns
    -------
    dict
        What weights.json records: model, source, version, file, bytes, sha256 (null where nothing
        published is read), options, size and SHA-256 of every file in `folder` ("sizes", "files"), and SHA-256 of
        every file of the user's that is read where it lies ("read").

    Raises
    ------
    ConfigError
        If the source does not exist or its options are wrong.
    WeightsError
        If the weights are missing, have another hash than the manifest's, or cannot be converted.
    LeaseError
        If another process took the folder over.
    """
    source, options = _source(spec)
    folder = Path(folder)
    return make_once(
        folder,
        lambda: fetched(spec, folder),
        lambda lease: _fetch(spec, source, options, folder, lease),
        report,
        lease_timeout_s,
        anew=anew,
    )


def _fetch(spec: ModelSpec, source: ModuleType, options: Any, folder: Path, lease: Lease) -> dict[str, Any]:
    recorded = folder.with_name(f"{folder.name}.revision.json")  # stays when the weights go
    with replacing(folder, lease) as staging:
        staging.mkdir()
        with _named(spec):
            file = source.weight_file(_at_recorded_revision(options, recorded), staging)
            record = {"model": spec.id, "source": spec.source, "version": source.VERSION, **_identity(file)}
            record["options"] = options.model_dump(mode="json")
            _check_published(spec, file, record["sha256"])
            _check_recorded(staging / "revision.json", recorded)
            if hasattr(source, "prepare"):
                with offline(), _reading(spec, file):
                    source.prepare(options, file, staging)
        files = sorted(f for f in staging.rglob("*") if f.is_file())
        record["files"] = {f.relative_to(staging).as_posix(): file_sha256(f) for f in files}
        record["sizes"] = {f.relative_to(staging).as_posix(): f.stat().st_size for f in files}
        record["read"] = {str(f): file_sha256(f) for f in local_files(spec)}
        record = sealed(record)
        write_json(staging / RECORD, record)
        _make_readable(staging)
    if "revision.json" in record["files"]:
        write_json(recorded, read_object(folder / "revision.json"))
    return record


def _at_recorded_revision(options: Any, recorded: Path) -> Any:
    """Options with the commit that was the newest when the weights were first fetched, where the row names none."""
    if getattr(options, "revision", "given") is not None or not recorded.exists():
        return options
    repository, revision = _revision(recorded)
    named = options.hub_id or f"timm/{getattr(options, 'name', None)}"
    return options.model_copy(update={"revision": revision}) if repository == named else options


def _check_recorded(fetched: Path, recorded: Path) -> None:
    """Refuse a file of a web server that is another one than when it was first fetched."""
    if fetched.exists() and recorded.exists() and _revision(fetched) != _revision(recorded):
        place, before, now = _revision(fetched)[0], _revision(recorded)[1], _revision(fetched)[1]
        if place == _revision(recorded)[0] and "://" in place:  # of a repository, the row may name another commit
            raise WeightsError(
                f"{place} is at {now}, it was at {before} when it was first fetched: delete {recorded} if the newer "
                "one is meant"
            )


def _revision(file: Path) -> tuple[str, str]:
    """Place and commit, or SHA-256, that a record names."""
    try:
        record = read_object(file)
        return str(record["repository"]), str(record["revision"])
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{file} cannot be read: delete it, then the newest is fetched") from error


def fetched(spec: ModelSpec, folder: Path) -> dict[str, Any] | None:
    """Record of what is in a folder if it is the row's and whole; large files are hashed when they are loaded."""
    source, options = _source(spec)
    try:
        record = read_object(folder / RECORD)
        made = [record[key] for key in ("model", "source", "version", "options")]
        whole = record["files"].keys() == record["sizes"].keys() and all(
            (folder / name).stat().st_size == size for name, size in record["sizes"].items()
        )
        small = [name for name, size in record["sizes"].items() if size <= _SMALL_BYTES]
        whole = whole and _same(record["files"], {name: folder / name for name in small})
        read = record.get("read", {})
        whole = whole and read.keys() == {str(f) for f in local_files(spec)}
        whole = whole and _same(read, {name: Path(name) for name in read})
        sha256 = record["sha256"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    wanted = [spec.id, spec.source, source.VERSION, options.model_dump(mode="json")]
    if made != wanted or not whole or not is_sealed(record):
        return None
    return record if spec.weights_sha256 in (None, sha256) else None


# Configurations and tokenizers, not weights.
_SMALL_BYTES = 2**24


def _same(recorded: Mapping[str, str], files: Mapping[str, Path]) -> bool:
    """Whether files have the recorded SHA-256s; read again only where a size or time changed since the last time."""
    content = hashlib.sha256(b"".join(bytes.fromhex(recorded[name]) for name in files))
    return not files or content_digest(files.values()) == content.hexdigest()


def load_model(spec: ModelSpec, folder: Path, device: str = "cpu") -> VisionModel | LanguageModel:
    """Load a model of the manifest from the folder that :func:`fetch_weights` made; needs no network.

    Parameters
    ----------
    spec : ModelSpec
        The manifest row.
    folder : Path
        results/weights/{model}.
    device : str
        Where weights are read to if the row's source can do that; interventions are made on the CPU.

    Returns
    -------
    VisionModel or LanguageModel
        On the CPU or on `device`, in evaluation mode; in float32, or in the row's precision where its source can read
        that; changed by the row's intervention if it has one.

    Raises
    ------
    ConfigError
        If the options are wrong, or modality, `causal` or `layers` of the row contradict the model.
    WeightsError
        If a file is missing or has changed since it was fetched, or an intervention does not apply.
    """
    from zooalign.models.interventions import intervene
    from zooalign.models.model import LanguageModel, VisionModel

    source, options = _source(spec)
    folder = Path(folder)
    with _named(spec):
        record = _read_record(folder, source.VERSION, options.model_dump(mode="json"))
        _check_files(folder, record)
        with offline():
            file = source.weight_file(options, folder)
            _check_published(spec, file, _identity(file)["sha256"])
            with _reading(spec, file):
                own = {"precision": spec.precision} if getattr(source, "LOADS_PRECISION", False) else {}
                if getattr(source, "LOADS_TO_DEVICE", False) and spec.intervention is None:
                    own["device"] = device
                model = source.load(options, file, folder, **own)
    if not isinstance(model, VisionModel if spec.modality == "vision" else LanguageModel):
        kind = type(model).__name__
        raise ConfigError(f"model {spec.id!r}: modality {spec.modality!r} is wrong, its source gives a {kind}")
    if isinstance(model, LanguageModel) and model.causal != spec.causal:
        raise ConfigError(f"model {spec.id!r}: the row says causal: {spec.causal}, its weights say {model.causal}")
    if spec.intervention is None and spec.layers not in (None, len(model.layer_names)):
        raise ConfigError(
            f"model {spec.id!r}: the row says layers: {spec.layers}, its weights have {len(model.layer_names)}; "
            "`zooalign zoo check` compares all rows"
        )
    if spec.intervention is not None:
        with _named(spec):
            intervene(model, spec.intervention)
    return model


@contextlib.contextmanager
def _named(spec: ModelSpec) -> Iterator[None]:
    """Put the model's id in front of any message about weights."""
    try:
        yield
    except WeightsError as error:
        raise error.within(f"model {spec.id!r}") from error


@contextlib.contextmanager
def _reading(spec: ModelSpec, file: Path | None) -> Iterator[None]:
    """Name the file in whatever a library raises for a file that is damaged or something else than the row says."""
    from zooalign.models.memory import is_out_of_memory

    try:
        yield
    except ZooalignError:
        raise
    except Exception as error:
        if is_out_of_memory(error) or is_disk_full(error) or isinstance(error, OSError):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise WeightsError(
            f"{'its weights' if file is None else repr(file.name)} cannot be read by source {spec.source!r} "
            f"({type(error).__name__}: {reason}): the file is damaged, or source and options of the row do not fit it"
        ) from error


def _source(spec: ModelSpec) -> tuple[ModuleType, Any]:
    source = plugin("sources", spec.source, "source")
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


def _check_published(spec: ModelSpec, file: Path | None, sha256: str | None) -> None:
    if file is None or spec.weights_sha256 is None or sha256 == spec.weights_sha256:
        return
    raise WeightsError(
        f"weight file {str(file)!r} has SHA-256 {sha256}, the manifest says {spec.weights_sha256}: install "
        "the version that the row names, or change weights_sha256 if the other file is meant"
    )


def _read_record(folder: Path, version: int, options: dict[str, Any]) -> dict[str, Any]:
    try:
        record = read_object(folder / RECORD)
    except (FileNotFoundError, ValueError) as error:
        message = f"its weights are not here, {str(folder)!r} has no readable {RECORD}: {remedy('fetch_weights')}"
        raise WeightsError(message) from error
    if record.get("version") != version:
        message = f"its weights were prepared by version {record.get('version')} of its source, now {version}"
        raise WeightsError(f"{message}: fetch them again")
    if record["options"] != options:
        changed = [k for k in options if record["options"].get(k) != options[k]]
        raise WeightsError(f"its weights were prepared with other options ({', '.join(changed)}): fetch them again")
    return record


def _check_files(folder: Path, record: dict[str, Any]) -> None:
    for name, sha256 in {**record["files"], **record.get("read", {})}.items():
        file = folder / name  # a file of the user's has its whole path
        actual = file_sha256(file) if file.is_file() else "nothing"
        if actual != sha256:
            message = f"{str(file)!r} should have SHA-256 {sha256}, found {actual}: fetch its weights again"
            raise WeightsError(message, folder / RECORD)


def _make_readable(folder: Path) -> None:
    """Give every file the permissions of an ordinary one: safetensors writes for its owner only."""
    model = (folder / RECORD).stat().st_mode
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(model)
