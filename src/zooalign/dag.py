"""What the workflow asks: which pairs each row holds, what a job reads, and the digest that makes it due."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from zooalign.alignment import Pair, all_pairs, assign_pairs, held_pairs
from zooalign.config import Sweep
from zooalign.discovery import room
from zooalign.layout import Layout
from zooalign.provenance import digest


class Dag:
    """The jobs of a sweep.

    Parameters
    ----------
    sweep : Sweep
        The checked configuration.
    layout : Layout
        Where artefacts lie. Rows on disk are read once: which row holds a pair depends on them.
    """

    def __init__(self, sweep: Sweep, layout: Layout) -> None:
        self.sweep, self.layout = sweep, layout
        self.rows = cache(self._rows)

    def _rows(self, dataset: str) -> dict[str, list[Pair]]:
        models = self.sweep.compared(dataset)
        pairs = all_pairs({m.id: m.modality for m in models}, self.sweep.comparisons(dataset))
        held = {m.id: held_pairs(self.layout.row(dataset, m.id)) for m in models}
        rows = assign_pairs(pairs, {m: pairs for m, pairs in held.items() if pairs is not None})
        # A model without pairs of its own has an empty row, so that it counts as settled next time.
        return {m.id: rows.get(m.id, []) for m in models}

    def row_members(self, dataset: str, model: str) -> list[str]:
        """The row's model and its partners, sorted."""
        return sorted({model, *(pair.partner(model) for pair in self.rows(dataset)[model])})

    def row_settings(self, dataset: str, model: str) -> dict[str, Any]:
        """Pairs and metrics of a row, with the digest of everything that determines it."""
        pairs = self.rows(dataset)[model]
        metrics = self.sweep.metric_settings()
        indexes = {m: self.sweep.index_digest(m, dataset) for m in self.row_members(dataset, model)}
        return {
            "pairs": [[p.x, p.y, p.comparison] for p in pairs],
            "metrics": metrics,
            "digest": digest("row", [[p.x, p.y] for p in pairs], metrics, indexes),
        }

    def receipts(self) -> list[Path]:
        """Receipts of every row of every dataset."""
        return [
            self.layout.receipt(dataset, m.id)
            for dataset in self.sweep.config.datasets
            for m in self.sweep.compared(dataset)
        ]

    def row_tables(self) -> list[Path]:
        """Tables of every row of every dataset."""
        return [path.with_name(path.name.removesuffix(".receipt.json") + ".parquet") for path in self.receipts()]

    def capabilities(self) -> list[Path]:
        """Every capability value of the sweep."""
        return [
            self.layout.capability(row.id, m.id)
            for row in self.sweep.config.capabilities
            for m in self.sweep.measured(row)
        ]

    def capability_inputs(self, capability: str, model: str) -> dict[str, Path]:
        """What a capability job reads: the dataset, and the model's weights or its features."""
        row = self.sweep.capability(capability)
        inputs = {"dataset": self.layout.dataset(row.dataset) / "dataset.json"}
        if room("capability", row.kind, "capability").NEEDS == "features":
            inputs["features"] = self.layout.features(row.dataset, model) / "zarr.json"
        else:
            inputs["weights"] = self.layout.weights(model) / "weights.json"
        return inputs

    def model_mem_mb(self, model: str) -> int:
        """Memory of a job that runs a model, MB, from its parameters, precision and batches."""
        from zooalign.estimates import model_mem_mb

        return model_mem_mb(self.sweep.model(model), self.sweep.config.extraction.batch_mem_mb)

    def results_digest(self) -> str:
        """Digest of everything that tables and figures are made from."""
        sweep = self.sweep
        # By model, not by row: which row holds a pair changes nothing in the results.
        indexes = {
            f"{dataset}/{m.id}": sweep.index_digest(m.id, dataset)
            for dataset in sweep.config.datasets
            for m in sweep.compared(dataset)
        }
        comparisons = {dataset: sorted(sweep.comparisons(dataset)) for dataset in sweep.config.datasets}
        values = {
            f"{row.id}/{m.id}": sweep.capability_digest(row.id, m.id)
            for row in sweep.config.capabilities
            for m in sweep.measured(row)
        }
        models = {m.id: [m.modality, m.family, m.objective, m.causal] for m in sweep.models}
        headline = sweep.config.headline.model_dump()
        return digest("results", indexes, comparisons, sweep.metric_settings(), values, models, headline)

    def table_files(self) -> list[Path]:
        """Files of every table."""
        return [
            Path(f"{self.layout.table(name)}{suffix}")  # not with_suffix: a name may have a dot
            for name in self.sweep.config.tables
            for suffix in room("tables", name, "table").SUFFIXES
        ]

    def figure_files(self) -> list[Path]:
        """Files of every figure: one per dataset, as SVG and PNG."""
        return [
            Path(f"{self.layout.figure(f'{name}_{dataset}')}{suffix}")
            for name in self.sweep.config.figures
            for dataset in self.sweep.config.datasets
            for suffix in (".svg", ".png")
        ]
