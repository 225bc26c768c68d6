"""What every figure shares: fonts and colours, saving with identical bytes, names beside points."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from zooalign.storage.atomic import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VERSION = 1  # part of the digest of what this module determines

# Okabe and Ito 2008: told apart with every common colour vision deficiency.
BLUE, VERMILION, GREY, INK = "#0072B2", "#D55E00", "#7F7F7F", "#222222"
# For categories, in this order; more than eight share colours and differ in their markers.
PALETTE = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B8A800")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

PNG_DPI = 160


def metric_label(metric: str, k: int) -> str:
    """Name a metric with its k: "mutual_knn, k = 10"."""
    return metric + (f", k = {k}" if k else "")


@contextmanager
def style() -> Iterator[None]:
    """Set what every figure has in common, whatever the user's matplotlibrc says."""
    import matplotlib

    settings = {
        "font.family": "DejaVu Sans",  # comes with matplotlib: the same shapes on every machine
        "font.size": 9.0,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": GREY,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "svg.fonttype": "path",
        "svg.hashsalt": "zooalign",
        "pdf.fonttype": 42,  # journals refuse Type 3 fonts
        "hatch.linewidth": 0.6,
    }
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for name, value in settings.items():
            # Names of settings are a closed type in matplotlib's annotations.
            matplotlib.rcParams[cast("Any", name)] = value
        yield


def new_figure(width_in: float, height_in: float) -> Figure:
    """Make an empty white figure on the Agg canvas; no window and no state of pyplot is touched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def whole_figure(axes: Axes) -> Figure:
    """Return the figure that the axes are in."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def save(figure: Figure, path_without_suffix: Path | str) -> list[Path]:
    """Write .svg, .pdf and .png, each in one step; the same figure gives the same bytes.

    Raises
    ------
    StoreError
        If the disk is full.
    """
    written = []
    # Neither the date nor the version of matplotlib goes into the files.
    about: dict[str, dict[str, None]] = {
        ".svg": {"Date": None, "Creator": None},
        ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
        ".png": {"Software": None},
    }
    for suffix, metadata in about.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix[1:], metadata=metadata, dpi=PNG_DPI)
        # Not with_suffix: a name with a dot in it would lose its end.
        path = Path(f"{path_without_suffix}{suffix}")
        write_bytes(path, buffer.getvalue())
        written.append(path)
    return written


def draw_lack(path_without_suffix: Path | str, title: str, lacks: str) -> list[Path]:
    """Write a figure that says what it lacks, where there is too little to draw.

    Parameters
    ----------
    path_without_suffix : path
        As for :func:`save`.
    title : str
        What the figure would show.
    lacks : str
        What is missing, and what to add to the sweep: one or two sentences.
    """
    with style():
        figure = new_figure(6.2, 1.9)
        figure.text(0.03, 0.88, title, fontsize=12, weight="bold", va="top")
        figure.text(0.03, 0.62, textwrap.fill(lacks, 88), va="top", linespacing=1.35)
        return save(figure, path_without_suffix)


def ink_on(colour: Sequence[float]) -> str:
    """Black or white, whichever stands out from a colour (relative luminance, WCAG).

    Examples
    --------
    >>> ink_on((1.0, 1.0, 0.8, 1.0)), ink_on((0.1, 0.0, 0.3, 1.0))
    ('black', 'white')
    """
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if luminance > 0.179 else "white"


def name_points(
    axes: Axes,
    points: Sequence[tuple[float, float, str]],
    obstacles: Sequence[tuple[float, float]],
    size: float = 8.5,
    clearance_pt: float = 7.0,
    farthest_pt: float = 42.0,
) -> int:
    """Write names beside points so that no two names, and no name and point, lie on each other.

    Parameters
    ----------
    axes : Axes
        With its final limits and place.
    points : sequence of (x, y, name)
        In data units; earlier ones choose first.
    obstacles : sequence of (x, y)
        Further points that names keep off.
    size : float
        Font size in points.
    clearance_pt : float
        Least distance of a name from its point, in points.
    farthest_pt : float
        Greatest distance; a name farther than twice the least gets a line to its point.

    Returns
    -------
    int
        Names for which there was no room, and which were left out.
    """
    from matplotlib.transforms import Bbox

    figure = whole_figure(axes)
    pixels_per_pt = figure.dpi / 72
    # Limits that were set by margins are worked out when they are asked for; places of points follow from them.
    _ = axes.get_xlim(), axes.get_ylim()
    frame = axes.get_window_extent()

    def around(x: float, y: float, half_pt: float) -> Bbox:
        px, py = axes.transData.transform((x, y))
        half = half_pt * pixels_per_pt
        return Bbox.from_extents(px - half, py - half, px + half, py + half)

    taken = [around(x, y, 4.5) for x, y, _ in points] + [around(x, y, 2.5) for x, y in obstacles]
    left_out = 0
    for x, y, name in points:
        anchor = axes.transData.transform((x, y))
        extent = _text_size(figure, name, size)
        for distance, dx, dy in _places(clearance_pt, farthest_pt):
            shift = (dx * distance * pixels_per_pt, dy * distance * pixels_per_pt)
            # The near edge of the words is at the shifted point: left edge to the right of it, and so on.
            x0 = anchor[0] + shift[0] - (0 if dx > 0 else extent[0] if dx < 0 else extent[0] / 2)
            y0 = anchor[1] + shift[1] - (0 if dy > 0.5 else extent[1] if dy < -0.5 else extent[1] / 2)
            box = Bbox.from_bounds(x0, y0, *extent)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                far = distance > 2 * clearance_pt
                _write_name(axes, name, (x, y), (dx * distance, dy * distance), size, line=far)
                break
        else:
            left_out += 1
    return left_out


def _text_size(figure: Figure, words: str, size: float) -> tuple[float, float]:
    """Width and height of one line of words in pixels."""
    text = figure.text(0, 0, words, fontsize=size)
    extent = text.get_window_extent()
    text.remove()
    return float(extent.width), float(extent.height)


def _write_name(
    axes: Axes, name: str, point: tuple[float, float], offset_pt: tuple[float, float], size: float, line: bool
) -> None:
    dx, dy = offset_pt
    steep = abs(dy) > 0.6 * abs(dx)
    axes.annotate(
        name,
        point,
        xytext=offset_pt,
        textcoords="offset points",
        fontsize=size,
        ha="left" if dx > 0 else "right" if dx < 0 else "center",
        va="center" if not steep else "bottom" if dy > 0 else "top",
        # A line to a name that had to move away from its point.
        arrowprops={"arrowstyle": "-", "lw": 0.6, "color": GREY, "shrinkA": 0, "shrinkB": 4} if line else None,
        zorder=5,
    )


def _places(clearance_pt: float, farthest_pt: float) -> list[tuple[float, float, float]]:
    """List where a name may stand: (distance in points, direction), nearest first, right before left."""
    directions = [(1, 0), (-1, 0), (0.8, 0.7), (0.8, -0.7), (-0.8, 0.7), (-0.8, -0.7), (0, 1), (0, -1)]
    steps = [(1, 0.45), (1, -0.45), (-1, 0.45), (-1, -0.45)]
    distances = [clearance_pt * r for r in (1, 1.6, 2.5, 4, 6) if clearance_pt * r <= farthest_pt]
    return [(distance, dx, dy) for distance in distances for dx, dy in [*directions, *steps]]
