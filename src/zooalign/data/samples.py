"""Samples: a dataset as the rest of the library sees it, written once as Arrow and read lazily.

A dataset folder holds `samples/` (a Hugging Face dataset, readable with `datasets.load_from_disk`),
`ATTRIBUTION.md` (whose work it is) and `dataset.json` (what it is). `dataset.json` is written last and the
folder is renamed into place, so a folder without it was never finished. Building twice gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from zooalign.data.decoding import decode
from zooalign.errors import DatasetError, unknown
from zooalign.network import remedy
from zooalign.provenance import file_xxh3

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL import Image

# Layout of a dataset folder; a folder of another layout is refused.
SCHEMA = 1
KINDS = ("pairs", "labels", "texts", "questions")
# Names of the two forms every caption has; further densities come from a record's `texts`.
NORMALISED = "caption"
AS_WRITTEN = "as_written"


class Alternative(NamedTuple):
    """Another view or caption of the same concept."""

    id: str
    caption: str | None
    image: bytes | None


def canonical_row(row: dict[str, Any]) -> bytes:
    """Bytes of a stored row that the content digest covers: every field; pictures by their SHA-256."""

    def plain(value: Any) -> Any:
        if isinstance(value, bytes):
            return hashlib.sha256(value).hexdigest()
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        if isinstance(value, list):
            return [plain(v) for v in value]
        return value

    text = json.dumps(plain(row), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8") + b"\n"


def ids_digest(ids: list[str]) -> str:
    """SHA-256 of sample ids in their order: two artefacts with the same digest are aligned row by row."""
    return hashlib.sha256("".join(f"{i}\n" for i in ids).encode("utf-8")).hexdigest()


class Samples:
    """A finished dataset folder, opened by :func:`open_samples`.

    The Arrow file is memory-mapped on first use and never pickled, so the object can be sent to worker
    processes, each of which opens the file itself.

    Attributes
    ----------
    folder : pathlib.Path
        Where it lies.
    about : dict
        Content of `dataset.json`.
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder = folder
        self.about = about

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "about": self.about}

    def __len__(self) -> int:
        return self.about["n"]

    def __repr__(self) -> str:
        return f"Samples({self.name!r}, kind={self.kind!r}, n={len(self)}, digest={self.digest[:12]!r})"

    @property
    def kind(self) -> str:
        """What the samples are: "pairs" (image and caption), "labels" (image and class), "texts" or "questions"."""
        return self.about["kind"]

    @property
    def name(self) -> str:
        """Id of the dataset."""
        return self.about["name"]

    @property
    def digest(self) -> str:
        """SHA-256 over every field of every sample in order (64 hex digits)."""
        return self.about["digest"]

    @property
    def densities(self) -> list[str]:
        """Text densities that every sample has; `captions` takes one of them."""
        return [name for name, count in self.about["densities"].items() if count == len(self)]

    @property
    def partial_densities(self) -> dict[str, int]:
        """Text densities that only some samples have, with how many have them."""
        return {name: count for name, count in self.about["densities"].items() if count < len(self)}

    @cached_property
    def _table(self) -> pa.Table:
        import pyarrow as pa

        state = self.folder / "samples" / "state.json"
        try:
            names = [f["filename"] for f in json.loads(state.read_text(encoding="utf-8"))["_data_files"]]
            for name in names:
                self._check_file(f"samples/{name}")
            parts = [
                pa.ipc.open_stream(pa.memory_map(str(self.folder / "samples" / name))).read_all() for name in names
            ]
            table = pa.concat_tables(parts)
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise _damaged(self.folder, f"its Arrow files cannot be read ({error})") from error
        if table.num_rows != len(self):
            raise _damaged(self.folder, f"{table.num_rows} rows where dataset.json says {len(self)}")
        return table

    def _check_file(self, name: str) -> None:
        """Compare a file with its checksum in dataset.json: nothing that changed reaches a model."""
        expected = self.about.get("checksums", {}).get(name)
        if expected is not None and file_xxh3(self.folder / name) != expected:
            raise _damaged(self.folder, f"{name} changed since it was written")

    def _column(self, name: str, kind: str) -> list[Any]:
        if name not in self._table.column_names:
            raise DatasetError(
                f"{self.name}: samples of kind {self.kind!r} have no {name!r}; use one of kind {kind!r}."
            )
        return self._table[name].to_pylist()

    @cached_property
    def ids(self) -> list[str]:
        """Sample ids, in the fixed order."""
        return self._column("id", "pairs")

    @cached_property
    def sources(self) -> list[str]:
        """Where each sample comes from (a confound: report scores within a source too)."""
        return self._column("source", "pairs")

    @cached_property
    def licences(self) -> list[str]:
        """Licence of each sample."""
        return self._column("licence", "pairs")

    @cached_property
    def groups(self) -> list[str | None]:
        """Domain of each pair, None where the source tells none."""
        return self._column("group", "pairs")

    @cached_property
    def labels(self) -> list[str]:
        """Class name of each sample of a label task."""
        return self._column("label", "labels")

    @cached_property
    def splits(self) -> list[str]:
        """Part of each sample of a label task ("train" or "test"), or of a language task."""
        return self._column("split", "labels")

    @cached_property
    def texts(self) -> list[str]:
        """Whole documents of a text corpus."""
        return self._column("text", "texts")

    @cached_property
    def tasks(self) -> list[str]:
        """Harness task of each question."""
        return self._column("task", "questions")

    @cached_property
    def documents(self) -> list[str]:
        """JSON object of each question."""
        return self._column("document", "questions")

    def _field(self, column: str, name: str) -> list[str | None]:
        """Values of one name in a list<struct<name, value>> column, None where a sample has none."""
        import pyarrow.compute as pc

        values: list[str | None] = [None] * len(self)
        entries = self._table[column].combine_chunks()
        parents = pc.call_function("list_parent_indices", [entries])
        flat = pc.call_function("list_flatten", [entries])
        wanted = pc.call_function("equal", [flat.field("name"), name])
        for row, value in zip(
            parents.filter(wanted).to_pylist(), flat.field("value").filter(wanted).to_pylist(), strict=True
        ):
            values[row] = value
        return values

    def attribute(self, name: str) -> list[str | None]:
        """Further property of each pair that is not for models to read ("style"), None where it has none.

        Raises
        ------
        DatasetError
            If no sample has it; the message gives the nearest names.
        """
        if name not in self.about["attributes"]:
            raise DatasetError(f"{self.name}: {unknown('attribute', name, self.about['attributes'])}")
        return self._field("attributes", name)

    def captions(self, density: str = NORMALISED, fallback: str | None = None) -> list[str]:
        """Text of every pair at one density, in the order of `ids`.

        Parameters
        ----------
        density : str
            "caption" (normalised, the default), "as_written", or another of `densities`.
        fallback : str, optional
            Density to read where a sample lacks the first; without it a partial density is an error.

        Returns
        -------
        list of str
            One non-empty text per sample.

        Raises
        ------
        DatasetError
            For an unknown density and, without `fallback`, for one that some samples lack.
        """
        known = self.about["densities"]
        if self.kind != "pairs":
            raise DatasetError(f"{self.name}: samples of kind {self.kind!r} have no captions; use {'texts'!r}.")
        if density not in known:
            raise DatasetError(f"{self.name}: {unknown('text density', density, known)}")
        if density in (NORMALISED, AS_WRITTEN):
            return self._column("caption_normalised" if density == NORMALISED else "caption", "pairs")
        values = self._field("texts", density)
        rest = self.captions(fallback) if fallback is not None and None in values else [None] * len(self)
        filled = [value if value is not None else other for value, other in zip(values, rest, strict=True)]
        texts = [text for text in filled if text is not None]
        if len(texts) < len(self):
            first = self.ids[filled.index(None)]
            raise DatasetError(
                f"{self.name}: {len(self) - len(texts)} of {len(self)} have no text {density!r} (first "
                f"{first!r}); choose one of {', '.join(self.densities)}, or give a fallback density."
            )
        return texts

    def _row(self, i: int) -> dict[str, Any]:
        if not 0 <= i < len(self):
            raise DatasetError(f"{self.name}: sample {i} asked for, there are 0 to {len(self) - 1}.")
        return self._table.slice(i, 1).to_pylist()[0]

    def image_bytes(self, i: int) -> bytes:
        """Return the encoded picture of sample `i` as stored."""
        if "image" not in self._table.column_names:
            raise DatasetError(f"{self.name}: samples of kind {self.kind!r} have no images.")
        if not 0 <= i < len(self):
            raise DatasetError(f"{self.name}: sample {i} asked for, there are 0 to {len(self) - 1}.")
        return self._table["image"][i]["bytes"].as_py()

    def image(self, i: int) -> Image.Image:
        """Picture of sample `i` as RGB; see :func:`decode`."""
        return decode(self.image_bytes(i))

    def images(self) -> Iterator[Image.Image]:
        """Every picture in order, decoded one at a time."""
        return (self.image(i) for i in range(len(self)))

    def alternatives(self, i: int) -> list[Alternative]:
        """Other views and captions of the concept of pair `i`."""
        return [
            Alternative(a["id"], a["caption"], a["image"]["bytes"] if a["image"] else None)
            for a in self._row(i).get("alternatives") or []
        ]

    def verify(self) -> None:
        """Read everything again and compare with the content digest.

        Raises
        ------
        DatasetError
            If a byte of any field changed since the folder was written.
        """
        content = hashlib.sha256(self.kind.encode())
        for batch in self._table.to_batches(max_chunksize=256):
            for row in batch.to_pylist():
                content.update(canonical_row(row))
        if content.hexdigest() != self.digest:
            raise _damaged(self.folder, "its content differs from the digest in dataset.json")


