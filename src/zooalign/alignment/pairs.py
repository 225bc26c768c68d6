"""Pairs of models: which there are and which row of the matrix holds each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

VERSION = 2


@dataclass(frozen=True, order=True)
class Pair:
    """Two models compared on one dataset, always in the same order.

    Attributes
    ----------
    x, y : str
        Model ids. In a vision-language pair x is the vision model; otherwise x < y.
    comparison : str
        "vision-language", "vision-vision" or "language-language".
    """

    x: str
    y: str
    comparison: str


def all_pairs(modalities: Mapping[str, str], comparisons: Iterable[str]) -> list[Pair]:
    """Every pair that the comparisons ask for, each once, sorted.

    Parameters
    ----------
    modalities : dict
        "vision" or "language" by model id.
    comparisons : iterable of str
        As in `Pair.comparison`.
    """
    vision = sorted(m for m, kind in modalities.items() if kind == "vision")
    language = sorted(m for m, kind in modalities.items() if kind == "language")
    pairs: list[Pair] = []
    for name in comparisons:
        first, second = ({"vision": vision, "language": language}[side] for side in name.split("-"))
        if first is second:
            pairs += [Pair(a, b, name) for i, a in enumerate(first) for b in first[i + 1 :]]
        else:
            pairs += [Pair(a, b, name) for a in first for b in second]
    return sorted(pairs)


def assign_pairs(pairs: Iterable[Pair], held: Mapping[str, set[tuple[str, str]]]) -> dict[str, list[Pair]]:
    """Decide which model's row holds each pair.

    A pair stays in the row that holds it. A new pair goes to the model that has no row yet, so that adding a model
    computes its own row and touches no other; where that does not decide, to the language model, then to the later
    id. So neither the order of the manifest nor the order in which jobs finish moves a pair.

    Parameters
    ----------
    pairs : iterable of Pair
        The pairs of the sweep.
    held : dict
        For every model that has a row on disk, the (x, y) that it holds.

    Returns
    -------
    dict of str to list of Pair
        Sorted pairs by the model whose row holds them.
    """
    rows: dict[str, list[Pair]] = {}
    for pair in sorted(pairs):
        rows.setdefault(_owner(pair, held), []).append(pair)
    return rows


def _owner(pair: Pair, held: Mapping[str, set[tuple[str, str]]]) -> str:
    holders = [m for m in (pair.y, pair.x) if (pair.x, pair.y) in held.get(m, ())]
    if holders:
        return holders[0]
    newcomers = [m for m in (pair.y, pair.x) if m not in held]
    # y is the language model, or the later id.
    return newcomers[0] if newcomers else pair.y
