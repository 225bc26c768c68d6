"""Records: what a dataset family hands over sample by sample, and how each is checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zooalign.data.captions import mild
from zooalign.data.decoding import decode
from zooalign.data.samples import Alternative
from zooalign.errors import DatasetError

# A model's preprocessing scales the shorter side to a few hundred px before it crops.
LARGEST_ASPECT = 100


@dataclass(frozen=True)
class Pair:
    """An image and its caption.

    Parameters
    ----------
    id : str
        Unique within the dataset and stable between builds.
    image : bytes
        Encoded picture (PNG, JPEG, ...).
    caption : str
        As written in the source.
    source, licence : str
        Where it comes from (a key of the attribution list) and under what licence.
    caption_normalised : str, optional
        What models read; :func:`zooalign.data.captions.mild` of `caption` unless given.
    texts : mapping
        Further texts by density name ("gloss", "name_de"); empty ones are not to be given.
    group : str, optional
        Domain.
    alternatives : sequence of Alternative
        Other views and captions of the same concept.
    attributes : mapping
        Further properties that models do not read ("style").
    """

    id: str
    image: bytes
    caption: str
    source: str
    licence: str
    caption_normalised: str | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None
    alternatives: Sequence[Alternative] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Label:
    """An image, its class name, and the split ("train" or "test") it belongs to."""

    id: str
    image: bytes
    label: str
    split: str
    source: str
    licence: str


@dataclass(frozen=True)
class Text:
    """A whole text."""

    id: str
    text: str
    source: str
    licence: str


@dataclass(frozen=True)
class Question:
    """A document of a language task as its data set has it, or the definition of the task (split "definition").

    `document` is a JSON object; `task` names a task of the evaluation harness, `split` the part of its data set.
    """

    id: str
    task: str
    split: str
    document: str
    source: str
    licence: str


Record = Pair | Label | Text | Question


def checked(kind: str, records: Iterable[Record], name: str) -> Iterator[dict[str, Any]]:
    """Check records one by one and yield the rows to store.

    Parameters
    ----------
    kind : {"pairs", "labels", "texts", "questions"}
        What the records are.
    records : iterable of Pair, Label, Text or Question
        Consumed once.
    name : str
        Dataset, for messages.

    Raises
    ------
    DatasetError
        Names dataset, row and sample: a duplicate or empty id, an empty or undecodable text, a corrupt image,
        no source or licence.
    """
    seen: dict[str, int] = {}
    row_of = {"pairs": _pair_row, "labels": _label_row, "texts": _text_row, "questions": _question_row}[kind]
    for number, record in enumerate(records):
        where = f"{name}, row {number}, sample {record.id!r}"
        if not _checked_text(record.id, where, "id"):
            raise DatasetError(f"{name}, row {number}: the id is empty; give every sample one.")
        if record.id in seen:
            raise DatasetError(f"{where}: row {seen[record.id]} has the same id; ids must be unique.")
        seen[record.id] = number
        for what in ("source", "licence"):
            if not _checked_text(getattr(record, what), where, what):
                raise DatasetError(f"{where}: no {what}; every sample must name its {what}.")
        yield row_of(record, where)


def _pair_row(record: Pair, where: str) -> dict[str, Any]:
    caption = _required_text(record.caption, where, "caption")
    normalised = mild(caption) if record.caption_normalised is None else record.caption_normalised
    return {
        "id": record.id,
        "image": _image(record.image, where),
        "caption": caption,
        "caption_normalised": _required_text(normalised, where, "normalised caption"),
        "texts": [
            {"name": k, "value": _required_text(v, where, f"text {k!r}")} for k, v in sorted(record.texts.items())
        ],
        "group": record.group,
        "alternatives": [
            {"id": a.id, "caption": a.caption, "image": _image(a.image, f"{where}, alternative {a.id!r}")}
            for a in record.alternatives
        ],
        "attributes": [{"name": k, "value": v} for k, v in sorted(record.attributes.items())],
        "source": record.source,
        "licence": record.licence,
    }


def _label_row(record: Label, where: str) -> dict[str, Any]:
    return {
        "id": record.id,
        "image": _image(record.image, where),
        "label": _required_text(record.label, where, "label"),
        "split": _required_text(record.split, where, "split"),
        "source": record.source,
        "licence": record.licence,
    }


def _text_row(record: Text, where: str) -> dict[str, Any]:
    text = _required_text(record.text, where, "text")
    return {"id": record.id, "text": text, "source": record.source, "licence": record.licence}


def _question_row(record: Question, where: str) -> dict[str, Any]:
    texts = {what: _required_text(getattr(record, what), where, what) for what in ("task", "split", "document")}
    return {"id": record.id, **texts, "source": record.source, "licence": record.licence}


def _required_text(value: str, where: str, what: str) -> str:
    if not _checked_text(value, where, what).strip():
        raise DatasetError(f"{where}: empty {what}; remove the row or write one.")
    return value


def _checked_text(value: str, where: str, what: str) -> str:
    """Return `value` if it can be written as UTF-8 (a lone surrogate cannot)."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DatasetError(f"{where}: {what} is not valid UTF-8; save the source as UTF-8.") from error
    return value


def _image(data: bytes | None, where: str) -> dict[str, bytes | None] | None:
    if data is None:
        return None
    try:
        width, height = decode(data).size
    except Exception as error:  # Pillow's plugins raise what they like for corrupt data
        raise DatasetError(f"{where}: the image cannot be decoded ({error}); replace the file.") from error
    if max(width, height) > LARGEST_ASPECT * min(width, height):
        raise DatasetError(
            f"{where}: the image is {width} x {height} px; resized for a model, a picture so thin takes gigabytes: "
            f"crop it to at most {LARGEST_ASPECT} : 1, or leave it out."
        )
    return {"bytes": data, "path": None}
