"""Where everything lies under the results folder. Each artefact is named by the file that is written last."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """Paths of a sweep's artefacts.

    Parameters
    ----------
    results : Path
        The results folder of config.yaml.

    Examples
    --------
    >>> Layout(Path("results")).features("emoji", "minilm_l6").as_posix()
    'results/features/emoji/minilm_l6.zarr'
    """

    results: Path

    def dataset(self, dataset: str) -> Path:
        """Folder of a dataset; `dataset.json` is written last."""
        return self.results / "datasets" / dataset

    def weights(self, model: str) -> Path:
        """Folder of a model's prepared weights; `weights.json` is written last."""
        return self.results / "weights" / model

    def removed(self, model: str) -> Path:
        """Record that a model's weights were removed after the last job that read them."""
        return self.results / "weights" / f"{model}.removed.json"

    def features(self, dataset: str, model: str) -> Path:
        """FeatureStore; `zarr.json` comes with the rename of the whole folder."""
        return self.results / "features" / dataset / f"{model}.zarr"

    def _prepared(self, preparation: str) -> Path:
        """Folder of the indexes and rows of a preparation; the results themselves for the sweep's own."""
        return self.results / "sensitivity" / preparation if preparation else self.results

    def index(self, dataset: str, model: str, preparation: str = "") -> Path:
        """Index; `zarr.json` comes with the rename of the whole folder."""
        return self._prepared(preparation) / "indexes" / dataset / f"{model}.zarr"

    def row(self, dataset: str, model: str, preparation: str = "") -> Path:
        """Row of the alignment matrix."""
        return self._prepared(preparation) / "alignment" / dataset / f"{model}.parquet"

    def receipt(self, dataset: str, model: str, preparation: str = "") -> Path:
        """Receipt of a row: exists only while the last update of the row succeeded."""
        return self._prepared(preparation) / "alignment" / dataset / f"{model}.receipt.json"

    def inference(self, dataset: str, model: str) -> Path:
        """Nulls and intervals of the pairs of a row."""
        return self.results / "inference" / dataset / f"{model}.parquet"

    def inference_receipt(self, dataset: str, model: str) -> Path:
        """Receipt of them, as that of a row."""
        return self.results / "inference" / dataset / f"{model}.receipt.json"

    def capability(self, capability: str, model: str) -> Path:
        """One capability value."""
        return self.results / "capability" / capability / f"{model}.json"

    def table(self, name: str) -> Path:
        """A table, without suffix."""
        return self.results / "tables" / name

    def figure(self, name: str) -> Path:
        """A figure, without suffix."""
        return self.results / "figures" / name

    def report(self) -> Path:
        """The report, one HTML file."""
        return self.results / "report.html"

    def log(self, rule: str, *parts: str) -> Path:
        """Log of a job."""
        return self.results.joinpath("logs", rule, *parts[:-1], f"{parts[-1]}.log")

    def benchmark(self, rule: str, *parts: str) -> Path:
        """What a job took, as Snakemake measures it."""
        return self.results.joinpath("benchmarks", rule, *parts[:-1], f"{parts[-1]}.tsv")
