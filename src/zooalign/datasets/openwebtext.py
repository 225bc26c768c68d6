"""OpenWebText: web documents that ship in an installed package, for bits per byte without any hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from zooalign.closed import Closed
from zooalign.data.attribution import Attribution
from zooalign.data.packages import installed_version, package_folder
from zooalign.data.records import Text
from zooalign.data.writing import write_samples
from zooalign.errors import DatasetError
from zooalign.progress import Report

VERSION = 1
KIND = "texts"


class _Collection(NamedTuple):
    file: str  # below registry/data of the package
    key: str  # field of a line that holds the text
    only: str | None  # value of the field "type", where a file holds several corpora
    source: str


# The passages' key "0" is the untouched passage; the other keys are shuffles of its sentences.
COLLECTIONS = {
    "documents": _Collection("text_compression/samples.jsonl", "text", "openwebtext", "openwebtext"),
    "passages": _Collection("schelling_point/owt_5.jsonl", "0", None, "openwebtext"),
    "wikipedia_documents": _Collection("text_compression/samples.jsonl", "text", "wikipedia", "wikipedia"),
    "wikipedia_passages": _Collection("schelling_point/wikipedia_5.jsonl", "0", None, "wikipedia"),
}
_LICENCES = {"openwebtext": "CC0-1.0", "wikipedia": "CC BY-SA 3.0"}


class Options(Closed):
    """Options of the `openwebtext` family."""

    collection: Literal["documents", "passages", "wikipedia_documents", "wikipedia_passages"] = Field(
        default="documents",
        description="50 whole documents (169 kB), 1,000 passages of some sentences (670 kB), or the same of "
        "Wikipedia (a second domain).",
    )
    byte_budget: int | None = Field(
        default=None,
        gt=0,
        description="Most UTF-8 bytes to take, in whole texts; null: all.",
    )


def fingerprint(options: Options, name: str) -> dict[str, str | None]:
    """Version of the package that the content is taken from."""
    return {"evals": installed_version("evals")}


def build(options: Options, folder: Path, report: Report) -> None:
    """Write the dataset.

    Raises
    ------
    DatasetError
        If the package evals is missing or its files are not what they were, or if the first text is larger
        than the byte budget.

    Notes
    -----
    Order: SHA-256 of the text. With a budget the longest beginning of that order that fits is taken, so a
    larger budget only adds texts. The package's files are read as data; it is never imported.
    """
    texts = list(_within(options.byte_budget, sorted(_texts(options), key=_digest)))
    if not texts:
        raise DatasetError(f"{folder.name}: no whole text fits byte_budget {options.byte_budget}; raise it.")
    n_bytes = sum(len(text.encode()) for text in texts)
    report(f"{folder.name}: {len(texts)} texts, {n_bytes} bytes of UTF-8")
    source = COLLECTIONS[options.collection].source
    write_samples(
        folder,
        KIND,
        (Text(_digest(text)[:16], text, source, _LICENCES[source]) for text in texts),
        name=folder.name,
        description=f"{len(texts)} texts, {n_bytes} bytes of UTF-8 ({options.collection}).",
        attribution=[entry for entry in _ATTRIBUTION if entry.source == source],
        options=options.model_dump(),
        family="openwebtext",
        version=VERSION,
        packages={k: v for k, v in fingerprint(options, folder.name).items() if v is not None},
    )


def _texts(options: Options) -> list[str]:
    """Distinct texts of a collection, white space at the ends stripped."""
    collection = COLLECTIONS[options.collection]
    path = package_folder("evals", "evals==3.0.1.post1", "openwebtext") / "registry" / "data" / collection.file
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        texts = [row[collection.key] for row in rows if collection.only in (None, row.get("type"))]
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(
            f"dataset family 'openwebtext' cannot read {collection.file} of the package evals ({error}); "
            "install the version it was written for: pip install --no-deps evals==3.0.1.post1"
        ) from error
    return list(dict.fromkeys(text.strip() for text in texts if text.strip()))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _within(budget: int | None, texts: list[str]) -> Iterator[str]:
    used = 0
    for text in texts:
        used += len(text.encode())
        if budget is not None and used > budget:
            return
        yield text


_ATTRIBUTION = (
    Attribution(
        source="openwebtext",
        title="OpenWebText",
        authors="Aaron Gokaslan, Vanya Cohen, Ellie Pavlick, Stefanie Tellex; the authors of the web pages",
        licence="CC0-1.0 (the collection; the pages remain their authors')",
        link="OpenWebTextCorpus, by way of the Python package evals (OpenAI)",
        changes="white space at the ends stripped",
    ),
    Attribution(
        source="wikipedia",
        title="Wikipedia",
        authors="The contributors of Wikipedia",
        licence="CC BY-SA 3.0 and GFDL",
        link="wikipedia.org, by way of the Python package evals (OpenAI)",
        changes="white space at the ends stripped",
    ),
)
