"""GCompris: titles and paragraphs of its encyclopedic games, words and pictures of its language lessons."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from zooalign.datasets.pictures.candidates import Candidate
from zooalign.errors import DatasetError

_LICENCE = "GPL-3.0-or-later"
_GAMES = {
    "explore_farm_animals": "animals",
    "explore_monuments": "places",
    "explore_world_animals": "animals",
    "explore_world_music": "leisure",
}
_LESSONS = {
    "animal": "animals",
    "food": "food",
    "fruit": "food",
    "vegetable": "food",
    "bodyparts": "people",
    "body": "people",
    "family": "people",
    "people": "people",
    "transport": "vehicles",
    "clothe": "clothes",
    "clothes": "clothes",
    "nature": "plants",
    "plant": "plants",
}
# Lessons whose pictures show the word itself.
_SIGNS = {"color", "number", "numbers", "alphabet", "letter"}


def gcompris(folder: Path) -> Iterator[Candidate]:
    """Pictures of four games and of the lessons.

    Parameters
    ----------
    folder : pathlib.Path
        The package's usr/share/gcompris-qt/rcc.

    Yields
    ------
    Candidate
        Pictures of the games have the text `long`, a paragraph.
    """
    for game, domain in _GAMES.items():
        yield from _game(dict(read_resources(folder / f"{game}.rcc")), game, domain)
    yield from _lessons(dict(read_resources(folder / "lang.rcc")))


def _game(files: dict[str, bytes], game: str, domain: str) -> Iterator[Candidate]:
    for path in sorted(p for p in files if p.endswith(".qml")):
        for entry in re.findall(r'\{[^{}]*"title"[^{}]*\}', files[path].decode("utf-8"), re.DOTALL):
            pictures = [p for p in re.findall(r'"qrc:([^"]+\.webp)"', entry) if p in files]
            title, long, short = (_translated(entry, key) for key in ("title", "text", "text2"))
            caption = short if game == "explore_monuments" and "?" not in short and short else title
            if game == "explore_world_music":
                caption = f"music of {title}"
            if pictures and caption and long:
                yield Candidate(
                    id="gcompris/" + pictures[0].split("/activities/")[1],
                    source="gcompris",
                    domain=domain,
                    licence=_LICENCE,
                    caption=caption,
                    data=files[pictures[0]],
                    style="photo",
                    texts={"long": " ".join(long.split())},
                )


def _translated(entry: str, key: str) -> str:
    """English string of one key of a QML object, "" where it has none."""
    match = re.search(rf'"{key}"\s*:\s*qsTr\("((?:[^"\\]|\\.)*)"', entry)
    return match[1].replace('\\"', '"').replace("\\n", " ") if match else ""


def _lessons(files: dict[str, bytes]) -> Iterator[Candidate]:
    chapters = json.loads(next(data for path, data in files.items() if path.endswith("words_sample.json")))
    for chapter in chapters:
        prefix = chapter.get("imgPrefix", "").replace("qrc:", "")
        for lesson in chapter["content"]:
            for word in lesson["content"] if lesson["name"] not in _SIGNS else ():
                if prefix + word["image"] in files:
                    yield Candidate(
                        id="gcompris/lang/" + word["image"],
                        source="gcompris",
                        domain=_LESSONS.get(lesson["name"], "household"),
                        licence=_LICENCE,
                        caption=word["description"],
                        data=files[prefix + word["image"]],
                        svg=word["image"].endswith(".svg"),
                        style="drawing",
                    )


def read_resources(path: Path) -> Iterator[tuple[str, bytes]]:
    """Files inside a Qt resource file.

    Parameters
    ----------
    path : pathlib.Path
        A .rcc file: header, then a tree of nodes, the names and the data, each found by its offset.

    Yields
    ------
    tuple of str and bytes
        Path inside the file, and content.

    Raises
    ------
    DatasetError
        If the file is missing or no Qt resource file.
    """
    try:
        data = path.read_bytes()
        if data[:4] != b"qres":
            raise ValueError("no Qt resource file")
        version, tree, contents, names = struct.unpack(">IIII", data[4:20])
        yield from _node(data, tree, contents, names, 22 if version >= 2 else 14, 0, "")
    except (OSError, ValueError, struct.error, zlib.error) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); delete the cache folder, build again.") from error


def _node(
    data: bytes, tree: int, contents: int, names: int, width: int, number: int, parent: str
) -> Iterator[tuple[str, bytes]]:
    at = tree + number * width
    name_at, flags = struct.unpack(">IH", data[at : at + 6])
    path = parent
    if number:  # the root has no name
        length = struct.unpack(">H", data[names + name_at : names + name_at + 2])[0]
        start = names + name_at + 6  # length and hash stand before the name
        path += "/" + data[start : start + 2 * length].decode("utf-16-be")
    if flags & 2:  # a folder
        n_children, first = struct.unpack(">II", data[at + 6 : at + 14])
        for child in range(first, first + n_children):
            yield from _node(data, tree, contents, names, width, child, path)
        return
    start = contents + struct.unpack(">I", data[at + 10 : at + 14])[0]
    content = data[start + 4 : start + 4 + struct.unpack(">I", data[start : start + 4])[0]]
    if flags & 1:  # zlib, after the length of the original
        content = zlib.decompress(content[4:])
    elif flags & 4:
        import zstandard

        content = zstandard.ZstdDecompressor().decompressobj().decompress(content)
    yield path, content
