"""Tables as LaTeX: longtable with the rules of booktabs, so that \\input takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zooalign.results.publishing import Header, Table

VERSION = 1  # part of the digest of what this module determines

_ESCAPED = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "†": r"\dag{}", "‡": r"\ddag{}", "±": r"$\pm$", "≤": r"$\le$", "≥": r"$\ge$", "×": r"$\times$",
    "⇣": r"$\downarrow$", "ρ": r"$\rho$", "τ": r"$\tau$", "→": r"$\to$", "−": r"$-$", "…": r"\dots{}", "–": "--",
}  # fmt: skip


def escape(text: str) -> str:
    """Text that LaTeX prints as it is; blanks and breaks become single blanks.

    Examples
    --------
    >>> escape("a_b & 5 %")
    'a\\\\_b \\\\& 5 \\\\%'
    """
    return "".join(_ESCAPED.get(character, character) for character in " ".join(text.split()))


def document(table: Table, header: Header, name: str) -> str:
    """What \\input takes: the header as comments, then a longtable labelled `tab:{name}`.

    Parameters
    ----------
    table, header
        As for `publishing.publish`.
    name : str
        Of the table, for its label.

    Returns
    -------
    str
        Needs the packages booktabs and longtable.
    """
    from zooalign.results.publishing import MOST_SHOWN, NO_ROWS, left_out

    about = [table.title, *header.answers, *(f"{key}: {value}" for key, value in header.settings.items())]
    about += [*table.notes, "Packages: booktabs, longtable."]
    lines = [f"% {' '.join(line.split())}" for line in about]
    width = len(table.shown)
    across = rf"\multicolumn{{{width}}}{{l}}"
    lines += [rf"\begin{{longtable}}{{{'l' * width}}}", rf"\caption{{{escape(table.title)}}}\label{{tab:{name}}}\\"]
    lines += [r"\toprule", _row([column.heading for column in table.shown]), r"\midrule", r"\endhead"]
    lines += [r"\bottomrule", r"\endfoot"]
    sections = table.sections()
    for place, (section, rows) in enumerate(sections.items()):
        if section:
            lines += [r"\midrule"] if place else []
            lines.append(rf"{across}{{\textbf{{{escape(section)}}}}}\\*")
        lines += [_row([column.text(row) for column in table.shown]) for row in rows[:MOST_SHOWN]]
        if len(rows) > MOST_SHOWN:
            lines.append(rf"{across}{{{escape(left_out(len(rows)))}}}\\")
    if not sections:
        lines.append(rf"{across}{{{NO_ROWS}}}\\")
    return "\n".join([*lines, r"\end{longtable}"]) + "\n"


def _row(cells: Sequence[str]) -> str:
    # A bracket that opens a row would be an option of the line break before it.
    escaped = [escape(cell) for cell in cells]
    return " & ".join(f"{{}}{cell}" if cell.startswith(("[", "*")) else cell for cell in escaped) + r" \\"
