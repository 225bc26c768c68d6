"""A correct row from a hub id, a name of timm, or a local folder, by inspection."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from zooalign.config.manifest import ModelSpec, read_models
from zooalign.config.reading import parse
from zooalign.errors import ConfigError, WeightsError
from zooalign.provenance import file_sha256, read_object
from zooalign.storage.atomic import write_text
from zooalign.zoo.facts import (
    Facts,
    config_in,
    config_of,
    has_class_token,
    language_facts,
    published_size,
    timm_facts,
)

# Parts of timm's tags that say how weights were trained, the most telling first.
_TAGS = (
    (("clip", "openai", "laion", "datacomp", "dfn", "metaclip", "siglip", "webli"), "contrastive"),
    (("mae", "dino", "fcmae", "ijepa", "ssl", "lvd", "mim", "beit"), "self-supervised"),
)
# Keys of a configuration that say nothing about the network.
_NOT_ARCHITECTURE = ("architectures", "auto_map", "transformers_version", "torch_dtype", "dtype", "use_cache",
                     "_name_or_path", "id2label", "label2id", "task_specific_params")  # fmt: skip


def describe(what: str, *, model_id: str | None = None, **stated: Any) -> dict[str, Any]:
    """The row of a model.

    Parameters
    ----------
    what : str
        A local folder, a name of timm with its tag, or a repository of the hub ("owner/name").
    model_id : str, optional
        Default: made from the name.
    **stated
        Keys of the row that the user gives; they replace what was found.

    Returns
    -------
    dict
        A row that `ModelSpec` accepts.

    Raises
    ------
    WeightsError
        If there is no such model, or it cannot be read.
    ConfigError
        If a given key is wrong, or one is missing that cannot be found out.
    """
    folder = Path(what)
    if folder.is_dir():
        row = _of_folder(folder)
    elif "/" in what:
        row = _of_repository(what)
    else:
        row = _of_timm(what)
    row = {"id": model_id or _id(folder.name if folder.is_dir() else what), **row}
    row |= {key: value for key, value in stated.items() if value is not None}
    if "licence" not in row:
        raise ConfigError(f"{what}: its licence is not stated; give --licence (what its authors say, or unknown).")
    parse(ModelSpec, row, what)
    return {key: value for key, value in row.items() if value is not None}


def append(row: dict[str, Any], path: Path) -> None:
    """Write a row at the end of a zoo file, which is made if it is not there; comments in it stay.

    Raises
    ------
    ConfigError
        If the file is no zoo file or has a row of that id.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else "models:\n"
    if path.exists() and any(spec.id == row["id"] for spec in read_models(path)):
        raise ConfigError(f"{path}: has a model {row['id']!r} already; give another --id.")
    if re.search(r"^models:\s*\[\s*\]\s*$", text, re.M):
        text = re.sub(r"^models:\s*\[\s*\]\s*$", "models:", text, flags=re.M)
    written = yaml.safe_dump([row], sort_keys=False, default_flow_style=None, allow_unicode=True, width=110)
    indented = "".join(f"  {line}\n" for line in written.splitlines())
    whole = text.rstrip("\n") + "\n\n" + indented
    try:
        last = list(yaml.safe_load(whole))[-1]
    except yaml.YAMLError:  # rows in brackets, or indented otherwise
        last = None
    if last != "models":
        raise ConfigError(
            f"{path}: a row cannot be appended: `models` must be its last key, with rows as lines that begin with "
            "two spaces and a dash."
        )
    write_text(path, whole)


