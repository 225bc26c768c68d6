"""Attribution: whose work the samples are, written beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from zooalign.errors import DatasetError


class Attribution(NamedTuple):
    """Whose work the samples of one source are.

    Parameters
    ----------
    source : str
        The `source` of the records it covers.
    title, authors, licence : str
        As the authors want to be named.
    link : str
        Name of the place where the work is found ("openmoji.org", "Debian package tuxpaint-stamps").
    changes : str
        What was changed ("rendered at 224 px on white"), which some licences ask for.
    """

    source: str
    title: str
    authors: str
    licence: str
    link: str
    changes: str = ""


def attribution_text(
    name: str, description: str, attribution: Sequence[Attribution], sources: Mapping[str, int]
) -> str:
    """Markdown that names every source with its authors, licence and number of samples."""
    known = {entry.source: entry for entry in attribution}
    missing = [source for source in sources if source not in known]
    if missing:
        raise DatasetError(f"{name}: no attribution for source {missing[0]!r}; add it to the family's list.")
    lines = [f"# {name}", "", description, ""]
    for source, samples in sources.items():
        entry = known[source]
        lines += [f"## {entry.title}", "", f"- Samples: {samples} (source `{source}`)"]
        lines += [f"- Authors: {entry.authors}", f"- Licence: {entry.licence}", f"- From: {entry.link}"]
        lines += [f"- Changes: {entry.changes}"] * bool(entry.changes) + [""]
    for entry in attribution:
        if entry.source not in sources:  # glosses, names: no sample of its own, yet somebody's work
            lines += [f"## {entry.title}", "", f"- Authors: {entry.authors}", f"- Licence: {entry.licence}"]
            lines += [f"- From: {entry.link}"] + [f"- Use: {entry.changes}"] * bool(entry.changes) + [""]
    return "\n".join(lines)
