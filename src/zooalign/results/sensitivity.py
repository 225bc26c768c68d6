"""Whether the order of models depends on choices of the sweep: means, ranks and Kendall's tau, cell by cell.

A cell is the sweep with other settings (`config.sensitivity`). Models of one modality are ordered by their mean
alignment with the trained models of the other; tau compares that order with the one under the sweep's own settings.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from zooalign.config.sensitivity import COMPARISON, Cell, followed
from zooalign.results.frames import where
from zooalign.results.means import OTHER, mean_over, partners, scores, trained

if TYPE_CHECKING:
    import pandas as pd

    from zooalign.results.findings import Findings

VERSION = 1  # part of the digest of what this module determines

# Fewer models have no order to speak of: of three, chance alone gives tau = 1 in one case of six.
FEWEST = 4
STABLE = 0.8
_ROUNDING = 1e-9
NO_CELLS = (
    "The configuration names no alternatives to its settings. Add some, for example `sensitivity: {k: [5, 20], "
    "normalise: [none], clamp_quantile: [1.0]}`: no model runs again."
)


class Place(NamedTuple):
    """A model under one choice of settings.

    Attributes
    ----------
    model : str
        Id.
    mean : float
        Mean alignment with the trained models of the other modality.
    rank : float
        1 for the highest; equal means share the mean of their ranks.
    """

    model: str
    mean: float
    rank: float


class CellOrder(NamedTuple):
    """Order of the models of one modality in a cell.

    Attributes
    ----------
    cell : Cell
        The settings.
    places : tuple of Place
        Models that have a mean over the same partners, highest first.
    tau : float
        Kendall's tau-b to the order under the sweep's own settings, in [-1, 1]; NaN for fewer than four models, or
        where all means of a side are equal.
    n : int
        Models that both have.
    """

    cell: Cell
    places: tuple[Place, ...]
    tau: float
    n: int


class Sensitivity(NamedTuple):
    """How the order of the models of one modality on a dataset holds over the cells.

    Attributes
    ----------
    dataset, modality : str
        Whose order.
    default : tuple of Place
        Under the sweep's own settings.
    cells : tuple of CellOrder
        In the order of the configuration.
    worst : CellOrder or None
        The cell of the lowest tau, the first of equals; None where no cell has a tau.
    median : float
        Median tau of the cells that have one; NaN for none.
    sentence : str
        What that says of the order, for people.
    """

    dataset: str
    modality: str
    default: tuple[Place, ...]
    cells: tuple[CellOrder, ...]
    worst: CellOrder | None
    median: float
    sentence: str


def preparation_of(path: Path) -> str:
    """Preparation of a row, results/sensitivity/{preparation}/alignment/{dataset}/{model}.parquet."""
    return path.parents[2].name


def cell_frames(
    cells: Sequence[Cell], alignment: pd.DataFrame, paths: Iterable[Path]
) -> dict[str, pd.DataFrame]:
    """Alignment by cell id.

    Parameters
    ----------
    cells : sequence of Cell
        Cells of the sweep.
    alignment : DataFrame
        The sweep's own rows, as `Findings.alignment`; those of a cell that needs no others.
    paths : iterable of Path
        Rows of the preparations.

    Returns
    -------
    dict of str to DataFrame
        Pairs of vision with language under the cell's metric and k; columns as `alignment`. Empty frames where
        nothing could be computed.

    Raises
    ------
    StoreError
        If a row is damaged; names the file.
    """
    import pandas as pd

    from zooalign.results.read import read_row_file

    parts: dict[str, list[pd.DataFrame]] = {"": [alignment]}
    for path in paths:
        row = read_row_file(path).drop_columns(["matrix", "terms"]).to_pandas()
        if len(row):
            parts.setdefault(preparation_of(path), []).append(row)
    frames: dict[str, pd.DataFrame] = {}
    for cell in cells:
        frame = pd.concat(parts.get(cell.preparation, [alignment.iloc[:0]]), ignore_index=True)
        for column, value in (("comparison", COMPARISON), ("metric", cell.metric), ("k", cell.k)):
            frame = where(frame, column, value)
        frames[cell.id] = frame
    return frames


def order(rows: pd.DataFrame, models: pd.DataFrame, modality: str) -> tuple[Place, ...]:
    """Trained models of a modality by their mean alignment with those of the other, highest first.

    Parameters
    ----------
    rows : DataFrame
        Pairs of one dataset, metric and k.
    models : DataFrame
        As `Findings.models`.
    modality : str
        "vision" or "language".

    Returns
    -------
    tuple of Place
        A model that lacks the score of a partner has no place: its mean would be one over others.
    """
    from scipy.stats import rankdata

    pair_scores = scores(rows)
    others = partners(models, modality, OTHER[modality], pair_scores)
    found = {name: mean_over(name, others, pair_scores) for name in trained(models, modality)}
    means = {name: cast("float", mean.value) for name, mean in found.items() if mean.complete}
    ranks = rankdata([-value for value in means.values()])
    places = [Place(name, value, float(rank)) for (name, value), rank in zip(means.items(), ranks, strict=True)]
    return tuple(sorted(places, key=lambda place: (place.rank, place.model)))


def tau(a: Sequence[Place], b: Sequence[Place]) -> tuple[float, int]:
    """Kendall's tau-b of two orders over the models that both have, and their number.

    Returns
    -------
    tau : float
        In [-1, 1]; NaN for fewer than four models, or where all means of one side are equal.
    n : int
        Models that both have.

    References
    ----------
    Kendall 1945, Biometrika 33 (tau-b, with ties).
    """
    from scipy.stats import kendalltau

    first, second = ({place.model: place.mean for place in places} for places in (a, b))
    both = sorted(first.keys() & second.keys())
    if len(both) < FEWEST:
        return math.nan, len(both)
    result: Any = kendalltau([first[m] for m in both], [second[m] for m in both])
    return float(result.statistic), len(both)


def follow(
    default: pd.DataFrame,
    cells: Mapping[str, pd.DataFrame],
    named: Sequence[Cell],
    models: pd.DataFrame,
    dataset: str,
    modality: str,
) -> Sensitivity:
    """Follow the order of the models of a modality on a dataset over the cells.

    Parameters
    ----------
    default : DataFrame
        Pairs of all datasets under the sweep's own settings, one metric and k.
    cells : mapping
        The same by cell id, as :func:`cell_frames`.
    named : sequence of Cell
        The cells.
    models : DataFrame
        As `Findings.models`.
    dataset, modality : str
        Whose order.
    """

    def order_of(frame: pd.DataFrame) -> tuple[Place, ...]:
        return order(where(frame, "dataset", dataset), models, modality)

    own = order_of(default)
    orders = [(cell, order_of(cells[cell.id])) for cell in named]
    found = tuple(CellOrder(cell, places, *tau(own, places)) for cell, places in orders)
    known = [one for one in found if not math.isnan(one.tau)]
    worst = min(known, key=lambda one: one.tau, default=None)
    median = statistics.median(one.tau for one in known) if known else math.nan
    return Sensitivity(dataset, modality, own, found, worst, median, _sentence(found, worst, median))


def _sentence(found: Sequence[CellOrder], worst: CellOrder | None, median: float) -> str:
    """What the taus say of the order, with the cells and models that they rest on."""
    if worst is None:
        return f"no tau: fewer than {FEWEST} models, or equal means, in all {len(found)} cells"
    known = [one for one in found if not math.isnan(one.tau)]
    models = sorted({one.n for one in known})
    n = f"{models[0]} models" if len(models) == 1 else f"{models[0]} to {models[-1]} models"
    low = [one for one in known if one.tau < STABLE - _ROUNDING]
    cells = f"all {len(known)} cells" if len(known) > 1 else "the one cell"
    holds = f"order stable: tau >= {STABLE:.1f} in {cells}"
    if low:
        holds = f"order not stable: tau < {STABLE:.1f} in {len(low)} of {len(known)} cells"
    lacking = len(found) - len(known)
    without = f"; {lacking} of {len(found)} cells without tau" if lacking else ""
    same = [one for one in known if one.cell.same_as]
    theory = f"; {len(same)} the same by theory as another" if same else ""
    return f"{holds} (worst {worst.tau:.2f} at {worst.cell.title}, median {median:.2f}, {n}{without}{theory})"


def followed_metric(findings: Findings) -> tuple[str, int]:
    """Metric and k whose order of models is followed; 0 for a metric without k."""
    return followed(findings.sweep.config)


def sensitivities(findings: Findings) -> list[Sensitivity]:
    """How the order of models of each modality holds over the cells, by dataset; none without cells."""

    sweep = findings.sweep
    if not sweep.cells:
        return []
    metric, k = followed_metric(findings)
    own = findings.alignment
    for column, value in (("comparison", COMPARISON), ("metric", metric), ("k", k)):
        own = where(own, column, value)
    return [
        follow(own, findings.cells, sweep.cells, findings.models, dataset, modality)
        for dataset in sweep.datasets()
        for modality in OTHER
        if COMPARISON in sweep.comparisons(dataset)
    ]