def _id(name: str) -> str:
    """A file name from a model's name.

    Examples
    --------
    >>> _id("Qwen/Qwen3-0.6B-Base")
    'qwen3-0.6b-base'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name.rpartition("/")[2]).strip("-._").lower()


def _of_timm(name: str) -> dict[str, Any]:
    from zooalign.sources._torchvision import import_timm

    facts = timm_facts(name)
    timm = import_timm()
    config = timm.get_pretrained_cfg(name)
    tag = name.partition(".")[2]
    return {
        "modality": "vision",
        "source": "timm",
        "options": {"name": name},
        "family": name.split(".")[0].split("_")[0],
        "objective": _objective(name),
        "pooling": "cls" if has_class_token(name) else "mean",
        **_numbers(facts),
        **({"licence": config.license} if getattr(config, "license", None) else {}),
        "homepage": f"https://huggingface.co/{config.hf_hub_id}{name if str(config.hf_hub_id).endswith('/') else ''}",
        "training": {"corpora": [tag] if tag else [], "cross_modal": _objective(name) == "contrastive"},
    }


def _objective(name: str) -> str:
    """How weights of timm were trained, as far as their name says."""
    tag = name.partition(".")[2]
    for parts, objective in _TAGS:
        if any(part in tag or part in name.split(".")[0].split("_") for part in parts):
            return "supervised" if objective == "self-supervised" and "_ft_" in f"{tag}_" else objective
    return "supervised"


def _of_repository(repository: str) -> dict[str, Any]:
    from zooalign.sources._hub import read_card

    card = read_card(repository)
    config = dict(card.config)
    row = _of_config(config, {"hub_id": repository, "revision": card.revision})
    row["architecture"] = {k: v for k, v in config.items() if k not in _NOT_ARCHITECTURE and v is not None}
    row |= {"gated": card.gated, "homepage": f"https://huggingface.co/{repository}"}
    row |= {"licence": card.licence} if card.licence else {}
    row |= {"released": card.created} if card.created else {}
    return row


def _of_folder(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    try:
        config = read_object(file)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{str(file)!r} cannot be read ({error}): a folder needs config.json") from error
    names = ("model.safetensors.index.json", "model.safetensors")
    weights = next((folder / name for name in names if (folder / name).is_file()), None)
    if weights is None:
        raise WeightsError(f"{str(folder)!r} has no model.safetensors: save the model with safe_serialization=True")
    if "model_type" in config:
        row = _of_config(config, {"path": str(folder)}, folder)
    elif "architecture" in config:
        published = config.get("pretrained_cfg") or {}
        size = tuple(published.get("input_size") or published_size(config["architecture"]))
        facts = timm_facts(
            config["architecture"], {"num_classes": config.get("num_classes", 0)}, size, pretrained=False
        )
        row = {
            "modality": "vision",
            "source": "timm",
            "options": {"path": str(folder)},
            "family": config["architecture"].split("_")[0],
            "objective": "supervised",
            "pooling": "cls" if has_class_token(config["architecture"]) else "mean",
            **_numbers(facts),
        }
    else:
        raise WeightsError(f"{str(file)!r} names neither `model_type` (transformers) nor `architecture` (timm)")
    return {**row, "weights_sha256": file_sha256(weights)}


def _of_config(config: dict[str, Any], options: dict[str, Any], folder: Path | None = None) -> dict[str, Any]:
    """The row of a language model of transformers."""
    from zooalign.sources._language import is_causal

    if "model_type" not in config:
        raise WeightsError("its config.json names no `model_type`: it is no model of transformers")
    if "image_size" in config or "num_channels" in config or "vision_config" in config:
        raise WeightsError(
            f"a model of type {config['model_type']!r} reads pictures: write its row by hand, with source "
            "transformers_vision, or transformers for its text tower (config/README.md)"
        )
    made = config_of(config) if folder is None else config_in(folder)
    causal = is_causal(made)
    facts = language_facts(made, causal=causal)
    return {
        "modality": "language",
        "source": "transformers",
        "options": options,
        "family": config["model_type"],
        "objective": "causal" if causal else "masked",
        "causal": causal,
        "pooling": "mean",
        "precision": config.get("torch_dtype") or config.get("dtype") or "float32",
        **_numbers(facts),
    }


def _numbers(facts: Facts) -> dict[str, Any]:
    numbers: dict[str, Any] = facts._asdict()
    if facts.gflops is None:
        del numbers["gflops"]
    else:
        numbers["gflops"] = float(f"{facts.gflops:.3g}")
    return numbers
