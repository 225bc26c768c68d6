"""What a sweep found, as tables and figures take it: alignment, capability, models, and the headline metric."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from zooalign.config import Sweep
from zooalign.discovery import room

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Findings:
    """Everything that tables and figures are made from.

    Attributes
    ----------
    sweep : Sweep
        The checked configuration.
    row_paths : tuple of Path
        Rows of the alignment matrix (parquet).
    capability_paths : tuple of Path
        Capability records (JSON).
    """

    sweep: Sweep
    row_paths: tuple[Path, ...]
    capability_paths: tuple[Path, ...]

    @property
    def metric(self) -> str:
        """Name of the headline metric."""
        return self.sweep.config.headline.metric

    @property
    def k(self) -> int:
        """Its k; 0 where it takes none."""
        return self.sweep.config.headline.k or 0

    @property
    def symmetric(self) -> bool:
        """Whether it gives the same score both ways."""
        return room("metrics", self.metric, "metric").SYMMETRIC

    @cached_property
    def alignment(self) -> pd.DataFrame:
        """One line per pair, dataset, metric and k, without layer matrices and terms."""
        import pandas as pd

        from zooalign.tables._read import read_row_file

        parts = [read_row_file(p).drop_columns(["matrix", "terms"]).to_pandas() for p in self.row_paths]
        return pd.concat([p for p in parts if len(p)] or parts[:1], ignore_index=True)

    @cached_property
    def capability(self) -> pd.DataFrame:
        """One line per capability and model."""
        from zooalign.tables._read import read_capability

        return read_capability(self.capability_paths)

    @cached_property
    def models(self) -> pd.DataFrame:
        """One line per model: id, modality, family, objective, causal, control."""
        import pandas as pd

        columns = ("id", "modality", "family", "objective", "causal", "control")
        return pd.DataFrame([[getattr(m, c) for c in columns] for m in self.sweep.models], columns=columns)


def make_tables(found: Findings, names: Iterable[str], folder: Path) -> None:
    """Write the tables of these names to `folder`/{name}.{suffix}."""
    for name in names:
        room("tables", name, "table").write(found, folder / name)


def make_figures(found: Findings, names: Iterable[str], folder: Path) -> None:
    """Draw the figures of these names, one per dataset, as `folder`/{name}_{dataset}.svg and .png."""
    for name in names:
        for dataset in found.sweep.datasets():
            room("figures", name, "figure").draw(found, dataset, folder / f"{name}_{dataset}")