def _damaged(folder: Path, what: str) -> DatasetError:
    message = f"dataset {folder}: {what}. Delete the folder and build the dataset again."
    return DatasetError(message, folder / "dataset.json")


def open_samples(folder: Path | str) -> Samples:
    """Open a dataset folder; nothing but `dataset.json` is read until it is needed.

    Parameters
    ----------
    folder : path
        A folder written by `zooalign.data.writing.write_samples`.

    Returns
    -------
    Samples
        Light, picklable.

    Raises
    ------
    DatasetError
        If the folder is missing, half-written, of another layout or damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DatasetError(f"dataset {folder}: no such folder: {remedy('build_dataset')}.")
    about_path = folder / "dataset.json"
    if not about_path.is_file():
        raise _damaged(folder, "half-written (it has no dataset.json)")
    try:
        about = json.loads(about_path.read_text(encoding="utf-8"))
        schema, kind = about["schema"], about["kind"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, f"dataset.json cannot be read ({error})") from error
    if schema != SCHEMA or kind not in KINDS:
        raise _damaged(folder, f"layout {schema!r}, kind {kind!r}; this version reads layout {SCHEMA}")
    for name in ("samples/state.json", "ATTRIBUTION.md"):
        if not (folder / name).is_file():
            raise _damaged(folder, f"half-written (it has no {name})")
    return Samples(folder, about)


def count(values: list[Any]) -> dict[str, int]:
    """How often each value occurs, most frequent first, ties by name; None is left out.

    Examples
    --------
    >>> count(["food", "animals", "food", None])
    {'food': 2, 'animals': 1}
    """
    return dict(sorted(Counter(v for v in values if v is not None).items(), key=lambda kv: (-kv[1], kv[0])))
