"""WordNet as read from its plain files: a vocabulary, and glosses in the sense that fits a domain."""

from __future__ import annotations

import re
from pathlib import Path

# Lexicographer files (numbers of WordNet 3.0) in which the sense of a word of a domain is looked for: the
# crane among animals is a bird, the one among vehicles a machine.
SENSES = {
    "animals": {5},
    "food": {13, 20, 6},
    "plants": {20},
    "vehicles": {6},
    "clothes": {6},
    "household": {6, 23},
    "places": {6, 15, 17},
    "people": {18, 8, 5},
    "leisure": {6, 4},
    "symbols": {10, 6},
    "seasonal": {6, 28, 13},
    "space": {17},
    "nature": {19, 17, 11},
}


class WordNet:
    """Words and noun glosses.

    Parameters
    ----------
    folder : pathlib.Path
        Holds index.noun, data.noun, index.verb, index.adj.
    """

    def __init__(self, folder: Path) -> None:
        self.vocabulary: set[str] = set()
        self._senses: dict[str, list[str]] = {}
        self._glosses: dict[str, tuple[int, str]] = {}
        for part in ("noun", "verb", "adj"):
            for line in _lines(folder / f"index.{part}"):
                fields = line.split()
                self.vocabulary.add(fields[0])
                if part == "noun":  # the last fields are the offsets of its synsets, most frequent first
                    self._senses[fields[0]] = fields[-int(fields[2]) :]
        for line in _lines(folder / "data.noun"):
            gloss = line.split(" | ", 1)[1].split('; "')[0].strip()
            self._glosses[line[:8]] = (int(line[9:11]), gloss)

    def gloss(self, caption: str, domain: str) -> str | None:
        """Gloss of the longest end of a caption that is a noun of the domain, or None.

        Parameters
        ----------
        caption : str
            Normalised; text in brackets is left out.
        domain : str
            A key of `SENSES`; another domain has no glosses.
        """
        words = re.sub(r"\(.*?\)", "", caption).split()
        wanted = SENSES.get(domain, set())
        for start in range(len(words)):
            phrase = "_".join(words[start:])
            for form in (phrase, phrase.removesuffix("s"), phrase.removesuffix("es")):
                for offset in self._senses.get(form, []):
                    file, gloss = self._glosses[offset]
                    if file in wanted:
                        return gloss
        return None


def _lines(path: Path) -> list[str]:
    """Lines of a WordNet file without the licence, whose lines start with a space."""
    return [line for line in path.read_text(encoding="utf-8").split("\n") if line and line[0] != " "]
